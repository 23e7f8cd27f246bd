"""From a budget back to the setting: the largest batch, sequence or rank, and the method that gives up least.

A budget is for tensors, in GB = 10⁹ bytes. A GPU must also hold the process around them: `memory.gpus_that_fit`.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Unpack, get_args

from lora_lab import ranges
from lora_lab.memory.closed_form import estimate
from lora_lab.memory.presets import find_preset, load_config
from lora_lab.memory.reach import adapted
from lora_lab.memory.result import MemoryEstimate
from lora_lab.memory.contradictions import positions
from lora_lab.memory.settings import MOST_BYTES, Fixed, Options
from lora_lab.memory.sizes import Sized
from lora_lab.units import GB, METHODS, Method

Solvable = Literal["batch_size", "seq_len", "r"]


@dataclass(frozen=True)
class Choice:
    """A way to train that fits.

    Attributes:
        method: "full", "lora" or "qlora".
        checkpointing: whether it needs it.
        estimate: its memory.
    """

    method: Method
    checkpointing: bool
    estimate: MemoryEstimate

    def __str__(self) -> str:
        extra = " with checkpointing" if self.checkpointing else ""
        return f"{self.method}{extra}: {self.estimate.peak_bytes / GB:.2f} GB of tensors"


def fit(
    budget_gb: float,
    solve_for: Solvable = "batch_size",
    config: Sized | None = None,
    method: Method = "lora",
    **options: Unpack[Options],
) -> int:
    """The largest batch, sequence or rank with which a training step stays within a budget.

    It is found by halving, since memory grows with each of them. One exception: bitsandbytes' 8-bit states are larger
    in tensors under 4,096 values, so that there a somewhat higher rank than the one found may fit again.

    Args:
        budget_gb: for tensors, GB = 10⁹ bytes.
        solve_for: "batch_size", "seq_len" (at most the model's positions) or "r" (at most the smallest dimension of an
            adapted layer, where an update has full rank).
        config, method, options: as for `memory.estimate`, without what is solved for.

    Raises:
        TypeError: without a config, or with a value for what is solved for.
        ValueError: for a budget that is not positive and finite; for one that even 1 exceeds, with the smallest that
            would do; for a rank of full fine-tuning; and as `memory.estimate`.

    >>> fit(16, config="llama-3.1-8b", method="qlora", checkpointing=True, seq_len=1024) > 1
    True
    """
    budget_gb = _budget(budget_gb)
    if solve_for not in get_args(Solvable):
        raise ValueError(f"cannot solve for {solve_for!r}: choose one of {', '.join(get_args(Solvable))}")
    given: dict[str, Any] = {**options}
    if solve_for in given:
        raise TypeError(f"{solve_for}={given[solve_for]!r} was given, but is what fit solves for: leave it out")
    if config is None:
        raise TypeError("fit needs a model: give config, a preset's name for one")
    if solve_for == "r" and method == "full":
        raise ValueError("full fine-tuning has no rank to solve for: choose method='lora' or 'qlora'")
    config = find_preset(config) or load_config(config)

    def needs(value: int) -> int:
        return estimate(config, method, **(given | {solve_for: value})).peak_bytes

    budget = round(budget_gb * GB)
    if needs(1) > budget:
        raise ValueError(
            f"{budget_gb:g} GB is too little: even {solve_for}=1 needs {_up(needs(1))} GB of tensors, "
            "so give at least that, or a cheaper method (see memory.cheapest_method)"
        )
    return _largest(lambda value: needs(value) <= budget, _limit(solve_for, config, given))


def cheapest_method(budget_gb: float, config: Sized, **options: Unpack[Fixed]) -> Choice:
    """The method that gives up least to stay within a budget.

    It tries full fine-tuning, then LoRA, which gives up full rank, then QLoRA, which gives up 16-bit weights; each
    first without and then with checkpointing, which gives up time.

    Args:
        budget_gb: for tensors, GB = 10⁹ bytes.
        config: as for `memory.estimate`.
        options: as for `memory.estimate`, without method and checkpointing.

    Raises:
        TypeError: for a method or checkpointing, which are what it chooses.
        ValueError: if nothing fits, with the smallest budget that would do; and as `memory.estimate`.
    """
    budget_gb, config = _budget_first(budget_gb, config)
    budget_gb = _budget(budget_gb)
    budget = round(budget_gb * GB)
    for name in ("method", "checkpointing"):
        if name in options:
            raise TypeError(f"{name} was given, but is what cheapest_method chooses: leave it out")
    config = find_preset(config) or load_config(config)
    choices, refused = [], None
    for method in METHODS:
        for checkpointing in (False, True):
            try:
                counted = estimate(config, method, checkpointing=checkpointing, **options)
            except ValueError as error:  # such as targets that are none, which full fine-tuning does not ask for
                refused = refused or error
                continue
            choices.append(Choice(method, checkpointing, counted))
            if counted.peak_bytes <= budget:
                return choices[-1]
    if not choices:
        assert refused is not None
        raise refused
    least = min(choices, key=lambda choice: choice.estimate.peak_bytes)
    raise ValueError(
        f"nothing fits into {budget_gb:g} GB: the least is {least.method}"
        f"{' with checkpointing' * least.checkpointing}, which needs {_up(least.estimate.peak_bytes)} GB of tensors; "
        "give that, or a shorter sequence or smaller batch"
    )


def _budget_first(first: Any, second: Any) -> tuple[Any, Any]:
    """Budget and config, as they are or from the order of version 0.1, which is understood for one release more."""
    if isinstance(second, Real) and not isinstance(first, Real):
        warnings.warn(
            "cheapest_method(config, budget_gb) is the old order: write cheapest_method(budget_gb, config), as in fit",
            FutureWarning,
            stacklevel=3,
        )
        return second, first
    return first, second


def _budget(budget_gb: Any) -> float:
    return ranges.real("budget_gb", budget_gb, above=0, most=MOST_BYTES // GB)


def _up(count: int) -> str:
    """Bytes in GB, rounded up, so that the figure itself would do."""
    return f"{math.ceil(count / 10**7) / 100:.2f}"


def _limit(solve_for: Solvable, config: Any, options: Mapping[str, Any]) -> int | None:
    if solve_for == "seq_len":
        return positions(config)
    if solve_for == "r":
        shapes = adapted(config, options.get("target_modules", "all-linear"))
        return min(min(shape.d_in, shape.d_out) for shape in shapes)
    return None


def _largest(fits: Callable[[int], bool], limit: int | None) -> int:
    """The largest value from 1 up to `limit` that fits, given that 1 does and that fitting ends once."""
    low, high = 1, 2
    while (limit is None or high < limit) and fits(high):
        low, high = high, 2 * high
    if limit is not None and high >= limit:
        if fits(limit):
            return limit
        high = limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
