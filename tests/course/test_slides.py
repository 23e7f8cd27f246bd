"""Slides: what of a lesson is projected, in which order, and what is left for the instructor to say."""

import html
import re
from pathlib import Path

import contract_of_slides
import guide
import make_slides
import nbformat
import npm
import pytest
from nbformat.v4 import new_output
from slides import page, words
from slides.deck import ANSWERS, DECIDE, QUESTIONS, deck, stub
from slides.slide import Part, Slide
from teaching import facts

from lora_lab.authoring import editions, tags
from lora_lab.authoring.pages import Page, as_json, pages, write
from lora_lab.authoring.percent import parse
from tests.helpers.masters import LESSON

ROOT = Path(__file__).resolve().parents[2]
LESSONS = [page for page in pages(ROOT) if page.kind is editions.LESSON]
REPOSITORY = {"address": "https://github.com/o/r", "ref": "v1"}
FIGURE = '<figure><img alt="a line" src="data:image/png;base64,AAAA"></figure>'
TABLE = "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
AGAINST = (
    "<table><thead><tr><th>what was guessed</th><th>your guess</th><th>measured</th></tr></thead>"
    "<tbody><tr><td>directions of 192</td><td>40</td><td>17.2</td></tr></tbody></table>"
)


def shown(text: str) -> nbformat.NotebookNode:
    return new_output("display_data", data={"text/html": text})


def printed(text: str) -> nbformat.NotebookNode:
    return new_output("stream", text=text)


def slides(master: str = LESSON, *outputs: nbformat.NotebookNode) -> list[Slide]:
    """The slides of a master whose revealing cell has these outputs."""
    cells = parse(master)
    notebook = editions.notebook(cells, "05_lesson", REPOSITORY)
    [revealing] = [cell for cell in notebook.cells if "reveal" in cell.metadata.get("tags", [])]
    revealing.outputs = list(outputs)
    return deck(notebook, tags.read(cells))


def findings(master: str) -> list[str]:
    cells = parse(master)
    return list(contract_of_slides.slides(editions.notebook(cells, "05_lesson", REPOSITORY), tags.read(cells)))


def notes(slide: Slide) -> str:
    return "\n".join(slide.notes)


def texts(slide: Slide) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in slide.parts]


# Which slides, in which order


def test_tagged_cells_become_slides_in_their_order_and_others_do_not():
    made = slides(LESSON, shown(FIGURE))
    assert [slide.kind for slide in made] == [
        "opening",
        "text",
        "guess",
        "shown",
        "turn",
        "closing",
        "closing",
        "closing",
    ]
    assert [slide.heading for slide in made[-3:]] == [DECIDE, QUESTIONS, ANSWERS]
    assert "scaling" not in " ".join(part.text for slide in made for part in slide.parts), "its turn has no tag"


def test_a_guess_is_asked_before_it_is_answered_and_never_on_one_slide():
    made = slides(LESSON, shown(FIGURE), shown(AGAINST))
    [asks], [answers] = (
        [slide for slide in made if any(part.kind == kind for part in slide.parts)] for kind in ("ask", "answer")
    )
    assert made.index(asks) < made.index(answers)
    assert texts(asks) == [("ask", "directions of 192"), ("ask", "rank of an update")]
    assert texts(answers)[0] == ("answer", "17.2\tdirections of 192"), "what the notebook's author guessed is left out"


def test_a_figure_and_a_table_have_a_slide_each_and_few_printed_lines_stand_beside_them():
    made = slides(LESSON, printed("one line\n"), shown(FIGURE), shown(TABLE), printed("below\n"), printed("x\n" * 9))
    kinds = [[part.kind for part in slide.parts] for slide in made if slide.kind == "shown"]
    assert kinds == [["print", "figure"], ["table", "print"], ["print"]]


