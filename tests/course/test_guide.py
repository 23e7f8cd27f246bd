"""The instructor's guide is what its script writes, its words agree with the lessons, and its minutes add up."""

import html
import re
import tomllib

import guide
import nbformat
import pytest
from teaching import facts, pace, polls, words

from lora_lab import records
from lora_lab.commands import cli
from lora_lab.exercises import lessons
from tests.helpers.lessons import MASTERS

LESSONS, WRITTEN = facts.every(), guide.files()
TEXT = guide.GUIDE.read_text(encoding="utf-8")
SHEETS = guide.POLLS.read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*\.?\d+(?![\w])")


def by_number(lesson):
    return lesson.number


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_the_committed_file_is_what_the_script_writes(path):
    assert path.read_text(encoding="utf-8") == WRITTEN[path], "run python course/guide.py"


def test_every_lesson_has_its_words_and_no_words_are_left_over():
    there = {path.stem for path in words.FOLDER.glob("[0-9][0-9]_*.toml")}
    assert there == {master.stem for master in MASTERS.glob("[0-9][0-9]_*.py")}


@pytest.mark.parametrize("lesson", LESSONS, ids=by_number)
def test_a_number_that_a_person_wrote_stands_in_its_lesson(lesson):
    """So that words do not go stale when a lesson measures anew: numbers of two digits and more."""
    written = (words.FOLDER / f"{lesson.name}.toml").read_text(encoding="utf-8")
    notebook = nbformat.read(facts.ROOT / "notebooks" / f"{lesson.name}.ipynb", as_version=4)
    shown = str([[cell.source, cell.get("outputs")] for cell in notebook.cells]).replace(",", "")
    for number in NUMBER.findall(written):
        alone = rf"(?<![\d.]){re.escape(number.replace(',', ''))}(?!\d)"
        assert re.search(alone, shown), f"{number} is not in the lesson"


def test_a_measured_value_comes_from_the_notebooks_last_table_of_guesses():
    """An oracle read differently: the lesson's own summary, line by line, in which every guess stands once more."""
    for lesson in LESSONS:
        cells = nbformat.read(facts.ROOT / "notebooks" / f"{lesson.name}.ipynb", as_version=4).cells
        (summary,) = (cell for cell in cells if f'results("{lesson.number}")' in cell.source)
        tables = [output.data["text/html"] for output in summary.outputs if "text/html" in output.get("data", {})]
        (table,) = (table for table in tables if "what was guessed" in table)
        rows = [re.sub(r"<[^>]+>", "\t", row).split("\t") for row in table.split("</tr>")]
        told = [[part for part in row if part.strip()][2] for row in rows if len(row) > 4][1:]
        assert [asked.measured for asked in lesson.asked] == told


def test_the_clock_of_a_lesson_has_each_section_with_the_minutes_of_its_master():
    for lesson, said in zip(LESSONS, lessons.every(), strict=True):
        lines = guide.clock(lesson).splitlines()[2:]
        now, rows = 0, [line.strip("| ").split(" | ") for line in lines]
        for begins, minutes, *_ in rows:
            assert begins == f"{now // 60}:{now % 60:02}"
            now += int(minutes)
        assert [row[2] for row in rows[1 : 1 + len(said.sections)]] == [section["title"] for section in said.sections]
        assert now <= guide.SESSION, f"{lesson.number} does not fit into {guide.SESSION} minutes"


@pytest.mark.parametrize("lesson", LESSONS, ids=by_number)
def test_a_lesson_has_the_minutes_of_a_brisk_walk_through_it(lesson):
    """Read aloud, polled, typed and run; a section may run over, if the lesson does not."""
    assert lesson.brisk <= lesson.minutes + 1
    assert lesson.brisk == pytest.approx(sum(section.brisk for section in lesson.sections))


