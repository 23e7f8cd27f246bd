"""Grade a class: what was graded before is taken from the cache, the rest is given to processes or a cluster.

A process keeps its judge, with torch loaded, from one submission to the next; each submission still gets a sandbox of
its own.
"""

import contextlib
import io
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lora_lab
from lora_lab.grading import installing, pool, processor
from lora_lab.grading.cache import Cache
from lora_lab.grading.exercise import Exercise, Sources, digest_of_course
from lora_lab.grading.outcome import Outcome
from lora_lab.grading.submissions import Submission
from lora_lab.grading.verdict import Verdict


@dataclass(frozen=True)
class Job:
    """All that another process, or another machine, needs to grade one submission.

    Attributes:
        content: the notebook's bytes.
        exercise: what it is graded as.
        sources: the checks.
        seed: what they draw from.
        trusted: without a sandbox.
    """

    content: bytes = field(repr=False)
    exercise: Exercise
    sources: Sources
    seed: int
    trusted: bool = False


Grade = Callable[[Job], Outcome]


@dataclass(frozen=True)
class Graded:
    """What came of a submission; `before` if an earlier run had graded it."""

    submission: Submission
    outcome: Outcome
    before: bool = False


def grade_all(
    submissions: Sequence[Submission],
    exercises: Sequence[Exercise],
    sources: Sources,
    cache: Cache,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    trusted: bool = False,
    grade: Grade | None = None,
) -> Generator[tuple[int, Graded], None, None]:
    """Grade every submission; each outcome is kept before it is handed on.

    Args:
        submissions: what to grade.
        exercises: among which theirs are.
        sources: the checks.
        cache: has what is graded already.
        jobs: how many at once; by default as many as there are cores.
        scheduler: the address of a Dask scheduler, in place of this machine's processes.
        trusted: without a sandbox.
        grade: what grades one job, `grade_one` by default.

    Yields:
        The number of a submission, and what came of it, as they come.

    Raises:
        OSError: if there is no sandbox, the cache cannot be written, or the cluster cannot be reached.
        ValueError: as `pool.run`, or if a check cannot be loaded.
    """
    known = {each.name: each for each in exercises}
    todo: dict[str, Job] = {}
    equal: dict[str, list[int]] = {}  # notebooks that are the same, such as untouched ones, are graded once
    for number, one in enumerate(submissions):
        exercise = known[one.exercise]
        key = cache.key(one.sha256, exercise, sources, trusted)
        if key not in todo and (outcome := cache.get(key, exercise.tasks)) is not None:
            yield number, Graded(one, outcome, before=True)
        else:
            todo.setdefault(key, Job(one.content, exercise, sources, cache.seed(key), trusted))
            equal.setdefault(key, []).append(number)
    if not todo:
        return
    keys = sorted(todo, key=lambda key: sorted(todo[key].exercise.allow))  # other rooms need another sandbox
    work = [todo[key] for key in keys]
    for at, result in pool.run(
        grade or grade_one, work, workers=jobs or pool.cores(), scheduler=scheduler, same=version
    ):
        outcome = _outcome(result)
        cache.put(keys[at], outcome)
        for number in equal[keys[at]]:
            yield number, Graded(submissions[number], outcome)


def version() -> str:
    """What must be the same on every machine."""
    return f"lora_lab {lora_lab.__version__}, {digest_of_course()[:12]}"


def _outcome(result: Any) -> Outcome:
    """What came of a job; what is wrong with the machine, and not with the submission, ends the run."""
    if isinstance(result, Outcome):
        return result
    if isinstance(result, pool.Died):
        return Outcome(trouble=str(result))
    if isinstance(result, OSError | ValueError):
        raise result
    return Outcome(trouble=f"the grader failed ({type(result).__name__}: {result})")


# In the process that grades


_one_at_a_time = threading.Lock()  # checks draw from generators that a process has once
_judges: dict[bool, Any] = {}


def grade_one(job: Job) -> Outcome:
    """Grade one submission, in this process.

    Raises:
        OSError: if there is no sandbox.
        ValueError: if a check cannot be loaded, or there is none of a task.
    """
    with _one_at_a_time:
        installing.install(job.sources)
        from lora_lab.exercises.private import NotDrawn
        from lora_lab.exercises.stopping import Stopped
        from lora_lab.grading.sandbox import NoSandbox

        judge = _warm(job.trusted)
        judge.seed = job.seed
        start, used = time.perf_counter(), processor.seconds()
        try:
            verdicts = tuple(map(_plain, judge.grade(job.content, job.exercise)))
        except NoSandbox as error:
            raise OSError(str(error)) from error
        except Stopped as error:  # no check has the name of one of the tasks
            raise ValueError(str(error)) from error
        except NotDrawn as error:
            raise ValueError(f"{error}: give --checks the folder that was built, not a file of it") from error
        except NameError as error:  # the check's: it was met by this answer, perhaps by no other
            return Outcome(trouble=f"a check has a slip of its own ({type(error).__name__}: {error})")
        except Exception as error:  # ours: whatever a submission does is a verdict
            return Outcome(trouble=f"the grader failed ({type(error).__name__}: {error})")
        return Outcome(verdicts, time.perf_counter() - start, max(0.0, processor.seconds() - used))


def _plain(verdict: Verdict) -> Verdict:
    """A puzzle's score is a number, or none: an answer may make it any float."""
    finite = verdict.score is None or math.isfinite(verdict.score)
    return verdict if finite else replace(verdict, score=None)


def _warm(trusted: bool) -> Any:
    """This process's judge."""
    if trusted not in _judges:
        import torch

        from lora_lab.grading.judge import Judge

        torch.set_num_threads(1)
        with contextlib.redirect_stderr(io.StringIO()):  # that it is trusted is said once, and not by each process
            judge = _judges[trusted] = Judge(trusted=trusted, may_end=pool.is_ours())
        pool.at_end(lambda: judge.__exit__(None, None, None))
    return _judges[trusted]
