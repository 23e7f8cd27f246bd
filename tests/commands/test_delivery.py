"""The course comes into a learner's folder again and again, and nothing that the learner wrote is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.commands.delivery import deliver, material, record
from tests.helpers.course import (
    ANSWER,
    GUESS,
    STUB,
    add,
    cells_in,
    change,
    code,
    course,
    lesson,
    lose_metadata,
    markdown,
    run_and_save,
    text_of,
    written,
)

NAME, NEW = "workbook/00_first.ipynb", "workbook/00_first.new.ipynb"


class Learner:
    """A folder, and the course that is delivered into it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.folder = folder / "material", folder / "mine"

    def gets(self, cells, name="00_first", reset=None, executed=False, **documents):
        """The course is now so; what was said."""
        course(self.root, {name: cells}, **documents)
        return self.again(reset, executed)

    def again(self, reset=None, executed=False):
        items = material.items(self.root)
        aside = next((item for item in items if item.name == reset), None)
        return deliver(self.folder, items, executed, aside)

    def path(self, name=NAME):
        return self.folder / name

    def files(self):
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


@pytest.fixture
def learner(tmp_path):
    return Learner(tmp_path)


# What comes, and from where


def test_a_folder_is_made_with_lessons_and_documents_whose_links_lead_within_it(learner):
    done = learner.gets(lesson(), syllabus="[1](../notebooks/00_first.ipynb) [2](why.py) [3](https://a.b/c)", why="x")
    (learner.root / "course" / "why.py").write_text("print(1)")
    again = learner.again()
    assert (done.new, again.new, [*done.said, *again.said]) == (3, 1, [])
    assert {*learner.files()} == {NAME, "syllabus.md", "why.md", "why.py", record.NAME}
    assert learner.path("syllabus.md").read_text() == "[1](workbook/00_first.ipynb) [2](why.py) [3](https://a.b/c)"
    assert learner.path().read_bytes() == written(lesson())


def test_a_picture_that_only_a_lesson_links_to_comes_along(learner):
    (learner.root / "course" / "pictures").mkdir(parents=True)
    (learner.root / "course" / "pictures" / "a.png").write_bytes(b"png")
    learner.gets([*lesson(), markdown("![a](../pictures/a.png)")])
    assert learner.path("pictures/a.png").read_bytes() == b"png"


def test_executed_lessons_come_when_asked_for_and_are_kept_up_to_date_from_then_on(learner):
    learner.gets(lesson())
    assert "notebooks/00_first.ipynb" not in learner.files()
    cells = [*lesson(), markdown("[s](../course/syllabus.md)")]
    learner.gets(cells, executed=True)
    assert "](../syllabus.md)" in "".join(cells_in(learner.path("notebooks/00_first.ipynb"))[-1]["source"])
    learner.gets(lesson(prose="Other words."))
    assert "Other words." in learner.path("notebooks/00_first.ipynb").read_text()


def test_exercises_come_beside_the_workbook_and_their_solutions_when_asked_for(learner):
    links = "[1](../course/workbook/00_first.ipynb) [2](../course/syllabus.md) [3](../notebooks/00_first.ipynb)"
    for folder in ("exercises", "solutions"):
        (learner.root / folder).mkdir(parents=True, exist_ok=True)
        (learner.root / folder / "00_first.ipynb").write_bytes(written([*lesson(), markdown(links)]))
    learner.gets(lesson(), syllabus="[e](../exercises/00_first.ipynb)")
    assert learner.path("syllabus.md").read_text() == "[e](exercises/00_first.ipynb)"
    there = "".join(cells_in(learner.path("exercises/00_first.ipynb"))[-1]["source"])
    assert there.startswith("[1](../workbook/00_first.ipynb) [2](../syllabus.md)")
    assert "solutions/00_first.ipynb" not in learner.files()
    learner.gets(lesson(), executed=True)
    assert "](../syllabus.md)" in learner.path("solutions/00_first.ipynb").read_text()


def test_what_only_an_instructors_notebooks_need_is_in_a_wheel_and_in_no_learners_folder(learner):
    learner.gets(lesson())
    (learner.root / "course/repository.toml").write_text('ref = "main"')
    learner.again()
    assert "repository.toml" in {file.name for file in material.files(learner.root)}
    assert "repository.toml" not in learner.files()