def test_a_walk_counts_words_in_sight_code_pictures_and_what_hands_do():
    text = nbformat.v4.new_markdown_cell("one [two](https://a.b) three <details>folded words</details> four")
    hint = nbformat.v4.new_markdown_cell("a b c", metadata={"tags": ["hint:x"]})
    pages = ('<figure><img alt="a"></figure>', "<table></table>", "<table>what was guessed</table>")
    shown = [nbformat.v4.new_output("display_data", data={"text/html": page}) for page in pages]
    code = nbformat.v4.new_code_cell("a = 1\n\nb = 2", outputs=shown)
    answer = nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["reveal"]})
    asserts = nbformat.v4.new_code_cell("assert a", metadata={"tags": ["assert"]}, outputs=shown)
    walked = pace.of_cells([text, hint, code, answer, asserts])
    assert walked == pytest.approx(4 / 130 + 2 * 4 / 60 + 0.75 + 0.5)
    turn = {"gaps": [{"text": "#> do\nx = 1\ny = 2\n#<"}]}
    assert pace.of_hands(3, [turn, turn]) == 3 + 2 * 2 + 4


def test_every_plan_adds_up_and_a_day_has_its_breaks():
    ends = {}
    for plan in words.plans(LESSONS):
        minutes = [guide._part(part)[0] for part in plan.part]
        ends[plan.title] = (guide._minutes(plan.begins) if plan.begins else 0) + sum(minutes)
        at = f"it ends at {ends[plan.title] // 60}:{ends[plan.title] % 60:02}."
        assert f"Together {sum(minutes)} minutes; {at}" in TEXT and min(minutes) > 0
    assert ends["Ninety minutes with newcomers"] == 90
    assert ends["A day"] <= 17 * 60, "a day is over at five"
    assert max(ends["Half a day"], ends["The second half day"]) <= 13 * 60
    (day,) = (plan for plan in words.plans(LESSONS) if plan.title == "A day")
    assert [part.minutes for part in day.part if part.what == "Lunch"] == [60]
    assert sum(part.minutes for part in day.part if "break" in part.what) >= 40


def test_nobody_sits_for_more_than_a_hundred_minutes_without_a_break():
    for plan in words.plans(LESSONS):
        sitting = 0
        for part in plan.part:
            pause = not part.lesson and re.search("break|Lunch|Stretch", part.what)
            sitting = 0 if pause else sitting + guide._part(part)[0]
            assert sitting <= 110, f"{plan.title}: {sitting} minutes up to {part.what or part.lesson}"


@pytest.mark.parametrize("lesson", LESSONS, ids=by_number)
def test_the_ranges_of_a_poll_part_what_was_measured_from_both_typical_wrong_values(lesson):
    for asked in lesson.asked:
        bounds = polls.bounds(asked)
        values = [asked.value, *(value for value, _ in asked.wrong[:2])]
        assert list(bounds) == sorted(set(bounds)) and not set(bounds) & set(values), asked.question
        assert len({sum(bound < value for bound in bounds) for value in values}) == 3, asked.question


def digits(choice):
    """The digits that a range is written with, without zeros at an end of a number."""
    return sum(len(re.sub(r"\D", "", number).strip("0")) for number in re.findall(r"[\d,.]+", choice))


def width(asked, number):
    low, high = polls.bounds(asked)[number - 1 : number + 1]
    return high - low


