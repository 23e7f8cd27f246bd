"""Lesson 01: the code that stands in its cells computes what the library computes."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lora_lab import lowrank
from tests.helpers import lessons

defined = partial(lessons.function, "01_svd", lowrank=lowrank)
SHAPES = [(1, 1), (7, 3), (3, 7), (33, 65), (48, 17)]


def matrix(shape: tuple[int, int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_truncation_is_the_librarys_bit_for_bit(shape):
    best_rank_r, M = defined("best_rank_r"), matrix(shape)
    for r in {1, (min(shape) + 1) // 2, min(shape)}:
        for own, library in zip(best_rank_r(M, r), lowrank.truncated_svd(M, r), strict=True):
            assert own.dtype == library.dtype and torch.equal(own, library)


@pytest.mark.parametrize("shape", SHAPES)
def test_slices_of_the_full_factors_are_the_truncations(shape):
    best_rank_r = defined("best_rank_r")
    M = {"only": matrix(shape)}
    factored, keep = defined("factored", best_rank_r=best_rank_r), defined("keep")
    for r in range(1, min(shape) + 1):
        wanted = torch.matmul(*lowrank.truncated_svd(M["only"], r))
        torch.testing.assert_close(keep(factored(M), r)["only"], wanted)


@pytest.mark.parametrize("shape", [(7, 5), (33, 65)])
def test_a_random_subspace_has_rank_r_and_never_beats_the_svd(shape):
    on_random_subspace, M = defined("on_random_subspace"), matrix(shape)
    for r in (1, 3):
        projected = on_random_subspace(M, r, seed=0)
        assert int(torch.linalg.matrix_rank(projected, rtol=1e-4)) == r
        assert (M - projected).norm() > (M - torch.matmul(*lowrank.truncated_svd(M, r))).norm()
        torch.testing.assert_close(on_random_subspace(projected, r, seed=0), projected)


def test_the_four_parts_of_a_change_are_matched_as_the_lesson_says():
    best_rank_r = defined("best_rank_r")
    keep, factored = defined("keep"), defined("factored", best_rank_r=best_rank_r)
    norm_of, random = defined("norm_of"), defined("on_random_subspace")
    delta = {"a": matrix((33, 65)), "b": matrix((20, 20))}
    parts = defined("parts", keep=keep, norm_of=norm_of, on_random_subspace=random)(delta, factored(delta), 4, 0)
    for name, D in delta.items():
        named = ("strongest r", "all, shrunk", "the rest", "random r")
        top, shrunk, rest, noise = (parts[part][name] for part in named)
        torch.testing.assert_close(top + rest, D)
        assert abs(float((top * rest).sum())) < 1e-3 * float(D.norm() ** 2)  # they share no direction
        torch.testing.assert_close(shrunk.norm(), top.norm())
        torch.testing.assert_close(noise.norm(), top.norm())
        torch.testing.assert_close(shrunk / shrunk.norm(), D / D.norm())
        assert int(torch.linalg.matrix_rank(noise, rtol=1e-4)) == 4


def test_an_answer_counts_only_if_every_token_with_loss_is_the_most_likely_one():
    labels = torch.tensor([[-100, 2, 3], [-100, 2, 3], [-100, -100, 1]])
    likely = torch.tensor([[2, 3, 0], [2, 0, 0], [0, 1, 0]])  # right; one token wrong; right where it counts
    written = {}

    class Model:
        def eval(self):
            return lambda **batch: SimpleNamespace(logits=torch.nn.functional.one_hot(likely, 4).float())

    weights = {"only": torch.zeros(2)}
    score = defined("score", weights=weights, model=Model())
    written["only"] = torch.ones(2)
    assert score(written, {"labels": labels}) == pytest.approx(2 / 3)
    assert torch.equal(weights["only"], torch.ones(2)), "the matrices were not put into the model"
