"""Colab on this machine: its versions of the packages over this environment's torch, and the repository as GitHub's.

What is real: the wheels that Colab ships, pip, git, and a kernel of Colab's ipykernel. What is not: torch, which is
this environment's under the version of Colab's (`stand_in_for_torch`); `google.colab`, which is empty; and the
repository's address, which git reads as a bare repository of this working tree.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from lora_lab.authoring import set_up

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = tomllib.loads((ROOT / "course" / "repository.toml").read_text(encoding="utf-8"))

TORCH = "2.11.0+cu128"
SHIPPED = (
    "transformers==5.15.0",
    "peft==0.20.0",
    "accelerate==1.14.0",
    "numpy==2.1.3",
    "matplotlib==3.10.0",
    "ipython==7.34.0",
    "ipykernel==6.17.1",
    "ipywidgets==7.7.1",
)
"""What Colab had in August 2026 of what the course uses; it has no bitsandbytes."""

_NOT_IN_A_KERNEL = ("ipywidgets",)  # they ask for a server too, which a kernel does not need
_BESIDE = ("ipython_genutils", "widgetsnbextension<4", "jupyterlab_widgets<4", "nbformat")
_TORCH_NEEDS = ("filelock", "typing-extensions", "setuptools", "sympy", "networkx", "jinja2", "fsspec")
_AS_A_SCRIPT = """
import sys
try:
    exec(sys.argv[1], {"__name__": "__main__"})
except Exception as error:
    if not hasattr(error, "_render_traceback_"):
        raise
    print(*error._render_traceback_())
"""


class Environment:
    """A virtual environment in `out/`, made once for each list of what is in it.

    Attributes:
        folder: where it lies.
        python: its interpreter.
        site: its `site-packages`.
    """

    def __init__(self, name: str, requirements: Sequence[str], interpreter: str = sys.executable, torch: str = TORCH):
        said = "\n".join((*requirements, interpreter, torch, str(_torch()), Path(__file__).read_text(encoding="utf-8")))
        self.folder = ROOT / "out" / f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        self.python = self.folder / "bin" / "python"
        if not (self.folder / "complete").exists():
            for old in earlier(self.folder.parent, name):  # of another list, or half made
                shutil.rmtree(old)
            subprocess.run([interpreter, "-m", "venv", str(self.folder)], check=True)
            stand_in_for_torch(self.site, torch, real=interpreter == sys.executable)
            self._fill(requirements)
            (self.folder / "complete").touch()

    @property
    def site(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def _fill(self, requirements: Sequence[str]) -> None:
        (self.site / "google" / "colab").mkdir(parents=True)
        (self.site / "google" / "colab" / "__init__.py").touch()
        alone = [each for each in requirements if each.startswith(_NOT_IN_A_KERNEL)]
        self.pip("install", "--quiet", "--no-compile", *(each for each in requirements if each not in alone))
        if alone:
            self.pip("install", "--quiet", "--no-compile", "--no-deps", *alone, *_BESIDE)
        spec = {"argv": [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
        kernel = self.folder / "kernels" / "colab" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({**spec, "display_name": "Colab"}), encoding="utf-8")

    def pip(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Run its pip. Raises RuntimeError with what pip said, if it failed."""
        done = self.run("-m", "pip", "--disable-pip-version-check", *arguments, environment=environment)
        if done.returncode:
            raise RuntimeError(f"pip {' '.join(arguments)}: {done.stderr.strip()}")

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Its interpreter with these arguments, in its own folder."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={**outside(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def run_cell(self, cell: str, environment: Mapping[str, str], before: str = "") -> str:
        """What a process prints that runs a cell, after `before`, as Jupyter would show it."""
        done = self.run("-c", _AS_A_SCRIPT, f"{before}\n{cell}", environment=environment)
        assert not done.returncode, done.stderr
        return done.stdout

    def execute(self, notebook: NotebookNode, environment: Mapping[str, str]) -> NotebookNode:
        """The notebook, every cell of it run in a kernel of this environment; one that fails keeps its error."""
        kernels = KernelSpecManager(kernel_dirs=[str(self.folder / "kernels")])
        manager = AsyncKernelManager(kernel_name="colab", kernel_spec_manager=kernels)
        client = NotebookClient(notebook, km=manager, timeout=600, allow_errors=True, record_timing=False)
        client.resources = {"metadata": {"path": str(self.folder)}}
        return client.execute(env={**outside(), **environment})

    def packages(self) -> dict[str, tuple[str, int]]:
        """Each installed distribution, with its version and the moment at which it was installed."""
        found = {}
        for about in self.site.glob("*.dist-info"):
            name, version = about.stem.rsplit("-", 1)
            found[name.lower()] = (version, about.stat().st_mtime_ns)
        return found


