"""Lesson 01: what is typed and what stands in its cells computes what the library computes; its controls are fair."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_lab import lowrank
from tests.helpers.lessons import MASTERS, cells, function

LESSON = "01_svd"
SHAPES = [(1, 1), (7, 3), (3, 7), (33, 65), (48, 17)]


def defined(name: str, **known: Any) -> Any:
    return function(LESSON, name, **known)


def matrix(shape: tuple[int, int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.manual_seed(sum(shape)))


def cell(line: str) -> str:
    """The source of the one code cell that holds a line which begins so."""
    (source,) = [source for source in cells(LESSON) if f"\n{line}" in f"\n{source}"]
    return source


@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_cut_is_the_librarys_truncation(shape):
    cut_to_rank, M = defined("cut_to_rank"), matrix(shape)
    for r in {1, (min(shape) + 1) // 2, min(shape)}:
        for own, library in zip(cut_to_rank(M, r), lowrank.truncated_svd(M, r), strict=True):
            assert own.dtype == library.dtype and torch.equal(own, library)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_the_lessons_count_is_the_librarys(shape, share):
    assert defined("rank_for_energy")(matrix(shape), share) == lowrank.rank_for_energy(matrix(shape), share)


@pytest.mark.parametrize("r", [4, 16, 18])
def test_the_four_parts_of_a_change_are_matched_as_the_lesson_says(r):
    change = {"a": matrix((33, 65)), "b": matrix((20, 20))}
    made = defined("parts", cut_to_rank=lowrank.truncated_svd, dice=torch.Generator().manual_seed(0))(change, r)
    for name, D in change.items():
        top, seen, shrunk, sixteen = (made[part][name] for part in ("strongest", "random", "all, shrunk", "16, shrunk"))
        torch.testing.assert_close(top, torch.matmul(*lowrank.truncated_svd(D, r)))
        for part in (shrunk, seen):
            torch.testing.assert_close(part.norm(), top.norm())
        torch.testing.assert_close(shrunk / shrunk.norm(), D / D.norm())
        for part in (top, seen):
            assert int(torch.linalg.matrix_rank(part, rtol=1e-4)) == r
        cut_at_16 = torch.matmul(*lowrank.truncated_svd(D, 16))
        torch.testing.assert_close(sixteen / sixteen.norm(), cut_at_16 / cut_at_16.norm())
        torch.testing.assert_close(sixteen.norm(), min(cut_at_16.norm(), top.norm()), msg="scaled up, or not matched")


def test_the_parts_do_not_depend_on_how_the_learner_shares_the_strengths():
    def one_sided(M, r):
        B, A = lowrank.truncated_svd(M, r)
        return B * 3, A / 3

    change = {"a": matrix((33, 65))}
    made = [
        defined("parts", cut_to_rank=split, dice=torch.Generator().manual_seed(0))(change, 4)
        for split in (lowrank.truncated_svd, one_sided)
    ]
    for part in made[0]:
        torch.testing.assert_close(made[0][part]["a"], made[1][part]["a"])


def rivals(split: Any) -> dict[str, Any]:
    """The names of the cell with a thousand rivals, for a house of random numbers."""
    names = {"torch": torch, "cut_to_rank": split, "house": matrix((64, 96)), "guesses": lambda **_: None}
    names |= {"closer": 0, "luckiest": 0}
    exec(cell("moved, drawn = "), names)
    return names


def test_every_rival_has_rank_four_at_most_and_none_beats_the_cut():
    names = rivals(lowrank.truncated_svd)
    M = names["M"]
    assert int(torch.linalg.matrix_rank(names["rival"], rtol=1e-8)) == 4
    least = 1 - float(lowrank.energy_fractions(M)[3])
    assert len(names["moved"]) + len(names["drawn"]) == 1000
    assert min([*names["drawn"], *(missed for _, missed in names["moved"])]) > least


def test_a_random_rival_has_the_best_columns_for_its_rows():
    names = rivals(lowrank.truncated_svd)
    M, rows = names["M"], names["rows"]
    best = torch.linalg.lstsq(rows.T, M.T).solution.T @ rows
    torch.testing.assert_close(names["rival"], best)


def test_an_answer_is_right_only_if_every_token_with_loss_is_and_tokens_are_counted_one_by_one():
    labels = torch.tensor([[-100, 2, 3], [-100, 2, 3], [-100, -100, 1]])
    likely = torch.tensor([[2, 3, 0], [2, 0, 0], [0, 1, 0]])  # right; one token wrong; right where it counts

    class Model:
        def eval(self):
            return lambda **batch: SimpleNamespace(logits=torch.nn.functional.one_hot(likely, 4).float())

    weights, base = {"only": torch.zeros(2)}, {"only": torch.ones(2)}
    score = defined("score", weights=weights, base=base, model=Model(), batch={"labels": labels})
    assert score({"only": torch.full((2,), 0.5)}) == pytest.approx((2 / 3, 4 / 5))
    assert torch.equal(weights["only"], torch.full((2,), 1.5)), "base and change were not put into the model"


def test_the_shuffled_house_has_the_same_numbers():
    names = {"torch": torch, "show": SimpleNamespace(figure=lambda *_: None, cuts=lambda *_, **__: ())}
    exec(cell("house = "), names)
    house, shuffled = names["house"], names["shuffled"]
    assert torch.equal(house.flatten().sort().values, shuffled.flatten().sort().values)
    assert not torch.equal(house, shuffled) and abs(float(house.mean())) < 1e-6


def test_the_minutes_at_the_top_are_those_of_the_sections():
    text = (MASTERS / f"{LESSON}.py").read_text(encoding="utf-8")
    (said,) = re.findall(r"^# \|[^|]+\| (\d+) minutes \|", text, re.MULTILINE)
    assert int(said) == sum(int(minutes) for minutes in re.findall(r'"minutes:(\d+)"', text))
