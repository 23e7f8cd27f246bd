"""Tiers: their names, what they need, and whether that is free on this GPU, asked before anything is loaded."""

import re
import types

import pytest
import torch

from lora_lab import memory, models, ram
from lora_lab.commands import hardware, surroundings
from lora_lab.models import TIERS, base, get_tier, load, load_base, room, tier_in_words, tiers
from lora_lab.models.room import Room
from tests.helpers.models import tiny_llama

GIB = 2**30
CARDS = {"t4": 14.56, "l4": 21.96, "a100": 39.39}  # GiB, as CUDA reports them: `memory.GPUS` has them
ON_GPU = [tier for tier in TIERS.values() if not tier.embedded]


def pretend(monkeypatch, total, free=None, ours=0, capability=(8, 9)):
    """A GPU with so many bytes, of which some are free and some held by this process; all are free by default."""
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(cuda, "get_device_properties", lambda *_: types.SimpleNamespace(total_memory=int(total)))
    monkeypatch.setattr(cuda, "mem_get_info", lambda *_: (int(total if free is None else free), int(total)))
    monkeypatch.setattr(cuda, "memory_reserved", lambda *_: int(ours))


@pytest.fixture(autouse=True)
def no_tier_is_named(monkeypatch):
    monkeypatch.delenv("LORA_LAB_TIER", raising=False)


@pytest.fixture
def nothing_is_fetched(monkeypatch):
    def fetch(*_):
        raise AssertionError("it was loaded before the check")

    monkeypatch.setattr(base, "snapshot", fetch)


def said_of(tier, method="qlora"):
    with pytest.raises(ValueError) as caught:
        load_base(tier, method)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    return said


# Names


@pytest.mark.parametrize(("alias", "name"), [("a10", "l4"), ("h100", "a100"), (" H100 ", "a100")])
def test_a_card_that_runs_what_another_does_is_its_alias(alias, name):
    assert get_tier(alias) is TIERS[name]


def test_a_variable_names_what_auto_means_and_nothing_else(monkeypatch):
    pretend(monkeypatch, 80 * GIB, capability=(9, 0))
    monkeypatch.setenv("LORA_LAB_TIER", " T4 ")
    assert get_tier() is TIERS["t4"] and get_tier("l4") is TIERS["l4"]
    assert tier_in_words() == (
        "GPU with 86 GB and LORA_LAB_TIER=T4: lessons that can make use of it fine-tune Qwen2.5-1.5B-Instruct."
    )
    monkeypatch.setenv("LORA_LAB_TIER", "cpu")
    assert load_base()[0].config.model_type == "llama" and get_tier().embedded
    assert tier_in_words().endswith("LORA_LAB_TIER=cpu: the lessons use the small model that comes with the course.")
    monkeypatch.setenv("LORA_LAB_TIER", "auto")
    assert get_tier() is TIERS["a100"]


def test_a_variable_that_names_no_tier_is_one_sentence(monkeypatch):
    monkeypatch.setenv("LORA_LAB_TIER", "l40")
    with pytest.raises(ValueError, match="^LORA_LAB_TIER='l40': did you mean .*set it to one of .*, or unset it$"):
        get_tier()
    assert re.fullmatch("LORA_LAB_TIER='l40': did you mean .*, or unset it[.]", tier_in_words())
    found = surroundings.tier()
    assert (found.status, found.detail) == ("fail", "LORA_LAB_TIER='l40' names no tier")
    assert "set it to one of" in found.remedy and "pip" not in found.remedy
    assert hardware.dtype() is None and hardware.gpu_memory() is None, "once is enough"


# What they need


def setup(tier, method):
    fp16 = tier.min_capability < (8, 0)
    in_16_bits = {"full": "fp16" if fp16 else "bf16"}.get(method, "fp16" if fp16 else "mixed")
    return {
        "r": 16,
        "batch_size": tier.batch_size,
        "seq_len": tier.seq_len,
        "checkpointing": tier.checkpointing,
        "precision": in_16_bits,
    }


@pytest.mark.parametrize("tier", ON_GPU, ids=lambda tier: tier.name)
def test_parameters_and_peaks_are_what_the_estimator_says(tier):
    preset = memory.load_config(tier.model.removesuffix("-Instruct"))
    assert tier.parameters == memory.parameters(preset).total
    made = {method: memory.estimate(preset, method, **setup(tier, method)).peak_bytes for method in memory.METHODS}
    assert tier.peaks == made