def test_a_widget_is_no_slide():
    widget = new_output("execute_result", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox()"})
    assert "shown" not in [slide.kind for slide in slides(LESSON, widget)]


def test_a_turn_shows_the_stub_and_hides_solution_and_hints_in_the_notes():
    [turn] = [slide for slide in slides() if slide.kind == "turn"]
    assert turn.parts[-1] == Part("code", "def double(x):\n    # twice as much: one line\n    ...")
    assert "return 2 * x" in notes(turn) and "Multiply." in notes(turn)


def test_the_answers_of_the_three_questions_stand_on_the_slide_after_them():
    questions, answers = slides()[-2:]
    assert questions.parts[0].text == "1. Why?\n2. How?\n3. When?"
    assert answers.parts[0].text == "1. So.\n2. Thus.\n3. Now."


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda page: page.name)
def test_where_a_section_opens_the_notes_begin_with_the_clock_of_the_guide(lesson):
    """By the guide's own table. A section that shows nothing has no slide to say it on."""
    [told] = [each for each in facts.every() if each.name == lesson.name]
    rows = [row.strip("| ").split(" | ") for row in guide.clock(told).splitlines()[2:]]
    begins = {row[2]: row[0] for row in rows}
    ends = {row[2]: after[0] for row, after in zip(rows, rows[1:], strict=False)}
    made, seen = make_slides.slides_of(lesson)[1], {""}
    assert made[0].notes[0] == "On the clock: 0:00 to 0:05."
    for slide in made[1:]:
        section = slide.section or slide.heading
        if section in begins and section not in seen:
            assert slide.notes[0] == f"On the clock: {begins[section]} to {ends[section]}.", section
        seen.add(section)
    [decide] = [slide for slide in made if slide.heading == DECIDE]
    assert decide.notes[0] == f"On the clock: from {begins['The three questions, aloud']}."
    assert sum(note.startswith("On the clock") for slide in made for note in slide.notes) == 2 + len(seen & set(begins))


def test_what_the_controls_of_lesson_03_are_stands_on_the_wall_before_their_scores():
    [lesson] = [each for each in LESSONS if each.name.startswith("03")]
    made = make_slides.slides_of(lesson)[1]
    words_by_slide = [" ".join(part.text for part in slide.parts if part.kind == "markdown") for slide in made]
    figure = next(n for n, slide in enumerate(made) if any("wrong block 0%" in part.text for part in slide.parts))
    for control in ("answers shuffled", "random direction", "wrong block"):
        assert any(f"**{control}**:" in shown for shown in words_by_slide[:figure]), control


def test_text_between_slides_is_a_note_of_the_slide_before_it():
    made = slides(LESSON.replace("# $$h = W x$$", "# Say [this](01_svd.ipynb) and [that](https://a.org/b)."))
    [before] = [slide for slide in made if slide.kind == "guess"]
    assert "**2. The second idea** (10 minutes)" in notes(before) and "Say this and [that](https://a.org/b)." in notes(
        before
    )


def test_typical_wrong_guesses_are_in_the_notes_only():
    [guess] = [slide for slide in slides() if slide.kind == "guess"]
    assert "**192**: full rank sounds as if all were needed" in notes(guess)
    assert "192: " not in str(texts(guess))


# What of a text


LONG = "One two three four five six seven eight nine ten eleven twelve. " * 12


@pytest.mark.parametrize(
    ("text", "projected"),
    [
        ("One [word](a.md), [two](https://a.org).", "One word, two."),
        (f"{LONG}\n\nNext.", LONG.strip()[: 4 * 64 - 1] + "\n\nNext."),
        (f"Short.\n\n{LONG}\n\n{LONG}", "Short.\n\n" + LONG.strip()[: 4 * 64 - 1]),
        ("- a\n- b", "- a\n- b"),
        (f"- **One.** Two.\n- {LONG}\n- {LONG}", f"- **One.** Two.\n- {LONG[:127]}\n- {LONG[:127]}"),
        ("Before.\n\nLeads to it:\n\n$$a = b$$\n\nAfter.", "Leads to it:\n\n$$a = b$$\n\nAfter."),
        (f"{LONG[:255]} These:\n\n| a |\n|---|\n| {LONG} |", f"{LONG[:255]} These:\n\n| a |\n|---|\n| {LONG} |"),
        ("A.\n\n<details><summary>B</summary>C.</details>", "A."),
    ],
)  # fmt: skip
def test_a_slide_shows_the_first_words_of_a_text(text: str, projected: str) -> None:
    assert words.projected(text) == projected


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("One. Two.", "One."),
        ("Hu et al. The same. Two.", "Hu et al. The same."),
        ("One (see there. And here) too. Two.", "One (see there. And here) too."),
        ("**One.** Two.", "**One.**"),
        ("It is so: Two.", "It is so."),
        ("One, e.g. Two. Three.", "One, e.g. Two."),
        ("One, i.e. Two. Three.", "One, i.e. Two."),
        ("As in Fig. 2 of it. Next.", "As in Fig. 2 of it."),
        ("See sec. 3 and Eq. 4. Next.", "See sec. 3 and Eq. 4."),
        ("One vs. Two. Three.", "One vs. Two."),
        ("**One:** Two three. Four.", "**One.**"),
        ("One without an end", "One without an end"),
    ],
)
def test_a_text_is_shortened_between_its_sentences(text: str, shortened: str) -> None:
    assert words.shortened(text, most=1) == shortened


