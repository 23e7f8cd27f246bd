"""`check` says in one sentence whether an answer is right, and hands the lesson something to go on with."""

import io
import random
import re
import sys

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from lora_lab.exercises import check, lessons, stubs, tasks
from lora_lab.exercises.stopping import Stopped, say

pytestmark = pytest.mark.usefixtures("course")


def typed(code: str, name: str = "double"):
    """What a cell gives to a name; its lines are counted as those of a cell."""
    names: dict = {}
    exec(compile(code, "<ipython-input-7>", "exec"), names)
    return names[name]


@pytest.fixture
def shell() -> InteractiveShell:
    """Cells as Jupyter runs them."""
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


# ── right and wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_right_answer_goes_on_and_is_said_to_be_right(capsys):
    answer = typed("def double(x):\n    return 2 * x")
    assert check("double", answer) is answer
    assert capsys.readouterr().out == "double: right. Going on with yours.\n"


def test_a_wrong_answer_gets_its_diagnosis_and_the_lesson_goes_on_with_the_librarys(capsys):
    result = check("double", typed("def double(x):\n    return x"))
    said = capsys.readouterr().out
    *lines, again = said.splitlines()
    assert lines == ["double: not right yet: you give back 3 for 3, wanted 6: multiply by two",
                     "Going on with the library's. Hints are folded above this cell."]  # fmt: skip
    assert re.fullmatch(r'The same inputs again: check\("double", double, seed=\d{1,5}\)', again)
    assert result(5) == 10


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return x @ x", "your code stopped in line 2 of its cell: TypeError: unsupported operand"),
        ("raise ValueError('first line\\nsecond line')", "line 2 of its cell: ValueError: first line\n"),
        ("raise ValueError", "line 2 of its cell: ValueError: ValueError\n"),
        ("return double(x)", "line 2 of its cell: RecursionError: maximum recursion depth"),
        ("raise SystemExit", "line 2 of its cell: SystemExit"),
        ("return unknown", "line 2 of its cell: NameError: name 'unknown'"),
        ("return int('x')", "line 2 of its cell: ValueError: invalid literal"),
        ("import torch; return torch.ones(2) @ torch.ones(3)", "line 2 of its cell: RuntimeError: "),
    ],
)
def test_what_the_learners_code_raises_is_one_sentence_with_the_line(body, said, capsys):
    result = check("double", typed(f"def double(x):\n    {body}"))
    out = capsys.readouterr().out
    assert said in out and out.count("\n") == 3 and "Traceback" not in out
    assert result(5) == 10


def test_the_line_is_of_the_learners_cell_and_not_of_what_it_called(capsys):
    check("double", typed("import json\n\n\ndef double(x):\n    y = x\n    return json.loads(y)"))
    assert "your code stopped in line 6 of its cell: TypeError: the JSON object must be" in capsys.readouterr().out


def test_of_two_cells_the_line_is_of_the_one_that_was_called_last(capsys):
    helper = typed("def helper(x):\n    y = x\n    z = y\n    return z.nope", "helper")
    double = typed("def double(x):\n    return helper(x)")
    double.__globals__["helper"] = helper
    check("double", double)
    assert "your code stopped in line 4 of its cell: AttributeError" in capsys.readouterr().out


def test_in_jupyter_the_line_is_quoted(shell, capsys):
    shell.run_cell("def double(x):\n    y = 2 * x\n    return y.nope")
    shell.run_cell("from lora_lab.exercises import check\ndouble = check('double', double)\nprint(double(4))")
    out = capsys.readouterr().out
    assert "stopped in line 3 of its cell (return y.nope): AttributeError: 'int' object has no attribute 'nope'" in out
    assert out.endswith("8\n") and "Traceback" not in out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (5, "what your code gave could not be used (TypeError: 'int' object is not callable)"),
        ("2 * x", "what your code gave could not be used (TypeError: 'str' object is not callable)"),
        (lambda: 6, "what your code gave could not be used (TypeError: "),
    ],
)
def test_what_is_no_function_is_one_sentence(answer, said, capsys):
    assert check("double", answer)(5) == 10
    assert said in capsys.readouterr().out


def test_a_forgotten_return_is_named(capsys, monkeypatch):
    def passes(f):
        assert f(3) + 1 == 7

    monkeypatch.setitem(tasks._tasks, "double", tasks.Task("double", passes, lambda: abs))
    check("double", typed("def double(x):\n    y = 2 * x"))
    assert "it gave None, so is a return missing?" in capsys.readouterr().out


def test_an_interruption_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        check("double", typed("def double(x):\n    raise KeyboardInterrupt"))


# ── not yet done ────────────────────────────────────────────────────────────────────────────────────────────────────

WORKBOOK = "def double(x):\n    # twice as much: one line\n    ..."
SQUARE = '''class square:
    """A square."""

    def __init__(self, start=0):
        self.start = [each for each in range(start)]

    @property
    def size(self):
        return len(self.start)

    def of(self, x):
        y = x
        {}
'''


@pytest.mark.parametrize(
    "code",
    [
        WORKBOOK,
        "\n\nimport math\n\n" + WORKBOOK,
        "def double(x):\n    '''Twice as much.'''",
        "def double(x):\n    pass",
        "def double(x, y=2):\n    return None",
        "double = ...",
        "double = None",
        "class double:\n    def of(self):\n        ...",
        "import torch\n\n@torch.no_grad()\ndef double(x):\n    ...",
    ],
)
def test_what_nobody_typed_is_not_yet_done(code, capsys):
    result = check("double", typed(code))
    said = capsys.readouterr().out
    assert said == "double: not yet done: going on with the library's. Hints are folded above this cell.\n"
    assert result(5) == 10


