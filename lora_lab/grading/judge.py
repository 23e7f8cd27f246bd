"""Marks one notebook: its code runs in the sandbox, the checks run here, on what its code gives."""

import contextlib
import dataclasses
import io
import re
import secrets
import sys
from typing import Any, Protocol

import torch

from lora_lab import units
from lora_lab.exercises import tasks
from lora_lab.exercises.checks import SEEDS, drawn_from
from lora_lab.exercises.private import NotDrawn
from lora_lab.exercises.tasks import Wrong
from lora_lab.grading import notebooks
from lora_lab.grading.deadline import Hangs, within
from lora_lab.grading.failures import Failed
from lora_lab.grading.frames import Refused
from lora_lab.grading.host import Host
from lora_lab.grading.isolation import Limits
from lora_lab.grading.notebooks import Notebook
from lora_lab.grading.remote import Broken, Session
from lora_lab.grading.verdict import Status, Verdict

LONGEST = 700  # characters of a sentence
ATTEMPTS = 4  # processes for one submission: what ends one of them costs one cell or one task, not all
_LOUD = "--trusted: students' code runs without a sandbox, and can do on this machine all that you can."


class Paper(Protocol):
    """What is graded: see `lora_lab.grading.exercise.Exercise`."""

    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def allow(self) -> frozenset[str]: ...
    @property
    def points(self) -> dict[str, float]: ...
    @property
    def stubs(self) -> dict[str, str]: ...


class Judge:
    """Grades submissions one after the other, each in a fresh process; a context manager.

        with Judge() as judge:
            verdicts = judge.grade(content, exercise)

    Args:
        trusted: without a sandbox: only for code that one would run oneself. Says so.
        limits: of each submission.
        seed: of the checks' random inputs; a new one for each task if None.
        may_end: whether this process may be ended by a check that nothing else ends, as one of a pool may.
    """

    def __init__(
        self, *, trusted: bool = False, limits: Limits | None = None, seed: int | None = None, may_end: bool = False
    ):
        if trusted:
            print(_LOUD, file=sys.stderr)
        self.limits = limits or Limits()
        self.host, self.seed, self.may_end = Host(trusted), seed, may_end

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        self.host.close()

    def grade(self, content: bytes, exercise: Paper) -> list[Verdict]:
        """Grade one notebook.

        Args:
            content: the file's bytes, whatever they are.
            exercise: its tasks in order, their points, and the rooms that answers may import.

        Returns:
            One verdict for each task, in order.

        Raises:
            NoSandbox: there is none on this machine.
            Stopped: no check has the name of one of the tasks.
            NotDrawn: a check is about something that was not drawn for a class.
            NameError: a check has a slip of its own, which is no mark for anybody.
        """
        for task in exercise.tasks:
            tasks.find(task)
        try:
            notebook = notebooks.read(content)
        except notebooks.Malformed as malformed:
            return [Verdict(task, "refused", why=str(malformed)) for task in exercise.tasks]
        found: dict[str, Verdict] = {}
        skip: dict[int, str] = {}
        for _ in range(ATTEMPTS):
            left = [task for task in exercise.tasks if task not in found]
            if left:
                self._attempt(notebook, exercise, left, skip, found)
        why = "your notebook ended its process again and again: see which cell does"
        verdicts = [found.get(task) or Verdict(task, "failed", why=why) for task in exercise.tasks]
        return [
            dataclasses.replace(each, why=_sentence(each.why + _builds_on(notebook, each, verdicts)))
            for each in verdicts
        ]

    def _attempt(
        self, notebook: Notebook, exercise: Paper, left: list[str], skip: dict[int, str], found: dict[str, Verdict]
    ) -> None:
        """Grade tasks in one process, until it breaks."""
        with self.host.session(exercise.allow, self.limits) as session:
            try:
                stopped = {
                    number: error.in_words() for number, error in session.run(notebook.cells, list(skip)).items()
                }
            except (Broken, Refused):
                stopped = {}
            for task in left if not session.broken else ():
                found[task] = self._one(session, notebook, exercise, task, {**stopped, **skip})
                if session.broken:
                    break
        if not session.broken:
            return
        if session.ended is None and session.cell is None and not any(task in found for task in left):
            return  # the server itself is gone, before anything of the student's ran: once more
        died = session.ended if session.gone else ""  # else it was ended from here, which says nothing
        why = f"{session.broken}{died and f' ({died})'}"
        status: Status = "refused" if isinstance(session.broken, Refused) else "failed"
        if graded := [task for task in left if task in found]:  # it broke while this one was asked
            found[graded[-1]] = Verdict(graded[-1], status, why=f"what your answer gives cannot be graded: {why}")
        elif session.cell is None or session.cell in skip or not 0 <= session.cell < len(notebook.cells):
            found |= {task: Verdict(task, status, why=f"your cells cannot be graded: {why}") for task in left}
        else:
            skip[session.cell] = f"it cannot be graded: {why}"

    def _one(
        self, session: Session, notebook: Notebook, exercise: Paper, task: str, stopped: dict[int, str]
    ) -> Verdict:
        """One task's verdict."""
        limit = self.limits.check
        try:
            with within(limit, 2 * limit + self.limits.call if self.may_end else None):
                return self._asked(session, notebook, exercise, task, stopped)
        except Hangs:  # perhaps between two halves of a message
            session.broken = session.broken or Broken("no check comes to an end with it in time")
            return Verdict(task, "failed", why=str(session.broken))
        finally:
            session.restore()

    def _asked(
        self, session: Session, notebook: Notebook, exercise: Paper, task: str, stopped: dict[int, str]
    ) -> Verdict:
        """What comes of it when it is asked."""
        try:
            answer, empty = session.answer(task)
        except Failed as failed:
            return Verdict(task, "failed", why=failed.in_words())
        except (Broken, Refused) as broken:
            return Verdict(task, "failed", why=str(broken))
        if empty or answer is None or answer is ... or _untouched(notebook, exercise, task):
            return _without_answer(notebook, exercise, task, stopped)
        seed = secrets.randbelow(SEEDS) if self.seed is None else self.seed
        with drawn_from(seed), contextlib.redirect_stdout(io.StringIO()), torch.enable_grad():
            return _checked(task, answer, exercise.points.get(task, 1.0))


