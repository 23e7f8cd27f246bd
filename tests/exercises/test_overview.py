"""Hints one at a time, the solution, and tables of what was done: in this process, and in a file that outlives it."""

import json
import os
import stat
from pathlib import Path

import pytest

from lora_lab.exercises import check, guesses, hint, progress, results, saved, solution
from lora_lab.exercises.stopping import Stopped


def right(x):
    return 2 * x


def wrong(x):
    return x


def kept(course: Path) -> dict:
    return json.loads((course / "progress.json").read_text(encoding="utf-8"))


# ── hints ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_call_shows_the_next_hint_and_the_last_one_names_the_solution(course, capsys):
    hint("double")
    assert capsys.readouterr().out == "Hint 1 of 2. A first hint. Multiply.\n"
    hint("double")
    assert "Hint 2 of 2. Help, `x` < 0. Text of two paragraphs." in (out := capsys.readouterr().out)
    assert out.endswith('That was the last hint: solution("double") shows one way to write it.\n')
    hint("double")
    assert capsys.readouterr().out == 'That was the last hint: solution("double") shows one way to write it.\n'


def test_hints_of_one_task_are_not_those_of_another(course, capsys):
    hint("double")
    hint("scaling")
    assert "Hint 1 of 1. A first hint. Divide." in capsys.readouterr().out


def test_the_solution_is_the_whole_cell_without_its_markers(course, capsys):
    solution("double")
    assert capsys.readouterr().out == "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize("show", [hint, solution])
@pytest.mark.parametrize(("name", "near"), [("duoble", ": did you mean double?"), ("xyz", ""), (None, ""), (right, "")])
def test_a_name_that_no_turn_has_stops_with_the_nearest_one(course, show, name, near):
    with pytest.raises(Stopped, match="no turn is named") as stop:
        show(name)
    assert str(stop.value).endswith(near) and "\n" not in str(stop.value)


# ── what was done in this lesson ────────────────────────────────────────────────────────────────────────────────────


def test_results_show_minutes_guesses_and_whose_code_went_on(course, capsys):
    guesses(energy=40).against(energy=17.25)
    check("double", right)
    check("scaling", 3)
    capsys.readouterr()
    results("05")
    out = capsys.readouterr().out
    for row in ("1. The first idea 6 min", "2. The second idea 10 min", "together 16 min",
                "directions of 192 40 17.2 22.8 too high", "rank of an update – not run –",
                "double yours", "scaling the library's"):  # fmt: skip
        assert row in " ".join(out.split())


def test_results_show_what_was_not_done(course, capsys):
    guesses(energy=None).against(energy=17.25)
    capsys.readouterr()
    results("05_lesson")
    out = " ".join(capsys.readouterr().out.split())
    assert "directions of 192 no guess 17.2 –" in out and "double not run" in out


def test_the_last_try_counts_in_this_lesson(course, capsys):
    check("double", right)
    check("double", wrong)
    results("05")
    assert "double the library's" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["99", "", 5, None])
def test_a_lesson_that_there_is_not_stops_with_those_that_there_are(course, name):
    with pytest.raises(Stopped, match="no lesson is numbered .*: there are 05"):
        results(name)


# ── progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tries_are_counted_and_what_was_right_once_stays_right(course):
    for answer in (wrong, ..., right, wrong):
        check("double", answer)
    assert kept(course)["turns"] == {"double": {"right": True, "tries": 4}}


def test_the_first_guess_is_kept(course):
    for guess in (None, 40, 17):
        guesses(energy=guess).against(energy=17.25)
    assert kept(course)["guesses"] == {"energy": {"guess": 40, "measured": 17.25}}


@pytest.mark.parametrize("measured", [float("nan"), float("inf")])
def test_what_was_measured_without_a_value_is_not_kept_and_nothing_is_said_of_the_file(course, measured, capsys):
    guesses(energy=40).against(energy=measured)
    assert not (course / "progress.json").exists() and "Progress" not in capsys.readouterr().out


def test_what_another_notebook_wrote_meanwhile_is_kept(course):
    check("double", right)
    other = kept(course)
    other["turns"]["scaling"] = {"right": True, "tries": 1}
    (course / "progress.json").write_text(json.dumps({**other, "later": 1}))
    check("double", right)
    assert set(kept(course)["turns"]) == {"double", "scaling"} and kept(course)["later"] == 1


def test_progress_shows_every_lesson_and_outlives_the_notebook(course, capsys, monkeypatch):
    check("double", right)
    check("scaling", 3)
    guesses(energy=40).against(energy=17.25)
    monkeypatch.setattr(saved, "turns", {})  # a new kernel
    capsys.readouterr()
    progress()
    assert "A lesson 1 of 2 1 of 2" in " ".join(capsys.readouterr().out.split())


def test_progress_counts_what_is_of_this_lesson(course, capsys):
    others = {"guesses": {"other": {"guess": 1, "measured": 2}}, "turns": {"another": {"right": True, "tries": 1}}}
    (course / "progress.json").write_text(json.dumps(others))
    progress()
    assert "A lesson 0 of 2 0 of 2" in " ".join(capsys.readouterr().out.split())


def test_nothing_is_kept_if_it_is_off(course, capsys, monkeypatch):
    monkeypatch.setenv("LORA_LAB_PROGRESS", "off")
    check("double", right)
    progress()
    assert "No progress is kept here (LORA_LAB_PROGRESS=off)." in capsys.readouterr().out
    assert not (course / "progress.json").exists()


def test_without_a_place_it_is_kept_in_the_users_home(course, monkeypatch):
    monkeypatch.delenv("LORA_LAB_PROGRESS")
    monkeypatch.setenv("HOME", str(course / "home"))
    monkeypatch.setenv("USERPROFILE", str(course / "home"))
    check("double", right)
    assert json.loads((course / "home/.lora_lab/progress.json").read_text())["turns"]["double"]["right"] is True


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"turns": []}', b'{"turns": {"double": 1}}', b'{"a": 1, "a": 2}', b"\xff"]
)
def test_a_damaged_file_is_kept_beside_a_fresh_start_and_said_once(course, content, capsys):
    path = course / "progress.json"
    path.write_bytes(content)
    for _ in range(2):
        assert check("double", right) is right
    assert capsys.readouterr().out.count("The progress file was damaged: a new one is begun") == 1
    assert kept(course)["turns"] == {"double": {"right": True, "tries": 2}}
    assert (course / "progress.json.damaged-1").read_bytes() == content


def test_a_second_damaged_file_does_not_replace_the_first(course):
    for text in ("first", "second"):
        (course / "progress.json").write_text(text)
        check("double", right)
    assert [(course / f"progress.json.damaged-{number}").read_text() for number in (1, 2)] == ["first", "second"]


def test_a_place_that_cannot_be_written_in_is_said_once_and_breaks_nothing(course, capsys, monkeypatch):
    (course / "file").write_text("")
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(course / "file" / "progress.json"))
    for _ in range(2):
        assert check("double", right) is right
        guesses(energy=40).against(energy=17.25)
    out = capsys.readouterr().out
    assert out.count("Progress is not kept (") == 1 and "The lessons work all the same." in out
    progress()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind neither here")
def test_a_read_only_folder_breaks_nothing(course, capsys):
    course.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert check("double", right) is right
    finally:
        course.chmod(stat.S_IRWXU)
    assert "Progress is not kept (" in capsys.readouterr().out


def test_a_damaged_file_is_said_when_progress_is_shown(course, capsys):
    (course / "progress.json").write_text("{")
    progress()
    out = capsys.readouterr().out
    assert "Progress cannot be read" in out and "0 of 2" in out
