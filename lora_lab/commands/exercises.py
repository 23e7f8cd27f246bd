"""`lora-lab exercises`: what of the course is done; and `lora-lab exercises build`, an instructor's own."""

import os
from pathlib import Path

from lora_lab.commands import lab
from lora_lab.commands.delivery import material


def progress(folder: Path | None) -> int:
    """Print what is done of each lesson and exercise.

    Args:
        folder: the learner's; by default what LORA_LAB_PROGRESS says, else `my_course`, else this user's.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    from lora_lab.exercises import overview, saved

    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"no folder '{folder}': give the one that lora-lab lab made, such as {lab.FOLDER}")
    theirs = (folder or lab.mine()) / saved.NAME
    where = theirs if folder or ("LORA_LAB_PROGRESS" not in os.environ and theirs.exists()) else saved.place()
    if where is None:
        print("No progress is kept (LORA_LAB_PROGRESS=off).")
        return 0
    rows = overview.done(saved.stored(where))
    width = max(len(title) for title, _, _ in rows)
    print(f"{'':<{width}}  {'right':>7}  {'guessed':>8}")
    for title, right, guessed in rows:
        print(f"{title:<{width}}  {right:>7}  {guessed:>8}".rstrip())
    print(f"\nKept in {where}." if where.exists() else f"\nNothing yet: {where} is written by the first check.")
    return 0


def build(folder: Path) -> int:
    """Make notebooks and what the grader needs from an instructor's masters and checks.

    Args:
        folder: holds masters/*.py and checks/*.py, and class.toml where something is drawn.

    Raises:
        FileNotFoundError: something of it is missing.
        ValueError: a master is malformed, a task has no check, or a solution is not right.
    """
    from lora_lab.authoring import pages, private

    private.require()
    for line in private.build(folder, pages.repository(material.root())):
        print(line, flush=True)
    return 0