def test_an_instructors_guide_comes_only_with_the_solutions_and_brings_its_sheets(learner):
    guide = {"instructor_guide.md", "polls.html", "poll_answers.html"}
    learner.gets(lesson(), instructor_guide="[sheets](polls.html), [answers](poll_answers.html)")
    for sheet in guide - {"instructor_guide.md"}:
        (learner.root / "course" / sheet).write_text("<p>")
    learner.again()
    assert not guide & {*learner.files()}
    learner.again(executed=True)
    assert guide <= {*learner.files()}


def test_the_material_of_a_wheel_is_found_before_what_lies_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "PACKAGE", tmp_path / "lora_lab")
    with pytest.raises(FileNotFoundError, match="install lora_lab again"):
        material.root()
    course(tmp_path, {})
    assert material.root() == tmp_path
    course(tmp_path / "lora_lab" / "material", {})
    assert material.root() == tmp_path / "lora_lab" / "material"


def test_a_document_that_links_out_of_the_course_or_to_nothing_brings_nothing_along(tmp_path):
    (tmp_path / "secret.md").write_text("")
    root = course(tmp_path / "root", {}, syllabus="[a](../../secret.md) [b](/etc/passwd) [c](no.md) [d](#e)")
    assert [item.name for item in material.items(root)] == ["syllabus.md"]


# Untouched


def test_an_untouched_lesson_is_replaced_whatever_running_and_saving_it_changed(learner):
    learner.gets(lesson())
    run_and_save(learner.path())
    saved = learner.path().read_bytes()
    assert learner.again().replaced == 0 and learner.path().read_bytes() == saved  # its outputs stay
    done = learner.gets(lesson(prose="Other words."))
    assert (done.replaced, done.said) == (1, []) and learner.path().read_bytes() == written(lesson("Other words."))


def test_an_untouched_document_is_replaced_and_one_with_notes_stays(learner):
    learner.gets(lesson(), syllabus="one", folklore="one")
    learner.path("folklore.md").write_text("one, and a note")
    done = learner.gets(lesson(), syllabus="two", folklore="two")
    assert learner.path("syllabus.md").read_text() == "two"
    assert learner.path("folklore.md").read_text() == "one, and a note"
    assert learner.path("folklore.new.md").read_text() == "two"
    assert len(done.said) == 1 and "folklore.new.md" in done.said[0]


def test_a_change_of_metadata_alone_arrives_in_an_untouched_lesson(learner):
    learner.gets(lesson())
    run_and_save(learner.path())
    folded = lesson()
    folded[0]["metadata"] = {"tags": ["minutes:6"]}
    learner.gets(folded)
    assert learner.path().read_bytes() == written(folded)


# Touched: a lesson that changes three ways


@pytest.mark.parametrize(
    "changed",
    [
        lambda path: change(path, guess_energy="energy = 40  # directions of 192"),
        lambda path: change(path, turn_update=ANSWER),
        lambda path: change(path, set_up="#@title Set-up\nimport lora_lab, math"),
        lambda path: add(path, markdown("a note")),
        lambda path: add(path, code("1 + 1")),
        lambda path: path.write_bytes(written(lesson()[:-1])),
        lambda path: path.write_bytes(written(lesson()[::-1])),
    ],
    ids=["a guess", "a turn", "the set-up", "a note", "a cell", "a cell less", "another order"],
)
def test_whatever_is_typed_stays_and_the_new_lesson_comes_beside_it(learner, changed):
    learner.gets(lesson())
    changed(learner.path())
    mine = learner.path().read_bytes()
    done = learner.gets(lesson(prose="Other words."))
    assert learner.path().read_bytes() == mine
    assert "Other words." in learner.path(NEW).read_text() and "00_first.new.ipynb" in done.said[0]


def test_other_prose_takes_guesses_and_turns_along(learner):
    learner.gets(lesson())
    change(learner.path(), guess_energy="energy = 40  # directions of 192", turn_update=ANSWER)
    run_and_save(learner.path())
    done = learner.gets(lesson(prose="Other words."))
    assert done.said == [
        f"{NAME} has changed, and you have changed yours, which stays: the new one is 00_first.new.ipynb with your "
        "1 guess and 1 turn"
    ]
    assert text_of(learner.path(NEW), "guess-energy") == "energy = 40  # directions of 192"
    assert text_of(learner.path(NEW), "turn-update") == ANSWER
    assert "Other words." in learner.path(NEW).read_text()