@pytest.mark.parametrize("tier", ON_GPU, ids=lambda tier: tier.name)
def test_a_tiers_own_card_holds_its_model_and_its_training(tier):
    """As a process, in QLoRA; LoRA's tensors too, but with little to spare."""
    card = memory.get_gpu(tier.name)
    assert memory.process_bytes(tier.peaks["qlora"], card)[1] < card.usable_bytes
    assert tier.needs("lora") < card.usable_bytes and tier.weight_bytes + room.CONTEXT < card.usable_bytes
    least = memory.process_bytes(tier.needs("qlora"))[0]
    assert least < tier.min_memory <= card.usable_bytes, "no smaller card is chosen that could not"


def test_a_training_on_an_h100_takes_what_its_steps_took_and_of_other_cards_nothing_is_said():
    a100 = TIERS["a100"]
    assert 0.3 < a100.minutes("NVIDIA H100 80GB HBM3") < 2
    assert a100.minutes("NVIDIA A100-SXM4-40GB") is None and TIERS["t4"].minutes("Tesla T4") is None


def test_loading_counts_where_it_needs_more_than_training():
    assert TIERS["l4"].needs("qlora") == TIERS["l4"].weight_bytes == 2 * 7_615_616_512
    assert TIERS["t4"].needs("qlora") == TIERS["t4"].peaks["qlora"]
    with pytest.raises(ValueError, match="unknown method 'qlorra'"):
        TIERS["t4"].needs("qlorra")


# Before loading


@pytest.mark.parametrize("tier", ON_GPU, ids=lambda tier: tier.name)
def test_what_fits_is_loaded(monkeypatch, tier):
    pretend(monkeypatch, CARDS[tier.name] * GIB)
    room.require(tier, "qlora")
    room.require(tier, "lora")


def test_what_needs_more_than_the_card_is_refused_with_the_tier_that_fits(monkeypatch, nothing_is_fetched):
    pretend(monkeypatch, 24 * 10**9, 23.5 * 10**9)
    said = said_of("h100")
    assert "Qwen/Qwen2.5-14B-Instruct needs 29.5 GB" in said and "23.5 of 24.0 GB are free" in said
    assert "take the tier l4" in said and "Qwen/Qwen2.5-7B-Instruct" in said and "LORA_LAB_TIER=l4" in said
    assert "shut down" not in said and "delete" not in said, "nothing holds what is missing"


def test_another_method_of_the_same_tier_is_offered_first(monkeypatch, nothing_is_fetched):
    pretend(monkeypatch, 7 * 10**9, capability=(7, 5))
    said = said_of("t4", "lora")
    assert "needs 7.2 GB of GPU memory for lora" in said and "choose qlora, which needs 5.3 GB" in said
    assert said.index("choose qlora") < said.index("take the tier cpu")
    assert "choose qlora" in said_of("t4", "full"), "lora would not fit either"


def test_who_holds_the_memory_is_named_and_how_to_free_it(monkeypatch, nothing_is_fetched):
    pretend(monkeypatch, 16 * 10**9, 4 * 10**9, ours=7 * 10**9, capability=(7, 5))
    said = said_of("t4")
    assert "4.0 of 16.0 GB are free (other notebooks and programs hold 5.0 GB, this one holds 7.0 GB)" in said
    assert "shut down the kernels of other notebooks" in said and "nvidia-smi" in said
    assert "models.free() (or restart its kernel)" in said and "take the tier cpu (the embedded base" in said


@pytest.mark.parametrize(
    ("free", "ours", "need", "ways"),
    [
        (1, 12, 5, ["delete"]),  # others hold 3
        (1, 3, 6, ["shut down"]),  # others hold 12
        (2, 7, 5, ["shut down", "delete"]),  # others hold 7
        (2, 7, 12, ["shut down.* and delete"]),
        (2, 14, 12, ["delete"]),  # others hold nothing
        (1, 7, 17, []),
    ],
)
def test_only_what_would_be_enough_is_offered(free, ours, need, ways):
    offered = list(Room(16 * 10**9, free * 10**9, ours * 10**9).ways_out(need * 10**9))
    assert len(offered) == len(ways) and all(re.match(way, said) for way, said in zip(ways, offered, strict=True))


def test_our_own_context_is_nobody_elses(monkeypatch):
    assert Room(16 * 10**9, 15.2 * 10**9, 0).others == 0
    assert Room(16 * 10**9, 8 * 10**9, 7.5 * 10**9).others == 0
    assert Room(16 * 10**9, 8 * 10**9, 0).others == 8 * 10**9


def test_a_named_model_whose_weights_do_not_fit_is_refused_before_they_are_read(monkeypatch, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "model")
    pretend(monkeypatch, 10**9, 1000)
    read = []
    monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: read.append("it was read"))
    assert base._parameters(tmp_path / "model") == tiny_llama().num_parameters()
    with pytest.raises(ValueError, match="weights of .* are 0.0 GB, and of the GPU's memory 0.0 of 1.0 GB are"):
        load(tmp_path / "model")
    assert not read
    pretend(monkeypatch, 10**9)
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path / "model")
    assert read


