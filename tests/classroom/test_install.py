"""What installs a pack: it says in one sentence what is wrong, before anything is written, and can be started again."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_lab.classroom import checking, install, writing
from lora_lab.classroom.contents import Pack
from lora_lab.classroom.checking import Refused
from lora_lab.classroom.targets import PLATFORMS, Target
from tests.helpers.wheels import wheel

LONG = "a/" + "deep/" * 20 + "x"


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """An unpacked pack, in a folder with a blank and an umlaut in its name, from which `install` runs."""
    wheels = [wheel(tmp_path / "w", "pip", "26.3", files={LONG: bytes(1000)}), wheel(tmp_path / "w", "lora_lab", "9.9")]
    mine = tmp_path / "01_a.ipynb"
    mine.write_text("{}")
    there = {path.name: path for path in wheels}
    targets = [Target("linux", "3.11"), Target("linux", "3.12"), Target("windows", "3.12")]
    made = Pack("9.9", ("lab",), "pip==26.3\n", dict.fromkeys(targets, there), {}, {mine.name: mine}, None)
    writing.write(tmp_path / "room.zip", made.folder, made.members())
    with zipfile.ZipFile(tmp_path / "room.zip") as archive:
        archive.extractall(tmp_path / "a stick ü")
    folder = tmp_path / "a stick ü" / made.folder
    monkeypatch.setattr(checking, "HERE", folder)
    monkeypatch.setattr(checking, "this_system", lambda: "linux")
    monkeypatch.setattr(checking, "this_python", lambda: "3.12")
    return folder


def refused(capsys, *words):
    """What it says on stderr, after refusing."""
    assert install.main(list(words)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("install.py: ") and err.count("\n") == 1 and not out
    return err


def test_a_whole_pack_is_found_whole(pack, capsys):
    assert install.main(["--check"]) == 0
    assert capsys.readouterr().out == "8 files, every one as it was packed\n"


@pytest.mark.parametrize("name", ["wheels/lora_lab-9.9-py3-none-any.whl", "class/01_a.ipynb", "constraints.txt"])
def test_a_file_that_is_damaged_or_missing_is_named_before_anything_is_made(pack, capsys, tmp_path, name):
    (pack / name).write_bytes((pack / name).read_bytes()[:-1] + b"?")
    assert f"1 of 8 files are missing or damaged, the first of them {name}" in refused(capsys, "--check")
    (pack / name).unlink()
    install.main([str(tmp_path / "mine")])
    assert f"the first of them {name}: copy the pack again" in capsys.readouterr().err
    assert not list((tmp_path / "mine").iterdir())


def test_half_of_a_zip_is_said_to_be_half(pack, capsys):
    (pack / "SHA256SUMS").write_text("half a line")
    assert "SHA256SUMS is missing or damaged: copy the pack again" in refused(capsys, "--check")
    (pack / "pack.json").write_text('{"format": 1')
    assert "pack.json is damaged" in refused(capsys)
    (pack / "pack.json").write_text("[]")
    assert "pack.json is not what this install.py reads" in refused(capsys)
    (pack / "pack.json").unlink()
    assert "unpack the whole zip, and start install.py there" in refused(capsys)


# This Python, this machine


@pytest.mark.parametrize("python", ["3.9", "3.13", "3.13 without a GIL", "3.11 of PyPy"])
def test_another_python_is_told_which_ones_will_do(pack, capsys, monkeypatch, python):
    monkeypatch.setattr(checking, "this_python", lambda: python)
    said = refused(capsys)
    assert f"for Python 3.11 or 3.12, and this is Python {python} (" in said and "'python3.12 install.py'" in said


@pytest.mark.parametrize("system", ["mac-arm", "Darwin x86_64", "Linux x86_64 without glibc", "FreeBSD amd64"])
def test_another_platform_is_told_which_ones_will_do(pack, capsys, monkeypatch, system):
    monkeypatch.setattr(checking, "this_system", lambda: system)
    assert f"this pack is for linux, windows, and this is {system}" in refused(capsys)


def test_this_machine_is_one_of_those_that_packs_are_for(monkeypatch):
    assert set(checking.SYSTEMS.values()) == set(PLATFORMS)
    for name, each in PLATFORMS.items():
        assert checking.SYSTEMS[each.system, each.machine] == name
    monkeypatch.setattr(checking.platform, "system", lambda: "Linux")
    monkeypatch.setattr(checking.platform, "machine", lambda: "arm64")  # as some containers say
    monkeypatch.setattr(checking.platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert checking.this_system() == "linux-arm"
    monkeypatch.setattr(checking.platform, "libc_ver", lambda: ("", ""))
    assert checking.this_system() == "Linux arm64 without glibc"
    monkeypatch.setattr(checking.sys, "maxsize", 2**31 - 1)
    assert checking.this_system().endswith("with a Python of 32 bits")
    assert checking.this_python().startswith("3.")


@pytest.mark.parametrize(
    ("platform", "least", "version", "old"),
    [
        ("linux", 28, "2.27", True),
        ("linux", 28, "2.28", False),
        ("linux-arm", 28, "2.5", True),
        ("linux", 28, "2.100", False),
        ("mac-arm", 14, "13.7.1", True),
        ("mac-arm", 14, "14.0", False),
        ("mac-arm", 14, "26.1", False),
        ("mac-arm", 14, "10.16", False),
        ("mac-arm", 14, "", False),
        ("windows", None, "", False),
    ],
)
def test_a_system_that_is_too_old_is_refused(monkeypatch, platform, least, version, old):
    monkeypatch.setattr(checking.platform, "libc_ver", lambda: ("glibc", version))
    monkeypatch.setattr(checking.platform, "mac_ver", lambda: (version, ("", "", ""), ""))
    try:
        checking.refuse_old_system({"platform": platform, "least": least})
    except Refused as error:
        assert old and f" {version}," in str(error) and f"{least} is needed" in str(error)
    else:
        assert not old


# Where it goes


def test_a_disk_without_the_room_is_named_before_anything_is_made(pack, capsys, tmp_path, monkeypatch):
    needed = json.loads((pack / "pack.json").read_text())["targets"]["linux-py3.12"]["bytes"]
    assert needed > 1000
    monkeypatch.setattr(checking.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    assert "0.0 GB are free" in refused(capsys, str(tmp_path / "mine"))
    assert not list((tmp_path / "mine").iterdir())


def test_a_place_that_cannot_be_written_in_is_named(pack, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "under", "/proc/mine", "nul\0", tmp_path / ("x" * 300)):
        said = refused(capsys, str(place))
        assert "cannot write in '" in said and "name another folder behind install.py" in said
    monkeypatch.setattr(checking.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert "your home is not known here" in refused(capsys)


def test_an_environment_that_was_not_made_here_stays(pack, capsys, tmp_path):
    kept = tmp_path / "mine" / ".venv" / "theirs.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    assert install.main([str(tmp_path / "mine")]) == 2
    assert "was not made here" in capsys.readouterr().err and kept.read_text() == "mine"


def test_a_path_that_windows_could_not_open_is_refused_before(monkeypatch):
    monkeypatch.setattr(checking, "long_paths_are_on", lambda: False)
    short, long = Path("/" + "x" * 20), Path("/" + "x" * 120)
    checking.require_short_paths(long, len(LONG), windows=False)
    exact = 259 - len(f"{short}/.venv/Lib/site-packages/")
    checking.require_short_paths(short, exact, windows=True)
    with pytest.raises(Refused, match="260 characters, and Windows allows 259.*shorter path"):
        checking.require_short_paths(short, exact + 1, windows=True)
    monkeypatch.setattr(checking, "long_paths_are_on", lambda: True)
    checking.require_short_paths(long, 200, windows=True)


def test_the_instructors_notebooks_come_and_what_was_written_in_them_stays(pack, tmp_path, capsys):
    install.bring_notebooks(["class/01_a.ipynb"], tmp_path)
    assert (tmp_path / "class/01_a.ipynb").read_text() == "{}"
    (tmp_path / "class/01_a.ipynb").write_text("my answer")
    install.bring_notebooks(["class/01_a.ipynb"], tmp_path)
    assert (tmp_path / "class/01_a.ipynb").read_text() == "my answer" and "stays as it is" in capsys.readouterr().out


# Steps


def test_a_step_that_fails_is_one_sentence_with_its_last_words(tmp_path):
    code = "import sys; print('one'); print('ERROR: no wheel of x'); print('hint'); sys.exit(1)"
    with pytest.raises(Refused, match=r"^it failed \(ERROR: no wheel of x\): do that$"):
        install.run([sys.executable, "-c", code], "it failed", "do that")
    full = "import sys; sys.exit('OSError: [Errno 28] No space left on device')"
    with pytest.raises(Refused, match="the disk is full: make room"):
        install.run([sys.executable, "-c", full], "it failed")


def test_no_setting_of_the_users_pip_or_python_gets_in(monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_TARGET", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/somewhere")
    found = install.surroundings({"PIP_NO_INDEX": "1"})
    assert "/somewhere" not in {found.get(name) for name in ("PIP_INDEX_URL", "PIP_TARGET", "PYTHONPATH", "PYTHONHOME")}
    assert (found["PIP_CONFIG_FILE"], found["PIP_NO_INDEX"]) == (os.devnull, "1") and "VIRTUAL_ENV" not in found


@pytest.mark.parametrize("folder", ["/a b/ü", "/it's", "/plain"])
def test_what_starts_it_can_be_typed_as_it_is_printed(folder):
    done = subprocess.run(["sh", "-c", f"printf %s {install.quoted(Path(folder))}"], capture_output=True)
    assert done.stdout.decode() == folder


def test_ctrl_c_is_one_sentence_and_nothing_else(pack, capsys, monkeypatch, tmp_path):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "environment", stopped)
    assert install.main([str(tmp_path / "mine")]) == 130
    assert capsys.readouterr().err == "install.py: interrupted: the same line goes on from there\n"


def test_it_runs_as_a_script_from_anywhere_with_a_console_that_knows_no_umlauts(pack, tmp_path):
    shutil.rmtree(pack / "wheels")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    words = [sys.executable, str(pack / "install.py"), "--check"]
    done = subprocess.run(words, cwd="/", capture_output=True, env=environment)
    assert done.returncode == 2 and b"2 of 8 files are missing or damaged" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_script_that_was_opened_within_the_zip_says_to_unpack_it(pack, tmp_path):
    alone = shutil.copy(pack / "install.py", tmp_path)
    done = subprocess.run([sys.executable, alone], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "unpack the whole zip" in done.stderr
