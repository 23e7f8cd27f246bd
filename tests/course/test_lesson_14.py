"""Lesson 14: the merge is the library's, half a step is the threshold, and the record says what the prose says."""

import pytest
import torch

from lora_lab import lora, memory, quant, records
from tests.helpers import lessons

LESSON = "14_save_merge_deploy"
FACTS = records.tried("merging", run="facts")
WAYS = ("Q(Ŵ + ΔW)", "Q(W + ΔW)", "W + ΔW", "Ŵ + ΔW + noise", "Ŵ + shuffled ΔW")


def lost(row: dict, way: str) -> float:
    loss = row["loss"]
    return (loss[way] - loss["Ŵ + ΔW"]) / (loss["Ŵ"] - loss["Ŵ + ΔW"])


def finished() -> list[dict]:
    rows = records.tried("merging", run="facts", lr=0.001, step=320)
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_learners_merge_is_the_librarys(dtype):
    torch.manual_seed(0)
    layer = lora.LoRALinear(torch.nn.Linear(24, 40, dtype=dtype), lora.LoRAConfig(r=4, alpha=6))
    torch.nn.init.normal_(layer.lora_B)
    W, A, B = layer.base.weight.detach(), layer.lora_A.detach(), layer.lora_B.detach()
    mine = lessons.function(LESSON, "merged_weight")(W, A, B, layer.scaling)
    layer.merge()
    assert mine.dtype == dtype and (mine != layer.merged_weight).float().mean() < 0.01  # the sum's order may turn a tie
    torch.testing.assert_close(mine, layer.merged_weight)


def test_the_learners_bytes_are_those_that_the_estimator_counts_and_the_folder_holds(tmp_path):
    count = lessons.function(LESSON, "adapter_bytes")
    attention = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]
    llama = 32 * (attention + [(14336, 4096), (14336, 4096), (4096, 14336)])
    assert count(llama, 16, 4) == 4 * memory.estimate("llama-3.1-8b", "lora", r=16).trainable_params == 167_772_160
    assert round(count(32 * attention, 16, 2) / 1e6) == 27  # what "about 30 MB" is true of
    model = lora.inject(torch.nn.Sequential(torch.nn.Linear(64, 32)), lora.LoRAConfig(r=8, target_modules=("0",)))
    lora.save_adapter(model, tmp_path)
    assert 0 < (tmp_path / "adapter_model.safetensors").stat().st_size - count([(32, 64)], 8, 4) < 500


def test_an_update_survives_if_it_is_over_half_a_step_of_nf4_in_its_direction():
    survives, levels = lessons.function(LESSON, "survives"), quant.NF4.values
    for i in range(16):
        for j in (i - 1, i + 1):
            if 0 <= j < 16:
                step, code = levels[j] - levels[i], torch.tensor([i], dtype=torch.uint8)
                assert not survives(levels, code, 0.49 * step.view(1)) and survives(levels, code, 0.51 * step.view(1))


def test_what_the_learner_foretells_is_what_quantizing_again_changes_but_for_the_constants():
    survives, dice = lessons.function(LESSON, "survives"), torch.Generator().manual_seed(0)
    first = quant.quantize(torch.randn(4, 64, generator=dice), quant.NF4, 64)
    update = 0.2 * torch.randn(4, 64, generator=dice)
    update[first.dequantize().abs() == first.dequantize().abs().amax(1, keepdim=True)] = 0  # so that constants stay
    update = update.clamp(-0.1, 0.1)
    again = quant.quantize(first.dequantize() + update, quant.NF4, 64)
    code, after = quant.unpack(first.packed, 256), quant.unpack(again.packed, 256)
    assert torch.equal(first.absmax, again.absmax)
    foretold = survives(levels := quant.NF4.values, code, (update / first.absmax.view(-1, 1)).flatten())
    assert torch.equal(foretold, after != code) and foretold.any() and len(levels) == 16


# The record


