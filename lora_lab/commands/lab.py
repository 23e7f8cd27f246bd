"""`lora-lab lab`: the course in a folder of the learner's own, opened in JupyterLab."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lora_lab import ranges
from lora_lab.commands import jupyter
from lora_lab.commands.delivery import Delivery, Item, deliver, material, record
from lora_lab.disk.names import behind_links

FOLDER = "my_course"
FIRST = "00_start_here.ipynb"


def run(
    folder: str | Path | None = None,
    *,
    solutions: bool = False,
    reset: str | None = None,
    browser: bool = True,
    opened: bool = True,
) -> int:
    """Bring a folder up to date with the course, and open it in JupyterLab.

    Args:
        folder: the learner's; made if it is not there. None is the one that the current folder lies in, else `FOLDER`.
        solutions: bring the executed lessons too, and open those.
        reset: the number or name of a lesson that starts afresh and is opened.
        browser: open one.
        opened: open JupyterLab; otherwise only the folder is brought up to date.

    Returns:
        0, or the exit status of a JupyterLab that could not run.

    Raises:
        OSError: if the folder cannot be written in.
        ValueError: for a folder among the course's own files or within a learner's, a lesson that there is not, one
            whose record is damaged, or if JupyterLab is not installed.
    """
    if opened:
        jupyter.require()
    folder = mine() if folder is None else folder
    root = material.root()
    items = material.items(root)
    lesson = None if reset is None else find(reset, items)
    refuse_the_courses_own(folder, root)
    if (outer := _delivered(behind_links(folder).parent)) is not None:
        raise ValueError(f"'{folder}' would lie within '{outer}', which is your course already: name that one")
    _say(folder, deliver(Path(folder), items, solutions, lesson))
    if not opened:
        return 0
    place = Path(os.path.realpath(folder))
    print("JupyterLab opens; Ctrl-C here ends it.")
    sys.stdout.flush()
    words = jupyter.command(place, _opening(place, solutions, lesson), browser)
    return jupyter.run(words, jupyter.environment(place))


def mine() -> Path:
    """The learner's folder: the one that they are in, as in a terminal that JupyterLab opened there, else `FOLDER`."""
    try:
        return _delivered(Path.cwd()) or Path(FOLDER)
    except FileNotFoundError:  # the current folder is gone, which delivering says
        return Path(FOLDER)


def _delivered(place: Path) -> Path | None:
    """The folder at or above `place` that the course was brought into."""
    return next((each for each in (place, *place.parents) if (each / record.NAME).is_file()), None)


def _opening(folder: Path, solutions: bool, lesson: Item | None) -> str | None:
    """The notebook to open; None if the learner goes on where they were."""
    if lesson or solutions:
        return lesson.name if lesson else f"notebooks/{FIRST}"
    return None if jupyter.has_state(folder) else f"workbook/{FIRST}"


def find(lesson: str, items: Sequence[Item]) -> Item:
    """What is meant by "03", "3" or "03_lora_from_scratch", a lesson, or by "exercises/03".

    Raises:
        ValueError: if there is none.
    """
    word = lesson.removesuffix(".ipynb")
    folder, _, rest = word.rpartition("/")
    place = "exercises" if folder.endswith("exercises") else "workbook"
    known = {Path(item.name).stem: item for item in items if item.name.startswith(f"{place}/")}
    numbers = {name.partition("_")[0]: name for name in known}
    name = numbers.get(rest.zfill(2), rest)
    ranges.choice("lesson", name if name in known else lesson, list(known))
    return known[name]


def refuse_the_courses_own(folder: str | Path, root: Path) -> None:
    """Raises ValueError for a folder in which the course's own files lie, OSError for one that cannot be."""
    place = behind_links(folder)
    own_folders = (root / each for each in ("course", "notebooks", "exercises", "solutions"))
    for own in (*own_folders, material.PACKAGE):
        if place == root or place.is_relative_to(own):
            raise ValueError(f"'{folder}' holds the course's own files: choose a folder for yours, such as {FOLDER}")


def _say(folder: str | Path, delivery: Delivery) -> None:
    done = [f"{n} {word}" for n, word in ((delivery.new, "new"), (delivery.replaced, "brought up to date")) if n]
    print(f"{folder}: {', '.join(done) or 'up to date'}")
    for sentence in delivery.said:
        print(f"  {sentence}")
