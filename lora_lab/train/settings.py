"""The settings of `fit` and their ranges."""

from collections.abc import Callable
from typing import TypedDict

from lora_lab import ranges

_MANY = 10**6  # of what is held in memory at once


class FitOptions(TypedDict, total=False):
    """The options of `fit` that `finetune` hands on; `fit` explains them."""

    steps: int
    batch_size: int
    accumulate: int
    warmup: int
    clip: float
    weight_decay: float
    checkpointing: bool
    evaluate: Callable[[], float] | None
    evaluate_every: int
    patience: int | None
    seed: int
    pad_id: int | None
    on_step: Callable[[int, float], None] | None


def require_rates(lr: float, clip: float, weight_decay: float) -> None:
    """Refuse rates with which a step would not be a step down the gradient.

    AdamW moves a weight by about `lr`, after shrinking it by the factor 1 − lr · weight_decay.

    Raises:
        TypeError: for anything but a number.
        ValueError: outside its range.
    """
    ranges.real("lr", lr, above=0, most=1)
    ranges.real("clip", clip, above=0)
    ranges.real("weight_decay", weight_decay, least=0, below=1 / lr)


def require_counts(steps: int, batch_size: int, accumulate: int, warmup: int) -> None:
    """Refuse numbers of steps and examples that are no numbers of anything.

    Raises:
        TypeError: for anything but a whole number.
        ValueError: outside its range.
    """
    ranges.whole("steps", steps)
    ranges.whole("batch_size", batch_size, 1, _MANY)
    ranges.whole("accumulate", accumulate, 1, _MANY)
    ranges.whole("warmup", warmup, 0)


def require_callback(name: str, value: object, arguments: str) -> None:
    """Refuse, before anything is done, what could not be called after it.

    Raises:
        TypeError: for what is neither None nor can be called.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name}={ranges.brief(value)} cannot be called: give a function {arguments}")


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
