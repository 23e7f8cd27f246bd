"""Lessons that lean on PEFT and on bitsandbytes, filled in, on Colab's older stack."""

import nbformat
import pytest

from tests.colab.emulated import ROOT, Environment, in_colab


@pytest.mark.release
@pytest.mark.parametrize("name", ["03_lora_from_scratch", "09_build_nf4"])
def test_the_lesson_runs_to_its_end_on_colabs_versions(colab: Environment, repository: str, name: str) -> None:
    executed = colab.execute(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4), in_colab(repository))
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert [output.traceback for output in outputs if "traceback" in output] == []
    assert outputs
