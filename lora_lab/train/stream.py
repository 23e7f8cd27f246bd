"""The batches of a run, one after the other, and where in them a run stands."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from torch import nn

from lora_lab import ranges
from lora_lab.train import fingerprints
from lora_lab.train.losses import Loss
from lora_lab.train.step import weigh

Batch = TypeVar("Batch")

_EMPTY = 10**5  # steps in a row without weight, after which no other is waited for


class Stream(Generic[Batch]):
    """Batches, from the start again where that is possible.

    Args:
        batches: a list, or another collection that can be gone through again, or a generator.
        steps: of the run, for an error to name.
        watched: keep a fingerprint of what was drawn.

    Raises:
        TypeError: for a single batch, or what cannot be gone through.
    """

    def __init__(self, batches: Iterable[Batch], steps: int, watched: bool = False) -> None:
        self._batches, self._steps = _endless(batches), steps
        self._digest = hashlib.sha256() if watched else None
        self._drawn = 0

    def next(self, accumulate: int, model: nn.Module, loss: Loss[Batch], done: int) -> list[tuple[Batch, float]]:
        """The batches of one step with their weights; a step without any would teach nothing, and is passed over."""
        for _ in range(_EMPTY):
            batches = self._draw(accumulate)
            if len(batches) < accumulate:
                raise ValueError(
                    f"batches ended after {done} of steps={self._steps} steps: choose fewer steps, or give batches "
                    "that can be gone through again, such as a list"
                )
            weighed = [(batch, weigh(loss, model, batch)) for batch in batches]
            if any(weight for _, weight in weighed):
                return weighed
        raise ValueError(
            f"no batch has weight after {done} steps, so there is nothing to learn from: give some that count"
        )

    @property
    def position(self) -> dict[str, Any]:
        """How many batches were drawn, and the fingerprint of them all."""
        assert self._digest is not None
        return {"drawn": self._drawn, "fingerprint": self._digest.hexdigest()}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Draw the batches once more that were drawn already.

        Raises:
            ValueError: if they are others.
        """
        for _ in range(position["drawn"]):  # one at a time: together they may not fit into memory
            self._draw(1)
        if self.position != position:
            raise ValueError(
                f"the first {position['drawn']} batches are others than those that the run was trained on: give it the "
                "same data in the same order, or another folder to keep it in"
            )

    def _draw(self, number: int) -> list[Batch]:
        batches = []
        for batch in islice(self._batches, number):
            self._drawn += 1
            if self._digest is not None:
                fingerprints.add(self._digest, batch)
            batches.append(batch)
        return batches


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
