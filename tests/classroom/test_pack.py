"""A pack: what is in it, on any system, the same each time, and whole or not there at all."""

import ast
import hashlib
import json
import os
import stat
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_lab.classroom import contents, course, writing
from lora_lab.classroom.contents import own_notebooks, packed_name
from lora_lab.classroom.targets import Target
from lora_lab.commands import classroom, classroom_options, cli
from lora_lab.commands.delivery import material
from lora_lab.classroom.targets import PLATFORMS, PYTHONS
from tests.helpers.wheels import course_wheel, looking_into, wheel

LINUX, WINDOWS = Target("linux", "3.12"), Target("windows", "3.12")
NEEDS = ["a", 'w; sys_platform == "win32"', 'lab-only; extra == "lab"']
CONSTRAINTS = "a==1.0\nw==1.0\nlab-only==1.0\npip==26.3\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with wheels that pip is told to look into, and the course's own."""
    there = tmp_path / "wheels"
    for name, version in (("a", "1.0"), ("lab-only", "1.0"), ("pip", "26.3")):
        wheel(there, name, version, files={f"{name}.py": b"", f"{name}/{'deep/' * 12}x": b"1"})
    wheel(there, "w", tag="cp312-cp312-win_amd64")
    course_wheel(tmp_path / "own", NEEDS, CONSTRAINTS)
    monkeypatch.setattr(classroom.PipSettings, "read", staticmethod(lambda: looking_into(there)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    """The exit status of the command."""
    own = ["--wheel", "own/lora_lab-9.9-py3-none-any.whl", "--without-model"]
    try:
        return cli.main(["classroom", "pack", *own, *words])
    except SystemExit as end:  # the parser's
        return end.code


def names(zipped):
    with zipfile.ZipFile(zipped) as archive:
        return {name.removeprefix("lora_lab-9.9/") for name in archive.namelist()}


BOTH = ("--python", "3.12", "--platform", "windows", "linux")


def test_a_pack_holds_the_wheels_of_every_target_the_course_to_read_and_what_installs_it(place, capsys):
    assert run("room.zip", *BOTH) == 0
    assert names("room.zip") == {
        *("README.txt", "SHA256SUMS", "constraints.txt", "install.py", "checking.py", "pack.json"),
        *("course/syllabus.md", "course/workbook/00_first.ipynb"),
        *("wheels/lora_lab-9.9-py3-none-any.whl", "wheels/a-1.0-py3-none-any.whl", "wheels/pip-26.3-py3-none-any.whl"),
        *("wheels/lab_only-1.0-py3-none-any.whl", "wheels/w-1.0-cp312-cp312-win_amd64.whl"),
    }
    with zipfile.ZipFile("room.zip") as archive:
        pack = json.loads(archive.read("lora_lab-9.9/pack.json"))
        assert archive.read("lora_lab-9.9/constraints.txt").decode() == CONSTRAINTS
        assert b"](workbook/00_first.ipynb)" in archive.read("lora_lab-9.9/course/syllabus.md")
        for script in contents.SCRIPTS:
            assert archive.read(f"lora_lab-9.9/{script.name}") == script.read_bytes()
        readme = archive.read("lora_lab-9.9/README.txt").decode()
    assert {key: len(each["wheels"]) for key, each in pack["targets"].items()} == {
        "linux-py3.12": 4,
        "windows-py3.12": 5,
    }
    assert pack["extras"] == ["lab"] and pack["model"] is None
    assert pack["targets"]["linux-py3.12"]["longest"] == len("lab-only/" + "deep/" * 12 + "x")
    assert "py install.py" in readme and "windows    Python 3.12" in readme and "linux      Python 3.12" in readme
    said = capsys.readouterr().out
    assert "linux, Python 3.12         3 wheels" in said and "written: room.zip" in said


def test_the_checksums_are_those_of_every_file_but_their_own(place):
    run("room.zip", *BOTH)
    with zipfile.ZipFile("room.zip") as archive:
        lines = archive.read("lora_lab-9.9/SHA256SUMS").decode("ascii").splitlines()
        found = {name: hashlib.sha256(archive.read(f"lora_lab-9.9/{name}")).hexdigest() for name in names("room.zip")}
    del found["SHA256SUMS"]
    assert lines == [f"{digest}  {name}" for name, digest in sorted(found.items())]


def test_the_same_command_makes_the_same_bytes(place):
    run("one.zip", *BOTH)
    for path in place.rglob("*.whl"):
        os.utime(path, (1, 1))
    run("two.zip", "--platform", "linux", "windows", "--python", "3.12", "3.12", "--cache", "another")
    assert Path("one.zip").read_bytes() == Path("two.zip").read_bytes()


def test_what_is_in_a_pack_can_be_unpacked_anywhere(place):
    run("room.zip", *BOTH)
    with zipfile.ZipFile("room.zip") as archive:
        for info in archive.infolist():
            assert info.filename.isascii() and len(info.filename) <= 100 and info.filename == info.filename.strip()
            assert stat.S_ISREG(info.external_attr >> 16) and not info.is_dir() and "\\" not in info.filename
            assert info.filename.startswith("lora_lab-9.9/") and info.date_time == (1980, 1, 1, 0, 0, 0)
        lower = [name.lower() for name in archive.namelist()]
    assert len(lower) == len(set(lower))


def test_without_a_name_it_is_named_after_what_is_in_it(place):
    run("--python", "3.11", "3.12", "--platform", "linux")
    assert Path("lora_lab-9.9-linux-py3.11-3.12.zip").is_file()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a-1-py3-none-any.whl", "a-1-py3-none-any.whl"),
        (
            "a-1-cp312-cp312-manylinux_2_28_x86_64.manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "a-1-cp312-cp312-manylinux2014_x86_64.whl",
        ),
        ("a-1-2-cp312-cp312-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",) * 2,
        ("a-1-py2.py3-none-win_amd64.whl", "a-1-py2.py3-none-win_amd64.whl"),
    ],
)
def test_a_wheel_keeps_the_tag_for_the_oldest_systems_and_stays_one_that_its_target_takes(name, expected):
    found = packed_name(name, WINDOWS if "win" in name else LINUX)
    if name == expected and "." in name.removesuffix(".whl").rpartition("-")[2]:
        expected = "a-1-2-cp312-cp312-manylinux_2_24_x86_64.whl"
    assert found == expected