# What one might go by who knows nothing of the question; each gives one of the four ranges, from 0.
RULES = {
    "always the first": lambda asked: 0,
    "always the second": lambda asked: 1,
    "always the third": lambda asked: 2,
    "always the last": lambda asked: 3,
    "the wider of the two inner ones": lambda asked: max((1, 2), key=lambda number: width(asked, number)),
    "the narrower of the two": lambda asked: min((1, 2), key=lambda number: width(asked, number)),
    "the roundest": lambda asked: min(range(4), key=lambda number: digits(polls.ranges(asked)[number])),
    "the most exact": lambda asked: max(range(4), key=lambda number: digits(polls.ranges(asked)[number])),
    "the longest": lambda asked: max(range(4), key=lambda number: len(polls.ranges(asked)[number])),
    "the shortest": lambda asked: min(range(4), key=lambda number: len(polls.ranges(asked)[number])),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_right_range_of_a_poll_is_not_found_by_its_place_or_its_form(rule):
    """One of four is chance; a rule that is right more often than one in three would be worth knowing."""
    asked = [each for lesson in LESSONS for each in lesson.asked]
    right = [sum(bound < each.value for bound in polls.bounds(each)) for each in asked]
    found = sum(RULES[rule](each) == number for each, number in zip(asked, right, strict=True))
    assert found <= len(asked) / 3, f"{rule}: right in {found} of {len(asked)}"


def test_among_the_inner_ranges_of_a_poll_neither_place_nor_width_tells_which_is_right():
    asked = [each for lesson in LESSONS for each in lesson.asked if polls.column(each, each.value) in (1, 2)]
    for rule in ("always the second", "the wider of the two inner ones"):
        found = sum(RULES[rule](each) == polls.column(each, each.value) for each in asked)
        assert 1 / 3 <= found / len(asked) <= 2 / 3, f"{rule}: right in {found} of {len(asked)}"


def test_no_range_is_right_in_every_question_of_a_lesson():
    for lesson in LESSONS:
        assert len({polls.column(asked, asked.value) for asked in lesson.asked}) > 1, lesson.number


def test_a_range_that_holds_nothing_stands_on_a_side_that_depends_on_the_guess_alone():
    """Both sides, by a name; in the other gap, where one has no room; and below all, where neither has."""

    def bounds(name, *values):
        middle, low, high = f"{values[1]}", (float(values[0]), "low"), (float(values[2]), "high")
        return polls.bounds(facts.Asked(name, "how many", 1, middle, (low, high)))

    assert {bounds(name, 0, 60, 120) for name in "abcdef"} == {(10, 50, 90), (30, 70, 100)}
    assert {bounds(name, 0, 1, 7) for name in "abcdef"} == {(0.5, 2, 6)}
    assert {bounds(name, 1.5, 6.5, 6.6) for name in "abcdef"} == {(2, 6, 6.55)}
    assert {bounds(name, 2, 3, 4) for name in "abcdef"} == {(1.5, 2.5, 3.5)}


BETWEEN = [
    (2, 4, 3),
    (0, 0.07, 0.04),
    (84, 16000, 1000),
    (-20, -10, -15),
    (1, 2, 1.5),
    (45.1, 45.3, 45.2),
    (94, 95, 94.5),
]


@pytest.mark.parametrize(("low", "high", "bound"), BETWEEN)
def test_a_bound_is_round_and_lies_strictly_between(low, high, bound):
    assert polls._between(low, high) == (bound,)


TWO_BETWEEN = [
    (0, 6, (1, 5)),
    (50, 100, (60, 90)),
    (64, 4096, (100, 2000)),
    (1, 3, (1.3, 2.7)),
    (1, 2, ()),
    (1.99, 2, ()),
]


@pytest.mark.parametrize(("low", "high", "found"), TWO_BETWEEN)
def test_two_bounds_leave_about_two_thirds_between_them_and_room_for_a_whole_number(low, high, found):
    assert polls._between(low, high, 2) == found


def test_a_third_typical_wrong_value_moves_no_bound():
    two = facts.Asked("a", "how many", 1, "5", ((1.0, "few"), (9.0, "many")))
    three = facts.Asked("a", "how many", 1, "5", (*two.wrong, (4.0, "some")))
    assert polls.bounds(three) == polls.bounds(two)


def test_two_values_that_are_equal_have_no_bound():
    with pytest.raises(ValueError, match="no range parts 3 from 3"):
        polls._between(3, 3)


def test_the_sheets_have_every_guess_and_room_and_no_answer():
    for lesson in LESSONS:
        for asked in lesson.asked:
            assert polls._text(asked.question) in SHEETS
            for _, revealed in asked.wrong:
                assert polls._text(revealed) not in SHEETS
    asked = sum(len(lesson.asked) for lesson in LESSONS)
    assert SHEETS.count("<td></td>") == SHEETS.count("<td") == 4 * asked
    assert guide.ANSWERS.read_text(encoding="utf-8").count('<td class="right">') == asked


def test_the_sheets_need_no_other_file_and_no_network():
    for text in (SHEETS, guide.ANSWERS.read_text(encoding="utf-8")):
        assert not re.search(r"(?:src|href)=|url\(|https?:|<script", text)


def test_the_server_holds_forty_kernels_with_room():
    largest = max(row["peak_bytes"] for row in records.tried("classroom", model="embedded"))
    size, limit = int(guide.FILLED["server_gb"]()), int(guide.FILLED["limit_gb"]())
    assert 1.2 * 40 * largest < size * 1e9 < 1.6 * 40 * (largest + 0.3e9) + 16e9
    assert 2 * largest < limit * 1e9


def test_every_link_leads_to_a_file_or_to_a_page_of_the_guide():
    for link in re.findall(r"\]\((?!https:)([^)]+)\)", TEXT):
        if link.startswith("#"):
            assert f'<a id="{link[1:]}"></a>' in TEXT, link
        else:
            assert (guide.COURSE / link).is_file(), link


@pytest.mark.parametrize("line", sorted(set(re.findall(r"(?:^|`|\w )lora-lab ([^`#\n]+)", TEXT, re.MULTILINE))))
def test_a_command_that_the_guide_names_is_one(line):
    name, *rest = line.split()
    if rest and "--help" not in rest:
        assert cli._parser().parse_args([name, *rest]).command
    with pytest.raises(SystemExit, match="^0$"):
        cli._parser().parse_args([name, "--help"])


def test_words_that_name_a_section_that_there_is_not_are_refused_by_their_file(tmp_path, monkeypatch):
    lesson = LESSONS[0]
    path = tmp_path / f"{lesson.name}.toml"
    monkeypatch.setattr(words, "FOLDER", tmp_path)
    ask = "".join(f'{word} = ""\n' for word in ("question", "good", "half", "wrong"))
    right = f'wall = ""\nbreaks = ""\nhomework = ""\n[[ask]]\nsection = 1\n{ask}'
    for wrong, sentence in (
        ('[stop]\nafter = 9\nlearned = ""\n[behind]\nat = 1\nto = 2\nwords = ""', "names section 9"),
        ('[stop]\nafter = 1\nlearned = ""\n[behind]\nat = 2\nto = 2\nwords = ""', "jumps from section 2 back to 2"),
        ('[stop]\nafter = 1\n[behind]\nat = 1\nto = 2\nwords = ""', "learned"),
        ("stop = ", "Invalid"),
    ):
        path.write_text(right + wrong, encoding="utf-8")
        with pytest.raises(ValueError, match=rf"{path.name}.*{sentence}"):
            words.of(lesson)
    assert tomllib.loads(right)["ask"]


def test_a_name_in_the_template_that_nothing_fills_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(words, "template", lambda: "{{peple}}")
    with pytest.raises(ValueError, match=r"nothing fills \{\{peple\}\}; there are address"):
        guide.guide()
    assert guide.main() == 2 and "nothing fills" in capsys.readouterr().err
    monkeypatch.undo()
    assert set(re.findall(r"\{\{(\w+)\}\}", words.template())) == set(guide.FILLED)


# What a plan says


def plan(tmp_path, monkeypatch, *parts):
    text = "".join(f"[[plan.part]]\n{part}\n" for part in parts)
    (tmp_path / "plans.toml").write_text(f'[[plan]]\ntitle = "A day"\nwords = ""\n{text}', encoding="utf-8")
    monkeypatch.setattr(words, "FOLDER", tmp_path)
    return words.plans(LESSONS)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ('lesson = "03"\nsections = [5, 12]', '"A day" names sections [5, 12] of 03, which has 8: give the first'),
        ('lesson = "03"\nsections = [6, 2]', "names sections [6, 2] of 03"),
        ('lesson = "03"\nsections = [2]', "names sections [2] of 03"),
        ('lesson = "99"', "names lesson 99; there are 00, 01"),
        ('lesson = "03"\nminutes = 4', "gives minutes to lesson 03, which has its own"),
        ('lesson = "03"\nlate = 3', "says of 03 what to do if section 3 is late: ''"),
        ('lesson = "03"\nsections = [1, 4]\nlate = 4\nbehind = "go on"', "if section 4 is late: 'go on'"),
        ('minutes = 0\nwhat = "air"', "has a part of 0 minutes: 'air'"),
        ("minuets = 4", "unexpected keyword argument 'minuets'"),
        ("minutes = ", "Invalid"),
    ],
)
def test_a_plan_that_does_not_fit_the_lessons_is_refused(tmp_path, monkeypatch, part, sentence):
    with pytest.raises(ValueError, match=rf"plans\.toml: .*{re.escape(sentence)}"):
        plan(tmp_path, monkeypatch, part)


