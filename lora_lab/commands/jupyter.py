"""JupyterLab on one folder, with this environment's kernel and commands; the user's own configuration is not changed.

`jupyter_share` is searched before the user's own folders, by this server only. It has the kernel "python3", whose
"python" is for the server the interpreter that it runs on itself, and settings without which it would offer news.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from lora_lab.units import command_line

SHARE = Path(__file__).with_name("jupyter_share")
STATE = ".jupyter"  # in the folder: which notebooks are open, so that those of other folders stay as they are


def require() -> None:
    """Raises ValueError if JupyterLab is not installed in this environment."""
    if importlib.util.find_spec("jupyterlab") is None:
        install = command_line([sys.executable, "-m", "pip", "install", "lora_lab[lab]"])
        raise ValueError(
            f"JupyterLab is not installed: {install} brings it, and --no-open only fills the folder, for another editor"
        )


def has_state(folder: Path) -> bool:
    """Whether JupyterLab was here before, and knows which notebooks were open."""
    return any((folder / STATE / "workspaces").glob("*"))


def command(folder: Path, notebook: str | None, browser: bool = True) -> list[str]:
    """The words that start JupyterLab.

    Args:
        folder: what it shows, an absolute path.
        notebook: the one to open, relative to the folder; None for those that were open the last time.
        browser: open one.
    """
    words = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", "--log-level=WARN"]
    words.append("--ServerApp.answer_yes=True")  # Ctrl-C ends it, without a question
    if notebook:
        words.append(f"--LabApp.default_url=/lab/tree/{notebook}")
    if not browser:
        words.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container, say: JupyterLab refuses it otherwise
        words.append("--allow-root")
    if os.name == "posix" and not sys.stdout.isatty():  # else a terminal would run a login shell, with another PATH
        words.append(f"--ServerApp.terminado_settings=shell_command={os.environ.get('SHELL') or 'sh'}")
    return words


def environment(folder: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The server's environment, which its kernels and terminals inherit.

    Args:
        folder: the learner's; progress is kept there unless LORA_LAB_PROGRESS says where.
        given: what the server's is made of.
    """
    first = {
        "PATH": sysconfig.get_path("scripts"),
        "JUPYTER_PATH": str(SHARE),
        "JUPYTER_CONFIG_PATH": str(SHARE),
    }
    own = {name: os.pathsep.join(filter(None, (place, given.get(name)))) for name, place in first.items()}
    kept = {
        "LORA_LAB_PROGRESS": str(folder / "progress.json"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / STATE / "workspaces"),
    }
    return {**kept, **given, **own}


def run(words: list[str], environment: Mapping[str, str]) -> int:
    """Run the server until it ends, by itself, by Ctrl-C or by SIGTERM.

    Returns:
        0 if it was told to end, else its own exit status.
    """
    server = subprocess.Popen(words, env=environment)
    told = False
    while True:
        try:
            status = server.wait()
            return 0 if told else status
        except KeyboardInterrupt:  # Ctrl-C reaches the server too, SIGTERM does not
            if told:
                server.kill()
            else:
                server.terminate()
            told = True