# An instructor's own


def test_the_instructors_exercises_come_along_and_no_solutions(place):
    for kind in ("exercises", "solutions"):
        (place / "mine" / "built" / kind).mkdir(parents=True)
        (place / "mine" / "built" / kind / "01_a.ipynb").write_text(kind)
    run("room.zip", *BOTH, "--exercises", "mine")
    with zipfile.ZipFile("room.zip") as archive:
        assert archive.read("lora_lab-9.9/class/01_a.ipynb") == b"exercises"
        assert json.loads(archive.read("lora_lab-9.9/pack.json"))["class"] == ["class/01_a.ipynb"]
    assert own_notebooks(place / "mine" / "built" / "exercises").keys() == {"01_a.ipynb"}


def test_exercises_that_are_not_built_not_there_or_solutions_are_refused(place, capsys):
    (place / "mine" / "masters").mkdir(parents=True)
    (place / "solutions").mkdir()
    (place / "plain").mkdir()
    for folder, words in (("mine", "is not built yet"), ("plain", "no notebook"), ("solutions", "holds the solutions")):
        assert run("room.zip", "--exercises", folder) == 2
        assert words in capsys.readouterr().err
    (place / "plain" / "über.ipynb").write_text("{}")
    assert run("room.zip", *BOTH, "--exercises", "plain") == 2
    assert "has others than ASCII's" in capsys.readouterr().err and not Path("room.zip").exists()
    (place / "plain" / "über.ipynb").rename(place / "plain" / f"{'x' * 90}.ipynb")
    assert run("room.zip", *BOTH, "--exercises", "plain") == 2 and "characters" in capsys.readouterr().err


