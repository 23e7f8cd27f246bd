"""The lesson contract: what a machine can see of it, one breach at a time."""

import contract
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lora_lab.authoring import editions
from lora_lab.authoring.percent import parse
from tests.helpers.masters import LESSON

REPOSITORY = {"address": "https://github.com/o/r", "ref": "v1"}
NAME = "05_lesson"
END = "\n# %%\nresults"


def findings(master: str, name: str = NAME) -> list[str]:
    return list(contract.lesson(editions.notebook(parse(master), name, REPOSITORY), name))


def cells(count: int, source: str = "x = 1") -> str:
    """So many code cells before the last one, by their source."""
    return "".join(f"\n# %%\n{source}\n" for _ in range(count)) + END


def words(count: int) -> str:
    return f"Text {'word ' * count}with"


def test_a_lesson_in_the_new_form_has_no_findings():
    assert findings(LESSON) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (END, cells(13), "16 teaching code cells, at most 15"),
        ("    return 2 * x", "    x = x\n" * 12 + "    return 2 * x", "cell 8 (def double(x):) has 16 lines, at"),
        (END, cells(1, "[[y for y in x] for x in z]"), "cell 15 ([[y for y in x] for x in z]) has a"),
        ("rank=8)", "rank=8)\n" + "x\n" * 13, "cell 5 (from lora_lab.exercises import check, gu…) has 16 lines"),
        (END, cells(1, "sum(x for x in {y for y in z})"), "has a comprehension inside a comprehension"),
        (END, cells(1, ""), "cell 15 is empty"),
        ("Text with", words(1200), "words of markdown, at most 1200"),
        ("Multiply.", "Multiply. " + "word " * 800, "folded words (hints, answers, optional parts), at most 800"),
        ("Thus.</details>", "word " * 800 + "</details>", "folded words"),
        ("Thus.</details>", "Thus, *so*.</details>", "is shown as it stands: a blank line before it"),
        ("Thus.</details>", "[Thus](../course/syllabus.md).</details>", "is shown as it stands"),
        ("Thus.</details>", "\n#\n# Thus, *so*, and `x`.\n#\n# </details>", None),
        ("rank=rank", "", "guess:rank is handed to nobody: begin the cell that answers with guesses(rank=rank)"),
        (' tags=["hint:scaling"]', "", 'turn:scaling has no hint: add a markdown cell tagged "hint:scaling"'),
        ("# # A lesson", "# A lesson", "the first cell begins with '# ' and the lesson's title"),
        ("131 GB", "much", "the first cell names no number"),
        ("show.block_diagram(3)", "show.memory_bars(3)", "no schematic: draw the idea with a show."),
        ("](https://example.org", "](http://example.org", None),
        ("![a circle]", "![]", "cell 3 has an image without alt text"),
        ("../course/syllabus.md", "../lora_lab/lowrank.py", "cell 3 links to ../lora_lab/lowrank.py"),
        ("../course/syllabus.md", "../course/../README.md", "cell 3 links to ../course/../README.md"),
        ("../course/syllabus.md", "01_svd.py", "cell 3 links to 01_svd.py"),
        ('"assert"]', '"optional"]', 'no cell tagged "assert" among the last 4 code cells'),
        ("assert double(scaling) == 4", "double(scaling)", 'no cell tagged "assert" among the last 4 code cells'),
        (END, cells(4), 'no cell tagged "assert" among the last 4 code cells'),
        ('results("05")', "pass", 'the last code cell calls results("05")'),
        ('results("05")', 'results("04")', 'the last code cell calls results("05")'),
        ("## What to try", "## Try this", 'the section "Try this" does not open a cell tagged "minutes:N"'),
        ("# ## What to try\n#\n", "", "no '## What to try' at the end"),
        ("## Next", "## What to try", "no '## Next' at the end"),
        ("## What was not shown\n#\n# ## What to try", "## What to try\n#\n# ## What was not shown",
         "the closing parts stand in the order"),
        ("<details><summary>How?</summary>Thus.</details>", "Thus.", "three questions want three answers"),
        (' tags=["minutes:10"]', "", 'cell 7: the section "2. The second idea" does not open a cell tagged'),
        ("# $$h = W x$$", "# ## 3. More", 'cell 7: the section "3. More" does not open a cell tagged'),
    ],
)  # fmt: skip
def test_a_breach_is_named_with_its_cell_and_the_way_out(old, new, finding):
    assert old in LESSON
    found = findings(LESSON.replace(old, new, 1))
    assert found == [] if finding is None else any(finding in each for each in found), found


def test_the_picture_comes_before_the_equation():
    equation = "\n# %% [markdown]\n# $$h = W x$$\n"
    master = LESSON.replace('\n# %% tags=["optional"]', f'{equation}\n# %% tags=["optional"]')
    assert findings(master) == ["cell 6 has an equation before the first schematic (cell 7): picture first"]


def test_the_first_lesson_needs_one_turn_and_no_schematic():
    master = LESSON.replace("show.block_diagram(3)", "pass").replace('"05"', '"00"')
    before, _, rest = master.partition('# %% tags=["turn:scaling"]')
    master = before + rest[rest.index('# %% tags=["assert"]') :]
    assert findings(master, "00_start") == []
    assert any("1 turns, at least 2" in finding for finding in findings(master))


def test_what_is_guessed_checked_asserted_or_optional_is_not_teaching():
    optional = "".join(f'\n# %% tags=["optional"]\nx = {number}\n' for number in range(20))
    assert findings(LESSON.replace(END, optional + '\n# %% tags=["assert"]\nassert True\n' + END)) == []


def test_code_in_markdown_is_no_prose_and_its_headings_are_no_sections():
    fence = "\n#\n# ```python\n" + "# word word\n" * 1000 + "# ## 4. Not a section\n# ![](none.png)\n# ```\n#\n# with"
    assert findings(LESSON.replace("Text with", f"Text{fence}")) == []


def test_a_workbook_shows_nothing():
    workbook = new_notebook(cells=[new_code_cell("1"), new_code_cell("2", execution_count=1)])
    assert list(contract.no_outputs(workbook)) == ["cell 1 has an output: run course/build.py"]


def test_a_check_that_the_lessons_own_solution_fails_is_seen():
    check = new_code_cell('f = check("f", f)', id="check-f", execution_count=1)
    check.outputs = [nbformat.v4.new_output("stream", text="f: not right yet: yours 1, wanted 2\n")]
    assert list(contract.outputs(new_notebook(cells=[check]))) == [
        "cell 0 (check-f) does not say that the lesson's own solution is right"
    ]
    check.outputs[0].text = "f: right. Going on with yours.\n"
    assert list(contract.outputs(new_notebook(cells=[check]))) == []
