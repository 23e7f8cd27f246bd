"""Lesson 04: the rules that the learner types, what alpha is to the rate of B, and what the record says."""

import math

import pytest
import torch

from lora_lab import lora, records
from tests.helpers import lessons

LESSON = "04_rank_alpha_rate"


@pytest.mark.parametrize("r", [1, 2, 16, 64])
def test_the_first_two_rules_are_the_librarys(r):
    scaling = lessons.function(LESSON, "scaling", math=math)
    for rule, rslora in (("α/r", False), ("α/√r", True)):
        assert scaling(rule, r, 24.0) == lora.LoRAConfig(r=r, alpha=24, use_rslora=rslora).scaling
    assert scaling("constant", r, 24.0) == lora.LoRAConfig(r=r, alpha=24 * r).scaling


@pytest.fixture(scope="module")
def update():
    target = torch.randn(3, 4, generator=torch.manual_seed(0)).double()
    return lessons.function(LESSON, "trained_update", target=target)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("factor", [2.0, 3.0, 0.25])
def test_alpha_is_the_rate_of_B_in_every_step(update, optimizer, factor):
    rate_of_B = lessons.function(LESSON, "rate_of_B")(optimizer, factor)
    for steps in (1, 7, 50):
        by_alpha, by_rate = update(optimizer, factor, steps=steps), update(optimizer, 1, rate_of_B, steps)
        assert torch.allclose(by_alpha, by_rate, rtol=1e-9, atol=1e-12)
    wrong = update(optimizer, 1, rate_of_B * factor, 7)
    assert not torch.allclose(update(optimizer, factor, steps=7), wrong, rtol=1e-2)


def test_doubling_alpha_moves_the_first_step_four_times_under_sgd_and_twice_under_adam(update):
    for optimizer, times in (("SGD", 4), ("Adam", 2)):
        assert torch.allclose(update(optimizer, 2), times * update(optimizer, 1), rtol=1e-12)


def test_the_learners_choice_is_the_records():
    chosen_rate = lessons.function(LESSON, "chosen_rate")
    for r in (1, 4, 16, 64):
        key = {"task": "new_facts", "r": r, "scaling": 2.0}
        assert chosen_rate(records.tried("rates", **key, seed=0)) == records.chosen("rates", **key)[0]["lr"]


def kept(r: int, scaling: float) -> list[float]:
    """Losses on validation of three seeds, at the rate that is best at rank 16 with scale 2."""
    rate = records.chosen("rates", task="new_facts", r=16, scaling=2.0)[0]["lr"]
    rows = records.tried("rates", task="new_facts", r=r, scaling=scaling, lr=rate)
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    return [row["validation"] for row in rows]


def test_the_opening_numbers_are_those_of_rank_64_at_alpha_128_and_32():
    found = [records.tried("rates", task="new_facts", r=64, scaling=s, lr=0.01, seed=0)[0]["exact"] for s in (2.0, 0.5)]
    assert [f"{share:.0%}" for share in found] == ["3%", "40%"]


def test_raising_the_rank_alpha_over_r_keeps_the_rate_and_a_constant_scale_does_not():
    at_16 = kept(16, 2.0)
    assert all(high < 1.1 * low for high, low in zip(kept(64, 0.5), at_16))
    assert min(kept(64, 2.0)) > 1.5 * max(at_16)
    assert min(kept(64, 1.0)) > max(at_16)


def test_lowering_the_rank_alpha_over_root_r_is_best_and_alpha_over_r_is_worst():
    over_r, over_root, constant = kept(1, 32.0), kept(1, 8.0), kept(1, 2.0)
    for worst, best, between in zip(over_r, over_root, constant):
        assert best < between < worst


def test_rank_64_is_the_worst_at_the_common_rate_and_the_best_at_its_own():
    own = {r: records.chosen("rates", task="new_facts", r=r, scaling=2.0)[0]["validation"] for r in (1, 4, 16, 64)}
    common = {
        r: records.tried("rates", task="new_facts", r=r, scaling=2.0, lr=0.01, seed=0)[0]["validation"] for r in own
    }
    assert min(own, key=own.__getitem__) == 64 == max(common, key=common.__getitem__)


def test_three_seeds_cannot_tell_rank_4_16_and_64_apart_and_one_of_rank_64_lies_among_those_of_all_weights():
    shares = {}
    for r in (4, 16, 64, 0):
        shares[r] = [row["exact"] for row in records.chosen("rates", task="new_facts", r=r, scaling=2.0)]
    assert all(min(shares[64]) < max(shares[r]) for r in (4, 16))
    assert sum(share > min(shares[0]) for share in shares[64]) == 1
    assert sum(shares[0]) > max(sum(shares[r]) for r in (4, 16, 64))


def test_the_cut_depends_on_the_rate_in_the_mean_and_on_the_seed_as_much():
    def mean(column: str, **key: object) -> float:
        rows = records.tried("rates", task="sailor", **key)
        assert len(rows) == 3
        return sum(row[column] for row in rows) / 3

    for places in ("matrices", "everything"):
        energy = [mean("energy of 8", places=places, lr=lr) for lr in (0.001, 0.002, 0.004)]
        assert energy == sorted(energy, reverse=True)
        kept = [mean("cut", places=places, lr=lr) / mean("exact", places=places, lr=lr) for lr in (0.001, 0.004)]
        assert kept[1] < 0.85 * kept[0]
        assert mean("matrices alone", places=places, lr=0.002) >= mean("exact", places=places, lr=0.002)
    cuts = [row["cut"] for row in records.tried("rates", task="sailor", places="everything", lr=0.002)]
    assert [f"{cut:.0%}" for cut in sorted(cuts, reverse=True)] == ["70%", "52%", "28%"]
