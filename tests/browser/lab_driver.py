"""`lora-lab lab` as a learner starts it, and a headless chromium that opens a notebook there, types in it, runs it and
reads its outputs.

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
import sysconfig
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


_FIND = """const notebook = window.jupyterapp.shell.currentWidget.content;
    const index = notebook.model.sharedModel.cells.findIndex(cell => cell.id === id);
    if (index < 0) throw new Error('no cell ' + id);"""
_EDIT = f"""async id => {{ {_FIND}
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index);
    await notebook.widgets[index].ready;
    notebook.mode = 'edit';
    notebook.activeCell.editor.focus();
}}"""
_SHOW = f"""async id => {{ {_FIND}
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index);
}}"""
_SOURCE_IS = f"""([id, text]) => {{ {_FIND}
    return notebook.model.sharedModel.cells[index].source === text;
}}"""


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: where it answers, and the learner's folder, which it serves."""

    url: str
    folder: Path
    token: str


def find_chromium() -> str | None:
    """The system's browser; playwright's own download is not needed."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run `lora-lab lab` on `folder/my course`, for a user whose configuration lies under `folder`."""
    course, token = folder / "my course", secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", course, token)
    script = shutil.which("lora-lab", path=sysconfig.get_path("scripts"))
    start = [script] if script else [sys.executable, "-m", "lora_lab.commands.cli"]
    command, log = [*start, "lab", str(course), "--no-browser"], folder / "server.log"
    with log.open("w") as output:
        environment = _environment(folder, port, token)
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
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


def open_first(page: Page, server: Server) -> None:
    """Open the address that the command prints, and wait for whatever notebook is there."""
    page.goto(f"{server.url}/?token={server.token}")
    _wait_until_ready(page)


def open_notebook(page: Page, server: Server, name: str) -> None:
    """Open a notebook of the served folder in a new workspace, and wait until its kernel is connected and idle."""
    workspace = f"test-{secrets.token_hex(4)}"
    page.goto(f"{server.url}/lab/workspaces/{workspace}/tree/{name}?reset&token={server.token}")
    _wait_until_ready(page)


def run_all(page: Page) -> list[dict[str, Any]]:
    """Run every cell of the open notebook; return its code cells as the notebook format has them."""
    cells: list[dict[str, Any]] = page.evaluate(_RUN_ALL)
    return cells


def problems(cells: list[dict[str, Any]]) -> list[str]:
    """Cells that were not executed or ended in an error, as sentences."""
    outputs = [(number, output) for number, cell in enumerate(cells, 1) for output in cell["outputs"]]
    errors = [f"cell {n}: {o['ename']}: {o['evalue']}" for n, o in outputs if o["output_type"] == "error"]
    idle = [f"cell {n} was not executed" for n, cell in enumerate(cells, 1) if cell["execution_count"] is None]
    return errors + idle


def printed(cells: list[dict[str, Any]]) -> str:
    return "".join(o.get("text", "") for cell in cells for o in cell["outputs"] if o["output_type"] == "stream")


def opened(page: Page) -> str:
    """The path of the file in front, relative to the folder."""
    path: str = page.evaluate("() => window.jupyterapp.shell.currentWidget?.context?.path ?? ''")
    return path


def pop_ups(page: Page) -> list[str]:
    """What covers the page: dialogs and notifications."""
    return page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts()


def type_into(page: Page, cell: str, text: str) -> None:
    """Replace what stands in a cell, named by its id, by the keyboard."""
    page.evaluate(_EDIT, cell)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(text)
    page.wait_for_function(_SOURCE_IS, arg=[cell, text])


def follow(page: Page, cell: str, target: str) -> None:
    """Click the link of a markdown cell that leads to a file, and wait until that file is in front."""
    page.evaluate(_SHOW, cell)
    name = target.rpartition("/")[2]
    page.locator(f'.jp-NotebookPanel:not(.lm-mod-hidden) a[href*="/files/"][href*="{name}"]').first.click()
    page.wait_for_function("name => window.jupyterapp.shell.currentWidget?.context?.path?.endsWith(name)", arg=name)


def save(page: Page) -> None:
    """Save the file in front."""
    page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")


def _wait_until_ready(page: Page) -> None:
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
    page.wait_for_function(_KERNEL_IS_IDLE)  # asks the session itself; the toolbar's icon lags behind


def _refuse(route: Route) -> None:
    route.abort()


def _environment(folder: Path, port: int, token: str) -> dict[str, str]:
    """A user's: nothing of this machine's Jupyter is read or written.

    The configuration has what a test needs and a user does not. There is another kernel "python3", which does not work.
    """
    settings = {
        "ServerApp": {"ip": "127.0.0.1", "port": port, "port_retries": 0},
        "IdentityProvider": {"token": token},
        "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
    }
    kernel = {"argv": ["/nowhere/python", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    for name, content in (
        ("config/jupyter_server_config.json", settings),
        ("data/kernels/python3/kernel.json", kernel),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "IPYTHONDIR": "ipython",
    }
    own = {name: str(folder / place) for name, place in places.items()}
    # Two threads that wait for each other in a busy loop make a step 10 to 20 times slower where a core is taken.
    own |= {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "JUPYTER_PREFER_ENV_PATH": "0",
        "LORA_LAB_MODEL": "embedded",
    }
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {name: value for name, value in os.environ.items() if name != "LORA_LAB_PROGRESS"} | own


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{server.url}/api/status?token={server.token}", timeout=2).close()
            return
        time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start within {PATIENCE} s:\n{log.read_text(encoding='utf-8')[-3000:]}")
