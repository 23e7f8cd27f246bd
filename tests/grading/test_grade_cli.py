"""`lora-lab grade`: one command from a folder of notebooks to marks; one sentence for what is wrong."""

import csv
import os
import signal
import subprocess
import sys
import time
import types
from datetime import datetime
from pathlib import Path

import pytest

from lora_lab.commands import cli, grade, grade_options
from lora_lab.grading import exercise
from lora_lab.grading.host import Host
from lora_lab.grading.isolation import Limits
from lora_lab.grading.reports import Places
from lora_lab.grading.sandbox import NoSandbox
from tests.grading.classroom import SVD, believe, folder_of, notebook, of_code, touch

ROOT = Path(__file__).resolve().parents[2]


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(place, tmp_path, **options):
    return grade.run(place, out=tmp_path / "grades.csv", jobs=1, grade=believe, **options)


def test_a_class_is_graded_from_a_folder_to_marks_feedback_and_a_summary(tmp_path, course, capsys):
    place = folder_of(
        tmp_path / "in",
        {
            "Ada Lovelace_1_assignsubmission_file_/renamed.ipynb": SVD,
            "Boole George_2_assignsubmission_file_/01_svd.ipynb": notebook("cut", says="wrong 2 times too large"),
            "Eve_3_assignsubmission_file_/01_svd.ipynb": SVD,
            "Cy_4_assignsubmission_file_/empty.ipynb": b"",
            "readme.txt": b"x",
        },
    )
    touch(place / "Boole George_2_assignsubmission_file_" / "01_svd.ipynb", 12)
    people = tmp_path / "roster.csv"
    people.write_text("student,name\nal,Ada Lovelace\ngb,George Boole\ncy,Cy\n")
    deadline = datetime(2026, 1, 11).astimezone()
    assert run(place, tmp_path, roster=people, deadline=deadline) == 0
    found = {(row["student"], row["task"]): row for row in rows_of(tmp_path / "grades.csv")}
    assert {key: row["status"] for key, row in found.items()} == {
        ("al", "cut"): "right", ("al", "energy"): "right", ("gb", "cut"): "wrong", ("gb", "energy"): "missing",
        ("cy", "cut"): "nothing handed in", ("cy", "energy"): "nothing handed in",
    }  # fmt: skip
    assert found["gb", "cut"]["late"] == "yes" and found["gb", "cut"]["why"] == "2 times too large"
    said = capsys.readouterr().out
    for words in ("2 submissions of 2 students", "late: 1", "'Eve', who is not in the roster", "empty.ipynb is empty",
                  "nothing handed in: 1", "1 other file", "grades.feedback"):  # fmt: skip
        assert words in said
    assert len(list((tmp_path / "grades.feedback").iterdir())) == 3
    assert len(rows_of(tmp_path / "grades.files.csv")) == 5


def test_a_rerun_gives_the_same_table_and_grades_nothing(tmp_path, course, capsys):
    (tmp_path / "log").mkdir()
    place = folder_of(
        tmp_path / "in", {"al/x.ipynb": notebook("cut", says=f"count {tmp_path / 'log'}"), "bo/x.ipynb": SVD}
    )
    assert run(place, tmp_path) == 0
    first = (tmp_path / "grades.csv").read_bytes()
    assert run(place, tmp_path) == 0
    assert (tmp_path / "grades.csv").read_bytes() == first and len(os.listdir(tmp_path / "log")) == 1
    assert "graded, 2 of them before" in capsys.readouterr().out


def test_what_the_grader_failed_at_is_exit_status_1(tmp_path, course, capsys):
    place = folder_of(tmp_path / "in", {"al/x.ipynb": notebook("cut", says="raise"), "bo/x.ipynb": SVD})
    assert run(place, tmp_path) == 1
    assert "not graded: 1\n  al/x.ipynb: the grader failed" in capsys.readouterr().out
    assert {row["status"] for row in rows_of(tmp_path / "grades.csv") if row["student"] == "al"} == {"not graded"}


