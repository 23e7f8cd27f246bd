"""One master, three editions: nothing is lost between them, and what is malformed is refused by name and line."""

import ast
import json
import re

import contract
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.authoring import editions, tags, tasks
from lora_lab.authoring.gaps import Gap, blank, fill
from lora_lab.authoring.percent import Cell, parse, render
from tests.helpers.masters import LESSON

REPOSITORY = {"address": "https://github.com/o/r", "ref": "v1"}
NAME = "05_lesson"


def made(text: str = LESSON) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode, dict]:
    """Notebook, workbook, and what the exercises say."""
    cells = parse(text)
    lesson = tags.read(cells)
    notebook = editions.notebook(cells, NAME, REPOSITORY)
    return notebook, editions.workbook(notebook, lesson), json.loads(editions.generated(lesson))


def cell(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    (found,) = (each for each in notebook.cells if each.id == name)
    return found


# ── the notebook ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sample_keeps_the_contract_and_the_notebook_format():
    notebook, workbook, _ = made()
    assert list(contract.lesson(notebook, NAME)) == []
    nbformat.validate(notebook)
    nbformat.validate(workbook)


def test_cells_carry_the_names_of_what_is_done_in_them():
    notebook, workbook, _ = made()
    named = ["guess-energy", "turn-double", "hint-double", "check-double", "turn-scaling", "hint-scaling"]
    assert [each.id for each in notebook.cells if "-" in each.id][2:-1] == named
    assert [each.id for each in workbook.cells if not each.id.startswith("solution-")] == [e.id for e in notebook.cells]


def test_badge_and_set_up_follow_the_opening_cell_and_lead_to_the_workbook():
    for edition in made()[:2]:
        opening, badge, setup = edition.cells[:3]
        assert opening.source.startswith("# A lesson")
        assert "https://colab.research.google.com/github/o/r/blob/v1/course/workbook/05_lesson.ipynb" in badge.source
        assert 'address, ref = "https://github.com/o/r", "v1"' in setup.source


def test_set_up_and_reveals_are_folded_for_jupyterlab_and_for_colab():
    for edition in made()[:2]:
        folded = [each for each in edition.cells if each.metadata.get("cellView") == "form"]
        assert [each.source.split("\n")[0] for each in folded] == ["#@title Set-up: run this cell first",
                                                                   "#@title The answer: run this cell"]  # fmt: skip
        assert all(each.metadata.jupyter == {"source_hidden": True} for each in folded)


def test_a_title_that_the_author_gave_to_a_reveal_stays():
    first = "from lora_lab.exercises import check"
    master = LESSON.replace(first, f"#@title Energies\n{first}")
    notebook = made(master)[0]
    assert [each.source for each in notebook.cells if each.source.startswith(f"#@title Energies\n{first}")]
    assert render(editions.master_cells(notebook)) == master


def test_each_hint_is_a_fold_whose_code_is_seen_as_code():
    source = cell(made()[0], "hint-double").source
    assert source.startswith("<details><summary>A first hint.</summary>\n\nMultiply.\n\n</details>\n\n<details>")
    assert "<summary>Help, <code>x</code> &lt; 0.</summary>" in source and source.count("</details>") == 2


# ── the workbook ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_workbook_asks_and_answers_nothing():
    _, workbook, _ = made()
    assert cell(workbook, "guess-energy").source == "energy = ...  # directions of 192\nrank = ...  # rank of an update"
    assert cell(workbook, "turn-double").source == "def double(x):\n    # twice as much: one line\n    ..."
    assert cell(workbook, "turn-scaling").source == "alpha, r = 16, 8\n# alpha over r\nscaling = ..."
    assert all(not each.get("outputs") for each in workbook.cells)
    code = "\n".join(each.source for each in workbook.cells if each.cell_type == "code")
    assert not re.search(r"#\?|#>|#<|2 \* x|alpha / r|\| ", code)


def test_every_cell_of_the_workbook_is_python():
    for each in made()[1].cells:
        if each.cell_type == "code":
            ast.parse(each.source)


def test_the_solution_is_folded_right_below_its_check():
    _, workbook, _ = made()
    ids = [each.id for each in workbook.cells]
    assert ids[ids.index("check-double") + 1] == "solution-double"
    source = cell(workbook, "solution-double").source
    assert source.startswith("<details>") and "```python\ndef double(x):\n    return 2 * x\n```" in source


def test_links_lead_from_where_each_edition_lies():
    notebook, workbook, _ = made()
    texts = ["\n".join(each.source for each in edition.cells) for edition in (notebook, workbook)]
    assert "](../course/syllabus.md)" in texts[0] and "](../syllabus.md)" in texts[1]
    assert all("](01_svd.ipynb)" in text for text in texts) and "../course/" not in texts[1]


def test_the_workbook_filled_in_is_the_notebook_cell_by_cell():
    notebook, workbook, said = made()
    assert editions.filled(workbook, said) == notebook


def test_a_lesson_without_tags_is_its_own_workbook():
    notebook, workbook, said = made("# %% [markdown]\n# # T\n\n# %%\nx = 1\n")
    assert workbook == notebook and said["turns"] == said["guesses"] == {} and said["sections"] == []


# ── what the exercises say ──────────────────────────────────────────────────────────────────────────────────────────


def test_guesses_turns_hints_and_sections_are_handed_to_the_exercises():
    said = made()[2]
    assert said["title"] == "A lesson"
    assert [tuple(each.values()) for each in said["sections"]] == [("1. The first idea", 6), ("2. The second idea", 10)]
    assert said["guesses"]["energy"]["question"] == "directions of 192"
    assert said["guesses"]["energy"]["wrong"] == [[192, "full rank sounds as if all were needed"],
                                                  [16, "the rank that papers use"]]  # fmt: skip
    assert said["guesses"]["rank"]["wrong"] == [[1, "one direction is not enough"], [64, "more is not always better"]]
    [*_, third] = made(LESSON.replace("# | 64:", "# | 4: few\n# | 64:"))[2]["guesses"]["rank"]["wrong"]
    assert third == [64, "more is not always better"]
    assert said["guesses"]["rank"]["section"] == 0 and said["turns"]["double"]["section"] == 1
    assert said["turns"]["double"]["solution"] == "def double(x):\n    return 2 * x"
    assert said["turns"]["double"]["stub"] == "def double(x):\n    # twice as much: one line\n    ..."
    labels = [hint["label"] for hint in said["turns"]["double"]["hints"]]
    assert labels == ["A first hint.", "Help, `x` < 0."]
    assert said["turns"]["double"]["hints"][1]["text"].endswith("```python\n2 * 3\n```")


def test_two_gaps_and_the_lines_between_them():
    source = "def f(x):\n    #> first\n    y = x\n    #<\n    z = y\n    #>\n    return z\n    #<"
    master = f'# %% [markdown]\n# # T\n\n# %% tags=["turn:f"]\n{source}\n\n# %% tags=["check:f"]\nf = check("f", f)\n'
    notebook, workbook, said = made(master)
    assert cell(workbook, "turn-f").source == "def f(x):\n    # first\n    ...\n    z = y\n    ..."
    assert said["turns"]["f"]["solution"] == "def f(x):\n    y = x\n    z = y\n    return z"
    assert editions.filled(workbook, said) == notebook


# ── back to the master ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_notebook_goes_back_to_the_byte():
    assert render(editions.master_cells(made()[0])) == LESSON


words = st.text(st.sampled_from("ab <>&`*#|.é$\\\n"), max_size=12).map(lambda text: f"w{text}w")
labels = (
    st.text(st.sampled_from("ab <>&`*.$"), max_size=8).map(lambda text: f"l{text}l").filter(lambda t: "**" not in t)
)


@given(st.lists(st.tuples(labels, words), min_size=1, max_size=3))
def test_any_hints_survive_folding_and_unfolding(hints):
    text = "\n\n".join(f"**{label}** {words}" for label, words in hints)
    hint = Cell("markdown", text, ("hint:f",))
    folded = editions.notebook([Cell("markdown", "# T"), hint], NAME, REPOSITORY)
    assert editions.master_cells(folded)[1] == hint


@st.composite
def plain_cells(draw):
    """Cells that hold no task."""
    kind = draw(st.sampled_from(["markdown", "code"]))
    kinds = ["optional", "slide", "mine", *(["reveal", "assert"] if kind == "code" else [])]
    return Cell(kind, draw(words), tuple(draw(st.lists(st.sampled_from(kinds), unique=True))))


@given(st.lists(plain_cells()))
def test_any_other_cells_go_back_as_they_were(plain):
    every = [Cell("markdown", "# T"), *plain]
    assert editions.master_cells(editions.notebook(every, NAME, REPOSITORY)) == every


lines = st.text(st.sampled_from("ab. "), max_size=3)


@given(st.lists(st.tuples(lines, lines, lines), min_size=1, max_size=3), st.lists(lines, max_size=3))
def test_a_cell_blanked_and_filled_is_what_it_was(parts, end):
    """Stubs are told apart by their words, and stand nowhere else in the cell."""
    gaps = [Gap(f"# stub {i}\n{stub}", f"#> text {i}\n{text}") for i, (_, stub, text) in enumerate(parts)]
    source = "\n".join([*(f"{above}\n{gap.text}" for (above, _, _), gap in zip(parts, gaps)), *end])
    assert fill(blank(source, gaps), gaps) == source


def test_what_is_written_beside_the_folds_of_a_hint_stays():
    notebook = made()[0]
    hint = cell(notebook, "hint-scaling")
    hint.source += "\n\nAn afterthought."
    (back,) = (each for each in editions.master_cells(notebook) if "hint:scaling" in each.tags)
    assert back.source == "**A first hint.** Divide.\n\nAn afterthought."


# ── malformed masters ───────────────────────────────────────────────────────────────────────────────────────────────

GUESS = next(line for line in LESSON.split("\n") if line.startswith("energy ="))
CHECK = '# %% tags=["check:double"]\ndouble = check("double", double)\nprint(double(2))\n\n'


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("    #<\n\n", "\n", "def double", "turn 'double': what the learner types stands between"),
        ("    #> twice as much: one line\n", "", "    #<", "turn 'double': '#<' without '#>'"),
        ("    return 2 * x\n    #<", "    #<", "    #<", "turn 'double': '#<' without '#>' and a solution"),
        ("    return 2 * x\n", "    #> more\n    return 2 * x\n", "    #> more", "turn 'double': a second '#>'"),
        ("    #<", "#<", "#<", "turn 'double': '#>' and '#<' are indented alike"),
        ("    return 2 * x\n", "    return 2 *\n", "def double", "with its solution the cell is no Python: "),
        ("2 * x\n    #<", "(2\n    #<\n    * x)", "def double", "turn 'double': with its stub the cell is no Python"),
        ("def double(x)", "def twice(x)", "def twice", "turn 'double': its cell defines no 'double'"),
        ("    #<\n\n", "    #<\n\ndouble(1)\n\n", "def double", "turn 'double' is called in its own cell"),
        ('"turn:double"', '"turn:double", "turn:more"', "def double", "one turn a cell"),
        ('"turn:double"', '"turn:2"', "def double", "the tag 'turn:2' wants a name"),
        ('"turn:double"', f'"turn:{"d" * 41}"', "def double", "of at most 40 plain letters"),
        ('"turn:double"', '"optional"', "def double", "'#>' and '#<' belong into a cell tagged"),
        ('"turn:double"', '"turns:double"', "def double", "unknown tag 'turns:double': did you mean 'turn'"),
        ('"optional"', '"optionel"', "show.block", "unknown tag 'optionel': did you mean 'optional'"),
        ('"reveal"', '"reveal:energy"', "from lora_lab", "the tag 'reveal:energy' takes no name"),
        ('"optional"', '"hint:double"', "show.block", "the tag 'hint:double' stands on a markdown cell"),
        (CHECK, "", "def double", "turn:double has no check"),
        (CHECK, CHECK + CHECK.replace("(2)", "(3)"), "double = check", "check:double stands there twice"),
        ("double = check", "result = check", "result = check", "check:double wants the line 'double = check"),
        ('["check:double"]', '["check:triple"]', "double = check", "check:triple has no turn:triple above it"),
        ('["hint:double"]', '["hint:triple"]', "# **A first hint.** Mul", "hint:triple has no turn:triple above it"),
        ("**A first hint.** Mul", "A first hint. Mul", "# A first hint.", "a hint begins with its label in bold"),
        ("** Multiply", "** <details>x</details>", "# **A first hint.** <d", "cannot hold another"),
        ('turn:scaling"]\n', 'turn:double"]\ndouble = 1\n', "double = 1", "turn:double stands there twice"),
        (GUESS, GUESS.rpartition(" |")[0], "energy =", "guess 'energy' wants two or more wrong values"),
        (GUESS, GUESS.replace("16:", "192:"), "energy =", "guess 'energy' wants two or more wrong values"),
        (GUESS, GUESS.replace("16: ", "sixteen: "), "energy =", "guess 'energy' wants two or more wrong values"),
        (GUESS, GUESS.replace("16: the rank that papers use", "16:"), "energy =", "guess 'energy' wants two or more"),
        (GUESS, GUESS + " | 3", "energy =", "guess 'energy' wants two or more wrong values, all different"),
        (GUESS, GUESS + " | 16: again", "energy =", "guess 'energy' wants two or more wrong values, all different"),
        ("# | 64: more is not always better\n", "", "rank =", "guess 'rank' wants two or more wrong values"),
        (GUESS, GUESS.replace("= 40 ", "= r "), "energy =", "guess 'energy': 'r' is no number"),
        (GUESS, GUESS.replace("= 40 ", "= 1e999 "), "energy =", "guess 'energy': '1e999' is no number"),
        (GUESS, GUESS.replace("= 40 ", "= True "), "energy =", "guess 'energy': 'True' is no number"),
        (GUESS, GUESS.replace("directions of 192", ""), "energy =", "guess 'energy': say after '#?'"),
        (GUESS, "  " + GUESS, "  energy =", "a guess is a line"),
        (GUESS, "energy = 40", "energy =", "guess:energy has no line 'energy = VALUE"),
        ("rank = 8 ", "ranc = 8 ", "energy =", "the guess 'ranc' is not named in the tags"),
        ('"guess:energy", ', "", "energy =", "the guess 'energy' is not named in the tags"),
        ('"guess:rank"]\n', f'"guess:rank"]\n{GUESS}\n', "energy =", "a guess stands there twice"),
        ('"minutes:6"', '"minutes:six"', "# ## 1.", "minutes:six: a whole number"),
        ('"minutes:6"', '"minutes:0"', "# ## 1.", "minutes:0: a whole number"),
        ("## 1. The first idea", "The first idea", "# The first", "minutes:6 stands on the cell that opens a section"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_by_name_with_its_line(old, new, at, message):
    assert old in LESSON
    master = LESSON.replace(old, new, 1)
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        tags.read(parse(master))
    number = int(re.match(r"line (\d+): ", str(refusal.value))[1])
    assert master.split("\n")[number - 1].startswith(at)


def test_a_line_that_compares_gives_its_name_no_value_in_the_stub():
    cell = Cell("code", "scaling = 2\n#> is it two?\nscaling == 2\n#<", ("turn:scaling",))
    assert tasks.turn(cell, "scaling", None).stub == "scaling = 2\n# is it two?\n..."


def test_a_stub_that_stands_above_its_gap_is_refused():
    """Filled in, the workbook would be another notebook."""
    source = "def f(x):\n    ...\n    #>\n    return x\n    #<"
    with pytest.raises(ValueError, match="give the marker words"):
        tags.read([Cell("markdown", "# T"), Cell("code", source, ("turn:f",), 4)])


def test_tags_that_are_nobodys_slip_are_left_alone():
    assert tags.read([Cell("markdown", "# T", ("wide",)), Cell("code", "1", ("mine",))]).turns == {}


def test_a_name_that_two_lessons_have_is_refused_with_its_line():
    second = parse(LESSON.replace("energy", "power"))
    with pytest.raises(ValueError, match="06_b: line 16: 'rank' is a name in 05_a already"):
        tags.refuse_repeated({"05_a": parse(LESSON), "06_b": second})


def test_a_guess_and_a_turn_of_one_name_are_refused():
    with pytest.raises(ValueError, match="05_a: line 36: 'double' is a name in 05_a already"):
        tags.refuse_repeated({"05_a": parse(LESSON.replace('"guess:rank"', '"guess:double"'))})
