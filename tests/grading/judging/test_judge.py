"""A notebook gives one verdict for each task, whatever else is in it."""

import dataclasses
import json

import pytest
import torch

from lora_lab.exercises.private import NotDrawn, drawn
from lora_lab.exercises.tasks import Score, Wrong, task
from lora_lab.grading.isolation import Limits
from lora_lab.grading.judge import Judge
from tests.hostile.attack import CHECKS, RIGHT, SECRET, WRONG, Paper, notebook

ALL = ["right"] * 3


@task(reference=lambda: 3)
def graded_puzzle(number):
    """A puzzle, scored by what is used."""
    if number > 9:
        raise Wrong("more than there are", yours=number, wanted=SECRET)
    return Score(number, "bytes", 3)


@task(reference=lambda: None)
def graded_draw(answer):
    """What was drawn."""
    raise Wrong(f"{torch.rand(()):.6f}")


def statuses(judge, *cells, paper=Paper()):  # noqa: B008
    return [each.status for each in judge.grade(notebook(*cells), paper)]


def only(judge, name, *cells):
    return judge.grade(notebook(*cells), dataclasses.replace(Paper(), tasks=(name,)))[0]


def test_a_right_answer_earns_its_points_and_a_wrong_one_a_sentence(judge):
    paper = Paper()
    paper.points["hostile_half"] = 2.5
    assert [each.points for each in judge.grade(notebook(*RIGHT, CHECKS), paper)] == [1, 2.5, 1]
    wrong = judge.grade(notebook(*WRONG, CHECKS), paper)
    assert [(each.status, each.points) for each in wrong] == [("wrong", 0)] * 3
    assert wrong[1].why == "yours is not half of n" and SECRET not in str(wrong)


def test_a_task_is_found_by_its_name_its_tag_or_its_check(judge):
    assert statuses(judge, *RIGHT) == ALL  # by the object's name
    other = [cell.replace("hostile_half", "mine") for cell in RIGHT]
    assert statuses(judge, *other, 'from lora_lab.exercises import check\nmine = check("hostile_half", mine)') == ALL


def test_a_cell_that_stops_does_not_stop_the_others(judge):
    cells = ["1 / 0", RIGHT[0], "import matplotlib", *RIGHT[1:], "raise SystemExit", "x = (", CHECKS]
    assert statuses(judge, *cells) == ALL


def test_an_untouched_stub_is_not_yet_done_and_a_lost_cell_missing(judge):
    stubs = [RIGHT[0], "def hostile_doubled(x):\n    # twice\n    ...", "hostile_half = ...", RIGHT[3]]
    assert statuses(judge, *stubs, CHECKS) == ["not yet", "not yet", "right"]
    verdict = only(judge, "hostile_half", RIGHT[0])
    assert verdict.status == "missing" and 'check("hostile_half", …)' in verdict.why


def test_an_answer_that_never_came_to_be_says_which_line_stopped(judge):
    verdict = only(judge, "hostile_half", "import torch", "half = 1\nhostile_half = halff\n", CHECKS)
    assert verdict.status == "failed"
    assert "code cell 2" not in verdict.why or "line 2 of its cell (hostile_half = halff): NameError" in verdict.why


def test_lines_for_ipython_are_left_out(judge):
    cells = [
        "%matplotlib inline\n!pip install x\nimport torch",
        f"%%time\n{RIGHT[1]}",
        "%%html\n<b>",
        *RIGHT[2:],
        CHECKS,
    ]
    assert statuses(judge, *cells) == ALL


def test_only_allowed_rooms_can_be_imported_and_it_says_so(judge):
    allowed = RIGHT[1].replace("return", "from lora_lab import lowrank\n    lowrank.truncated_svd\n    return")
    assert statuses(judge, RIGHT[0], allowed, *RIGHT[2:]) == ALL
    for line in ("from lora_lab import lora", "import lora_lab.lora", "from lora_lab.exercises.tasks import find"):
        verdict = only(judge, "hostile_doubled", RIGHT[0], RIGHT[1].replace("return", f"{line}\n    return"))
        assert verdict.status == "wrong" and "an answer may import lora_lab.lowrank" in verdict.why


