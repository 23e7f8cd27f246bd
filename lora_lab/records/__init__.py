"""Tables that took longer to measure than a lesson may run; `course/records/` holds the scripts that made them.

They are package data, so that a lesson finds them in Colab too, where only the package is installed.
"""

import json
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
