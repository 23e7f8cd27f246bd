"""The settings of a run and their ranges."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from lora_lab import ranges

MANY = 10**6  # of what is held in memory at once


class RunOptions(TypedDict, total=False):
    """The options that `fit` hands on to `train.loop.run`, which explains them."""

    accumulate: int
    clip: float
    checkpointing: bool
    evaluate: Callable[[], float] | None
    evaluate_every: int
    patience: int | None
    on_step: Callable[[int, float], None] | None
    resume: str | Path | None
    save_every: int
    identity: Mapping[str, Any] | None


class FitOptions(RunOptions, total=False):
    """The options that `finetune` hands on to `fit`, which explains them."""

    steps: int
    batch_size: int
    warmup: int
    weight_decay: float
    seed: int
    pad_id: int | None


def require_options(function: str, own: Sequence[str], options: Mapping[str, object], kind: type) -> None:
    """Refuse an option that is neither among the function's own ones nor of the kind that it hands on.

    Raises:
        TypeError: with the name that it may be a slip of.
    """
    known = [*own, *kind.__annotations__]
    for name in options:
        if name not in known:
            hint = ranges.suggestion(name, known)
            raise TypeError(f"{function} has no option {name!r}: {hint}choose from {', '.join(known)}")


def require_callback(name: str, value: object, arguments: str) -> None:
    """Refuse, before anything is done, what could not be called after it.

    Raises:
        TypeError: for what is neither None nor can be called.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name}={ranges.brief(value)} cannot be called: give a function {arguments}")


def require_numbers(steps: int, accumulate: int, clip: float, checkpointing: bool) -> None:
    """Refuse what `train.loop.run` cannot count or clip by.

    Raises:
        TypeError, ValueError: as `ranges.whole`, `ranges.real` and `ranges.switch`.
    """
    ranges.whole("steps", steps)
    ranges.whole("accumulate", accumulate, 1, MANY)
    ranges.real("clip", clip, above=0)
    ranges.switch("checkpointing", checkpointing)


def require_functions(on_step: object, optimizer: object, schedule: object) -> None:
    """Refuse what `train.loop.run` could not call.

    Raises:
        TypeError: as `require_callback`.
    """
    require_callback("on_step", on_step, "of the steps done and the loss")
    require_callback("optimizer", optimizer, "that makes one of the named parameters, such as train.optimizers.adamw()")
    require_callback("schedule", schedule, "of the steps done, all steps and the peak rate")


def require_loss(loss: object) -> None:
    """Refuse what cannot weigh a batch.

    Raises:
        TypeError: for what lacks one of the two methods of `train.losses.Loss`.
    """
    for method in ("weight", "mean"):
        if isinstance(loss, type) or not callable(getattr(loss, method, None)):
            raise TypeError(
                f"loss={ranges.brief(loss)} has no {method}(model, batch): give an object with both weight and mean, "
                "such as train.losses.cross_entropy"
            )


def require_evaluation(
    evaluate: Callable[[], float] | None, evaluate_every: int, patience: int | None, steps: int
) -> None:
    """Refuse an evaluation that would never come, and patience without one.

    Raises:
        TypeError: for anything but a whole number, or something to evaluate by that cannot be called.
        ValueError: outside its range.
    """
    require_callback("evaluate", evaluate, "without arguments")
    ranges.whole("evaluate_every", evaluate_every)
    if patience is not None:
        ranges.whole("patience", patience)
    if evaluate is None:
        if patience is not None:
            raise ValueError("patience needs a score to watch: give evaluate as well")
        return
    if evaluate_every > steps:
        raise ValueError(
            f"evaluate_every={evaluate_every} is past the last of steps={steps}, so nothing would be evaluated: "
            f"choose at most {steps}"
        )


def require_keeping(resume: object, save_every: object, identity: object) -> None:
    """Refuse a folder that is no path, and an identity that could not be written to it.

    Raises:
        TypeError: for those, and a `save_every` that is no whole number.
        ValueError: for one below 1.
    """
    if resume is not None and not isinstance(resume, (str, Path)):
        raise TypeError(f"resume={ranges.brief(resume)}: give the folder that keeps the run's state")
    ranges.whole("save_every", save_every)
    if identity is None:
        return
    try:
        json.dumps(identity)
    except (TypeError, ValueError) as error:
        raise TypeError(f"identity={ranges.brief(identity)} cannot be written as JSON ({error})") from None
    if not isinstance(identity, Mapping):
        raise TypeError(f"identity={ranges.brief(identity)}: give a dict of what the run is")
