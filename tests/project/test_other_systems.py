"""What can be checked here of systems that are not here: names, line ends, encodings, calls that only some have."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")  # Windows' devices, with any suffix
LONGEST_PATH = 150  # of 260, of which a user's folder takes some
LARGEST = 4 * 2**20  # bytes: the embedded base is the largest file

# Modules and attributes that Windows lacks. Of attributes, those that a name like `os.fork` can mean.
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": "chown chroot fork forkpty getegid geteuid getgid getpgid getuid initgroups killpg lchown mkfifo mknod nice "
    "pipe2 sched_getaffinity sched_setaffinity setegid seteuid setgid setgroups setpgid setsid setuid statvfs "
    "sysconf uname wait3 wait4 WNOHANG",
    "signal": "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 SIG_BLOCK SIG_SETMASK alarm pause "
    "pthread_kill pthread_sigmask setitimer sigwait",
    "socket": "AF_UNIX recv_fds send_fds",
}
ALLOWED = {  # why a file may name them
    "course/records/classroom.py": "sysconf: reads what Linux counts of a kernel, where the record is made",
    "lora_lab/disk/exchange.py": "fcntl: where there is none, Windows refuses by itself what the lock is for",
    "lora_lab/commands/hardware.py": "sched_getaffinity: asked for first",
    "lora_lab/commands/jupyter.py": "geteuid: asked for first",
    "lora_lab/grading/isolation.py": "the walls within the sandbox",
    "lora_lab/grading/sandbox.py": "the sandbox: bubblewrap is Linux's",
    "lora_lab/grading/server.py": "forks a process for each submission, within the sandbox",
    "lora_lab/grading/syscalls.py": "the sandbox's filter of Linux's system calls",
    "lora_lab/grading/host.py": "hands the pipe's end to the server",
    "lora_lab/grading/pool.py": "keeps the judges' processes from Ctrl-C, where grading runs",
    "lora_lab/grading/processor.py": "sysconf: asked for first",
}
# What cannot be imported on Windows. `lora-lab grade` says so before it imports them; the kernels want Triton.
NOT_ON_WINDOWS = {f"lora_lab.grading.{each}" for each in ("host", "isolation", "judge", "remote", "server")}
WITHOUT_TRITON = {"lora_lab.quant.kernels.cuda"}


def listed(*options: str) -> list[str]:
    """The names of git's files, those that are new and not ignored among them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip("this is no git repository")
    return [name for name in dict.fromkeys(done.stdout.split("\0")) if name]


FILES = [name for name in listed() if (ROOT / name).is_file()] if (ROOT / ".git").exists() else []
CODE = [
    name
    for name in FILES
    if re.fullmatch(r"(lora_lab|course)/.*\.py|[^/]+\.py|tests/run\.py", name)
    and not name.startswith("course/masters/")
]


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))))


# ── names, sizes, line ends ─────────────────────────────────────────────────────────────────────────────────────────


def test_no_two_names_differ_in_case_only() -> None:
    every = {str(each) for name in FILES for each in (PurePosixPath(name), *PurePosixPath(name).parents)}
    assert [name for name, count in Counter(map(str.lower, every)).items() if count > 1] == []


def test_windows_can_have_every_name() -> None:
    parts = {part for name in FILES for part in name.split("/")}
    assert [part for part in parts if RESERVED.match(part) or part.endswith((".", " "))] == []
    assert [part for part in parts if re.search(r'[<>:"|?*\\\x00-\x1f]', part) or not part.isascii()] == []
    assert [name for name in FILES if len(name) > LONGEST_PATH] == []


@pytest.mark.parametrize("name", ["aux", "nul.txt", "Com1.tar.gz", "CON"])
def test_the_names_of_devices_are_known(name: str) -> None:
    assert RESERVED.match(name) and not RESERVED.match(f"a{name}") and not RESERVED.match("console.py")


def test_no_file_is_a_link_or_large() -> None:
    assert [name for name in FILES if (ROOT / name).is_symlink()] == []
    assert [name for name in FILES if (ROOT / name).stat().st_size > LARGEST] == []


def test_text_is_utf8_with_lf_and_git_keeps_it_so_on_every_system() -> None:
    contents = {name: (ROOT / name).read_bytes() for name in FILES if not name.endswith((".png", ".safetensors"))}
    assert [name for name, content in contents.items() if b"\r" in content or b"\0" in content] == []
    for content in contents.values():
        content.decode("utf-8")  # raises if it is not
    asked = ["git", "check-attr", "-z", "--stdin", "eol", "text"]
    said = subprocess.run(asked, cwd=ROOT, input="\0".join(contents), capture_output=True, encoding="utf-8").stdout
    fields = said.split("\0")
    kept = {name for name, what, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False)
            if (what, value) in (("eol", "lf"), ("text", "unset"))}  # fmt: skip
    assert set(contents) - kept == set()


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def only_posix(name: str) -> set[str]:
    """What a file names that Windows does not have."""
    found = set()
    for node in nodes(name):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & POSIX_MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & POSIX_MODULES
            found |= {alias.name for alias in node.names} & set(POSIX_NAMES.get(node.module or "", "").split())
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            found |= {node.attr} & set(POSIX_NAMES.get(owner, "").split())
    return found


