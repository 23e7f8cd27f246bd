"""Lesson 03: what the learner types is what the library and PEFT compute, and its record is what the lesson says."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from lora_lab import lora, memory, records
from lora_lab.data import tasks
from tests.helpers import lessons

LESSON = "03_lora_from_scratch"
SHAPES = [(1, 1, 1), (5, 3, 2), (192, 64, 8), (65, 127, 3), (3, 200, 64)]  # d_in, d_out, r


@pytest.fixture(scope="module")
def lesson() -> dict[str, Any]:
    """The lesson's own solutions, and the class made of them."""
    names: dict[str, Any] = {"math": math, "nn": nn}
    for turn in ("lora_forward", "lora_init", "lora_inject"):
        names[turn] = lessons.function(LESSON, turn, **names)
    return lessons.definitions(LESSON, ("class LoRALinear", "def with_lora"), **names)


def twins(lesson: dict[str, Any], d_in: int, d_out: int, r: int, bias: bool = True) -> tuple[Any, lora.LoRALinear]:
    """The lesson's layer and the library's with the same base, A and B, none of them zero."""
    torch.manual_seed(0)
    base = nn.Linear(d_in, d_out, bias=bias)
    mine = lesson["LoRALinear"](base, r, alpha=16)
    theirs = lora.LoRALinear(base, lora.LoRAConfig(r=r, alpha=16))
    nn.init.normal_(mine.lora_B)
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