def test_the_worker_knows_no_seed_and_a_fixed_one_repeats_the_inputs(judge):
    cells = "graded_draw = 1", "import random, torch\ntorch.manual_seed(0)\nrandom.seed(0)"
    torch.manual_seed(judge.seed)
    wanted = f"{torch.rand(()):.6f}"
    assert only(judge, "graded_draw", *cells).why == wanted
    judge.seed = None
    try:
        assert len({only(judge, "graded_draw", *cells).why for _ in range(3)}) > 1
    finally:
        judge.seed = 7


def test_the_score_of_a_puzzle_is_kept_and_what_was_wanted_is_not_told(judge):
    verdict = only(judge, "graded_puzzle", "graded_puzzle = 4")
    assert (verdict.status, verdict.score, verdict.points) == ("right", 4.0, 1.0)
    verdict = only(judge, "graded_puzzle", "graded_puzzle = 10")
    assert (verdict.status, verdict.score, verdict.why) == ("wrong", None, "more than there are")


def test_an_answer_that_does_not_end_costs_its_own_task_only(judge):
    judge.limits = Limits(cpu=1)
    try:
        endless = RIGHT[1].replace("return", "while True: pass\n    return")
        assert statuses(judge, RIGHT[0], endless, *RIGHT[2:]) == ["failed", "right", "right"]
        assert statuses(judge, RIGHT[0], "while True: pass", *RIGHT[1:]) == ALL  # a cell costs no task
    finally:
        judge.limits = Limits()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"cells": 3}', b"\xff\xfe{}", json.dumps({"worksheets": []}).encode()]
)
def test_what_is_no_notebook_is_refused_with_a_sentence(judge, content):
    verdicts = judge.grade(content, Paper())
    assert [each.status for each in verdicts] == ["refused"] * 3 and verdicts[0].why


def test_nothing_of_one_submission_is_there_in_the_next(judge):
    leave = "import os, torch\nopen('/tmp/left', 'x')\nos.environ['LEFT'] = '1'\ntorch.left = 1\n"
    if_any = "assert not os.path.exists('/tmp/left') and 'LEFT' not in os.environ and not hasattr(torch, 'left')\n"
    seen = f"import os, torch\n{if_any}graded_puzzle = 1\n"
    for _ in range(2):
        assert only(judge, "graded_puzzle", seen + leave).status == "right"


@pytest.mark.slow
def test_where_the_kernel_allows_no_namespaces_within_each_submission_has_its_own_sandbox(judge, capsys):
    with Judge() as slow:
        slow.host.nest = False
        servers = set()
        for _ in range(2):
            assert statuses(slow, *RIGHT, CHECKS) == ALL and not slow.host.nested
            servers.add(id(slow.host.process))
        assert slow.host.process is None
    assert capsys.readouterr().err.count("allows no namespaces") == 1


@pytest.mark.slow
def test_trusted_is_the_same_without_a_sandbox_and_loud(capsys):
    with Judge(trusted=True) as trusted:
        assert statuses(trusted, *RIGHT, CHECKS) == ALL
        assert statuses(trusted, *WRONG, "import lora_lab.lora", CHECKS) == ["wrong"] * 3
    assert "without a sandbox" in capsys.readouterr().err


def test_an_instructors_stub_is_not_yet_done_either(judge):
    stub = "def hostile_doubled(x):\n    # one line\n    ..."
    paper = Paper()
    paper.stubs["hostile_doubled"] = stub
    assert judge.grade(notebook(stub, *RIGHT[2:]), paper)[0].status == "not yet"


def test_what_builds_on_an_answer_that_is_not_right_says_so(judge):
    wrong = "def hostile_doubled(x):\n    return 3 * x"
    upon = "def hostile_half(n):\n    return hostile_doubled(n) / 4"
    first, second, _ = judge.grade(notebook(wrong, upon, RIGHT[3]), Paper())
    assert first.status == second.status == "wrong"
    assert second.why.endswith(". It builds on hostile_doubled, which is not right itself")
    assert "builds on" not in first.why