def _sentence(why: str) -> str:
    """One printable line that ends: what it quotes of the student's may be of any length, and hold anything."""
    line = "".join(each if each.isprintable() else " " for each in why[: LONGEST + 1])
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _checked(task: str, answer: Any, points: float) -> Verdict:
    """Call the check; whatever happens in it, it gives a verdict."""
    try:
        score = tasks.find(task).passes(answer)
    except Wrong as wrong:
        return Verdict(task, "wrong", why=wrong.why)
    except Failed as failed:
        return Verdict(task, "wrong", why=failed.in_words())
    except (NameError, NotDrawn):  # no value makes these: the check is at fault, and whoever grades must know
        raise
    except (Exception, SystemExit) as error:
        missing = ": it gave None, so is a return missing?" if "NoneType" in str(error) else ""
        what = f"{type(error).__name__}: {units.first_line(error)}"
        return Verdict(task, "wrong", why=f"what your code gave could not be used{missing} ({what})")
    return Verdict(task, "right", points, score=score.used if score else None)


def _builds_on(notebook: Notebook, verdict: Verdict, others: list[Verdict]) -> str:
    """What to look at first, where a task's cells name an earlier one that is not right: nothing takes its place here,
    as the library's answer does in a notebook."""
    if verdict.status not in ("wrong", "failed"):
        return ""
    code = "\n".join(notebook.defining(verdict.task))
    before = others[: others.index(verdict)]
    named = [each.task for each in before if each.status != "right" and re.search(rf"\b{each.task}\b", code)]
    return f". It builds on {named[0]}, which is not right itself" if named else ""


def _without_answer(notebook: Notebook, exercise: Paper, task: str, stopped: dict[int, str]) -> Verdict:
    """Why there is nothing to check."""
    own = [number for number in notebook.places.get(task, ()) if number in stopped]
    if stopped and not _untouched(notebook, exercise, task) and (own or notebook.places.get(task)):
        number = own[0] if own else min(stopped)
        return Verdict(task, "failed", why=f"code cell {number + 1} gave no answer: {stopped[number]}")
    if task not in notebook.places and not _untouched(notebook, exercise, task):
        return Verdict(task, "missing", why=f'no cell has the tag "turn:{task}" or calls check("{task}", …)')
    return Verdict(task, "not yet", why="there is no answer in its cell yet")


def _untouched(notebook: Notebook, exercise: Paper, task: str) -> bool:
    """Whether the task's cell is still the stub, spaces aside. Text only: nothing of the student's is executed."""
    stub = "".join(exercise.stubs.get(task, "").split())
    cells = {*notebook.defining(task), *(notebook.cells[place] for place in notebook.places.get(task, ()))}
    return bool(stub) and any("".join(cell.split()) == stub for cell in cells)
