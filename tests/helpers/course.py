"""A small course in the form that lessons have, and a learner who works in it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SETUP = "#@title Set-up\nimport lora_lab  # {tag}"
GUESS = "energy = ...  # directions of 192"
STUB = "def update(x):        # x: [tokens, d_in]\n    # the scaled update\n    ..."
ANSWER = "def update(x):\n    return 2 * x"


def markdown(text: str, tag: str | None = None) -> dict[str, Any]:
    return _cell("markdown", text, tag)


def code(text: str, tag: str | None = None) -> dict[str, Any]:
    return {**_cell("code", text, tag), "outputs": [], "execution_count": None}


def _cell(kind: str, text: str, tag: str | None) -> dict[str, Any]:
    name = tag.replace(":", "-") if tag else hashlib.sha256(f"{kind}{text}".encode()).hexdigest()[:12]
    return {"cell_type": kind, "id": name, "metadata": {"tags": [tag]} if tag else {}, "source": text}


def lesson(
    prose: str = "Some words.", question: str = GUESS, stub: str = STUB, turns: bool = True, tag: str = "v1"
) -> list[dict[str, Any]]:
    """The cells of a lesson with a guess and a turn."""
    turn = [
        code(stub, "turn:update"),
        code('update = check("update", update)', "check:update"),
    ]
    return [
        markdown(f"# A lesson\n\n{prose}"),
        {**code(SETUP.format(tag=tag)), "id": "set-up"},
        code(question, "guess:energy"),
        code("guessed = guesses(energy=energy)\nprint(guessed)"),
        *(turn if turns else []),
        markdown("## Next\n\n[the next](01_next.ipynb), [the syllabus](../syllabus.md)"),
    ]


def written(cells: Iterable[dict[str, Any]]) -> bytes:
    """A notebook's file, as the build writes it."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": list(cells), "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode() + b"\n"


def course(root: Path, lessons: dict[str, Iterable[dict[str, Any]]], **documents: str) -> Path:
    """The material of a course: its lessons in both editions, and documents such as `syllabus="…"`. Replaces what is
    there."""
    for folder in (root / "course" / "workbook", root / "notebooks"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, cells in lessons.items():
            (folder / f"{name}.ipynb").write_bytes(written(cells))
    for name, text in ({"syllabus": "# Syllabus\n\n[one](../notebooks/00_first.ipynb)\n"} | documents).items():
        (root / "course" / f"{name}.md").write_text(text, encoding="utf-8")
    return root


def cells_in(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text_of(path: Path, name: str) -> str:
    """The source of the cell with that id."""
    [cell] = [cell for cell in cells_in(path) if cell.get("id") == name]
    return "".join(cell["source"])


def change(path: Path, **sources: str) -> None:
    """Type into cells, named by their ids with "_" for "-": `change(path, guess_energy="energy = 40")`."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for name, text in sources.items():
        [cell] = [cell for cell in notebook["cells"] if str(cell.get("id")).replace("-", "_") == name]
        cell["source"] = text
    path.write_text(json.dumps(notebook), encoding="utf-8")


def add(path: Path, cell: dict[str, Any]) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"].append(cell)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def run_and_save(path: Path) -> None:
    """What JupyterLab does to a notebook in which nothing is typed: outputs, counts, metadata, an empty cell at the
    end, sources as lists of lines, no newline at the end."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"], 1):
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
        cell["metadata"]["scrolled"] = True
        if cell["cell_type"] == "code":
            cell |= {"execution_count": number, "outputs": [{"output_type": "stream", "name": "stdout", "text": "1\n"}]}
    notebook["cells"].append({**code(""), "id": "9f3a"})
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.11.2"}
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    path.write_text(json.dumps(notebook, sort_keys=True), encoding="utf-8")


def lose_metadata(path: Path) -> None:
    """What some editors do: no tags, and other ids."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"]):
        cell |= {"id": f"cell-{number}", "metadata": {}}
    path.write_text(json.dumps(notebook), encoding="utf-8")