def test_a_stub_with_other_words_takes_the_turn_along_and_one_with_other_code_does_not(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.gets(lesson(stub=STUB.replace("the scaled update", "the update, scaled")))
    assert text_of(learner.path(NEW), "turn-update") == ANSWER
    other = STUB.replace("update(x)", "update(x, scaling)")
    done = learner.gets(lesson(stub=other))
    assert text_of(learner.path(NEW), "turn-update") == other
    assert done.said[1:] == [f"{NAME}: only in yours is the turn update, which starts from other code now"]
    assert text_of(learner.path(), "turn-update") == ANSWER


def test_a_task_that_was_removed_is_said_and_stays_in_the_learners(learner):
    learner.gets(lesson())
    change(learner.path(), guess_energy="energy = 40  # directions of 192", turn_update=ANSWER)
    done = learner.gets(lesson(turns=False))
    assert done.said[1:] == [f"{NAME}: only in yours is the turn update, which is not in the new lesson"]
    assert text_of(learner.path(NEW), "guess-energy") == "energy = 40  # directions of 192"
    assert ANSWER not in learner.path(NEW).read_text() and text_of(learner.path(), "turn-update") == ANSWER


def test_a_guess_at_another_question_is_said_with_its_value_and_not_carried(learner):
    learner.gets(lesson())
    change(learner.path(), guess_energy="energy = 40  # directions of 192")
    done = learner.gets(lesson(question="energy = ...  # percent"))
    assert text_of(learner.path(NEW), "guess-energy") == "energy = ...  # percent"
    assert done.said[1:] == [
        f"{NAME}: only in yours is the guess energy, whose question is another one now (you had guessed 40)"
    ]


@pytest.mark.parametrize("value", ["None", "-3", "1e3", "192 // 8", "40.5"])
def test_a_guess_is_carried_as_it_was_written(learner, value):
    learner.gets(lesson())
    change(learner.path(), guess_energy=f"energy = {value}")
    learner.gets(lesson(prose="Other words."))
    assert text_of(learner.path(NEW), "guess-energy") == f"energy = {value}  # directions of 192"


def test_a_guess_that_needs_the_rest_of_the_notebook_is_not_carried(learner):
    learner.gets(lesson())
    change(learner.path(), guess_energy="energy = width // 4")
    done = learner.gets(lesson(prose="Other words."))
    assert text_of(learner.path(NEW), "guess-energy") == GUESS
    assert "is no number that stands alone (you had guessed width // 4)" in done.said[1]


def test_answers_are_found_by_the_code_that_asks_for_them_where_ids_and_tags_are_lost(learner):
    learner.gets(lesson())
    change(learner.path(), guess_energy="energy = 40", turn_update=ANSWER)
    lose_metadata(learner.path())
    done = learner.gets(lesson(prose="Other words."))
    assert "1 guess and 1 turn" in done.said[0]
    assert text_of(learner.path(NEW), "turn-update") == ANSWER


def test_a_turn_that_was_split_is_whole_again_and_own_cells_are_counted(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update="def half(x):\n    return x / 2")
    add(learner.path(), code("def update(x):\n    return 4 * half(x)"))
    add(learner.path(), markdown("a note"))
    done = learner.gets(lesson(prose="Other words."))
    both = "def half(x):\n    return x / 2\n\ndef update(x):\n    return 4 * half(x)"
    assert text_of(learner.path(NEW), "turn-update") == both
    assert done.said[1:] == [f"{NAME}: only in yours is 1 other cell that you wrote or changed"]


def test_a_stub_with_a_comment_of_the_learners_is_still_to_be_done(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=STUB.replace("    ...", "    # how?\n    ..."))
    learner.gets(lesson(prose="Other words."))
    assert text_of(learner.path(NEW), "turn-update") == STUB


def test_code_that_does_not_parse_is_carried_like_any_other(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update="def update(x:\n    %timeit x")
    learner.gets(lesson(prose="Other words."))
    assert text_of(learner.path(NEW), "turn-update") == "def update(x:\n    %timeit x"


# Again and again


def test_what_was_offered_is_not_offered_again_even_if_the_learner_removed_it(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.gets(lesson(prose="Other words."))
    before = learner.files()
    assert learner.again().said == [] and learner.files() == before
    learner.path(NEW).unlink()
    assert learner.again().said == [] and not learner.path(NEW).exists()


def test_a_release_that_only_changes_its_tag_brings_nothing_beside_a_touched_lesson(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    assert learner.gets(lesson(tag="v2")).said == [] and not learner.path(NEW).exists()


def test_a_newer_version_takes_the_place_of_one_that_nobody_worked_in(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.gets(lesson(prose="Other words."))
    run_and_save(learner.path(NEW))
    learner.gets(lesson(prose="Third words."))
    assert "Third words." in learner.path(NEW).read_text() and not learner.path(NEW.replace("new", "new2")).exists()
    assert text_of(learner.path(NEW), "turn-update") == ANSWER


@pytest.mark.parametrize(
    "worked",
    [
        lambda path: change(path, turn_update="def update(x): return x + x"),
        lambda path: add(path, markdown("a note")),
    ],
    ids=["a turn", "a note"],
)
def test_a_newer_version_does_not_take_the_place_of_one_that_was_worked_in(learner, worked):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.gets(lesson(prose="Other words."))
    worked(learner.path(NEW))
    mine = learner.path(NEW).read_bytes()
    done = learner.gets(lesson(prose="Third words."))
    assert learner.path(NEW).read_bytes() == mine and "00_first.new2.ipynb" in done.said[0]


def test_what_was_carried_over_stays_although_the_learner_then_deleted_it_in_their_own(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.gets(lesson(prose="Other words."))
    change(learner.path(), turn_update="# thinking about it")
    learner.gets(lesson(prose="Third words."))
    assert text_of(learner.path(NEW), "turn-update") == ANSWER


def test_the_new_lesson_renamed_over_the_old_one_is_the_base_from_then_on(learner):
    learner.gets(lesson())
    change(learner.path(), guess_energy="energy = 40", turn_update=ANSWER)
    other = STUB.replace("update(x)", "update(x, scaling)")
    learner.gets(lesson(stub=other))
    os.replace(learner.path(NEW), learner.path())
    assert learner.again().said == []
    mine = other.replace("...", "return scaling * x")
    change(learner.path(), turn_update=mine)
    done = learner.gets(lesson(prose="Third words.", stub=other))
    assert "1 guess and 1 turn" in done.said[0] and text_of(learner.path(NEW), "turn-update") == mine


def test_a_lesson_that_the_learner_removed_comes_again(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.path().unlink()
    assert learner.again().new == 1 and learner.path().read_bytes() == written(lesson())


def test_a_lesson_that_the_course_renamed_stays_and_that_is_said_once(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    done = learner.gets(lesson(), name="02_first")
    assert done.said == [f"{NAME} is not part of the course any more: yours stays as it is"] and done.new == 1
    assert text_of(learner.path(), "turn-update") == ANSWER and learner.again().said == []


def test_a_lesson_starts_afresh_and_the_old_one_is_kept_each_time(learner):
    learner.gets(lesson())
    for word, answer in (("before", ANSWER), ("before2", "update = None")):
        change(learner.path(), turn_update=answer)
        done = learner.again(reset=NAME)
        assert done.said == [f"{NAME} starts afresh: yours is now 00_first.{word}.ipynb"]
        assert text_of(learner.path(f"workbook/00_first.{word}.ipynb"), "turn-update") == answer
        assert learner.path().read_bytes() == written(lesson())


def test_a_folder_without_a_record_keeps_what_differs(learner):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.path(record.NAME).unlink()
    done = learner.again()
    assert "1 turn" in done.said[0] and text_of(learner.path(), "turn-update") == ANSWER
    assert learner.again().said == []


def test_an_old_stub_of_which_no_record_is_left_is_not_taken_for_an_answer(learner):
    learner.gets(lesson(stub=STUB.replace("x", "y")))
    learner.path(record.NAME).unlink()
    done = learner.gets(lesson())
    assert "turn" not in done.said[0] and text_of(learner.path(NEW), "turn-update") == STUB


# What cannot be read or written


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"cells": 1}', b'{"cells": [{"cell_type": "code"}]}', b"\xff\xfe", b'{"worksheets": []}',
     b'{"cells": [{"cell_type": "code", "source": [1]}]}', b"[" * 10**5],
)  # fmt: skip
def test_a_notebook_that_cannot_be_read_stays_and_the_others_come(learner, content):
    learner.gets(lesson(), syllabus="one")
    learner.path().write_bytes(content)
    done = learner.gets(lesson(prose="Other words."), syllabus="two")
    assert learner.path().read_bytes() == content and learner.path("syllabus.md").read_text() == "two"
    assert len(done.said) == 1 and f"{NAME} cannot be read" in done.said[0] and "\n" not in done.said[0]
    assert learner.again(reset=NAME).said and learner.path().read_bytes() == written(lesson("Other words."))


def test_a_folder_in_a_lessons_place_stays(learner):
    learner.path().mkdir(parents=True)
    done = learner.gets(lesson())
    assert learner.path().is_dir() and "cannot be read (Is a directory)" in done.said[0]


@pytest.mark.parametrize("name", [NAME, NEW])
def test_a_pipe_in_a_lessons_place_stays_and_is_not_waited_for(learner, monkeypatch, name):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.path(name).unlink(missing_ok=True)
    os.mkfifo(learner.path(name))
    read = Path.read_bytes
    waits = "it would be waited for"
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(waits) if self.is_fifo() else read(self))
    said = learner.gets(lesson(prose="Other words.")).said
    assert ("it is a pipe or a device" if name == NAME else "the new one is 00_first.new2.ipynb") in said[0]
    assert learner.path(name).is_fifo()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": {"a": 1}}', '{"format": 99, "files": {}}',
             '{"format": 1, "files": {"a": {"delivered": {"file": 1}, "beside": null}}}'],
)  # fmt: skip
def test_a_damaged_record_is_one_sentence_and_nothing_is_written(learner, text):
    learner.gets(lesson())
    change(learner.path(), turn_update=ANSWER)
    learner.path(record.NAME).write_text(text)
    before = learner.files()
    with pytest.raises(ValueError, match="delete it, and what differs from the course") as caught:
        learner.gets(lesson(prose="Other words."))
    assert "\n" not in str(caught.value) and learner.files() == before


def test_a_file_in_the_folders_place_is_one_sentence(learner):
    learner.root.parent.joinpath("mine").write_text("in the way")
    with pytest.raises(OSError, match="is no folder"):
        learner.gets(lesson())


def test_a_folder_that_cannot_be_written_in_is_one_sentence_and_stays(learner, monkeypatch):
    learner.gets(lesson())
    before = learner.files()

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(OSError, match="Read-only file system.*choose another folder"):
        learner.gets(lesson(prose="Other words."))
    assert learner.files() == before


def test_a_link_and_a_name_of_any_kind_are_folders_like_others(tmp_path):
    learner = Learner(tmp_path)
    (tmp_path / "Übung für Zoë").mkdir()
    learner.folder.symlink_to("Übung für Zoë")
    learner.gets(lesson())
    assert (tmp_path / "Übung für Zoë" / NAME).exists() and learner.folder.is_symlink()


def test_two_at_once_leave_one_whole_folder(tmp_path):
    learner = Learner(tmp_path)
    course(learner.root, {f"{n:02}_lesson": lesson(prose=f"{n}") for n in range(8)})
    words = "import sys; from pathlib import Path; from lora_lab.commands.delivery import deliver, material"
    words += "; print(deliver(Path(sys.argv[2]), material.items(Path(sys.argv[1]))))"
    command = [sys.executable, "-c", words, str(learner.root), str(learner.folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    done = [process.communicate() for process in started]
    assert sorted(out.partition(",")[0] for out, _ in done) == ["Delivery(new=0", "Delivery(new=0", "Delivery(new=9"]
    assert [err for _, err in done] == ["", "", ""] and learner.again().said == []
    assert not [name for name in learner.files() if name.endswith(".tmp")]


# Nothing is ever lost


LESSONS = st.builds(
    lesson,
    prose=st.sampled_from(["one", "two", "three"]),
    question=st.sampled_from([GUESS, "energy = ...  # percent"]),
    stub=st.sampled_from([STUB, STUB.replace("the scaled", "your"), STUB.replace("(x)", "(x, y)")]),
    turns=st.booleans(),
    tag=st.sampled_from(["v1", "v2"]),
)
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["guess", "turn", "note", "run", "lose", "rename", "remove", "reset"]), st.integers(0, 5)
    ),
    max_size=4,
)


