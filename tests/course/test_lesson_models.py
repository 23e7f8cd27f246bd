"""Which model each lesson loads: a larger one where that is its job and there is a GPU, else always the same."""

import re
import types
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from lora_lab import models
from lora_lab.models import TIERS
from tests.helpers import lessons, small_qwen
from tests.helpers.hub import put_into_cache

LOADS = {  # by lesson, where it loads a model; no other calls than these
    "12_qlora_finetune": {"load_base()", "load_embedded()"},
    "13_peft_and_bitsandbytes": {'load_base("smollm2")', "load_embedded()"},
}
ALL = sorted(path.stem for path in lessons.MASTERS.glob("*.py"))


@pytest.mark.parametrize("lesson", ALL)
def test_a_lesson_whose_record_is_of_the_small_model_loads_the_small_model_on_every_machine(lesson):
    """What it shows are figures of that model: recorded sweeps, exact scores, byte counts. 12 fine-tunes what the
    machine can, and 13 the real model, in float32 and on the CPU, where two libraries agree to the last digits.
    """
    code = "\n".join(lessons.cells(lesson))
    calls = set(re.findall(r"models\.(load(?:_\w+)?\([^)]*\))", code))
    assert calls <= LOADS.get(lesson, {"load_embedded()"})
    if lesson in LOADS:
        assert calls == LOADS[lesson]
    else:
        assert not re.search(r"get_tier|\bTIERS\b|cuda", code.replace('device="cuda"', ""))


def test_lesson_13_keeps_what_it_compares_on_the_cpu_beside_a_gpu():
    """transformers puts a 4-bit model on the GPU, and PEFT a model that it loads an adapter onto, unless told where."""
    on_cpu, asked = {"": "cpu"}, []

    class Loads:
        @staticmethod
        def from_pretrained(*_, **options):
            asked.append(options)

    stub = types.SimpleNamespace(AutoModelForCausalLM=Loads, BitsAndBytesConfig=dict)
    known = {"transformers": stub, "work": Path("work"), "on_cpu": on_cpu}
    four_bits = lessons.function("13_peft_and_bitsandbytes", "four_bits", **known)
    reload = lessons.function(
        "13_peft_and_bitsandbytes",
        "reload",
        four_bits=four_bits,
        peft=types.SimpleNamespace(PeftModel=Loads),
        on_cpu=on_cpu,
    )
    reload("folder")
    assert [options["device_map"] for options in asked] == [on_cpu, on_cpu]
    code = "\n".join(lessons.cells("13_peft_and_bitsandbytes"))
    assert 'on_cpu = {"": "cpu"}' in code and code.count("from_pretrained") == 2 and "use_cpu=True" in code


@pytest.fixture
def as_on_a_t4(monkeypatch, tmp_path):
    """This machine is told that it is a T4's, and its hub cache holds a small model in place of the tier's."""
    folder = small_qwen.write(tmp_path / "model")
    put_into_cache(folder, tmp_path / "hub", TIERS["t4"].model, TIERS["t4"].revision, ref=None)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("LORA_LAB_TIER", "t4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.slow
def test_the_fine_tune_of_lesson_12_runs_on_a_tiers_model_as_it_stands(as_on_a_t4, capsys):
    """Up to the adapter that is saved, loaded over a fresh base and answers alike; the rest is of records."""
    cells = lessons.cells("12_qlora_finetune")
    last = next(i for i, source in enumerate(cells) if "lora.save_adapter" in source)
    names: dict = {}
    for source in cells[: last + 1]:
        if source.startswith("hidden_gap") or "guessed" in source:
            continue  # a question of a record
        exec(source.replace('"steps": tier.steps', '"steps": 6').replace("heldout=100", "heldout=20"), names)
    assert names["tier"] is TIERS["t4"] and names["model"].config.model_type == "qwen2"
    assert names["settings"] == {"steps": 6, "batch_size": 8, "lr": 2e-4, "checkpointing": True}
    assert len(names["history"].losses) == 6 and names["history"].losses[-1] < names["history"].losses[0]
    assert names["same"] and models.get_tier() is TIERS["t4"]
    assert "the same answers: True" in capsys.readouterr().out