def test_a_jump_stands_in_the_plans_own_time_and_a_lesson_ends_with_its_questions(tmp_path, monkeypatch):
    (made,) = plan(
        tmp_path,
        monkeypatch,
        'minutes = 7\nwhat = "doors"',
        'lesson = "00"',
        'lesson = "03"\nsections = [2, 4]\nlate = 3\nbehind = "Type less"',
    )
    monkeypatch.undo()
    first = LESSONS[0]
    jump = words.of(first).behind
    due = 7 + sum(section.minutes for section in first.sections[: jump.at]) + guide.LATE
    rows = [line.strip("| ").split(" | ") for line in guide._plan(made).splitlines()[3:5]]
    assert rows[0][0] == "0:07" and rows[0][1] == f"{first.minutes + guide.CLOSING}"
    assert rows[0][2].endswith("its three questions") and not rows[1][2].endswith("its three questions")
    assert rows[0][3] == f"section {jump.at} not done at {due // 60}:{due % 60:02}? Jump to {jump.to}"
    now = 7 + first.minutes + guide.CLOSING
    due = now + sum(section.minutes for section in LESSONS[3].sections[1:3]) + guide.LATE
    assert rows[1][3] == f"section 3 not done at {due // 60}:{due % 60:02}? Type less"


def section(title, minutes, seconds, **more):
    return facts.Section(title, minutes, more.pop("brisk", 1.0), seconds, **{"guesses": (), "turns": ()} | more)