# What goes wrong


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["room.tar", *BOTH], "is not the name of a zip"),
        (["folder.zip", *BOTH], "is a folder"),
        (["room.zip", "--python", "3.9"], "invalid choice"),
        (["room.zip", "--platform", "mac-intel"], "invalid choice"),
        (["room.zip", *BOTH, "--extra", "labs"], "unknown extra 'labs'"),
        (["room.zip", *BOTH, "--wheel", "none.whl"], "no file 'none.whl'"),
        (["room.zip", *BOTH, "--wheel", "wheels/a-1.0-py3-none-any.whl"], "is no wheel of the course"),
        (["room.zip", *BOTH, "--wheel", "text.whl"], "is no wheel that can be read"),
        (["room.zip", *BOTH, "--find-links", "nowhere"], "no folder 'nowhere'"),
        (["room.zip", *BOTH, "--torch-index", "cpu"], "--torch-index 'cpu' is no address"),
        (["room.zip", *BOTH, "--cache", "text.whl"], "cannot write in 'text.whl'"),
        (["taken/room.zip", *BOTH], "cannot write in"),
        (["room.zip", *BOTH, "--cache", ""], "is empty"),
        (["~/room.zip", *BOTH], "which only a shell replaces"),
    ],
)
def test_bad_input_is_one_sentence_and_makes_nothing(place, capsys, words, sentence):
    (place / "folder.zip").mkdir()
    (place / "text.whl").write_text("no zip")
    (place / "taken").write_text("a file")
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and "Traceback" not in said
    assert not list(place.glob("room*"))


def test_the_command_alone_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        cli.main(["classroom"])
    assert "say what: pack" in capsys.readouterr().err


def test_a_wheel_that_does_not_say_what_it_was_tested_with_is_refused(place):
    with pytest.raises(ValueError, match="does not say which versions"):
        course.read(course_wheel(place / "old", NEEDS))


def test_a_disk_without_the_room_is_named_before_anything_is_fetched(place, monkeypatch, capsys):
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert run("room.zip", *BOTH) == 2
    assert "0.0 GB are free" in capsys.readouterr().err
    assert not list(Path("out/pack").iterdir()) and not Path("room.zip").exists()


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_the_old_zip_and_no_half_of_a_new_one(place, monkeypatch, capsys, stop):
    Path("room.zip").write_bytes(b"an old one")

    def fails(*_):
        raise stop

    monkeypatch.setattr(writing.zipfile.ZipFile, "testzip", fails)
    assert run("room.zip", *BOTH) in (2, 130)
    assert Path("room.zip").read_bytes() == b"an old one"
    assert not [path for path in place.iterdir() if path.name.endswith(".tmp")]
    assert capsys.readouterr().err.count("\n") == 1


def test_a_disk_that_does_not_give_back_what_was_written_is_noticed(place, monkeypatch, capsys):
    monkeypatch.setattr(writing.zipfile.ZipFile, "testzip", lambda _: "a wheel")
    assert run("room.zip", *BOTH) == 2 and "choose another disk" in capsys.readouterr().err
    assert not Path("room.zip").exists()


def test_a_zip_that_no_fat32_stick_holds_is_told(place, monkeypatch, capsys):
    monkeypatch.setattr(writing, "STICK", 1000)
    run("room.zip", *BOTH)
    assert "exFAT" in capsys.readouterr().out


def test_an_installed_course_without_a_checkout_says_what_to_give(place, monkeypatch, capsys):
    monkeypatch.setattr(material, "PACKAGE", place / "site-packages" / "lora_lab")
    assert cli.main(["classroom", "pack", "room.zip", "--without-model"]) == 2
    assert "give --wheel FILE" in capsys.readouterr().err


# The parts agree


def test_options_and_targets_name_the_same_pythons_and_platforms():
    assert (classroom_options.PYTHONS, classroom_options.PLATFORMS) == (PYTHONS, tuple(PLATFORMS))
    assert course.MATERIAL == f"lora_lab/{material.SHIPPED}" and course.CONSTRAINTS == str(material.CONSTRAINTS)


def test_a_wheel_carries_the_constraints_and_no_learner_gets_them():
    root = material.PACKAGE.parent
    assert material.CONSTRAINTS in material.files(root)
    assert "constraints.txt" not in {item.name for item in material.items(root)}


@pytest.mark.parametrize("script", contents.SCRIPTS, ids=lambda script: script.name)
def test_what_installs_a_pack_needs_nothing_but_python_and_can_be_read_by_an_old_one(script):
    tree = ast.parse(script.read_text(encoding="ascii"), feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    beside = {"checking", "lora_lab.classroom", "lora_lab.classroom.checking"}
    assert {name.partition(".")[0] for name in imported - beside} <= sys.stdlib_module_names
