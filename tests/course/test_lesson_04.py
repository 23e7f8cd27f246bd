"""Lesson 04: the rules that the learner types, what alpha is to the rate of B, and what the record says."""

import math
import re

import pytest
import torch
from teaching import facts

from lora_lab import lora, records
from lora_lab.exercises import guessing
from lora_lab.exercises import lessons as said
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


@pytest.mark.parametrize("number", ["3 % right, one 40 %", "22 against 40 %", "a rejected rate answers more"])
def test_a_score_that_other_processors_change_is_said_to_be_the_records(number):
    text = re.sub(r"\n# ?", " ", (lessons.MASTERS / f"{LESSON}.py").read_text(encoding="utf-8"))
    (sentence,) = (each for each in re.split(r"[.?!:] ", text) if number in each)
    assert sentence.startswith("In the record ")


def test_each_guess_that_the_executed_lesson_makes_meets_a_remark():
    (lesson,) = (each for each in facts.every() if each.name == LESSON)
    made = {asked.name: (said.guess(asked.name)["value"], asked.value) for asked in lesson.asked}
    assert made and all(guessing.revealed(name, *values) for name, values in made.items())


def test_in_adams_first_step_on_one_input_the_moves_of_all_terms_add_up():
    torch.manual_seed(0)
    for r, s in ((4, 2.0), (16, 0.5), (16, 2.0)):
        layer = lora.LoRALinear(torch.nn.Linear(5, 3).double(), lora.LoRAConfig(r=r, alpha=s * r)).double()
        x, wanted = torch.randn(5).double(), torch.randn(3).double()
        before = layer(x)
        optimizer = torch.optim.Adam([layer.lora_A, layer.lora_B], lr=1e-3, eps=1e-300)
        loss = (before - wanted).square().sum()
        loss.backward()
        optimizer.step()
        after, terms = layer(x), layer.lora_A.detach() @ x
        assert torch.allclose((after - before).abs(), (s * 1e-3 * terms.abs().sum()).expand(3))
        assert (after - wanted).square().sum() < loss


def test_of_the_sailors_ranks_16_has_the_best_mean_and_its_seeds_overlap_with_those_of_1_and_4():
    shares = {}
    for r in (1, 4, 16):
        rows = records.chosen("intrinsic", task="sailor", run="lora", size=r)
        shares[r] = [row["exact"] for row in rows]
    assert max(shares, key=lambda r: sum(shares[r])) == 16
    assert all(min(shares[16]) < max(shares[r]) for r in (1, 4))


def test_raising_the_rank_alpha_over_r_keeps_the_rate_and_a_constant_scale_does_not():
    at_16 = kept(16, 2.0)
    assert all(high < 1.1 * low for high, low in zip(kept(64, 0.5), at_16))
    assert min(kept(64, 2.0)) > 1.5 * max(at_16)
    assert min(kept(64, 1.0)) > max(at_16)


def test_lowering_the_rank_alpha_over_root_r_is_best_and_alpha_over_r_is_worst():
    over_r, over_root, constant = kept(1, 32.0), kept(1, 8.0), kept(1, 2.0)
    for worst, best, between in zip(over_r, over_root, constant):
        assert best < between < worst


def test_at_a_rate_of_its_own_rank_64_does_no_worse_with_a_larger_scale():
    lowest = {s: records.chosen("rates", task="new_facts", r=64, scaling=s)[0]["validation"] for s in (0.5, 1.0, 2.0)}
    assert max(lowest[1.0], lowest[2.0]) < lowest[0.5]
    three = {
        s: sum(row["validation"] for row in records.chosen("rates", task="new_facts", r=64, scaling=s))
        for s in (0.5, 2.0)
    }
    assert three[2.0] < three[0.5]


def test_twice_the_best_rate_at_rank_64_costs_a_factor_of_four_with_alpha_over_r_and_a_sixth_with_scale_2():
    times = {}
    for s in (0.5, 2.0):
        best = records.chosen("rates", task="new_facts", r=64, scaling=s)[0]
        (twice,) = records.tried("rates", task="new_facts", r=64, scaling=s, lr=2 * best["lr"], seed=0)
        times[s] = twice["validation"] / best["validation"]
    assert times[0.5] == pytest.approx(4, abs=0.1) and times[2.0] == pytest.approx(7 / 6, abs=0.01)