def test_a_file_that_is_no_notebook_in_spite_of_its_name_is_in_the_summary(tmp_path, course, capsys):
    place = folder_of(tmp_path / "in", {"al/01_svd.ipynb": b"# refused", "bo/x.ipynb": SVD})
    assert run(place, tmp_path) == 0
    assert "could not be read: 1\n  al/01_svd.ipynb: the file is no notebook\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.txt": b"x"}, "holds no notebook"),
        ({"a.txt": b"x", "b.zip": b"PK"}, "b.zip is an archive within what was handed in: unpack it first, or give it"),
        ({"al/a.ipynb": notebook("other")}, "none of the tasks"),
        ({"al/a.ipynb": b"", "bo/b.ipynb": b""}, "and 1 more files"),
    ],
)
def test_nothing_to_grade_is_said_and_nothing_is_written(tmp_path, course, files, said):
    with pytest.raises(ValueError, match=said):
        run(folder_of(tmp_path / "in", files), tmp_path)
    assert not (tmp_path / "grades.csv").exists() and not (tmp_path / "grades.cache").exists()


def test_the_results_overwrite_nothing_that_was_given(tmp_path, course):
    folder_of(tmp_path / "in", {"al/x.ipynb": SVD})
    people = tmp_path / "grades.csv"
    people.write_text("student\nal\n")
    with pytest.raises(ValueError, match="choose another --out"):
        run(tmp_path / "in", tmp_path, roster=people)
    with pytest.raises(ValueError, match="choose another --out"):
        grade.run(Places(tmp_path / "x.csv").cache, out=tmp_path / "x.csv")
    assert people.read_text() == "student\nal\n"


@pytest.mark.parametrize("out", ["folder", "x.cache", "x.feedback", "y.csv"])
def test_a_place_where_results_cannot_be_is_said_before_anything_is_graded(tmp_path, course, out):
    (tmp_path / "folder").mkdir()
    (tmp_path / "y.feedback").write_text("x")
    with pytest.raises((ValueError, OSError), match="in it|end it in .csv|choose another --out"):
        grade.run(folder_of(tmp_path / "in", {"al/x.ipynb": SVD}), out=tmp_path / out, grade=None)


def test_trusted_is_loud(tmp_path, course, capsys):
    run(folder_of(tmp_path / "in", {"al/x.ipynb": SVD}), tmp_path, trusted=True)
    assert "WARNING" in (said := capsys.readouterr().err) and "no sandbox" in said


# The command line


@pytest.fixture
def called(monkeypatch):
    calls = []
    stand_in = types.SimpleNamespace(run=lambda *words, **options: calls.append((words, options)) or 0)
    monkeypatch.setitem(sys.modules, "lora_lab.commands.grade", stand_in)
    return calls


def test_every_option_reaches_the_command(called):
    words = [
        "in.zip",
        "--out",
        "o.csv",
        "--checks",
        "c.py",
        "--roster",
        "r.csv",
        "--deadline",
        "2026-01-10T18:00+01:00",
    ]
    assert cli.main(["grade", *words, "--jobs", "3", "--trusted"]) == 0
    [(given, options)] = called
    assert given == (Path("in.zip"),) and options["jobs"] == 3 and options["trusted"] is True
    assert (options["out"], options["checks"], options["roster"]) == (Path("o.csv"), Path("c.py"), Path("r.csv"))
    assert options["deadline"] == datetime.fromisoformat("2026-01-10T18:00+01:00")


@pytest.mark.parametrize(
    "words",
    ["", "in --jobs 0", "in --jobs x", "in --jobs 2 --scheduler tcp://x", "in --deadline tomorrow",
     "in --deadline 2026-13-01", "in --fast"],
)  # fmt: skip
def test_a_word_that_is_wrong_is_refused_in_one_sentence(called, capsys, words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["grade", *words.split()])
    assert stopped.value.code == 2 and not called
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_day_is_a_deadline_at_its_end_in_this_machines_zone():
    assert grade_options.when("2026-01-10").strftime("%F %T") == "2026-01-10 23:59:59"
    assert grade_options.when("2026-01-10 18:00").strftime("%F %T") == "2026-01-10 18:00:00"
    assert grade_options.when("2026-01-10").tzinfo is not None