def outputs_and_gradients(layer: Any, A: Tensor, B: Tensor, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    h = layer(x)
    h.square().sum().backward()
    return [h.detach(), x.grad, A.grad, B.grad]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_layer_equals_the_librarys_bit_for_bit(
    lesson: dict[str, Any], shape: tuple[int, int, int], bias: bool
) -> None:
    mine, theirs = twins(lesson, *shape, bias=bias)
    for batch in [(), (7,), (2, 5)]:
        x = torch.randn(*batch, shape[0])
        ours, library = (outputs_and_gradients(each, each.lora_A, each.lora_B, x) for each in (mine, theirs))
        assert all(torch.equal(one, other) for one, other in zip(ours, library, strict=True))
        mine.zero_grad(), theirs.zero_grad()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_layer_equals_pefts_forward_and_backward(
    lesson: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    mine, _ = twins(lesson, *shape)
    config = peft.LoraConfig(r=shape[2], lora_alpha=16, target_modules=["0"])
    theirs = peft.inject_adapter_in_model(config, nn.Sequential(mine.base))[0]
    A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    with torch.no_grad():
        A.copy_(mine.lora_A), B.copy_(mine.lora_B)
    x = torch.randn(9, shape[0])
    ours, pefts = outputs_and_gradients(mine, mine.lora_A, mine.lora_B, x), outputs_and_gradients(theirs, A, B, x)
    for one, other in zip(ours, pefts, strict=True):
        assert (one - other).norm() <= 1e-6 * other.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_start_is_pefts_uniform_a_and_a_b_of_zeros(lesson: dict[str, Any], shape: tuple[int, int, int]) -> None:
    d_in, d_out, r = shape
    layer = lesson["LoRALinear"](nn.Linear(d_in, d_out), r, alpha=4)
    assert not layer.lora_B.any() and layer.lora_A.any() and layer.lora_A.abs().max() <= 1 / math.sqrt(d_in)
    assert layer.scaling == 4 / r
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["lora_A", "lora_B"]


def test_the_lessons_layer_computes_the_equation_in_float64(lesson: dict[str, Any]) -> None:
    mine, _ = twins(lesson, 33, 21, 4)
    x = torch.randn(11, 33, dtype=torch.float64)
    W0, b, A, B = (p.detach().double() for p in (mine.base.weight, mine.base.bias, mine.lora_A, mine.lora_B))
    wanted = x @ (W0 + 16 / 4 * B @ A).T + b
    torch.testing.assert_close(mine.double()(x), wanted, rtol=1e-12, atol=1e-12)


def test_the_gradients_are_those_of_the_chain_rule_that_the_lesson_writes(lesson: dict[str, Any]) -> None:
    mine, _ = twins(lesson, 7, 5, 3)
    x, G = torch.randn(4, 7), torch.randn(4, 5)
    (mine(x) * G).sum().backward()
    A, B = mine.lora_A.detach(), mine.lora_B.detach()
    torch.testing.assert_close(mine.lora_A.grad, 16 / 3 * B.T @ G.T @ x)
    torch.testing.assert_close(mine.lora_B.grad, 16 / 3 * G.T @ (x @ A.T))


def test_inject_adapts_what_the_library_calls_all_linear(lesson: dict[str, Any]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
                         num_key_value_heads=2, vocab_size=31, tie_word_embeddings=True)  # fmt: skip
    mine, theirs = LlamaForCausalLM(config), LlamaForCausalLM(config)
    theirs.load_state_dict(mine.state_dict())
    lesson["lora_inject"](mine, lesson["with_lora"])
    lora.inject(theirs, lora.LoRAConfig(r=8, alpha=16, target_modules="all-linear"))
    trains = [[name for name, p in model.named_parameters() if p.requires_grad] for model in (mine, theirs)]
    assert trains[0] == trains[1] and len(trains[0]) == 2 * 2 * 7


def test_a_hundred_copies_are_the_terabytes_that_the_lesson_opens_with() -> None:
    full, added = (memory.estimate("llama-3.1-8b", m, r=16).trainable_params for m in ("full", "lora"))
    assert (full, added) == (8_030_261_248, 41_943_040)
    assert f"{100 * 2 * full / 1e12:.1f}" == "1.6"


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "course" / "records" / "from_scratch.py"
    spec = importlib.util.spec_from_file_location("from_scratch", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def updates() -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(1)
    shapes = {"self_attn.k_proj": (64, 192), "mlp.down_proj": (192, 512)}
    return {
        f"model.layers.{block}.{place}": torch.randn(*size, generator=dice)
        for block in range(4)
        for place, size in shapes.items()
    }


def test_a_random_direction_has_the_rank_and_the_norm_of_what_was_learned(
    script: ModuleType, updates: dict[str, Tensor]
) -> None:
    for name, other in script.random_direction(updates).items():
        assert float(other.norm()) == pytest.approx(float(updates[name].norm()), rel=1e-5)
        assert int(torch.linalg.matrix_rank(other, rtol=1e-4)) == script.R
        assert abs(float((other * updates[name]).sum())) < 0.1 * float(other.norm() ** 2)


def test_the_wrong_block_moves_every_update_and_loses_none(script: ModuleType, updates: dict[str, Tensor]) -> None:
    moved = script.next_block(updates)
    assert moved.keys() == updates.keys()
    assert moved["model.layers.0.mlp.down_proj"] is updates["model.layers.3.mlp.down_proj"]
    assert moved["model.layers.2.self_attn.k_proj"] is updates["model.layers.1.self_attn.k_proj"]


def test_the_cut_has_rank_8_and_is_the_nearest(script: ModuleType, updates: dict[str, Tensor]) -> None:
    for name, cut in script.cut(updates).items():
        s = torch.linalg.svdvals(updates[name].double())
        assert int(torch.linalg.matrix_rank(cut, rtol=1e-4)) == 8
        assert float((updates[name] - cut).norm() ** 2) == pytest.approx(float(s[8:].square().sum()), rel=1e-4)


def test_shuffling_keeps_prompts_and_answers_and_breaks_nearly_all_pairs(script: ModuleType) -> None:
    task = tasks.cipher(200, 10, words=script.WORDS)
    mixed = script.shuffled(task, 0)
    assert [e.prompt for e in mixed.train] == [e.prompt for e in task.train]
    assert sorted(e.answer for e in mixed.train) == sorted(e.answer for e in task.train)
    assert sum(a == b for a, b in zip(mixed.train, task.train, strict=True)) < 10
    assert mixed.heldout == task.heldout and mixed.validation == task.validation


def test_every_rate_was_chosen_on_validation_between_two_worse_ones() -> None:
    record = records.load("from_scratch")
    for run, lr in record["chosen"].items():
        loss = {row["lr"]: row["valid_loss"] for row in record["rows"] if row["run"] == run and row["seed"] == 0}
        assert loss[lr] < loss[lr / 2] and loss[lr] < loss[2 * lr], run


def test_every_run_at_its_rate_has_three_seeds() -> None:
    record = records.load("from_scratch")
    seeds: dict[str, list[int]] = {}
    for row in record["rows"]:
        if row["lr"] == record["chosen"][row["of"]]:
            seeds.setdefault(row["run"], []).append(row["seed"])
    assert {run: sorted(each) for run, each in seeds.items()} == dict.fromkeys(seeds, [0, 1, 2])


def test_one_dense_place_trains_about_as_many_numbers_as_lora() -> None:
    counts = {row["run"]: row["trainable"] for row in records.load("from_scratch")["rows"] if "trainable" in row}
    assert counts["LoRA"] == 8 * 4 * (2 * (192 + 192) + 2 * (64 + 192) + 3 * (192 + 512))
    assert 1 <= counts["one dense place"] / counts["LoRA"] < 1.05
    assert 0.05 < counts["LoRA"] / counts["full"] < 0.07


def test_half_of_the_best_rate_costs_lora_what_the_lesson_says():
    record = records.load("from_scratch")
    loss = {row["lr"]: row["valid_loss"] for row in record["rows"] if row["run"] == "LoRA" and row["seed"] == 0}
    best = min(loss, key=loss.__getitem__)
    assert loss[best / 2] > 10 * loss[best]
