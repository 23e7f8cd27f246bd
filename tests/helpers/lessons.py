"""The code that stands in a lesson's cells, taken out of its master without running the rest."""

from pathlib import Path
from typing import Any

import torch

from lora_lab.authoring import percent

MASTERS = Path(__file__).resolve().parents[2] / "course" / "masters" / "lessons"


def cells(lesson: str) -> list[str]:
    """The source of every code cell of a lesson, such as "01_svd"."""
    parsed = percent.parse((MASTERS / f"{lesson}.py").read_text(encoding="utf-8"))
    return [cell.source for cell in parsed if cell.kind == "code"]


def definitions(lesson: str, beginnings: tuple[str, ...], **known: Any) -> dict[str, Any]:
    """All names, after the parts of cells that begin so have run; two empty lines end a part."""
    names: dict[str, Any] = {"torch": torch, **known}
    for source in cells(lesson):
        for part in source.split("\n\n\n"):
            if part.startswith(beginnings):
                exec(part, names)
    return names


def function(lesson: str, name: str, **known: Any) -> Any:
    """One function, from the cell that holds it."""
    (source,) = (source for source in cells(lesson) if f"def {name}(" in source)
    lines = source[source.index(f"def {name}(") :].split("\n")
    end = next((i for i, line in enumerate(lines[1:], 1) if line and not line[0].isspace()), len(lines))
    names = {"torch": torch, **known}
    exec("\n".join(lines[:end]), names)
    return names[name]
