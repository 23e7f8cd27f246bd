"""Lesson 02: what the learner types is the library's, and what the lesson says of its record is so."""

from statistics import mean

import pytest
import torch

from lora_lab import records
from lora_lab.train.subspace import Projection
from tests.helpers import lessons

LESSON = "02_intrinsic_dimension"


@pytest.mark.parametrize("D, d", [(1, 1), (12, 3), (101, 40)])
def test_the_learners_step_is_the_librarys(D, d):
    inside, P = lessons.function(LESSON, "inside"), Projection(D, d, seed=4)
    theta_0, z = torch.randn(D), torch.randn(d)
    assert torch.equal(inside(theta_0, P.column, P.sign, z), theta_0 + P(z))


def test_the_dimension_for_a_part_is_the_first_of_the_sorted_sizes_that_reaches_it():
    dimension_for = lessons.function(LESSON, "dimension_for")
    for seed in range(20):
        dice = torch.Generator().manual_seed(seed)
        scores = {int(d): float(s) for d, s in zip(torch.randperm(50, generator=dice), torch.rand(8, generator=dice))}
        wanted = None
        for d in sorted(scores, reverse=True):
            if scores[d] >= 0.9 * 0.8:
                wanted = d
        assert dimension_for(scores, 0.8, 0.9) == wanted


def of(task: str, run: str, size: int) -> float:
    return mean(row["exact"] for row in records.chosen("intrinsic", task=task, run=run, size=size))


def test_three_of_the_subspaces_train_as_many_numbers_as_lora_at_rank_1_4_and_16():
    for d, r in ((13_568, 1), (54_272, 4), (217_088, 16)):
        numbers = [records.chosen("intrinsic", task="sailor", run=run, size=size)[0]["trainable"]
                   for run, size in (("subspace", d), ("lora", r))]  # fmt: skip
        assert numbers == [d, d]
    (matrices,) = {row["trainable"] for row in records.tried("intrinsic", run="full")}
    assert round(matrices / 54_272) == 29


def test_number_for_number_random_directions_do_as_well_as_lora_or_better():
    for task, d, r in (("sailor", 13_568, 1), ("sailor", 54_272, 4), ("sailor", 217_088, 16), ("new_facts", 13_568, 1)):
        assert of(task, "subspace", d) > of(task, "lora", r) - 0.05, (task, d)


def test_at_54_272_numbers_alone_every_seed_of_the_subspace_lies_above_every_seed_of_lora():
    def seeds(task: str, run: str, size: int) -> list[float]:
        return [row["exact"] for row in records.chosen("intrinsic", task=task, run=run, size=size)]

    apart = []
    for task, d, r in (("sailor", 13_568, 1), ("sailor", 54_272, 4), ("sailor", 217_088, 16),
                       ("new_facts", 13_568, 1), ("new_facts", 217_088, 16)):  # fmt: skip
        if min(seeds(task, "subspace", d)) > max(seeds(task, "lora", r)):
            apart.append((task, d))
    assert apart == [("sailor", 54_272)]


def test_the_two_sizes_before_nine_tenths_miss_it_by_two_points_less_than_their_seeds_differ():
    for size in (217_088, 434_176):
        before = [row["exact"] for row in records.chosen("intrinsic", task="sailor", run="subspace", size=size)]
        missed = 0.9 * of("sailor", "full", 0) - mean(before)
        assert 0.015 < missed < 0.025 < max(before) - min(before)


def test_the_sailors_d90_of_one_seed_alone_is_a_quarter_of_the_others():
    dimension_for, scores = lessons.function(LESSON, "dimension_for"), {}
    for row in records.tried("intrinsic", task="sailor"):
        if row["run"] != "lora" and row in records.chosen("intrinsic", task="sailor", run=row["run"], size=row["size"]):
            scores[row["size"], row["seed"]] = row["exact"]
    found = []
    for seed in range(3):
        inside = {size: score for (size, of_seed), score in scores.items() if size and of_seed == seed}
        found.append(dimension_for(inside, scores[0, seed], 0.9))
    assert sorted(found) == [217_088, 868_352, 868_352]


def test_half_of_full_fine_tuning_takes_one_number_for_116_weights_and_nine_tenths_more_than_half_of_them():
    dimension_for = lessons.function(LESSON, "dimension_for")
    D = records.tried("intrinsic", run="full")[0]["trainable"]
    sizes = {"sailor": (100, 1_000, 13_568, 54_272, 217_088, 434_176, 868_352), "new_facts": (1_000, 13_568, 217_088)}
    found = {}
    for task in sizes:
        scores, full = {d: of(task, "subspace", d) for d in sizes[task]}, of(task, "full", 0)
        found[task] = [dimension_for(scores, full, part) for part in (0.5, 0.9)]
    assert found == {"sailor": [13_568, 868_352], "new_facts": [13_568, None]}
    assert round(D / 13_568) == 116 and 868_352 > D / 2


def test_the_sailors_shares_are_81_73_and_twice_71_percent_and_seeds_differ_by_10_to_25_points():
    full = of("sailor", "full", 0)
    assert (f"{full:.0%}", f"{0.9 * full:.0%}") == ("81%", "73%")
    assert [f"{of('sailor', 'subspace', size):.0%}" for size in (217_088, 434_176)] == ["71%", "71%"]
    for size, points in ((217_088, 10), (434_176, 25)):
        seeds = [row["exact"] for row in records.chosen("intrinsic", task="sailor", run="subspace", size=size)]
        assert 100 * (max(seeds) - min(seeds)) == pytest.approx(points, abs=1)


def test_a_shadow_in_a_fifth_of_the_dimensions_leaves_64_percent_of_the_misfit_and_the_inside_lies_twice_as_far():
    dice = torch.Generator().manual_seed(5)
    X, y = torch.randn(20, 1000, generator=dice), torch.randn(20, generator=dice)
    nearest, left, far = torch.linalg.pinv(X) @ y, [], []
    for seed in range(10):
        P = Projection(1000, 200, seed)
        left.append(float((X @ P(P.nearest(nearest)) - y).square().sum() / y.square().sum()))
        inside = torch.linalg.pinv(X @ P.written_out()) @ y
        far.append(float(P(inside).norm() / nearest.norm()))
    assert mean(left) == pytest.approx(0.64, abs=0.03) and 2 < mean(far) < 2.6