def act(learner: Learner, deed: str, which: int, number: int) -> None:
    """A learner does something to one of the lessons in the folder."""
    there = sorted(learner.path("workbook").glob("00_first*.ipynb"))
    path, token = there[which % len(there)], 1000 + number
    ids = {cell.get("id") for cell in cells_in(path)}
    if deed == "guess" and "guess-energy" in ids:
        change(path, guess_energy=f"energy = {token}  # mine")
    elif deed == "turn" and "turn-update" in ids:
        change(path, turn_update=f"def update(x):\n    return {token}")
    elif deed == "note":
        add(path, markdown(f"note {token}"))
    elif deed == "run":
        run_and_save(path)
    elif deed == "lose":
        lose_metadata(path)
    elif deed == "rename" and learner.path(NEW).exists():
        os.replace(learner.path(NEW), learner.path())
    elif deed == "remove" and len(there) > 1:
        path.unlink()
    elif deed == "reset":
        learner.again(reset=NAME)


def typed(learner: Learner) -> set[str]:
    """Every number that was typed and stands in some notebook of the learner's."""
    paths = learner.path("workbook").glob("*.ipynb")
    texts = "".join("".join(cell["source"]) for path in paths for cell in cells_in(path))
    return {str(n) for n in range(1000, 1100) if str(n) in texts}