def test_the_opening_numbers_are_means_of_three_seeds():
    shares = {
        way: sum(row["exact"][way] for row in finished()) / 3 for way in ("Ŵ + ΔW", "Q(Ŵ + ΔW)", "Ŵ + ΔW + noise")
    }
    assert [f"{share:.0%}" for share in shares.values()] == ["28%", "8%", "26%"]


def test_back_into_four_bits_is_the_worst_merge_of_every_small_update_and_its_error_as_noise_costs_nothing():
    for row in FACTS:
        if row["size"] < 0.1:
            assert lost(row, "Q(Ŵ + ΔW)") > 0.25 and row["arrives"]["Q(Ŵ + ΔW)"] < 0.72
            assert max(lost(row, way) for way in WAYS[1:4]) < 0.07 and row["arrives"]["Q(W + ΔW)"] > 0.99


def test_the_order_of_the_merges_over_all_adapters():
    mean = [sum(lost(row, way) for row in FACTS) / len(FACTS) for way in ("W + ΔW", "Q(W + ΔW)", "Q(Ŵ + ΔW)")]
    assert len(FACTS) == 18 and 0 < mean[0] < mean[1] < 0.02 < 0.4 < mean[2] and f"{mean[0]:.0%}" == "0%"
    single = [lost(row, "W + ΔW") for row in FACTS]
    assert (round(100 * min(single)), round(100 * max(single))) == (-5, 7)


def test_the_rule_of_ninety_percent_divides_what_was_measured():
    much = [lost(row, "Q(Ŵ + ΔW)") for row in FACTS if row["arrives"]["Q(Ŵ + ΔW)"] >= 0.92]
    little = [lost(row, "Q(Ŵ + ΔW)") for row in FACTS if row["arrives"]["Q(Ŵ + ΔW)"] <= 0.71]
    assert len(much) + len(little) == 18 and max(much) < 0.04 and min(little) > 0.28


def test_a_shuffled_update_gains_nothing():
    assert all(lost(row, "Ŵ + shuffled ΔW") > 0.95 for row in FACTS)


# What the prose says of it


def test_most_of_the_error_of_a_small_update_is_the_update_and_the_noise_of_a_large_one_costs_as_much_as_the_merge():
    large = [row for row in FACTS if row["size"] >= 0.13]
    cost = [sum(lost(row, way) for row in large) / len(large) for way in ("Q(Ŵ + ΔW)", "Ŵ + ΔW + noise")]
    assert len(large) == 6 and [f"{share:.1%}" for share in cost] == ["1.4%", "1.3%"]


def test_at_the_preferred_rate_merge_4_costs_one_point_of_37():
    rows = records.tried("merging", run="facts", lr=0.01, step=80)
    assert [f"{sum(row['exact'][way] for row in rows) / 3:.0%}" for way in ("Ŵ + ΔW", "Q(Ŵ + ΔW)")] == ["37%", "36%"]
    validation = {
        (lr, step): sum(row["validation"]["Ŵ + ΔW"] for row in records.tried("merging", run="facts", lr=lr, step=step))
        for lr, step in {(row["lr"], row["step"]) for row in FACTS}
    }
    assert min(validation, key=validation.get) == (0.01, 80)


def test_the_youngest_adapters_of_either_rate_learned_hardly_a_fact():
    young = [row for row in FACTS if row["size"] < 0.02]
    assert len(young) == 6 and all(row["exact"]["Ŵ + ΔW"] < 0.07 for row in young)
    assert all(row["loss"]["Ŵ + ΔW"] < row["loss"]["Ŵ"] - 0.6 for row in young)


def test_the_other_grid_is_llama_cpps():
    theirs, kind = pytest.importorskip("gguf").quants, pytest.importorskip("gguf").GGMLQuantizationType.Q4_0
    weight = torch.randn(4, 96, generator=torch.Generator().manual_seed(0))
    wanted = torch.from_numpy(theirs.dequantize(theirs.quantize(weight.numpy(), kind), kind))
    away = (lessons.function(LESSON, "q4_0")(weight) - wanted).abs()
    assert (away > 1e-2).float().mean() < 0.01  # their step is in f16, which may turn a tie