@pytest.mark.parametrize("body", ["return 0", "return x", "x = 2 * x", "print(x)", "return ...", "raise ValueError"])
def test_what_somebody_typed_is_judged(body, capsys):
    check("double", typed(f"def double(x):\n    {body}"))
    assert "not yet done" not in capsys.readouterr().out


@pytest.fixture
def square_in_a_lesson(monkeypatch):
    """Its stub keeps lines of its own, and returns nothing: only the lesson tells it from an answer."""
    turn = lessons.turn
    stub = {"stub": SQUARE.format("..."), "solution": SQUARE.format("return x * y")}
    monkeypatch.setattr(lessons, "turn", lambda name: stub if name == "square" else turn(name))


@pytest.mark.usefixtures("square_in_a_lesson")
def test_the_stub_of_a_class_is_not_yet_done_and_the_class_is(capsys):
    check("square", typed(f"import math\n\n{SQUARE.format('...')}", "square"))
    assert "not yet done" in capsys.readouterr().out
    answer = typed(SQUARE.format("return x * y"), "square")
    assert check("square", answer) is answer
    check("square", typed(SQUARE.format("return x + y"), "square"))
    assert "not right yet: 3 gives no 9" in capsys.readouterr().out


@pytest.mark.usefixtures("square_in_a_lesson")
@pytest.mark.parametrize(
    ("old", "new"),
    [("range(start)", "range(2)"), ("y = x", "z = x"), ("start=0", "start=0, end=1"), ("each for each", "1 for each")],
)
def test_any_other_code_than_the_stubs_is_an_answer(old, new):
    assert stubs.untouched("square", typed(SQUARE.format("..."), "square"))
    assert not stubs.untouched("square", typed(SQUARE.format("...").replace(old, new), "square"))


# ── manners ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_code_prints_is_shown_briefly_and_only_if_it_is_wrong(capsys):
    chatty = "def double(x):\n    for each in range(9):\n        print('line', each)\n    return {} * x"
    check("double", typed(chatty.format(2)))
    assert capsys.readouterr().out == "double: right. Going on with yours.\n"
    check("double", typed(chatty.format(1)))
    out = capsys.readouterr().out
    assert out.startswith("Your code printed:\nline 0\n") and "line 4\n…\ndouble: not right yet" in out
    check("double", typed("def double(x):\n    [print('line', each) for each in range(5)]\n    return x"))
    assert "line 4\ndouble: not right yet" in capsys.readouterr().out, "five lines are all that there are"


def test_what_is_drawn_after_a_check_does_not_depend_on_it():
    def drawn(*answers):
        torch.manual_seed(5)
        random.seed(5)
        for answer in answers:
            check("double", answer)
        return torch.rand(()).item(), random.random()

    drawing = typed("import random, torch\ndef double(x):\n    torch.rand(3); random.random()\n    return 2 * x")
    seeding = typed("import random, torch\ndef double(x):\n    torch.manual_seed(1); random.seed(1)\n    return x")
    assert drawn() == drawn(drawing, seeding)


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[float, float]]:
    """What each check of a wrong answer draws."""
    seen = []

    def passes(f):
        seen.append((torch.rand(()).item(), random.random()))
        raise tasks.Wrong("no")

    monkeypatch.setitem(tasks._tasks, "double", tasks.Task("double", passes, lambda: abs))
    return seen


def test_a_check_draws_afresh_each_time(drawn):
    for _ in range(3):
        torch.manual_seed(0)
        random.seed(0)
        check("double", abs)
    assert all(len(set(each)) == 3 for each in zip(*drawn, strict=True))


def test_the_seed_that_a_failed_check_says_draws_the_same_inputs_again(drawn, capsys):
    check("double", abs)
    seed = int(re.search(r"seed=(\d+)", capsys.readouterr().out)[1])
    check("double", abs, seed=seed)
    assert drawn[0] == drawn[1]
    with pytest.raises(ValueError, match="seed=-1"):
        check("double", abs, seed=-1)


def test_yours_is_shown_beside_wanted(capsys, monkeypatch):
    def passes(f):
        raise tasks.Wrong("too large", yours=torch.tensor([[2.0, 0.5]]), wanted=1)

    monkeypatch.setitem(tasks._tasks, "double", tasks.Task("double", passes, lambda: abs))
    check("double", abs)
    assert "not right yet: too large\n  yours    2 0.5  [1, 2]\n  wanted 1\n" in capsys.readouterr().out


def test_a_puzzle_says_what_was_used_and_the_best_known(capsys, monkeypatch):
    task = tasks.Task("double", lambda f: tasks.Score(1284, "bytes", 1152), lambda: abs)
    monkeypatch.setitem(tasks._tasks, "double", task)
    check("double", abs)
    said = "double: right. It uses 1,284 bytes; the best known answer 1,152. Going on with yours.\n"
    assert capsys.readouterr().out == said


def test_a_name_that_no_task_has_stops_with_the_nearest_ones():
    with pytest.raises(Stopped, match="no task is named 'duoble': did you mean double"):
        check("duoble", abs)


def test_a_stop_is_read_as_its_sentence_alone(shell, capsys):
    shell.run_cell("from lora_lab.exercises import check\ncheck('duoble', abs)")
    assert capsys.readouterr().out.strip() == "no task is named 'duoble': did you mean double?"


def test_two_checks_of_one_name_are_refused(monkeypatch):
    def double(f): ...

    double.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="the task 'double' is in .* already"):
        tasks.task(reference=lambda: abs)(double)


def test_a_sentence_is_said_where_not_every_letter_can_be_shown(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    say("without α/r")
    narrow.flush()
    assert narrow.buffer.getvalue() == b"without \\u03b1/r\n"