def test_a_name_with_capitals_is_found(judge):
    cells = ["class QLoRALayer:\n    ...", 'QLoRALayer = check("QLoRALayer", QLoRALayer)']
    assert judge.grade(notebook(*cells), dataclasses.replace(Paper(), tasks=("QLoRALayer",)))[0].status != "missing"


def test_sixteen_bits_are_made_in_the_sandbox_too(judge):
    """Where torch first looks at what the processor can, in files that a submission does not see."""
    doubled = "import torch\ndef hostile_doubled(x):\n    torch.randn(1000).half()\n    return 2 * x"
    assert judge.grade(notebook(doubled, *RIGHT[2:]), Paper())[0].status == "right"


SHARED = [1, 2], {"a": 1}, torch.zeros(2), torch.ones(2, requires_grad=True)


@task(reference=lambda: None)
def graded_range(answer):
    """Hangs where a value is huge."""
    for number in range(answer):
        try:
            assert number < answer
        except Exception:
            pass


@task(reference=lambda: None)
def graded_shared(change):
    """Hands over what it hands over to the next submission, too."""
    if SHARED[0] != [1, 2] or SHARED[1] != {"a": 1} or SHARED[2].sum() != 0 or SHARED[3].grad is not None:
        raise Wrong(f"{SHARED} is another's")
    change(*SHARED)
    if SHARED[0] == [1, 2] or SHARED[2].shape == (2,):
        raise Wrong("nothing has changed")


@task(reference=lambda: None)
def graded_slip(answer):
    """A check with a slip of its own."""
    raise Wrong(no_such_name)  # noqa: F821


@task(reference=lambda: None)
def graded_class_number(answer):
    """About a number of a class, without a class."""
    if answer != drawn["no such number"]:
        raise Wrong("another number")


def test_a_check_that_hangs_on_a_huge_value_costs_its_own_task_only(judge):
    cells = "graded_range = 10**15\ngraded_puzzle = 4"
    paper = dataclasses.replace(Paper(), tasks=("graded_range", "graded_puzzle"))
    judge.limits = Limits(check=0.3)
    try:
        first, second = judge.grade(notebook(cells), paper)
    finally:
        judge.limits = Limits()
    assert (first.status, second.status) == ("failed", "right") and "no check comes to an end" in first.why


def test_what_an_answer_changes_of_the_judges_is_as_it_was_for_the_next(judge):
    code = """def graded_shared(items, names, x, y):
    items[:] = [names]; names.clear(); x.data = x.new_ones(3); y.sum().backward()"""
    for _ in range(2):
        verdict = only(judge, "graded_shared", code)
        assert verdict.status == "right", verdict.why
    assert SHARED[0] == [1, 2] and SHARED[1] == {"a": 1} and SHARED[2].tolist() == [0, 0] and SHARED[3].grad is None


def test_a_slip_of_the_check_is_no_mark(judge):
    with pytest.raises(NameError, match="no_such_name"):
        only(judge, "graded_slip", "graded_slip = 1")
    with pytest.raises(NotDrawn, match="asks for 'no such number'"):
        only(judge, "graded_class_number", "graded_class_number = 1")
    assert only(judge, "graded_puzzle", "graded_puzzle = 4").status == "right"


def test_a_slip_of_the_answer_is_one(judge):
    verdict = only(judge, "hostile_half", "def hostile_half(n):\n    return no_such_name")
    assert verdict.status == "wrong" and "NameError" in verdict.why


def test_three_cells_that_end_the_process_cost_no_task_and_four_say_so(judge):
    ends = ["import os\nos._exit(1)"] * 3
    assert statuses(judge, *ends, *RIGHT) == ALL
    verdict = judge.grade(notebook(*ends, ends[0], *RIGHT), Paper())[0]
    assert verdict.status == "failed" and "again and again" in verdict.why
