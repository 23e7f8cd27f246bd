"""Grade a synthetic class with `lora-lab grade`: submissions an hour, memory, nothing lost when it is killed half-way.

python benchmarks/bench_grading.py              # 500 submissions, about half an hour; writes results/grading.json
python benchmarks/bench_grading.py --class 20   # a small one; prints, writes nothing

The class is made from the course's exercises: honest notebooks (the solutions, as JupyterLab saves them), partial ones
(the first tasks solved), broken ones (errors, damaged files, lost tags) and hostile ones (attacks that ride on right or
on wrong answers). It is graded once without a break, and once with the same seeds, killed when half of it
is done and started again. Both must give the same points, and of the honest and partial ones the marks that they were
made with. In the words of a row an attack that races with the pipe, by writing garbage into it, may differ.
"""

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "grading.json"
SHARES = {"honest": 40, "partial": 35, "broken": 15, "hostile": 10}  # of a hundred
AIM = {"per_hour": 2500, "cpu": 1.5}
ATTACKS = (
    "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "import os\nos._exit(0)",
    "import sys\nsys.exit()",
    "import torch\ntorch.allclose = lambda *a, **k: True\ntorch.testing.assert_close = lambda *a, **k: None",
    "from lora_lab.exercises import tasks",
    "from lora_lab.grading import judge",
    "print('x' * 10**7)",
    "data = bytearray(20 * 2**30)",
    "import os\nfor _ in range(1000):\n    os.fork()",
    "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)",
    "import subprocess\nsubprocess.run(['sh', '-c', 'cat /etc/passwd > /tmp/x'])",
    "import os\nos.write(3, b'\\xff' * 1000)",
    "class Equal:\n    def __eq__(self, other):\n        return True\nfloat = Equal",
    "while True:\n    pass",
)


@dataclass
class Made:
    """A synthetic submission: what kind it is, and the tasks that it has right; None where nothing is known of that."""

    name: str
    kind: str
    content: bytes
    exercise: str
    right: set[str] | None = None


@dataclass
class Exercise:
    """One of the course's: its notebooks, and the cells that solve its tasks."""

    name: str
    student: dict[str, Any]
    solved: dict[str, Any]
    solutions: dict[str, str] = field(default_factory=dict)


def exercises() -> list[Exercise]:
    """Every exercise of the course."""
    found = []
    for file in sorted((ROOT / "lora_lab" / "exercises" / "generated" / "exercises").glob("*.json")):
        said = json.loads(file.read_text(encoding="utf-8"))
        books = [json.loads((ROOT / where / f"{file.stem}.ipynb").read_text()) for where in ("exercises", "solutions")]
        solutions = {name: turn["solution"] for name, turn in said["turns"].items() if name in said["tasks"]}
        found.append(Exercise(file.stem, *books, solutions))
    return found


def make(n: int, seed: int) -> list[Made]:
    """A class of n submissions, the same for one seed."""
    draw, every = random.Random(seed), exercises()
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(n * share / 100))]
    kinds = (kinds + ["honest"] * n)[:n]
    draw.shuffle(kinds)
    made = []
    for number, kind in enumerate(kinds):
        one = draw.choice(every)
        name = f"student{number:04d}_{1000 + number}_{5000 + number}_{one.name}.ipynb"  # as Canvas has it
        made.append(Made(name, kind, b"", one.name, None))
        {"honest": _honest, "partial": _partial, "broken": _broken, "hostile": _hostile}[kind](made[-1], one, draw)
    return made


def _honest(made: Made, one: Exercise, draw: random.Random) -> None:
    made.right = set(one.solutions)
    made.content = _bytes(one.solved, made.name)


def _partial(made: Made, one: Exercise, draw: random.Random) -> None:
    made.right = set(list(one.solutions)[: draw.randrange(len(one.solutions))])  # in order, as one works through them
    made.content = _bytes(_solved(one, made.right), made.name)