def test_a_sentence_that_ends_with_the_last_word_there_is_room_for_is_kept():
    assert words.shortened("One two. Three four. Five.", most=4) == "One two. Three four."
    assert words.shortened("One two. Three four. Five.", most=3) == "One two."


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("Before.\n\nIt learns a code. **Guess** how well.", "It learns a code. **Guess** how well."),
        ("[Two](a.md) ways. And one bit less?", "Two ways. And one bit less?"),
        ("Of 1,000 rivals, how many win?\n\n**Guess:**", ""),
        ("We try 1,000 rivals.\n**Guess:**", "We try 1,000 rivals."),
        (
            "Of the misfit, how much is left\n\n- here?\n- there?",
            "Of the misfit, how much is left\n\n- here?\n- there?",
        ),
        (f"{LONG}**Guess** how well.", f"{LONG[: 4 * 64]}**Guess** how well."),
        ("The record has two more seeds.", ""),
        ("", ""),
    ],
)
def test_a_guess_that_asks_in_other_words_is_led_to_by_the_end_of_its_text(text: str, leads: str) -> None:
    assert words.leads_to_guess(text) == leads


@pytest.mark.parametrize("shown", [False, True])
def test_the_words_that_lead_to_a_guess_stand_above_it_unless_a_slide_has_shown_them(shown: bool) -> None:
    cell = '# %% tags=["slide", "guess'
    leads = "# %% [markdown]" + ' tags=["slide"]' * shown + "\n# It learns a code. **Guess** how well.\n\n"
    [guess] = [slide for slide in slides(LESSON.replace(cell, leads + cell)) if slide.kind == "guess"]
    words_above = [] if shown else [("markdown", "It learns a code. **Guess** how well.")]
    assert texts(guess) == [*words_above, ("ask", "directions of 192"), ("ask", "rank of an update")]


@pytest.mark.parametrize(("words_of_one", "on"), [(30, ["1. 2. 3."]), (41, ["1.", "2.", "3."])])
def test_answers_are_whole_on_one_slide_or_on_one_each(words_of_one: int, on: list[str]) -> None:
    whole = " ".join(["word"] * (words_of_one - 1) + ["[end](01_svd.ipynb)."])
    master = LESSON.replace("# So.", f"# {whole}").replace("Thus.", whole).replace("Now.", whole)
    answers = [slide for slide in slides(master) if slide.heading == ANSWERS]
    assert [" ".join(re.findall(r"^\d\.", slide.parts[0].text, re.MULTILINE)) for slide in answers] == on
    assert sum(slide.parts[0].text.count(" end.") for slide in answers) == 3
    assert "What to try" in notes(answers[-1]) and not findings(master)


def test_a_sections_heading_is_said_once():
    made = slides(LESSON.replace("# $$h = W x$$", "# Words that no slide shows."))
    said = "\n".join(notes(slide) for slide in made)
    assert said.count("2. The second idea") == 1 and "Words that no slide shows." in said


def test_what_a_slide_leaves_out_is_in_its_notes():
    slide = slides(LESSON.replace("# Text with", f"# {LONG}\n#\n# {LONG} Last words.\n#\n# Text with"))[1]
    assert "Last words." in notes(slide) and "Last words." not in slide.parts[0].text


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Low must be low. **Guess:** at which r?", "At which r?"),
        ("**Guess:** at which r?\n\nAnother paragraph.", "At which r?"),
        ("**Guess:** at which r?\n\n**Guess:** at which rate?", "At which rate?"),
        ("**Guess** again. What becomes of it?", ""),
        ("**Guess:** in percent.", ""),
        ("No question?", ""),
    ],
)
def test_the_question_is_what_the_text_asks_after_guess(text: str, question: str) -> None:
    assert words.guessed(text) == question


