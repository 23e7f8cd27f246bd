"""`make real`: the lessons that speak of the real model, on it; part of a release, since they take minutes."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

pytestmark = pytest.mark.real


def test_lessons_that_use_the_real_model_run_on_it(fetched: Path) -> None:
    """Uncompared: what they keep in their outputs is the embedded base's."""
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        content = nbformat.read(notebook, as_version=4)
        if any('load_base("smollm2")' in cell.source for cell in content.cells if cell.cell_type == "code"):
            NotebookClient(content, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
