"""What a learner types in lesson 05 does what the library does: counts, groups and stops alike."""

import random

import pytest
import torch
from torch import nn

from lora_lab import lora, train
from tests.helpers import lessons

LESSON = "05_places_and_starts"
rank_for_budget = lessons.function(LESSON, "rank_for_budget")
lora_plus_groups = lessons.function(LESSON, "lora_plus_groups")
stop_early = lessons.function(LESSON, "stop_early")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(5, 11), nn.Linear(11, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.up(x))


@pytest.mark.parametrize("budget", [20, 60, 100, 200])
def test_no_neighbouring_rank_comes_nearer_to_the_budget_as_the_library_counts(budget):
    def trains(r: int) -> int:
        return lora.count_parameters(lora.inject(Net(), lora.LoRAConfig(r=r, target_modules=("up", "down")))).trainable

    r = rank_for_budget([(11, 5), (3, 11)], budget)
    neighbours = [near for near in (r - 1, r + 1) if near >= 1]
    assert all(abs(trains(r) - budget) <= abs(trains(near) - budget) for near in neighbours)


def test_the_groups_move_every_factor_at_its_own_rate_in_the_librarys_loop():
    model = lora.inject(Net(), lora.LoRAConfig(r=2, target_modules=("up", "down"), init="orthogonal"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batches = [(torch.randn(8, 5), torch.randn(8, 3))]
    train.loop.run(
        model,
        batches,
        train.losses.squared_error,
        steps=1,
        optimizer=lambda named: torch.optim.AdamW(lora_plus_groups(named, 0.001, 16), weight_decay=0.0),
        schedule=train.schedules.constant,
        clip=1e6,
    )
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # Adam's first step is the rate, whatever the gradient
            moved = float((parameter.detach() - before[name]).abs().max())
            assert moved == pytest.approx(0.001 if name.endswith("lora_A") else 0.016, rel=0.01)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_the_rule_stops_where_the_librarys_loop_stops_and_keeps_the_step_that_it_keeps(seed, patience):
    rng = random.Random(seed)
    losses = [rng.choice([1.0, 2.0, 3.0]) for _ in range(9)]  # few values, so that some are equal
    waiting = iter(losses)
    history = train.loop.run(
        nn.Linear(1, 1),
        [(torch.ones(1, 1), torch.ones(1, 1))],
        train.losses.squared_error,
        steps=len(losses),
        evaluate=lambda: -next(waiting),
        evaluate_every=1,
        patience=patience,
    )
    assert stop_early(losses, patience) == (history.best_step - 1, len(history.evaluations) - 1)
