"""`make real`: the main job on the real model, from the package index or the hub to an adapter that others can read."""

from pathlib import Path

import pytest

from lora_lab.commands import cli

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]


def test_the_real_model_learns_the_main_job_and_others_read_its_adapter(fetched: Path, tmp_path: Path) -> None:
    """The threshold is the worst recorded seed less ten points; the exit status holds peft's two readings too."""
    assert cli.main(["demo", "--model", "smollm2", "--out", str(tmp_path)]) == 0
    assert {file.name for file in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
