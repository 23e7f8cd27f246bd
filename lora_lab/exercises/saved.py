"""What was guessed and typed: in this process, and in a small file that outlives it.

The file is `LORA_LAB_PROGRESS`, else `~/.lora_lab/progress.json`; `LORA_LAB_PROGRESS=off` keeps none. Each entry is
keyed by its task or guess, and is read, changed and written at once, so that two notebooks lose nothing of each other.
A lesson never fails because of it.
"""

import math
import os
from pathlib import Path
from typing import Any

from lora_lab import disk
from lora_lab.exercises.stopping import say
from lora_lab.units import first_line

NAME = "progress.json"

Entries = dict[str, dict[str, Any]]

turns: dict[str, bool] = {}
"""Of this process: whether the last answer to a task was right."""
guesses: dict[str, tuple[float | None, float]] = {}
"""Of this process: guess and what was measured."""
_said: set[str] = set()


def turn(name: str, right: bool) -> None:
    """Note a try at a task. In the file, what was right once stays right."""
    turns[name] = right

    def note(entry: dict[str, Any]) -> dict[str, Any]:
        return {"right": right or entry.get("right") is True, "tries": _count(entry.get("tries")) + 1}

    _update("turns", name, note)


def guess(name: str, guessed: float | None, measured: float) -> None:
    """Note a guess and what was measured; the file keeps the first one."""
    guesses[name] = guessed, measured
    if guessed is not None and math.isfinite(measured):
        _update("guesses", name, lambda entry: entry or {"guess": guessed, "measured": measured})


def place() -> Path | None:
    """The file; None if nothing is kept."""
    wanted = os.environ.get("LORA_LAB_PROGRESS", "").strip()
    if wanted.lower() == "off":
        return None
    return Path(wanted).expanduser() if wanted else Path.home() / ".lora_lab" / NAME


def stored(path: Path | None = None) -> dict[str, Entries]:
    """What the file says, under "turns" and "guesses"; nothing if there is none, or it cannot be read.

    Args:
        path: the file; by default `place()`.
    """
    path = path or place()
    try:
        return _read(path) if path else _nothing()
    except (OSError, ValueError, RuntimeError) as error:
        _say_once(f"Progress cannot be read ({first_line(error)}).")
        return _nothing()


def _update(kind: str, name: str, change: Any) -> None:
    try:
        path = place()
        if path is None:
            return
        try:
            content = _read(path)
        except ValueError:
            content = _nothing()
            _say_once(f"The progress file was damaged: a new one is begun, and the old one kept as {_set_aside(path)}.")
        content[kind][name] = change(content[kind].get(name, {}))
        disk.write_json(path, content, sort_keys=True)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: there is no home folder
        _say_once(f"Progress is not kept ({first_line(error)}). The lessons work all the same.")


def _read(path: Path) -> dict[str, Entries]:
    """The file's content. Raises ValueError if it is damaged, OSError if it cannot be read."""
    if not path.exists():
        return _nothing()
    content = disk.read_json(path, "delete it")
    found = {kind: content.get(kind, {}) for kind in _nothing()}
    for entries in found.values():
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise ValueError(f"{path} is damaged")
    return {**content, **found}


def _set_aside(path: Path) -> str:
    """Give a damaged file a name that is free; return it."""
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, kept)
    return kept.name


def _nothing() -> dict[str, Entries]:
    return {"turns": {}, "guesses": {}}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _say_once(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        say(sentence)
