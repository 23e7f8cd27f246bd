"""A private JupyterLab and a headless chromium that opens a notebook in it, runs it and reads its outputs.

Cells are run through JupyterLab's own command, not by clicking: menus open late and clicks get lost. Everything that
does not come from this machine is refused, so that a notebook which needs the network shows it.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds after which something hangs; a machine that is busy with other work is only slow
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip

_KERNEL_IS_IDLE = """() => {
    const kernel = window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.status === 'idle' && kernel.connectionStatus === 'connected';
}"""
_RUN_ALL = """async () => {
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    const model = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
    return model.cells.map(cell => cell.toJSON()).filter(cell => cell.cell_type === 'code');
}"""


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: where it answers, and the folder that it serves."""

    url: str
    folder: Path
    token: str


def find_chromium() -> str | None:
    """The system's browser; playwright's own download is not needed."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run JupyterLab on `folder/work`, with settings, workspaces and run-time files of its own under `folder`."""
    work, token = folder / "work", secrets.token_hex(16)
    work.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", work, token)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}",
               "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]  # fmt: skip
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=_environment(folder), stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()


@contextlib.contextmanager
def browse() -> Iterator[Page]:
    """A page in a headless chromium that reaches this machine only."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(PATIENCE * 1000)
            page.route(lambda url: not url.startswith(("http://127.0.0.1", "data:", "blob:")), _refuse)
            yield page
        finally:
            browser.close()


def open_notebook(page: Page, server: Server, name: str) -> None:
    """Open a notebook of the served folder in a new workspace, and wait until its kernel is connected and idle."""
    workspace = f"test-{secrets.token_hex(4)}"
    page.goto(f"{server.url}/lab/workspaces/{workspace}/tree/{name}?reset&token={server.token}")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
    page.wait_for_function(_KERNEL_IS_IDLE)  # asks the session itself; the toolbar's icon lags behind


def run_all(page: Page) -> list[dict[str, Any]]:
    """Run every cell of the open notebook; return its code cells as the notebook format has them."""
    cells: list[dict[str, Any]] = page.evaluate(_RUN_ALL)
    return cells


def _refuse(route: Route) -> None:
    route.abort()


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's own Jupyter is read or written, and no news pop-up covers the page."""
    overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    overrides.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": quiet}))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    own = {name: str(folder / place) for name, place in places.items()}
    # Two threads that wait for each other in a busy loop make a step 10 to 20 times slower where a core is taken.
    own |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{server.url}/api/status?token={server.token}", timeout=2).close()
            return
        time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start within {PATIENCE} s:\n{log.read_text()[-3000:]}")
