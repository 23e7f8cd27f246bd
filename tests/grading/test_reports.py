"""Reports: a row for each student and task; what a student wrote is shown and never obeyed."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.grading import feedback, marks, reports, summary
from lora_lab.grading.engine import Graded
from lora_lab.grading.exercise import Exercise
from lora_lab.grading.outcome import Outcome
from lora_lab.grading.reports import Places
from lora_lab.grading.submissions import Left, Submission
from lora_lab.grading.verdict import Verdict

PAPERS = [
    Exercise("01_svd", "SVD", ("cut", "energy"), frozenset(), {"cut": 1.0, "energy": 2.0}),
    Exercise("02_scaling", "Scaling", ("scale",), frozenset(), {"scale": 1.0}),
]
HOSTILE = '<script>alert(1)</script>=HYPERLINK("x")\x1b[31m\u202e'


def one(student, *verdicts, exercise="01_svd", late=False, trouble="", before=False, path="a/01_svd.ipynb", note=""):
    submission = Submission(student, exercise, path, b"x", None, late, note)
    return Graded(submission, Outcome(verdicts, 1.0, 0.5, trouble), before)


RIGHT = (Verdict("cut", "right", 1.0), Verdict("energy", "right", 2.0, score=48.0))
HALF = (Verdict("cut", "right", 1.0), Verdict("energy", "wrong", 0.0, "2 times too large"))


def table(rows):
    return list(csv.DictReader(io.StringIO(reports.marks_table(rows))))


def test_there_is_a_row_for_each_student_and_task_also_where_nothing_was_handed_in():
    rows = marks.marks([one("bo", *HALF, late=True), one("al", *RIGHT)], PAPERS, ("al", "bo", "cy"))
    found = table(rows)
    assert list(found[0]) == list(reports.COLUMNS)
    assert [(row["student"], row["task"], row["status"], row["points"], row["of"], row["late"]) for row in found] == [
        ("al", "cut", "right", "1", "1", "no"),
        ("al", "energy", "right", "2", "2", "no"),
        ("bo", "cut", "right", "1", "1", "yes"),
        ("bo", "energy", "wrong", "0", "2", "yes"),
        ("cy", "cut", "nothing handed in", "0", "1", "no"),
        ("cy", "energy", "nothing handed in", "0", "2", "no"),
    ]
    assert found[1]["score"] == "48" and found[3]["why"] == "2 times too large" and found[0]["file"] == "a/01_svd.ipynb"


def test_what_the_grader_could_not_grade_has_no_points_and_is_no_zero():
    [first, second] = marks.marks([one("al", trouble="its process died")], PAPERS)
    assert (first.status, first.points) == ("not graded", None) == (second.status, second.points)
    assert table([first])[0]["points"] == "" and "process" in first.why
    assert "process" not in feedback.page("al", [first]) and "ask your instructor" in feedback.page("al", [first])
    said = reports.gradescope([first, second], 1.0)
    assert "could not be graded" in said["output"] and "process" not in json.dumps(said)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝", "＠", "  -"])
def test_no_cell_begins_as_a_formula_does(start):
    name = f"{start}cmd|' /C calc'!A0"
    text = reports.marks_table(marks.marks([one(name, *HALF, path=name)], PAPERS))
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not any(cell.lstrip(" ").startswith(reports._FORMULA) for cell in row)
    if name.strip(" \r\n")[0] != "c":
        assert table(marks.marks([one(name, *HALF)], PAPERS))[0]["student"] == f"'{name}"


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_table_is_read_back_as_it_was_written(student, why):
    rows = marks.marks([one(student, Verdict("cut", "wrong", 0.0, why), RIGHT[1])], PAPERS)
    found = list(csv.reader(io.StringIO(reports.marks_table(rows), newline="")))
    assert [len(row) for row in found] == [10] * 3
    assert found[1][0].removeprefix("'") == student.replace("\r", " ").replace("\n", " ").removeprefix("'")
    assert found[1][7].removeprefix("'") == " ".join(rows[0].why.split()).removeprefix("'")


def test_a_number_of_ours_is_a_number_and_negative_scores_stay():
    assert [reports.cell(value) for value in (1.0, 0.5, -2.5, None, True)] == ["1", "0.5", "-2.5", "", "1"]


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_a_page_shows_what_a_student_wrote_and_obeys_nothing():
    wrong = Verdict("cut", "wrong", 0.0, HOSTILE)
    rows = marks.marks([one(HOSTILE, wrong, RIGHT[1], path=f"{HOSTILE}/x.ipynb")], PAPERS)
    seen = Seen()
    seen.feed(feedback.page(HOSTILE, rows))
    assert "script" not in seen.tags and "<script>alert(1)</script>" in "".join(seen.text)
    assert "default-src 'none'" in feedback.page(HOSTILE, rows)
    assert "\x1b" not in rows[0].why and "\u202e" not in rows[0].why


def test_a_page_says_result_points_diagnosis_and_lateness():
    page = feedback.page("Ada", marks.marks([one("Ada", *HALF, late=True)], PAPERS))
    text = re.sub(r"<[^>]+>", " ", page)
    for words in (
        "Feedback for  Ada",
        "1 of 3 points",
        "2 times too large",
        "not right yet",
        "handed in late",
        "energy",
    ):
        assert words in text


def test_a_diagnosis_is_cut_to_what_a_page_bears():
    [row, _] = marks.marks([one("al", Verdict("cut", "wrong", 0.0, "x" * 10**6), RIGHT[1])], PAPERS)
    assert len(row.why) <= marks.MOST_WHY + 3 and len(feedback.page("al", [row])) < 10_000


def test_gradescopes_file_has_what_its_documentation_asks_for():
    graded = [one("al", *HALF, late=True), one("al", Verdict("scale", "right", 1.0), exercise="02_scaling")]
    said = reports.gradescope(marks.marks(graded, PAPERS), 2.0)
    assert said["score"] == 2.0 and said["execution_time"] == 2.0 and said["stdout_visibility"] == "hidden"
    assert [test["name"] for test in said["tests"]] == ["01_svd: cut", "01_svd: energy", "02_scaling: scale"]
    assert [test["status"] for test in said["tests"]] == ["passed", "failed", "passed"]
    assert [(test["score"], test["max_score"]) for test in said["tests"]] == [(1.0, 1.0), (0.0, 2.0), (1.0, 1.0)]
    assert "2 times too large" in said["tests"][1]["output"] and "late" in said["tests"][1]["output"]
    assert all(test["visibility"] == "visible" for test in said["tests"])
    assert set(said) <= {"score", "execution_time", "output", "output_format", "test_output_format", "test_name_format",
                         "visibility", "stdout_visibility", "extra_data", "tests", "leaderboard"}  # fmt: skip
    assert json.loads(json.dumps(said, allow_nan=False)) == said


NAMES = [
    "Ada Lovelace",
    "ada lovelace",
    "ADA-LOVELACE",
    "../../etc/passwd",
    "CON",
    "李明",
    "محمد",
    "x" * 999,
    "李" * 99,
]
NAMES += ["", ".", "..", "a/b", "a\\b", "a:b", "nul", "Ö", "O\u0308x", "\ud800", "🙂", "-rf", "a\0b"]


def test_every_students_file_has_a_name_of_its_own_that_every_system_takes():
    names = [reports.file_name(name) for name in NAMES]
    assert len({name.casefold() for name in names}) == len(NAMES)
    for name in names:
        assert re.fullmatch(r"[\w]+-[0-9a-f]{10}", name) and len(f"{name}.json".encode()) < 120
        assert name.casefold().partition("-")[0] not in reports._RESERVED
    assert reports.file_name("李明").startswith("李明-") and reports.file_name("Ada Lovelace").startswith(
        "Ada_Lovelace-"
    )


@given(st.text(), st.text())
def test_two_names_never_share_a_file(one_name, other):
    assert one_name == other or reports.file_name(one_name).casefold() != reports.file_name(other).casefold()


def test_reports_are_written_beside_the_table_and_old_ones_go(tmp_path):
    places = Places(tmp_path / "marks.v2.csv")
    graded = [one("al", *RIGHT), one("bo", *HALF)]
    left = [Left("c.ipynb", "is empty"), Left("a.txt", "is no notebook", "no notebook")]
    reports.write(places, marks.marks(graded, PAPERS), graded, left)
    assert {path.name for path in tmp_path.iterdir()} == {
        "marks.v2.csv", "marks.v2.files.csv", "marks.v2.feedback", "marks.v2.gradescope",
    }  # fmt: skip
    files = {row["file"]: row for row in csv.DictReader(io.StringIO(places.files.read_text(encoding="utf-8")))}
    assert files["c.ipynb"]["what"] == "not graded" and files["c.ipynb"]["note"] == "is empty"
    assert files["a.txt"]["what"] == "no notebook" and files["a/01_svd.ipynb"]["what"] == "graded"
    assert {path.stem for path in places.feedback.iterdir()} == {reports.file_name("al"), reports.file_name("bo")}
    reports.write(places, marks.marks(graded[:1], PAPERS), graded[:1], [])
    assert {path.stem for path in places.feedback.iterdir()} == {reports.file_name("al")}
    assert {path.stem for path in places.gradescope.iterdir()} == {reports.file_name("al")}


def test_a_report_that_cannot_be_written_leaves_the_old_table(tmp_path, monkeypatch):
    places = Places(tmp_path / "grades.csv")
    graded = [one("al", *RIGHT)]
    reports.write(places, marks.marks(graded, PAPERS), graded, [])
    before = places.out.read_text()
    monkeypatch.setattr(reports, "files_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reports.write(places, [], [], [])
    assert places.out.read_text() == before


def test_the_summary_says_how_many_what_came_out_and_what_was_not_graded_and_why():
    graded = [one("al", *RIGHT), one("bo", *HALF, late=True, before=True), one("cy", trouble="its process died")]
    left = [Left("d.ipynb", "is empty"), Left("e.ipynb", "is superseded by f.ipynb", "superseded"),
            Left("g.txt", "is no notebook", "no notebook")]  # fmt: skip
    rows = marks.marks(graded, PAPERS, ("al", "bo", "cy", "di"))
    text = "\n".join(summary.lines(graded, rows, left, 12.34, "grades.files.csv"))
    for words in (
        "2 submissions of 3 students in 1 exercise graded, 1 of them before",
        "tasks: 3 right, 1 wrong, 2 not graded, 2 nothing handed in",
        "12.3 s, 0.50 s of CPU per submission at the median",
        "late: 1\n  bo, 01_svd",
        "superseded: 1\n  e.ipynb is superseded by f.ipynb",
        "not graded: 2\n  a/01_svd.ipynb: its process died\n  d.ipynb is empty",
        "nothing handed in: 1\n  di (01_svd)",
        "1 other file: no notebooks",
    ):
        assert words in text
    assert summary.failed(graded) and not summary.failed(graded[:2])


def test_only_what_a_person_should_decide_is_to_be_looked_at():
    notes = ("the last of 2 files", "the last of 2 files; an earlier one was in time")
    graded = [one(f"s{number}", *RIGHT, note=note) for number, note in enumerate(notes)]
    lines = summary.lines(graded, marks.marks(graded, PAPERS), [], 1.0, "t")
    assert "to look at: 1" in lines and any(line.startswith("  s1, 01_svd: the last") for line in lines)


def test_a_long_list_is_cut_and_says_where_the_rest_is():
    left = [Left(f"{n}.ipynb", "is empty") for n in range(50)]
    lines = summary.lines([one("al", *RIGHT)], [], left, 1.0, "grades.files.csv")
    assert "not graded: 50" in lines and "  and 30 more: see grades.files.csv" in lines and len(lines) < 30


def test_on_a_narrow_screen_the_sentence_has_a_line_of_its_own():
    page = feedback.page("al", marks.marks([one("al", *HALF)], PAPERS))
    assert re.search(r"@media \(max-width.*td\.why \{ grid-column: 1 / -1", page, re.DOTALL)