def test_bad_input_is_exit_status_2_and_one_sentence(tmp_path, course, capsys):
    assert cli.main(["grade", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lora-lab: there is no ") and len(said.splitlines()) == 1


def test_help_and_a_rerun_load_no_torch():
    code = "import lora_lab.commands.grade, sys; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout == "[]\n"
    )


SCRIPT = """
import sys
from pathlib import Path
from lora_lab.commands import cli, grade
from lora_lab.grading import exercise
from tests.grading.classroom import believe

if __name__ == "__main__":
    exercise._GENERATED = Path(sys.argv[1])
    whole = grade.run
    grade.run = lambda *words, **options: whole(*words, **options, grade=believe)
    sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_is_done_says_so_and_leaves_no_process(tmp_path, course, number):
    place = folder_of(tmp_path / "in", {"al/x.ipynb": SVD, "bo/x.ipynb": notebook("cut", says="slow 900")})
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), str(exercise._GENERATED), "grade", str(place), "--jobs", "2"]
    words += ["--out", str(tmp_path / "grades.csv")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True) as process:
        while process.poll() is None and not list((tmp_path / "grades.cache").glob("?" * 64 + ".json")):
            time.sleep(0.05)
        os.killpg(process.pid, number)  # as a terminal does: to all of them
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted: 1 of 2 submissions are graded and kept in" in err and "Traceback" not in err
    assert not (tmp_path / "grades.csv").exists()
    deadline = time.monotonic() + 60  # Python's own tracker of resources ends a moment later
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


MASK = """
import signal
from lora_lab.grading.pool import Processes

def blocked(_):
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())

if __name__ == "__main__":
    place = Processes(2)
    print(*(signal.SIGINT in each.result() for each in [place.submit(blocked, None) for _ in range(2)]))
    place.close()
    print(signal.SIGINT in blocked(None))
"""


def test_a_process_hears_no_interruption_from_its_very_start(tmp_path):
    """Else it prints where it was interrupted: starting Python's tracker of resources lets Ctrl-C through again."""
    script = tmp_path / "masks.py"
    script.write_text(MASK)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "False"], done.stderr


CHECKS = """
import torch
from lora_lab.exercises.tasks import Score, Wrong, task


@task(reference=lambda: None)
def scaled(f):
    x, r, alpha = torch.randn(5, 7), 4, 8
    if not torch.allclose(f(x, r, alpha), x * alpha / r):
        raise Wrong("is alpha / r applied once?", wanted=x * alpha / r)


@task(reference=lambda: None)
def cheapest(f):
    return Score(float(f(3)), "bytes", 2.0)
"""


@pytest.mark.slow
def test_a_class_is_graded_in_the_sandbox_by_an_instructors_checks(tmp_path, capsys):
    try:
        with Host(trusted=False).session(frozenset(), Limits()):
            pass
    except NoSandbox as error:
        if "bwrap" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
            pytest.fail(f"LORA_LAB_REQUIRE asks for a sandbox: {error}")
        pytest.skip(str(error))
    (tmp_path / "midterm.py").write_text(CHECKS)
    first = (
        'from lora_lab.exercises import check\n\ndef {name}(*a):\n    return {code}\n\n{name} = check("{name}", {name})'
    )
    answers = {
        "al": {"scaled": "a[0] * a[2] / a[1]", "cheapest": "2 * a[0]"},
        "bo": {"scaled": "2 * a[0] * a[2] / a[1]"},
        "cy": {"scaled": "__import__('os').kill(1, 9)", "cheapest": "__import__('os')._exit(0)"},
    }
    cells = {
        student: [first.format(name=name, code=code) for name, code in own.items()] for student, own in answers.items()
    }
    place = folder_of(tmp_path / "in", {f"{name}/x.ipynb": of_code(*own) for name, own in cells.items()})
    words = ["grade", str(place), "--checks", str(tmp_path / "midterm.py"), "--out", str(tmp_path / "grades.csv")]
    assert cli.main([*words, "--jobs", "1"]) == 0
    found = {(row["student"], row["task"]): row for row in rows_of(tmp_path / "grades.csv")}
    assert {key: row["points"] for key, row in found.items()} == {
        ("al", "scaled"): "1", ("al", "cheapest"): "1", ("bo", "scaled"): "0", ("bo", "cheapest"): "0",
        ("cy", "scaled"): "0", ("cy", "cheapest"): "0",
    }  # fmt: skip
    assert found["al", "cheapest"]["score"] == "6" and found["bo", "cheapest"]["status"] == "missing"
    assert found["bo", "scaled"]["why"] == "is alpha / r applied once?"
    before = (tmp_path / "grades.csv").read_bytes()
    assert cli.main([*words, "--jobs", "2"]) == 0 and (tmp_path / "grades.csv").read_bytes() == before
    assert "3 of them before" in capsys.readouterr().out