def test_a_lessons_page_counts_from_its_sections():
    """The clock of a jump, and what the sections between its two ends compute, against a lesson made by hand."""
    sections = (
        section("1. One", 10, 1),
        section("2. Two", 20, 4.2, brisk=21.5),
        section("3. Three", 7, 8),
        section("4", 3, 16),
    )
    asked = (facts.Asked("a", "how many", 1, "5", ((1.0, "few"), (9.0, "many"))),)
    lesson = facts.Facts("07_made", "Made", "00", sections, asked, (), (("Task", 5),), 10**9, 3.0)
    said = words.Words("wall", "breaks", "home", (words.Ask(2, "Why?", "a", "b", "c", after="g"),),
                       words.Stop(2, "learned"), words.Behind(2, 4, "Say it."))  # fmt: skip
    page = guide.lesson_page(lesson, said)
    jump = "section 2 not done at 0:40? Jump to section 4 (what lies between computes for 13 s). Say it."
    assert f"**If you are behind**: {jump}" in page
    assert "**Stop mark**, 0:35, after section 2: learned" in page
    assert "**Ask**, in section 2, once the guess `g` is in: Why?" in page
    assert "**Runs over**: section 2 (22 minutes at a brisk walk)." in page


@pytest.mark.parametrize(("measured", "column"), [("5", 0), ("15", 2), ("25", 3)])
def test_reasons_stand_under_the_range_that_holds_their_wrong_value(measured, column):
    asked = facts.Asked("a", "how many", 1, measured, ((20.0, "twenty"), (10.0, "ten")))
    cells = [polls._answer(asked, number) for number in range(4)]
    assert f"right: {measured}" in cells[column] and polls.column(asked, asked.value) == column
    assert sum("no typical guess" in cell for cell in cells) == 1
    for word, value in (("ten", 10), ("twenty", 20)):
        assert f": {word}<" in cells[polls.column(asked, value)]


def test_a_question_that_answers_a_guess_names_one_of_its_section(tmp_path, monkeypatch):
    lesson = LESSONS[0]
    text = (words.FOLDER / f"{lesson.name}.toml").read_text(encoding="utf-8")
    assert 'after = "tuned"' in text
    (tmp_path / f"{lesson.name}.toml").write_text(
        text.replace('after = "tuned"', 'after = "full_gb"'), encoding="utf-8"
    )
    monkeypatch.setattr(words, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"section 6 has no guess 'full_gb'"):
        words.of(lesson)


def test_no_column_of_waits_stands_twice():
    headers = guide.kernels().splitlines()[0].strip("| ").split(" | ")
    assert len({header[:2] for header in headers}) == len(headers) and "the longest of all" in guide.kernels()