def test_what_windows_lacks_is_named_where_a_reason_is_given_and_nowhere_else() -> None:
    assert {name for name in CODE if only_posix(name)} == set(ALLOWED)


def text_without_encoding(name: str) -> Iterator[int]:
    """The lines that read or write text as the system at hand would encode it."""
    for node in nodes(name):
        if not isinstance(node, ast.Call) or any(each.arg in ("encoding", None) for each in node.keywords):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        mode = next((each.value for each in node.keywords if each.arg == "mode"), (*node.args[1:2], None)[0])
        if called in ("read_text", "write_text") and len(node.args) == (called == "write_text"):
            yield node.lineno
        elif called == "open" and isinstance(node.func, ast.Name) and "b" not in ast.unparse(mode or ast.Constant("r")):
            yield node.lineno
        elif any(each.arg in ("text", "universal_newlines") for each in node.keywords) and called in ("run", "Popen"):
            yield node.lineno


def test_text_is_read_and_written_in_an_encoding_that_is_said() -> None:
    assert [f"{name}:{line}" for name in CODE for line in text_without_encoding(name)] == []


def test_no_shell_is_asked_and_no_folder_of_one_system_is_named() -> None:
    shells = [name for name in CODE for node in nodes(name) if isinstance(node, ast.keyword) and node.arg == "shell"]
    within = (
        "lora_lab/grading/isolation.py",
        "lora_lab/grading/sandbox.py",
        "lora_lab/grading/server.py",
    )  # the sandbox
    folders = [
        name
        for name in CODE
        for node in nodes(name)
        if isinstance(node, ast.Constant) and str(node.value).startswith(("/tmp", "C:\\", "/home", "/usr"))
    ]
    assert shells == [] and set(folders) <= set(within)


# ── a poorer Python, another encoding ───────────────────────────────────────────────────────────────────────────────

IMPORT_ALL = """
import importlib, pkgutil, sys
{before}
for name in {absent}:
    sys.modules[name] = None  # as if it were not there
import lora_lab
for module in pkgutil.walk_packages(lora_lab.__path__, "lora_lab."):
    try:
        importlib.import_module(module.name)
    except ImportError:
        print(module.name)
"""
LIBRARIES = "IPython asyncio distributed ipywidgets matplotlib.pyplot multiprocessing nbclient tempfile transformers"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("absent", "lost"), [(POSIX_MODULES, NOT_ON_WINDOWS), ({"triton"}, WITHOUT_TRITON)], ids=["POSIX", "Triton"]
)
def test_what_is_lost_without_a_module_is_known(absent: set[str], lost: set[str]) -> None:
    before = f"import {', '.join(LIBRARIES.split())}"  # these look for themselves what their system has
    code = IMPORT_ALL.format(before=before, absent=sorted(absent))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == lost


POOR = {"PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
@pytest.mark.parametrize(
    "words", [["--help"], ["grade", "--help"], pytest.param(["exercises"], marks=pytest.mark.slow)], ids=" ".join
)
def test_a_command_speaks_whatever_the_console_can_show(encoding: str, words: list[str]) -> None:
    environment = {**os.environ, **POOR, "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run(
        [sys.executable, "-m", "lora_lab.commands.cli", *words], cwd=ROOT, env=environment, capture_output=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "lora" in done.stdout.decode(encoding).lower()


@pytest.mark.slow
def test_the_doctor_speaks_where_the_system_has_no_encoding_to_speak_of(tmp_path: Path) -> None:
    odd = tmp_path / "Übung"
    odd.mkdir()
    environment = {**os.environ, **POOR, "PYTHONIOENCODING": "cp1252:strict", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lora_lab.commands.cli", "doctor"], cwd=odd,
        env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True,
    )  # fmt: skip
    assert not done.stderr and "ready: " in done.stdout.decode("cp1252")


def test_where_no_process_can_be_forked_grading_says_where_to_grade(tmp_path: Path, monkeypatch, capsys) -> None:
    from lora_lab.commands import cli

    monkeypatch.delattr(os, "fork", raising=False)
    assert cli.main(["grade", str(tmp_path), "--out", str(tmp_path / "marks.csv")]) == 2
    assert "grade on Linux, on Windows within WSL" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
