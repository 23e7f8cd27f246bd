"""`lora-lab lab`: which folder, which lesson, and a JupyterLab of this environment; nothing of the user's changes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from lora_lab.commands import cli, jupyter
from lora_lab.commands.delivery import material
from tests.helpers.course import change, course, lesson, text_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small course, and a current folder beside it."""
    lessons = {name: lesson(prose=name) for name in ("00_start_here", "01_svd", "12_qlora")}
    there = course(tmp_path / "root", lessons)
    monkeypatch.setattr(material, "PACKAGE", there / "lora_lab")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return there


@pytest.fixture
def started(monkeypatch):
    """Stands in for JupyterLab: the words and the environment that it was started with."""
    calls = []
    monkeypatch.setattr(jupyter, "run", lambda words, environment: calls.append((words, environment)) or 0)
    return calls


# Folder and lesson


def test_the_course_comes_into_my_course_and_opens_at_the_first_lesson(root, started, capsys):
    assert cli.main(["lab"]) == 0
    assert "my_course: 4 new" in capsys.readouterr().out
    [(words, environment)] = started
    place = Path.cwd() / "my_course"
    assert (place / "workbook" / "12_qlora.ipynb").exists()
    assert f"--ServerApp.root_dir={place}" in words and "--no-browser" not in words
    assert "--LabApp.default_url=/lab/tree/workbook/00_start_here.ipynb" in words
    assert environment["LORA_LAB_PROGRESS"] == os.environ.get("LORA_LAB_PROGRESS", str(place / "progress.json"))


@pytest.mark.parametrize(
    "words, opened",
    [
        (["--solutions"], "notebooks/00_start_here.ipynb"),
        (["--reset", "1"], "workbook/01_svd.ipynb"),
        (["--reset", "12_qlora"], "workbook/12_qlora.ipynb"),
        (["--reset", "workbook/12_qlora.ipynb"], "workbook/12_qlora.ipynb"),
    ],
)
def test_what_was_asked_for_is_opened(root, started, words, opened):
    assert cli.main(["lab", "a folder", *words, "--no-browser"]) == 0
    assert f"--LabApp.default_url=/lab/tree/{opened}" in started[0][0] and "--no-browser" in started[0][0]
    assert (Path("a folder") / opened).exists()


def test_the_next_time_the_learner_goes_on_where_they_were(root, started):
    (Path("my_course") / jupyter.STATE / "workspaces").mkdir(parents=True)
    (Path("my_course") / jupyter.STATE / "workspaces" / "default.jupyterlab-workspace").write_text("{}")
    assert cli.main(["lab"]) == 0
    assert not [word for word in started[0][0] if "default_url" in word]


