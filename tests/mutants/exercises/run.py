"""Every wrong answer must get its own diagnosis and every right one be taken, whatever inputs a check draws.

python tests/mutants/exercises/run.py             every task, three seeds
python tests/mutants/exercises/run.py NAME …      the tasks of those names
python tests/mutants/exercises/run.py --seeds 30
"""

import argparse
import contextlib
import importlib
import io
import os
import pkgutil
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[0] = str(ROOT)  # this folder would hide packages named like its topics
os.environ["LORA_LAB_PROGRESS"] = "off"

import torch  # noqa: E402

from lora_lab.exercises import check, tasks  # noqa: E402
from tests.mutants import exercises  # noqa: E402
from tests.mutants.exercises.answer import Answer, run  # noqa: E402

NOT_ANSWERS = {"answer", "run"}


def main(arguments: list[str] | None = None) -> int:
    """Print the answers that were not judged as they should be, and `killed N of N, accepted M of M`."""
    parser = argparse.ArgumentParser(description="Try the checks with wrong and right answers.")
    parser.add_argument("names", nargs="*", help="tasks; all when left out")
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of the inputs; default: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    wrong, right = answers()
    known = set(tasks.load())
    if unknown := sorted(set(options.names) - known):
        parser.error(f"no task is named {unknown[0]}")
    findings = [f"{name}: {why}" for name, why in _lacking(wrong, right, known).items()]
    killed, accepted = Counter[bool](), Counter[bool]()
    for answer in [*wrong, *right]:
        if not options.names or answer.task in options.names:
            misjudged = [said for seed in range(options.seeds) if (said := _misjudged(answer, seed))]
            (killed if answer.says else accepted)[not misjudged] += 1
            findings += misjudged[:1]
    print(*findings, sep="\n", end="\n" * bool(findings))
    print(f"killed {killed[True]} of {killed.total()}, accepted {accepted[True]} of {accepted.total()}")
    return int(bool(findings))


def answers() -> tuple[list[Answer], list[Answer]]:
    """The wrong and the right ones of every file beside this one."""
    names = [each.name for each in pkgutil.iter_modules(exercises.__path__) if each.name not in NOT_ANSWERS]
    topics = [importlib.import_module(f"{exercises.__name__}.{name}") for name in names]
    return [each for topic in topics for each in topic.ANSWERS], [each for topic in topics for each in topic.RIGHT]


def _lacking(wrong: list[Answer], right: list[Answer], names: set[str]) -> dict[str, str]:
    """The tasks that are tried too little."""
    tried = [Counter(answer.task for answer in each) for each in (wrong, right)]
    return {name: f"{tried[0][name]} wrong answers and {tried[1][name]} right ones, at least 5 and 2"
            for name in sorted(names) if tried[0][name] < 5 or tried[1][name] < 2}  # fmt: skip


def _misjudged(answer: Answer, seed: int) -> str:
    """What a check said that it should not; nothing if all is well."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        given = run(answer.code, answer.task)
        result = check(answer.task, given, seed)
    said = out.getvalue().strip()
    well = answer.says in said and "not right yet" in said if answer.says else result is given
    wanted = f"a wrong answer, to be told {answer.says!r}" if answer.says else "a right answer"
    return "" if well and "Traceback" not in said else f"{answer.task}, seed {seed}: {wanted}: {said}\n{answer.code}"


if __name__ == "__main__":
    sys.exit(main())