@pytest.mark.slow
@settings(max_examples=100)
@given(history=st.lists(st.tuples(LESSONS, DEEDS, st.integers(0, 12)), min_size=2, max_size=5))
def test_whatever_changes_on_both_sides_and_wherever_it_is_interrupted_nothing_typed_is_lost(tmp_path_factory, history):
    learner, number = Learner(tmp_path_factory.mktemp("both")), 0
    for cells, deeds, when in history:
        course(learner.root, {"00_first": cells})
        before = typed(learner) if learner.folder.exists() else set()
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, when)
            try:
                learner.again()
            except KeyboardInterrupt:
                assert typed(learner) >= before
        learner.again()
        assert typed(learner) >= before
        settled = learner.files()
        assert learner.again().said == [] and learner.files() == settled
        for deed, which in deeds:
            act(learner, deed, which, number)
            number += 1
    if {deed for _, deeds, _ in history for deed, _ in deeds} <= {"run"}:
        assert [name for name in learner.files() if ".new" in name] == []


def interrupt(patch: pytest.MonkeyPatch, when: int) -> None:
    """Ctrl-C at the `when`-th step of what writes; never, if there are fewer."""
    steps = [0]

    def stopping(real):
        def step(*arguments, **options):
            steps[0] += 1
            if steps[0] == when:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return step

    for name in ("replace", "rename"):
        patch.setattr(os, name, stopping(getattr(os, name)))
    patch.setattr(Path, "write_bytes", stopping(Path.write_bytes))
    patch.setattr(Path, "write_text", stopping(Path.write_text))


@pytest.mark.parametrize("when", range(1, 12))
def test_an_interrupted_delivery_is_finished_by_the_next_one(tmp_path, monkeypatch, when):
    learner = Learner(tmp_path)
    learner.gets(lesson(), syllabus="one", folklore="one")
    change(learner.path(), turn_update=ANSWER)
    course(learner.root, {"00_first": lesson(prose="Other words."), "01_next": lesson()}, syllabus="two")
    with monkeypatch.context() as patch:
        interrupt(patch, when)
        try:
            learner.again()
        except KeyboardInterrupt:
            assert text_of(learner.path(), "turn-update") == ANSWER
    learner.again()
    assert text_of(learner.path(NEW), "turn-update") == ANSWER and "Other words." in learner.path(NEW).read_text()
    assert text_of(learner.path(), "turn-update") == ANSWER and learner.path("syllabus.md").read_text() == "two"
    assert {*learner.files()} == {NAME, NEW, "workbook/01_next.ipynb", "syllabus.md", "folklore.md", record.NAME}
    assert learner.again().said == []
