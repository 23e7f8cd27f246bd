"""One plain training loop for every loss.

It trains the parameters that require a gradient, whatever they are, on batches of whatever the loss understands. What a
batch counts is the loss's to say; see `train.losses.Loss`.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lora_lab import ranges
from lora_lab.train.history import History
from lora_lab.train.losses import Loss
from lora_lab.train.modules import require_weights
from lora_lab.train.optimizers import MakeOptimizer, Named, adamw, made
from lora_lab.train.restoring import checkpointed, gradients_cleared, left_with, modes_restored, moved
from lora_lab.train.schedules import Schedule, cosine
from lora_lab.train.settings import require_evaluation, require_functions, require_loss, require_numbers
from lora_lab.train.step import Step, weigh

Batch = TypeVar("Batch")

_EMPTY = 10**5  # steps in a row without weight, after which no other is waited for


def run(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss[Batch],
    *,
    steps: int,
    optimizer: MakeOptimizer | None = None,
    schedule: Schedule | None = None,
    accumulate: int = 1,
    clip: float = 1.0,
    checkpointing: bool = False,
    evaluate: Callable[[], float] | None = None,
    evaluate_every: int = 25,
    patience: int | None = None,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> History:
    """Lower a loss.

    Args:
        model: any module; its parameters that require a gradient are trained.
        batches: what the loss understands. A list, or another collection that can be gone through again, is, in its
            order, as often as the steps need; a generator must last. They are drawn when their step comes.
        loss: what is lowered, such as `train.losses.cross_entropy`.
        steps: optimizer steps, at least 1.
        optimizer: makes one optimizer or several of the named parameters that train; by default
            `train.optimizers.adamw()`. The rates that it gives its groups are their peaks.
        schedule: (steps done, all steps, peak) -> a group's rate in the next step; by default ten steps of warm-up,
            then half a cosine down to zero.
        accumulate: batches per optimizer step, at least 1. Gradients are weighted by what the loss counts, so that
            `accumulate=2` with half the batch size is the same step, not nearly the same. A batch of weight 0 weighs
            nothing, and is not computed; where all of a step have none, the next ones take its place.
        clip: largest norm of the gradient of all trainable parameters, above 0; a large one, such as 1e6, never clips.
        checkpointing: recompute activations in the backward pass instead of keeping them, as models of `transformers`
            can.
        evaluate: called every `evaluate_every` steps; a higher score is better.
        evaluate_every: from 1 to `steps`, if there is something to evaluate.
        patience: stop after this many evaluations without a better score, at least 1. With patience the model is left
            with the weights of the best evaluation (`History.best_step`), whether training stops early or not, and
            also after an error or an interruption; that takes a copy of what trains and of the buffers.
        seed: of dropout, at least 0.
        on_step: called with (steps done, loss) after each step.

    Returns:
        The history. Each module is left in the mode it came in, and without gradients, also after an error or an
        interruption; gradients that were there before are not used.

    Raises:
        TypeError: for a number, function, loss or optimizer of the wrong type.
        ValueError: for numbers out of range, a model without trainable parameters, an optimizer that leaves one out,
            batches that end before the last step (it names the steps done) or that all weigh nothing, and a loss that
            depends on nothing that trains, or whose weight is negative or not finite, or a rate of the schedule that
            is; before the step.
        FloatingPointError: if the loss or the gradient stops being finite; it names the step. The weights are those
            before the step, or with patience those of the best evaluation so far.
    """
    require_numbers(steps, accumulate, clip, checkpointing)
    require_evaluation(evaluate, evaluate_every, patience, steps)
    require_functions(on_step, optimizer, schedule)
    require_loss(loss)
    seed = ranges.seed(seed)
    named = _trainable(model)
    stream = _endless(batches)

    torch.manual_seed(seed)
    parameters = [parameter for _, parameter in named]
    optimizers = made(optimizer or adamw(), named)
    peaks = [(group, group["lr"]) for one in optimizers for group in one.param_groups]
    schedule = schedule or cosine()
    step = Step(model, loss, optimizers, parameters, clip)
    history, started = History(), time.perf_counter()
    best: list[Tensor] = []
    with modes_restored(model), checkpointed(model, checkpointing), left_with(model, parameters, best):
        for done in range(steps):
            model.train()  # each time, for `evaluate` and `on_step` may leave it in another mode
            rate = _set_rates(peaks, schedule, done, steps)
            with gradients_cleared(model, parameters):
                weighed = _next(stream, accumulate, model, loss, done, steps)
                mean, norm = step.take(weighed, done + 1)

            counted = sum(weight for _, weight in weighed)
            history.record(mean, rate, norm, counted, time.perf_counter() - started)
            if on_step:
                on_step(done + 1, mean)
            if evaluate and (done + 1) % evaluate_every == 0:
                history.evaluations.append((done + 1, _score(evaluate, done + 1)))
                if patience is not None and history.best_step == done + 1:
                    best[:] = [tensor.detach().clone() for tensor in moved(model, parameters)]
                history.stopped_early = patience is not None and history.evaluations_since_best >= patience
            if history.stopped_early:
                break
    return history


def _trainable(model: nn.Module) -> Named:
    require_weights(model)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError("no parameter requires a gradient: inject adapters, or call model.requires_grad_(True)")
    if any(p.dtype == torch.float16 for _, p in named):
        raise ValueError(
            "float16 weights are too coarse to be trained themselves: keep those that train in bfloat16 or float32, "
            "beside frozen ones in float16"
        )
    return named


def _set_rates(peaks: Sequence[tuple[dict[str, Any], float]], schedule: Schedule, done: int, steps: int) -> float:
    """Give each group its rate, the first of which is returned; a bad one would spoil the weights in silence."""
    name = f"the schedule's rate in step {done + 1}"
    rates = [ranges.real(name, schedule(done, steps, peak), least=0) for _, peak in peaks]
    for (group, _), rate in zip(peaks, rates):
        group["lr"] = rate
    return rates[0]


def _endless(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches one after the other, from the start again where that is possible."""
    if isinstance(batches, Mapping):
        raise TypeError("batches is a single batch: give a list, [batch]")
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches={ranges.brief(batches)}: give a list of batches, or a generator")

    def passes() -> Iterator[Batch]:
        some = True
        while some:
            some = False
            for batch in batches:
                yield batch
                some = True

    return passes()


def _next(
    stream: Iterator[Batch], accumulate: int, model: nn.Module, loss: Loss[Batch], done: int, steps: int
) -> list[tuple[Batch, float]]:
    """The batches of one step with their weights; a step without any would teach nothing, and is passed over."""
    for _ in range(_EMPTY):
        batches = list(islice(stream, accumulate))
        if len(batches) < accumulate:
            raise ValueError(
                f"batches ended after {done} of steps={steps} steps: choose fewer steps, or give batches that can be "
                "gone through again, such as a list"
            )
        weighed = [(batch, weigh(loss, model, batch)) for batch in batches]
        if any(weight for _, weight in weighed):
            return weighed
    raise ValueError(f"no batch has weight after {done} steps, so there is nothing to learn from: give some that count")


def _score(evaluate: Callable[[], float], step: int) -> float:
    score = evaluate()
    try:
        number = float(score)
    except (TypeError, ValueError):
        raise TypeError(f"evaluate gave {score!r} after step {step}: give a number, the higher the better") from None
    if math.isnan(number):
        raise ValueError(f"evaluate gave nan after step {step}: give a number, the higher the better")
    return number