def test_the_rates_that_the_closing_table_begins_with_are_the_records():
    def rate(name: str, **key: object) -> float:
        return records.chosen(name, **key)[0]["lr"]

    sailor = rate("intrinsic", task="sailor", run="lora", size=16) / rate("intrinsic", task="sailor", run="full")
    facts = [rate("rates", task="new_facts", r=r, scaling=2.0) for r in (0, 16, 64)]
    assert sailor == pytest.approx(2.5) and [lr / facts[0] for lr in facts[1:]] == pytest.approx([5, 1.25])


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


def test_from_rank_16_upward_the_count_of_terms_foretells_the_best_rate_under_every_rule_and_below_it_does_not():
    scaling, found = lessons.function(LESSON, "scaling", math=math), {}
    for rule, fixed in (("α/r", 32), ("α/√r", 8), ("constant", 2)):
        s = {r: float(scaling(rule, r, fixed)) for r in (1, 16, 64)}
        best = {r: records.chosen("rates", task="new_facts", r=r, scaling=s[r])[0]["lr"] for r in s}
        for low, high in ((1, 16), (16, 64)):
            found[rule, high] = (s[low] * low / (s[high] * high), best[high] / best[low])
    upward, downward = ([found[rule, r] for rule in ("α/r", "α/√r", "constant")] for r in (64, 16))
    assert upward == [(1, 1), (1 / 2, 1 / 2), (1 / 4, 1 / 4)]
    assert downward == [(1, 2), (1 / 4, 1), (1 / 16, 1 / 2)]


def test_what_the_lesson_says_of_the_answers_at_the_kept_rate():
    shares = {}
    for r, s in ((16, 2.0), (64, 0.5)):
        rows = records.tried("rates", task="new_facts", r=r, scaling=s, lr=0.01)
        shares[r] = [row["exact"] for row in sorted(rows, key=lambda row: row["seed"])]
    assert [f"{shares[r][0]:.0%}" for r in (16, 64)] == ["22%", "40%"]
    assert [f"{sum(shares[r]) / 3:.0%}" for r in (16, 64)] == ["30%", "39%"]
    (rejected,) = records.tried("rates", task="new_facts", r=16, scaling=2.0, lr=0.005, seed=0)
    assert rejected["exact"] > shares[16][0]


def test_the_28_matrices_alone_answer_57_percent_and_overlap_with_rank_64():
    alone = [row["exact"] for row in records.chosen("intrinsic", task="new_facts", run="full", size=0)]
    rank_64 = [row["exact"] for row in records.chosen("rates", task="new_facts", r=64, scaling=2.0)]
    assert f"{sum(alone) / 3:.0%}" == "57%" and min(alone) < max(rank_64)


def test_a_quarter_of_the_best_rate_at_rank_1_looks_like_too_small_a_rank():
    losses = {
        lr: records.tried("rates", task="new_facts", r=1, scaling=2.0, lr=lr, seed=0)[0]["validation"]
        for lr in (0.005, 0.02)
    }
    assert {lr: round(loss, 2) for lr, loss in losses.items()} == {0.005: 0.83, 0.02: 0.62}
    assert records.chosen("rates", task="new_facts", r=1, scaling=2.0)[0]["lr"] == 0.02


def test_loras_best_rates_are_1_25_to_10_times_full_fine_tunings():
    def rate(name: str, **key: object) -> float:
        return records.chosen(name, **key)[0]["lr"]

    facts = rate("rates", task="new_facts", r=0, scaling=2.0)
    times = [rate("rates", task="new_facts", r=r, scaling=2.0) / facts for r in (1, 4, 16, 64)]
    sailor = rate("intrinsic", task="sailor", run="full")
    times += [rate("intrinsic", task="sailor", run="lora", size=r) / sailor for r in (1, 4, 16)]
    assert (min(times), max(times)) == (pytest.approx(1.25), pytest.approx(10))


def test_a_score_of_60_moves_by_6_points_and_the_best_of_nine_equals_is_9_too_high():
    dice = torch.Generator().manual_seed(0)
    for questions, share, points, best in ((60, 0.3, 6, None), (200, 0.5, 3.5, 5), (60, 0.4, 6.3, 9)):
        assert 100 * math.sqrt(share * (1 - share) / questions) == pytest.approx(points, abs=0.1)
        right = torch.binomial(torch.full((4000, 9), float(questions)), torch.tensor(share), generator=dice)
        if best:
            assert float(right.max(1).values.mean()) / questions * 100 - 100 * share == pytest.approx(best, abs=0.5)


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
