"""The grader says of an answer what the notebook says of it: every answer of the exercises, both ways."""

import contextlib
import importlib
import io
import linecache
import pkgutil
import re

import pytest
import torch

from lora_lab.exercises import checks, tasks
from lora_lab.exercises.tasks import Wrong
from tests.hostile.attack import Paper, notebook
from tests.mutants import exercises
from tests.mutants.exercises.answer import ROOMS, run

PRACTICE = [each.name for each in pkgutil.iter_modules(exercises.__path__) if each.name.startswith("practice_")]
TOP = "import torch, math\nfrom torch import nn\nfrom torch.nn import functional as F\n"
AFTER_IMPORT = 67280421310721  # torch's seed in a fresh process, from which an answer draws in the grader


def here(answer):
    """What the notebook's check says; nothing of a right answer."""
    file = "<ipython-input-1>"
    linecache.cache[file] = (len(answer.code), None, answer.code.splitlines(True), file)  # as IPython does
    with checks.drawn_from(7), contextlib.redirect_stdout(io.StringIO()):
        verdict = checks.judged(tasks.find(answer.task), run(answer.code, answer.task))
    return verdict.why if isinstance(verdict, Wrong) else ""


def there(judge, answer):
    """What the grader says of the same code as a notebook."""
    used = [room for room in ROOMS if re.search(rf"\b{room}\.", answer.code)]
    cells = [TOP + "".join(f"from lora_lab import {room}\n" for room in used), answer.code]
    verdict = judge.grade(notebook(*cells), Paper((answer.task,), frozenset(used)))[0]
    return verdict.why if verdict.status != "right" else ""


def answers(name):
    module = importlib.import_module(f"tests.mutants.exercises.{name}")
    absent = "transformers", "lora_lab.exercises"
    needless = [each for each in (*module.ANSWERS, *module.RIGHT) if not any(name in each.code for name in absent)]
    return needless  # in the sandbox there is torch, and none of the other packages


def differing(judge, found):
    torch.manual_seed(AFTER_IMPORT)
    return [
        (each.code, one, other) for each in found if (one := here(each)[:700]) != (other := there(judge, each))[:700]
    ]


@pytest.mark.parametrize("name", PRACTICE[:3])
def test_a_few_answers_are_judged_the_same_in_the_sandbox(judge, name):
    assert not differing(judge, answers(name)[::9][:4])


@pytest.mark.slow
@pytest.mark.parametrize("name", PRACTICE)
def test_every_answer_is_judged_the_same_in_the_sandbox(judge, name):
    assert not differing(judge, answers(name))
