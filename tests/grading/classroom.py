"""A small class: notebooks, what they are handed in as, and a judge that believes what they say.

The judge stands in for the real one where only what is around it is tested. It is in a module of its own so that
processes that are started afresh find it.
"""

import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lora_lab.grading.engine import Job
from lora_lab.grading.outcome import Outcome
from lora_lab.grading.verdict import Verdict

EXERCISES = {
    "01_svd": ({"cut": 1, "energy": 2}, ["lowrank"]),
    "02_scaling": ({"scale": 1}, []),
}


def notebook(*tasks: str, says: str = "right", tags: bool = True) -> bytes:
    """A notebook that answers these tasks; the judge below does what it says."""
    sources = [f'{task} = check("{task}", {task})  # {says}' for task in tasks]
    return of_code(*sources, tags=[f"check:{task}" for task in tasks] if tags else ())


def of_code(*sources: str, tags: Sequence[str] = ()) -> bytes:
    """A notebook with these code cells, each with its tag if there are any."""
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "metadata": {}, "source": "# Exercises"}]
    for source, tag in zip_longest(sources, tags):
        metadata = {"tags": [tag]} if tag else {}
        cells.append(
            {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}
        )
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


SVD = notebook("cut", "energy")


def folder_of(place: Path, files: dict[str, bytes], day: int = 10) -> Path:
    """A folder of files, all of which were changed at noon of a day of January 2026."""
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
        touch(place / name, day)
    return place


def touch(path: Path, day: int) -> None:
    """Change a file's time to noon of a day of January 2026."""
    noon = time.mktime((2026, 1, day, 12, 0, 0, 0, 0, -1))
    os.utime(path, (noon, noon))


def zip_of(path: Path, files: dict[str, bytes], day: int = 10) -> Path:
    """The same as a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, day, 12, 0, 0)), content)
    return path


def bytes_of_zip(files: dict[str, bytes]) -> bytes:
    """A zip as bytes."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


def believe(job: Job) -> Outcome:
    """The judge: "right", or what the notebook says; "die" ends the process, "once FILE" only the first time, "slow"
    takes a while, and "count FOLDER" leaves a file for each time that something is graded."""
    says = job.content.decode().rpartition("# ")[2].partition('"')[0]
    word, _, rest = says.strip().partition(" ")
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "once" and not Path(rest).exists():
        Path(rest).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "raise":
        raise RuntimeError("a judge that is broken")
    if word == "no" and rest == "sandbox":
        raise OSError("bwrap is not there: install bubblewrap")
    if word == "slow":
        time.sleep(float(rest))
    if word == "count":
        Path(rest, f"{time.time_ns()}-{os.getpid()}").touch()
    if word == "refused":
        return Outcome(tuple(Verdict(task, "refused", why="the file is no notebook") for task in job.exercise.tasks))
    wrong = word == "wrong"
    verdicts = [
        Verdict(task, "wrong", 0.0, rest or "2 times too large")
        if wrong
        else Verdict(task, "right", job.exercise.points[task], "", 12.0 if task == "energy" else None)
        for task in job.exercise.tasks
        if f'"{task}"'.encode() in job.content.replace(b"\\", b"")
    ]
    missing = [Verdict(task, "missing", 0.0, "no cell gives an answer") for task in job.exercise.tasks]
    said = {each.task: each for each in (*missing, *verdicts)}
    return Outcome(tuple(said[task] for task in job.exercise.tasks), 0.25, 0.125)