@pytest.mark.parametrize(
    "text",
    [
        "**1. Why?**\n\n<details><summary>Answer</summary>\n\nSo.\n\n</details>",
        "1. Why?\n\n<details><summary>Answer</summary>So.</details>",
        "**1.** Why?\n\n<details><summary>Answer</summary>So.</details>",
        "<details><summary>Why?</summary>\n\nSo.\n\n</details>",
    ],
)
def test_a_question_and_its_answer_are_told_apart_in_every_form(text: str) -> None:
    assert words.questions(text) == [("Why?", "So.")]


def test_wide_lines_of_a_stub_are_broken_and_it_says_the_same_to_python():
    lesson = tags.Lesson("A lesson")
    wide = "def f(first=1, second=2, third=3, fourth=4, fifth=5, sixth=6, seventh=7, eighth=8):  # -> a number"
    lines = [
        wide,
        f'    """{"word " * 20}"""',
        f"    # {'word ' * 20}".rstrip(),
        "    x = 1  # " + "word " * 20,
        "    ...",
    ]
    lesson.turns["f"] = tags.Turn("f", "", "\n".join(lines), (), None)
    broken = stub(lesson, "f")
    assert max(map(len, broken.split("\n"))) <= 76
    assert broken.split("\n")[0] == "# -> a number"
    namespace: dict = {}
    exec(broken, namespace)
    assert namespace["f"].__defaults__ == (1, 2, 3, 4, 5, 6, 7, 8)


# The contract


def test_a_lesson_with_slides_has_no_findings():
    assert findings(LESSON) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (', "slide"]\n# ## 1.', "]\n# ## 1.", '5 cells are tagged "slide", from 6 to 16 are to be'),
        ('# %% [markdown] tags=["slide"]\n# # A', "# %% [markdown]\n# # A", "the first slide is the opening"),
        ('tags=["slide"]\n# ## What', 'tags=["wide"]\n# ## What', 'tag the cell with "## Three questions" as "slide"'),
        ('["slide", "guess:energy"', '["guess:energy"', "a slide answers guess:energy, and none asks it before"),
        ('output", "slide"]', 'output"]', "guess:rank is on a slide, and its answer on none"),
        ("#? directions of 192", f"#? {'word ' * 40}", "asks in 40 words, at most 30"),
        ("return 2 * x\n    #<", "return 2 * x\n    #<\n" + "    x = 1\n" * 15, "18 lines of code, at most 16"),
        ("return 2 * x\n    #<", f"return 2 * x\n    #<\n    x = {'1 + ' * 30}1", "a line of 129 columns, at most 100"),
        ('", "slide"]\n# ## 1.', '"]\n# ## 1.', "asks 'directions of 192' and no more: write "),
        ("# $$h = W x$$", "# Then the count:", "no more than 'Then the count:': begin what is to be done with"),
        ("# Text with", "# " + "word " * 120 + "with", "has 126 words, at most 100: let its first paragraph"),
    ],
)  # fmt: skip
def test_a_breach_is_named_with_the_way_out(old: str, new: str, finding: str) -> None:
    assert old in LESSON
    assert any(finding in each for each in findings(LESSON.replace(old, new, 1))), findings(LESSON.replace(old, new, 1))


def test_a_cell_that_shows_nothing_without_a_kernel_is_no_slide():
    notebook = editions.notebook(parse(LESSON), "05_lesson", REPOSITORY)
    [finding] = contract_of_slides.outputs(notebook)
    assert "shows nothing without a kernel: take the tag away" in finding


# The course's own lessons, and the pages


@pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.name)
def test_a_lessons_slides_ask_before_they_answer_and_are_few_enough_for_a_session(page: Page) -> None:
    title, made = make_slides.slides_of(page)
    assert made[0].heading == title and 10 <= len(made) <= 22
    asked: set[str] = set()
    for slide in made:
        answered = {html.unescape(part.text).partition("\t")[2] for part in slide.parts if part.kind == "answer"}
        assert answered <= asked, f"{slide.cell} answers what no slide before it asks"
        asked |= {part.text for part in slide.parts if part.kind == "ask"}
    assert sum(part.kind == "figure" for slide in made for part in slide.parts) >= 2
    assert any(slide.kind == "turn" for slide in made) and all("](" not in str(texts(slide)) for slide in made)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page of lesson 03; what comes from npm is left out."""
    monkeypatch.setattr(npm, "take", lambda package, files, into: [])
    assert make_slides.main(["03_lora_from_scratch"], into=tmp_path) == 0
    assert (
        '<a href="03_lora_from_scratch.html">LoRA from scratch</a>, 19 slides' in (tmp_path / "index.html").read_text()
    )
    return (tmp_path / "03_lora_from_scratch.html").read_text(encoding="utf-8")


def test_a_page_names_no_address_outside_its_folder_and_every_image_has_alt_text(made: str) -> None:
    loaded = re.findall(r'(?:<script|<link|<img)\b[^>]*?(?:src|href)="([^"]{0,60})', made)
    assert loaded and not [each for each in loaded if "//" in each]
    images = re.findall(r"<img\b[^>]*>", made)
    assert len(images) >= 3 and all(re.search(r'alt="[^"]{20,}', image) for image in images)


def test_an_equation_is_left_to_mathjax_and_the_notes_are_beside_the_slide(made: str) -> None:
    assert r"$$h = W_0\,x + \frac{\alpha}{r}\,B\,A\,x$$" in made
    assert made.count("<section") == 19 and 10 <= made.count('<aside class="notes">') <= 19


@pytest.mark.parametrize("refused", ["reveal.js", "mathjax"])
def test_without_a_network_one_sentence_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: str
) -> None:
    def take(package, files, into):
        if package == refused:
            raise ConnectionError(f"{package} could not be had")
        write(into / files[0], "it")

    monkeypatch.setattr(npm, "take", take)
    assert make_slides.main(["03_lora_from_scratch"], into=tmp_path) == 2
    said = capsys.readouterr()
    assert said.err == f"{refused} could not be had\n" and said.out == "" and list(tmp_path.iterdir()) == []


def test_the_index_counts_what_each_page_holds_and_no_other_notebook_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of yesterday is listed as it is, whatever has become of its lesson since."""
    monkeypatch.setattr(npm, "take", lambda package, files, into: [])
    old = [Slide("text", "", "One & two", [Part("markdown", "<section> is a word")]) for _ in range(3)]
    write(tmp_path / "01_svd.html", page.lesson_page("Ranks & cuts", "", old))
    asked, slides_of = [], make_slides.slides_of
    monkeypatch.setattr(make_slides, "slides_of", lambda each: asked.append(each.name) or slides_of(each))
    assert make_slides.main(["03_lora_from_scratch"], into=tmp_path) == 0
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<li value="(\d+)"><a href="(.*?)">(.*?)</a>, (\d+) slides', index) == [
        ("1", "01_svd.html", "Ranks &amp; cuts", "3"),
        ("3", "03_lora_from_scratch.html", "LoRA from scratch", "19"),
    ]
    assert asked == ["03_lora_from_scratch"] and "Ranks" in (tmp_path / "01_svd.html").read_text(encoding="utf-8")


def test_a_notebook_that_is_not_its_masters_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    master = tmp_path / "course" / "masters" / "lessons" / "05_lesson.py"
    master.parent.mkdir(parents=True)
    master.write_text(LESSON, encoding="utf-8")
    (tmp_path / "course" / "repository.toml").write_text('address = "https://github.com/o/r"\nref = "v1"\n')
    assert make_slides.main([], root=tmp_path) == 2
    assert capsys.readouterr().err == (
        "05_lesson: the notebook is not what its master says; run course/build.py 05_lesson\n"
    )
    page = Page(tmp_path, "05_lesson")
    write(page.notebook, as_json(page.sources().notebook))
    assert make_slides.slides_of(page)[0] == "A lesson"
    master.write_text(LESSON.replace("131 GB", "132 GB"), encoding="utf-8")
    with pytest.raises(ValueError, match="the notebook is not what its master says"):
        make_slides.slides_of(page)
    master.write_text(LESSON.replace('["slide", "turn:double"]', '["turn:double"]'), encoding="utf-8")
    with pytest.raises(ValueError, match="the notebook is not what its master says"):
        make_slides.slides_of(page)  # a tag alone is another
    master.write_text(LESSON, encoding="utf-8")
    notebook = page.sources().notebook
    notebook.cells[3].id = "another"
    write(page.notebook, as_json(notebook))
    with pytest.raises(ValueError, match="the notebook is not what its master says"):
        make_slides.slides_of(page)  # the name of a cell alone
    assert make_slides.main(["06_other"], root=tmp_path) == 2
    assert "no master named 06_other" in capsys.readouterr().err
    assert make_slides.main(["exercises/01_svd"]) == 2
    assert capsys.readouterr().err == "only lessons have slides, no exercises\n"