# Who goes in order has not been told


# The same figure, said of something else: a text's length, another method's bar, another step, a loss, another model.
ELSEWHERE = {
    "break_even": ["2,048 tokens"],
    "plain_gb": ["LoRA 32 GB"],
    "ruined_facts": ["1.29 times the operations", "Full shows 1.29"],
    "beside": ["full: 1.34 times the memory"],
    "h100_minutes": ["7 to 16 minutes"],
}


def read(path):
    """What each cell of a notebook shows: its words, or what it prints, draws (the alt text) and tabulates."""
    shown = []
    for cell in nbformat.read(path, as_version=4).cells:
        pages = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
        alts = [alt for page in pages for alt in re.findall(r'alt="([^"]*)"', page)]
        words = [re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL) for page in pages]
        printed = [output.get("text", "") for output in cell.get("outputs", [])]
        shown.append(" ".join([cell.source * (cell.cell_type == "markdown"), *alts, *words, *printed]))
    return [" ".join(html.unescape(words).split()) for words in shown]


def telling(asked):
    """What would tell a guess's answer: its figure and the unit that its question begins with, or alone if it is exact.

    Per cent are left out: every lesson has dozens, of all things.
    """
    unit = asked.question.split()[0]
    figures = {asked.measured, f"{asked.value:,.10g}"}
    if unit == "%":
        return set()
    if unit in ("GB", "MB", "points", "minutes"):
        rounded = {f"{asked.value:.0f}"} if asked.value >= 10 else set()
        return {f"{figure} {unit}" for figure in figures | rounded}
    return {figure for figure in figures if len(re.sub(r"\D", "", figure).strip("0")) > 2}


def test_no_guess_is_told_before_it_is_asked_to_who_goes_in_order():
    """Nowhere in README, syllabus, the lessons before, and above in the same one."""
    before = [(guide.COURSE.parent / name).read_text(encoding="utf-8") for name in ("README.md", "course/syllabus.md")]
    told = []
    for lesson in LESSONS:
        path = guide.COURSE.parent / "notebooks" / f"{lesson.name}.ipynb"
        tags, shown = [cell.metadata.get("tags", []) for cell in nbformat.read(path, as_version=4).cells], read(path)
        for asked in lesson.asked:
            at = next(number for number, found in enumerate(tags) if f"guess:{asked.name}" in found)
            above = " ".join([*before, *shown[:at]])
            for other in ELSEWHERE.get(asked.name, []):
                above = above.replace(other, "")
            for figure in telling(asked):
                if re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d|[.,]\d)", above):
                    told.append(f"{lesson.number} {asked.name}: {figure}")
        before += shown
    assert told == []


# Files


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    path = tmp_path / "guide.md"
    path.write_text("as it was", encoding="utf-8")
    full = OSError("no space left")

    def refuse(*args, **options):
        raise full

    monkeypatch.setattr(guide, "files", lambda: {path: "new"})
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_text", refuse)
        assert guide.main() == 2
    assert capsys.readouterr().err == "no space left\n"
    assert path.read_text(encoding="utf-8") == "as it was" and list(tmp_path.iterdir()) == [path]
    assert guide.main() == 0 and path.read_text(encoding="utf-8") == "new"


def test_every_address_in_a_document_has_the_ref_of_the_repository(monkeypatch):
    here = guide.repository(guide.COURSE.parent)
    places = rf"{re.escape(here['address'])}(?:/(?:blob|tree|archive)/|(?:\.git)?@)([\w.-]*[\w])"
    found = 0
    for path in (*guide.COURSE.glob("*.md"), *guide.COURSE.glob("*.html")):
        refs = [ref.removesuffix(".zip") for ref in re.findall(places, path.read_text(encoding="utf-8"))]
        assert set(refs) <= {here["ref"]}, path.name
        found += len(refs)
    assert found >= 4 and here["address"] not in words.template()
    monkeypatch.setattr(guide, "repository", lambda root: here | {"ref": "v9"})
    assert "@v9" in guide.guide() and f"@{here['ref']}" not in guide.guide()
    written = guide.files()[guide.GRADING]
    assert "/blob/v9/benchmarks" in written and "/tree/v9/course" in written