def earlier(folder: Path, name: str) -> list[Path]:
    """The environments of that name in a folder; another's may begin with it, as "colab-python" does with "colab"."""
    return [path for path in folder.glob(f"{name}-*") if re.fullmatch(f"{re.escape(name)}-[0-9a-f]{{12}}", path.name)]


def outside() -> dict[str, str]:
    """This process's variables without those that lead to this checkout, to its environment or its tests' settings."""
    own = ("PYTHON", "VIRTUAL_ENV", "LORA_LAB", "PYTEST", "GIT_", "TRITON_INTERPRET")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def in_colab(address: str) -> dict[str, str]:
    """What a cell in Colab finds in its environment, where GitHub's address leads to `address`."""
    return {
        "COLAB_RELEASE_TAG": "release-colab_20260814",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{address}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY["address"],
        "GIT_TERMINAL_PROMPT": "0",
        "LORA_LAB_MODEL": "embedded",
        "LORA_LAB_PROGRESS": "off",
    }


def cell(ref: str = REPOSITORY["ref"], code: str = "") -> str:
    """The set-up cell of a notebook with that code, at that release."""
    return set_up.source({**REPOSITORY, "ref": ref}, [code])


def stand_in_for_torch(site: Path, version: str, real: bool) -> None:
    """torch under another version: this environment's own, or a module that knows no more than that there is no GPU."""
    about = site / f"torch-{version}.dist-info"
    about.mkdir()
    needs = [f"Requires-Dist: {name}" for name in _TORCH_NEEDS] if real else []
    lines = ["Metadata-Version: 2.1", "Name: torch", f"Version: {version}", *needs]
    (about / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (about / "INSTALLER").write_text("pip\n", encoding="utf-8")
    (about / "RECORD").touch()
    (about / "top_level.txt").write_text("torch\n", encoding="utf-8")
    package = site / "torch"
    package.mkdir()
    if real:
        for entry in _torch().iterdir():
            if entry.name not in ("__pycache__", "version.py"):
                (package / entry.name).symlink_to(entry)
        own = (_torch() / "version.py").read_text(encoding="utf-8")
        (package / "version.py").write_text(f"{own}\n__version__ = {version!r}\n", encoding="utf-8")
        for beside in ("functorch", "torchgen"):
            (site / beside).symlink_to(_torch().with_name(beside))
    else:
        no_gpu = "class cuda:\n    is_available = lambda: False\ndef __getattr__(name):\n    return object\n"
        (package / "__init__.py").write_text(f"__version__ = {version!r}\n{no_gpu}", encoding="utf-8")


def interpreter(version: str) -> str | None:
    """A Python of that version on this machine, such as "3.13", that can make environments; else None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")))]
    said = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for name in filter(None, names):
        if subprocess.run([name, "-c", said], capture_output=True, text=True).stdout.strip() == version:
            return name
    return None


def commit(bare: Path, ref: str, files: Mapping[str, str] | None = None) -> None:
    """Put a commit of this working tree, or of these files, under `ref` into a bare repository, made if need be.

    The tree as it stands: a clone may be shallow and on no branch, and what is not committed yet is tested too.
    """
    if not bare.exists():
        subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
        subprocess.run(["git", "-C", str(bare), "symbolic-ref", "HEAD", f"refs/heads/{ref}"], check=True)
        for option in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):  # as GitHub does
            subprocess.run(["git", "-C", str(bare), "config", option, "true"], check=True)
    tree = ROOT if files is None else bare.with_name(f"{bare.name}-{ref}")
    for name, text in (files or {}).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")
    environment = {**outside(), "GIT_INDEX_FILE": str(bare / f"index-{ref}")}

    def git(*arguments: str) -> str:
        author = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
        command = ["git", *author, f"--git-dir={bare}", f"--work-tree={tree}", *arguments]
        return subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    git("add", "--all")
    made = git("commit-tree", "-m", ref, git("write-tree").strip()).strip()
    git("update-ref", f"refs/heads/{ref}", made)


def _torch() -> Path:
    return Path(str(metadata.distribution("torch").locate_file("torch"))).resolve()