def test_on_the_cpu_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: pytest.fail("a GPU was asked"))
    assert Room.now() is None
    machine(monkeypatch, None)
    room.require_weights("a model", 10**15, torch.float32, "cpu")  # where the system does not say it
    models.free()


def machine(monkeypatch, total, free=0, ours=0):
    """A machine without a GPU that has so much memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    memory = None if total is None else ram.Memory(int(total), int(free), int(ours))
    monkeypatch.setattr(ram.Memory, "now", lambda: memory)


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (20.7, "quantize it while it is loaded .the checkpoint= of quant.quantize_model., or name Qwen/Qwen2.5-1.5B-"),
        (7.0, "or name Qwen/Qwen2.5-1.5B-Instruct .6.2 GB.$"),
        (6.1, "or name smollm2 .0.5 GB.$"),
        (0.1, "or name embedded, which comes with the course$"),
    ],
)
def test_without_a_gpu_weights_are_held_against_the_machine_with_who_holds_it_and_what_would_fit(
    monkeypatch, free, words
):
    machine(monkeypatch, 64e9, free * 1e9, (60 - free) * 1e9)
    with pytest.raises(ValueError, match=words) as caught:
        room.require_weights("an/other", 14_770_033_664, torch.float32, "cpu")
    said = str(caught.value)
    assert said.startswith(
        f"the weights of an/other are 59.1 GB, and of this machine's memory {free:.1f} of 64.0 GB are free (other "
        f"notebooks and programs hold 4.0 GB, this one holds {60 - free:.1f} GB): delete this notebook's models"
    )
    assert ("quantize" in said) == (free > 7.4) and "nvidia-smi" not in said
    machine(monkeypatch, 64e9, 60e9)
    room.require_weights("an/other", 14_770_033_664, torch.float32, "cpu")


def test_who_holds_a_machines_memory_is_listed_by_its_own_program(monkeypatch):
    machine(monkeypatch, 16e9, 4e9)
    with pytest.raises(ValueError, match="other notebooks .each keeps its own models; top lists the processes., or q"):
        room.require_weights("an/other", 3 * 10**9, torch.float32, "cpu")


def test_a_named_folder_whose_weights_do_not_fit_into_the_machine_is_refused_before_they_are_read(
    monkeypatch, tmp_path
):
    tiny_llama().save_pretrained(tmp_path / "model")
    machine(monkeypatch, 64e9, 4 * tiny_llama().num_parameters() - 1)
    monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="model' are 0.0 GB, and of this machine's memory 0.0 of 64.0 GB are free"):
        load(tmp_path / "model")


def test_a_tier_of_a_gpu_is_held_against_this_machines_memory_where_there_is_none(monkeypatch, nothing_is_fetched):
    """A variable that is left from a day with a GPU would download 30 GB for a model that does not fit."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(tiers, "free_memory", lambda: 20_700_000_000)
    monkeypatch.setenv("LORA_LAB_TIER", "a100")
    said = said_of("auto", "full")
    assert said.startswith(
        "Qwen/Qwen2.5-14B-Instruct needs 59.1 GB of memory without a GPU, and 20.7 GB are free: take"
    )
    assert "LORA_LAB_TIER=cpu" in said and tier_in_words() == f"{said}."
    check = surroundings.tier()
    assert check.status == "warn" and "needs 59.1 GB of memory without a GPU" in check.detail and "cpu" in check.remedy
    room.require(TIERS["t4"], "full")
    room.require(models.SMOLLM2, "full")
    monkeypatch.setattr(tiers, "free_memory", lambda: None)  # where the system does not say it, nothing is refused
    room.require(TIERS["a100"], "full")
    monkeypatch.setattr(tiers, "free_memory", lambda: 1)
    room.require(TIERS["cpu"])
    pretend(monkeypatch, 80 * GIB)
    room.require(TIERS["a100"])


def test_what_nobody_holds_is_given_back_before_the_room_is_measured(monkeypatch):
    """A model and its hooks often refer to one another: until they are collected, the memory is held."""
    pretend(monkeypatch, 16 * 10**9)
    said = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: said.append("emptied"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: said.append("measured") or (0, 16 * 10**9))

    class Circle:
        def __init__(self):
            self.own = self

        def __del__(self):
            said.append("collected")

    Circle()
    Room.now()
    assert said == ["collected", "emptied", "measured"]


def test_every_choice_of_a_tier_is_named_in_the_sentence_of_an_unknown_one():
    with pytest.raises(ValueError) as caught:
        get_tier("b200")
    assert re.search(r"choose from auto, cpu, t4, l4, a100, a10 \(as l4\), h100 \(as a100\)$", str(caught.value))