def test_no_open_only_brings_the_folder_up_to_date_and_needs_no_jupyterlab(root, started, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab", "--no-open"]) == 0 and started == []
    assert capsys.readouterr().out == "my_course: 4 new\n"
    assert cli.main(["lab", "--no-open"]) == 0
    assert capsys.readouterr().out == "my_course: up to date\n"


def test_without_jupyterlab_it_says_how_to_have_it_and_changes_nothing(root, started, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "JupyterLab is not installed" in said and "lora_lab[lab]" in said
    assert not Path("my_course").exists()


@pytest.mark.parametrize("inside", ["", "notebooks", "notebooks/deep", "course", "course/workbook", "lora_lab/x"])
def test_a_folder_among_the_courses_own_files_is_refused(root, started, capsys, inside):
    before = sorted(root.rglob("*"))
    assert cli.main(["lab", str(root / inside)]) == 2
    assert "holds the course's own files: choose a folder for yours" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before and started == []


def test_a_link_into_the_courses_own_files_is_refused(root, started):
    Path("link").symlink_to(root / "notebooks")
    assert cli.main(["lab", "link"]) == 2


def test_a_folder_of_the_users_in_the_checkout_is_not_the_courses_own(root, started):
    assert cli.main(["lab", str(root / "my_course")]) == 0


@pytest.mark.parametrize("word, hint", [("7", "'7'"), ("01_svdd", "'01_svd'"), ("-1", "'-1'"), ("٣", "'٣'")])
def test_a_lesson_that_there_is_not_is_one_sentence_and_nothing_is_delivered(root, started, capsys, word, hint):
    assert cli.main(["lab", f"--reset={word}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and hint in said and "choose one of 00_start_here, 01_svd, 12_qlora" in said
    assert not Path("my_course").exists()


@pytest.mark.parametrize(
    "words, named",
    [
        (["lab", ""], "folder"),
        (["lab", "--reset", ""], "--reset"),
        (["lab", "--reset", "1", "--solutions"], "--solutions"),
        (["lab", "--no-open", "--no-browser"], "--no-browser"),
        (["lab", "a", "b"], "b"),
    ],
)
def test_words_that_do_not_go_together_are_one_sentence(capsys, words, named):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1 and named in said


@pytest.mark.parametrize("name, words", [("~/x", "begins with '~'"), ("file", "is no folder"), ("file/x", "cannot")])
def test_a_name_that_can_be_no_folder_is_one_sentence(root, started, capsys, name, words):
    Path("file").write_text("in the way", encoding="utf-8")
    assert cli.main(["lab", name]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said and started == []


@pytest.mark.parametrize("within", [".", "workbook"])
def test_in_a_terminal_within_the_learners_folder_that_folder_is_meant(root, started, capsys, monkeypatch, within):
    assert cli.main(["lab", "--no-open"]) == 0
    mine = Path.cwd() / "my_course"
    monkeypatch.chdir(mine / within)
    change(mine / "workbook" / "01_svd.ipynb", guess_energy="energy = 40")
    assert cli.main(["lab", "--reset", "1", "--no-open"]) == 0
    assert not (Path.cwd() / "my_course").exists()
    assert text_of(mine / "workbook" / "01_svd.ipynb", "guess-energy") != "energy = 40"


def test_no_course_is_brought_into_a_course(root, started, capsys, monkeypatch):
    assert cli.main(["lab", "--no-open"]) == 0
    monkeypatch.chdir("my_course")
    assert cli.main(["lab", "another", "--no-open"]) == 2
    assert "which is your course already" in capsys.readouterr().err and not Path("another").exists()


def test_a_current_folder_that_is_gone_is_said(root, started, capsys, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["lab", "mine"]) == 2
    assert "cannot write 'mine' (No such file or directory)" in capsys.readouterr().err and started == []


def test_what_needs_the_learners_eyes_is_printed(root, started, capsys):
    cli.main(["lab", "--no-open"])
    change(Path("my_course/workbook/01_svd.ipynb"), turn_update="update = abs")
    course(root, {"01_svd": lesson(prose="Other words.")})
    capsys.readouterr()
    cli.main(["lab", "--no-open"])
    first, second, *_ = capsys.readouterr().out.splitlines()[1:]
    assert "00_start_here.ipynb is not part" in second + first or "01_svd.new.ipynb" in first
    assert text_of(Path("my_course/workbook/01_svd.new.ipynb"), "turn-update") == "update = abs"


# JupyterLab


def test_the_kernel_is_this_environments_whatever_else_is_called_python3(tmp_path, monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    for place in ("theirs", "more"):
        (tmp_path / place / "kernels" / "python3").mkdir(parents=True)
        spec = {"argv": ["/usr/bin/python3", "-m", "ipykernel_launcher"], "display_name": "Theirs"}
        (tmp_path / place / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    given = {"JUPYTER_DATA_DIR": str(tmp_path / "theirs"), "JUPYTER_PATH": str(tmp_path / "more")}
    for name, value in jupyter.environment(tmp_path, given).items():
        monkeypatch.setenv(name, value)
    found = KernelSpecManager().get_kernel_spec("python3")
    assert found.argv[:3] == ["python", "-m", "ipykernel_launcher"]  # the server's own interpreter takes its place
    assert found.resource_dir == str(jupyter.SHARE / "kernels" / "python3")


def test_no_news_are_asked_for_and_the_users_configuration_counts_as_before(tmp_path, monkeypatch):
    from jupyterlab_server.config import ConfigManager

    for place in ("theirs", "more"):
        (tmp_path / place / "labconfig").mkdir(parents=True)
    (tmp_path / "theirs" / "labconfig" / "default_setting_overrides.json").write_text('{"theirs": {"theme": "dark"}}')
    given = {"JUPYTER_CONFIG_DIR": str(tmp_path / "theirs"), "JUPYTER_CONFIG_PATH": str(tmp_path / "more")}
    for name, value in jupyter.environment(tmp_path, given).items():
        monkeypatch.setenv(name, value)
    found = ConfigManager(config_dir_name="labconfig").get("default_setting_overrides")
    quiet = found["@jupyterlab/apputils-extension:notification"]
    assert quiet == {"fetchNews": "false", "checkForUpdates": False} and found["theirs"] == {"theme": "dark"}
    assert jupyter.environment(tmp_path, given)["JUPYTER_CONFIG_PATH"] == f"{jupyter.SHARE}{os.pathsep}{tmp_path}/more"


def test_commands_of_this_environment_come_first_and_the_rest_of_the_environment_is_as_it_was(tmp_path):
    given = {"PATH": "/usr/bin", "OMP_NUM_THREADS": "7", "HOME": "/home/zoe"}
    got = jupyter.environment(tmp_path, given)
    assert got["PATH"] == f"{sysconfig.get_path('scripts')}{os.pathsep}/usr/bin"
    assert {name: got[name] for name in ("OMP_NUM_THREADS", "HOME")} == {"OMP_NUM_THREADS": "7", "HOME": "/home/zoe"}
    assert got["LORA_LAB_PROGRESS"] == str(tmp_path / "progress.json")
    assert jupyter.environment(tmp_path, {"LORA_LAB_PROGRESS": "off"})["LORA_LAB_PROGRESS"] == "off"
    assert got.keys() - given.keys() == {
        "JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTERLAB_WORKSPACES_DIR", "LORA_LAB_PROGRESS"
    }  # fmt: skip


@pytest.mark.parametrize("user, allowed", [(0, True), (1000, False)])
def test_root_is_allowed_only_where_it_is_root(tmp_path, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert ("--allow-root" in jupyter.command(tmp_path, None)) is allowed


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_status_of_a_server_that_ends_by_itself_is_its_own(status):
    assert jupyter.run([sys.executable, "-c", f"raise SystemExit({status})"], os.environ) == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_server_and_that_is_status_0_without_a_word(number, tmp_path):
    """The server outlives the signal for a moment, as JupyterLab does to end its kernels."""
    server = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    pathlib.Path('ended').write_text('')\n    sys.exit(1)\n"
        "for each in (signal.SIGINT, signal.SIGTERM): signal.signal(each, stop)\n"
        "print('up', flush=True)\nwhile True: time.sleep(1)"
    )
    code = (
        "import sys, lora_lab.commands.jupyter as j, lora_lab.commands.lab as lab, lora_lab.commands.cli as cli, os\n"
        f"lab.run = lambda *_, **__: j.run([sys.executable, '-c', {server!r}], os.environ)\n"
        "sys.exit(cli.main(['lab']))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "") and (tmp_path / "ended").exists()


# What is shipped


def test_every_link_of_the_courses_own_material_leads_to_something_within_the_learners_folder(tmp_path):
    """All of it, as delivered: lessons, executed lessons, documents."""
    import re

    from lora_lab.commands.delivery import deliver

    deliver(tmp_path, material.items(material.root()), executed=True)
    links = [
        (path, link)
        for path in tmp_path.rglob("*")
        if path.suffix in (".ipynb", ".md")
        for link in re.findall(r"\]\(((?!https?:|#|attachment:)[\w./-]+\.\w+)[)#]", path.read_text(encoding="utf-8"))
    ]
    lost = [f"{path.name}: {link}" for path, link in links if not (path.parent / link).resolve().is_file()]
    assert len(links) > 20 and not lost
    assert all((path.parent / link).resolve().is_relative_to(tmp_path.resolve()) for path, link in links)


@pytest.mark.slow
def test_a_wheel_delivers_the_course_where_there_is_no_checkout(tmp_path):
    """Built from a source distribution, so that both hold all that is needed."""
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())

    def build(kind, place, target):
        code = f"from setuptools import build_meta as b; print(b.build_{kind}({str(target)!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return target / done.stdout.split()[-1]

    archive = build("sdist", source, tmp_path)
    subprocess.run(["tar", "xzf", archive], cwd=tmp_path, check=True)
    wheel = build("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path)
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert not {"tests", "course", "notebooks"} & {path.name for path in (tmp_path / "installed").iterdir()}

    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    command = [sys.executable, "-P", "-m", "lora_lab.commands.cli", "lab", "mine", "--no-open", "--solutions"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = {item.name: item.content() for item in material.items(ROOT)}
    assert {name: (tmp_path / "mine" / name).read_bytes() for name in wanted} == wanted
    for shared in sorted(jupyter.SHARE.rglob("*.json")):
        assert (tmp_path / "installed" / shared.relative_to(material.PACKAGE.parent)).is_file()
    kept = sorted((ROOT / "lora_lab" / "exercises" / "generated").glob("*.json"))
    assert all((tmp_path / "installed" / each.relative_to(ROOT)).is_file() for each in kept)
