"""One plain training loop for every loss.

It trains the parameters that require a gradient, whatever they are, on batches of whatever the loss understands. What a
batch counts is the loss's to say; see `train.losses.Loss`.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lora_lab import ranges
from lora_lab.train.history import History
from lora_lab.train.keeping import Keeper, State, identity_of
from lora_lab.train.losses import Loss
from lora_lab.train.modules import require_weights
from lora_lab.train.optimizers import MakeOptimizer, Named, adamw, made
from lora_lab.train.restoring import checkpointed, gradients_cleared, left_with, modes_restored, moved
from lora_lab.train.schedules import Schedule, cosine
from lora_lab.train.settings import (
    require_evaluation,
    require_functions,
    require_keeping,
    require_loss,
    require_numbers,
)
from lora_lab.train.step import Step
from lora_lab.train.stream import Stream

Batch = TypeVar("Batch")


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
    resume: str | Path | None = None,
    save_every: int = 25,
    identity: Mapping[str, Any] | None = None,
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
        resume: a folder that keeps the run's state. A run that finds its own state there goes on from it, and is bit
            for bit the run that was never interrupted; one that had come to its end only gets its weights and its
            history back. The state (JSON and safetensors, no pickle) is saved every `save_every` steps, at the end,
            and at a Ctrl-C, which then waits for the step to end; a second one does not. `checkpointing` may differ
            between the two. Where the state cannot be written, the run goes on with a warning. `batches` must come in
            the same order again.
        save_every: steps, at least 1.
        identity: what else, in values that JSON can hold, a run must share with the one whose state it takes up, such
            as {"data": a hash}.

    Returns:
        The history, with `resume` from the first step on. Each module is left in the mode it came in, and without
        gradients, also after an error or an interruption; gradients that were there before are not used.

    Raises:
        TypeError: for a number, function, loss or optimizer of the wrong type.
        ValueError: for numbers out of range, a model without trainable parameters, an optimizer that leaves one out,
            batches that end before the last step (it names the steps done) or that all weigh nothing, and a loss that
            depends on nothing that trains, or whose weight is negative or not finite, or a rate of the schedule that
            is; before the step. For a folder to resume from whose state is damaged, or of other settings, weights or
            batches; it names what differs.
        OSError: for a folder to resume from that cannot be read or written in.
        FloatingPointError: if the loss or the gradient stops being finite; it names the step. The weights are those
            before the step, or with patience those of the best evaluation so far.
    """
    require_numbers(steps, accumulate, clip, checkpointing)
    require_evaluation(evaluate, evaluate_every, patience, steps)
    require_functions(on_step, optimizer, schedule)
    require_loss(loss)
    require_keeping(resume, save_every, identity)
    seed = ranges.seed(seed)
    named = _trainable(model)
    stream = Stream(batches, steps, watched=resume is not None)

    torch.manual_seed(seed)
    parameters = [parameter for _, parameter in named]
    optimizers = made(optimizer or adamw(), named)
    peaks = [(group, group["lr"]) for one in optimizers for group in one.param_groups]
    schedule = schedule or cosine()
    step = Step(model, loss, optimizers, parameters, clip)
    history, started = History(), time.perf_counter()
    best: list[Tensor] = []

    def judge(done: int) -> None:
        """Evaluate, and with patience keep the best weights and see whether it has run out."""
        assert evaluate is not None
        score = _score(evaluate, done)
        with keeper.whole():
            history.evaluations.append((done, score))
            if patience is not None and history.best_step == done:
                best[:] = [tensor.detach().clone() for tensor in moved(model, parameters)]
            history.stopped_early = patience is not None and history.evaluations_since_best >= patience

    same: dict[str, Any] = {}
    if resume is not None:
        numbers = {"steps": steps, "accumulate": accumulate, "clip": clip, "seed": seed, "patience": patience}
        functions = {"evaluate_every": evaluate_every if evaluate else None, "loss": type(loss).__name__}
        rates = {"rates of the schedule": _sampled(schedule, steps)}
        same = {**(identity or {}), **identity_of(model, named, optimizers, **numbers, **functions, **rates)}
    state = State(model, parameters, optimizers, step.scaler, stream, history, best)
    with modes_restored(model), checkpointed(model, checkpointing), left_with(model, parameters, best):
        keeper = Keeper(resume, save_every, same, state)
        started -= history.seconds[-1] if history.seconds else 0.0
        with keeper.saving():
            while True:
                done = len(history.losses)
                if evaluate and done and done % evaluate_every == 0 and history.last_evaluated != done:
                    judge(done)
                keeper.save_if_due()
                if done == steps or history.stopped_early:
                    break
                model.train()  # each time, for `evaluate` and `on_step` may leave it in another mode
                rate = _set_rates(peaks, schedule, done, steps)
                with keeper.whole(), gradients_cleared(model, parameters):
                    weighed = stream.next(accumulate, model, loss, done)
                    mean, norm = step.take(weighed, done + 1)
                    counted = sum(weight for _, weight in weighed)
                    history.record(mean, rate, norm, counted, time.perf_counter() - started)
                if on_step:
                    on_step(done + 1, mean)
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


def _sampled(schedule: Schedule, steps: int) -> list[float]:
    """A few rates at a peak of 1: a schedule is a function, and two of them can only be compared by what they give."""
    return [schedule(steps * i // 8, steps, 1.0) for i in range(8)]


def _score(evaluate: Callable[[], float], step: int) -> float:
    score = evaluate()
    try:
        number = float(score)
    except (TypeError, ValueError):
        raise TypeError(f"evaluate gave {score!r} after step {step}: give a number, the higher the better") from None
    if math.isnan(number):
        raise ValueError(f"evaluate gave nan after step {step}: give a number, the higher the better")
    return number