def _broken(made: Made, one: Exercise, draw: random.Random) -> None:
    how = draw.choice(["error", "syntax", "metadata", "cut", "none", "other"])
    book = _solved(one, set(one.solutions))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    if how == "error":
        code[0]["source"] = _text(code[0]) + "\nundefined_name"
    elif how == "syntax":
        draw.choice(code)["source"] = "def f(:"
    elif how == "metadata":
        for cell in book["cells"]:
            cell["metadata"] = {}
    made.content = _bytes(book, made.name)
    if how == "cut":
        made.content = made.content[: len(made.content) // 2]
    elif how in ("none", "other"):
        made.content = b"" if how == "none" else b"\x89PNG" + made.content


def _hostile(made: Made, one: Exercise, draw: random.Random) -> None:
    right = set(one.solutions) if draw.random() < 0.5 else set()
    book = _solved(one, right)
    attack = ATTACKS[draw.randrange(len(ATTACKS))]
    book["cells"].insert(draw.randrange(len(book["cells"])), _cell(attack))
    made.content = _bytes(book, made.name)


def _solved(one: Exercise, tasks: set[str]) -> dict[str, Any]:
    """The student's notebook with these tasks solved."""
    book = json.loads(json.dumps(one.student))
    for cell in book["cells"]:
        for task in tasks:
            if f"turn:{task}" in cell["metadata"].get("tags", ()):
                cell["source"] = one.solutions[task]
    return book


def _cell(source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": "attack",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _bytes(book: dict[str, Any], name: str) -> bytes:
    """No two are equal: nobody is graded by another's outcome."""
    own = {"cell_type": "code", "id": "name", "metadata": {}, "outputs": [], "execution_count": None}
    return json.dumps(book | {"cells": [*book["cells"], own | {"source": f"# {name}"}]}, indent=1).encode()


# Grading it


def grade(source: Path, out: Path, jobs: int, until: int | None = None) -> dict[str, float]:
    """Run the command; killed as soon as `until` outcomes are kept. Seconds, and the most memory of all processes."""
    words = [
        sys.executable,
        "-m",
        "lora_lab.commands.cli",
        "grade",
        str(source),
        "--out",
        str(out),
        "--jobs",
        str(jobs),
    ]
    start, most = time.perf_counter(), 0.0
    with (
        open(out.with_suffix(".log"), "ab") as log,
        subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            while process.poll() is None:
                most = max(most, _memory(process.pid))
                if until is not None and _kept(out) >= until:
                    process.kill()
                time.sleep(0.5)
        finally:
            process.kill()
    return {"seconds": time.perf_counter() - start, "memory_mb": most / 1e6, "status": process.returncode}


def _kept(out: Path) -> int:
    return len(list(out.with_suffix(".cache").glob("?" * 64 + ".json")))


def _memory(process: int) -> float:
    """Bytes of a process and all below it, with what they share counted once for all."""
    total = 0
    for each in _tree(process):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:  # it has just ended, or is not ours to look into
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024.0


def _tree(process: int) -> Iterator[int]:
    yield process
    try:
        lists = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:
        return
    for text in lists:
        for child in text.split():
            yield from _tree(int(child))


def measure(n: int, jobs: int, seed: int, place: Path) -> dict[str, Any]:
    """Both runs, and what is compared."""
    made = make(n, seed)
    source = place / "class.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(made):
            archive.writestr(one.name, _own(one.content, number))
    whole, broken = place / "whole.csv", place / "broken.csv"
    first = grade(source, whole, jobs)
    broken.with_suffix(".cache").mkdir()
    shutil.copy(whole.with_suffix(".cache") / "salt.json", broken.with_suffix(".cache"))  # the same random inputs
    killed = grade(source, broken, jobs, until=max(1, _kept(whole) // 2))
    kept = _kept(broken)
    second = grade(source, broken, jobs)
    rows = list(csv.DictReader(whole.open(encoding="utf-8", newline="")))
    again = list(csv.DictReader(broken.open(encoding="utf-8", newline="")))
    files = list(csv.DictReader(whole.with_suffix(".files.csv").open(encoding="utf-8", newline="")))
    cpu = sorted(json.loads(file.read_text())["cpu"] for file in whole.with_suffix(".cache").glob("?" * 64 + ".json"))
    wrong = _wrong_marks(made, rows)
    differing = [pair for pair in zip(rows, again) if pair[0] != pair[1]]
    for before, after in differing[:10]:
        print(f"differs: {before}\n     and {after}", file=sys.stderr)
    return {
        "submissions": n,
        "kinds": dict(Counter(one.kind for one in made)),
        "exercises": len({one.exercise for one in made}),
        "tasks": dict(Counter(row["status"] for row in rows)),
        "seconds": round(first["seconds"], 1),
        "per_hour": round(3600 * n / first["seconds"]),
        "cpu_median": round(cpu[len(cpu) // 2], 2),
        "memory_mb": round(first["memory_mb"]),
        "files_listed": len(files),
        "not_graded": sum(row["what"] == "not graded" for row in files),
        "marks_as_made": {"compared": sum(one.right is not None for one in made), "wrong": wrong},
        "killed": {
            "kept": kept,
            "killed_status": killed["status"],
            "resumed_seconds": round(second["seconds"], 1),
            "points_that_differ": sum(one["points"] != other["points"] for one, other in differing),
            "rows_that_differ": len(differing) + abs(len(rows) - len(again)),
        },
    }


def _own(content: bytes, number: int) -> bytes:
    """A file unlike all others, as in a class: of equal ones a single one is graded."""
    try:
        book = json.loads(content)
        book["metadata"]["handed in by"] = number
        return json.dumps(book).encode()
    except (ValueError, TypeError, KeyError):  # a damaged one
        return content + b" " * (number + 1)


def _wrong_marks(made: list[Made], rows: list[dict[str, str]]) -> int:
    """Honest and partial submissions whose right tasks are not those that they were made with."""
    found: dict[str, set[str]] = {one.name: set() for one in made}
    for row in rows:
        if row["status"] == "right":
            found[row["file"]].add(row["task"])
    wrong = [one for one in made if one.right is not None and found[one.name] != one.right]
    for one in wrong[:10]:
        print(
            f"{one.name} ({one.kind}): right {sorted(found[one.name])}, made {sorted(one.right or ())}", file=sys.stderr
        )
    return len(wrong)


def main() -> None:
    """Measure, print, and keep the result of a whole class."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--class", type=int, default=500, dest="n", help="how many submissions; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the class; default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = measure(options.n, options.jobs, options.seed, Path(place))
    found |= {"jobs": options.jobs, "aim": AIM}
    print(json.dumps(found, indent=1))
    if options.n >= 500:
        from lora_lab.commands import machine
        from lora_lab.disk import write_json

        write_json(RESULT, {"machine": machine.describe(), **found})


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    sys.path.insert(0, str(ROOT))
    main()
