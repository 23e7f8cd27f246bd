"""Tables that took longer to measure than a lesson may run; `course/records/` holds the scripts that made them.

They are package data, so that a lesson finds them in Colab too, where only the package is installed.
"""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """A record by its name: what was run, on which machine, and its rows.

    Raises:
        ValueError: for an unknown name; it lists the known ones.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise ValueError(f"no record named {name!r}: there are {known}")
    return json.loads(path.read_text(encoding="utf-8"))


def tried(name: str, **key: Any) -> list[dict[str, Any]]:
    """The rows of a record that have these values, in its order.

    Raises:
        ValueError: for an unknown record, or values that no row has.
    """
    rows = [row for row in load(name)["rows"] if all(row.get(column) == value for column, value in key.items())]
    if not rows:
        raise ValueError(f"the record {name!r} has no row with {key}")
    return rows


def chosen(name: str, **key: Any) -> list[dict[str, Any]]:
    """The rows of a sweep over rates that have these values, at the rate that validation chose with seed 0.

    A rate is chosen by the least loss on validation, never by the score on what is held out. A run that failed has
    None as its loss.

    Raises:
        ValueError: as `tried`, or if no such row with seed 0 has finished.
    """
    rows = tried(name, **key)
    finished = [row for row in rows if row["seed"] == 0 and row.get("validation") is not None]
    if not finished:
        raise ValueError(f"the record {name!r} has no finished row with seed 0 and {key}")
    best = min(finished, key=lambda row: row["validation"])["lr"]
    return [row for row in rows if row["lr"] == best]


def repeats(live: float, recorded: float, within: float) -> None:
    """Compare a live run with the recorded one, and say so where they part by more than `within`.

    Each kind of processor adds up in its own order, and a short training run can turn on the last bits as on a seed. So
    it is no error that they part, but where sums are pinned to one order (`lora_lab.authoring.execution.PINNED`).

    Raises:
        AssertionError: there.
    """
    if abs(live - recorded) <= within:
        return
    found = f"this run gave {live:.3g}, the recorded one {recorded:.3g}"
    assert not os.environ.get("LORA_LAB_PINNED"), found
    print(f"{found}: your processor rounds in another order, and so short a run can turn on it as on a seed")


def scores_by_run(record: dict[str, Any], lr: float | None = None) -> dict[str, list[float]]:
    """Run -> the share of exact answers of each seed, in the seeds' order, as a figure or a table wants them.

    Args:
        record: what `load("from_scratch")` gives. "chosen" has the rate that validation chose for each run; what was
            derived from a run, such as its change cut to a lower rank, says in "of" whose rate it has.
        lr: the one learning rate to look at, in place of the chosen ones.
    """
    scores: dict[str, dict[int, float]] = {}
    for row in record["rows"]:
        if row["lr"] == (record["chosen"][row["of"]] if lr is None else lr):
            scores.setdefault(row["run"], {})[row["seed"]] = row["exact"]
    return {run: [by_seed[seed] for seed in sorted(by_seed)] for run, by_seed in scores.items()}
