"""What a loss is."""

from typing import Any, Protocol, TypeVar

from torch import Tensor

Batch = TypeVar("Batch", contravariant=True)


class Loss(Protocol[Batch]):
    """What a training loop lowers, over batches of any kind: tokens with labels, pairs of answers, images.

    A step over several batches has the loss Σ weight · mean / Σ weight. The weight is known before the forward pass, so
    each batch can go backward on its own with its share, and one without weight costs nothing.
    """

    def weight(self, model: Any, batch: Batch) -> float:
        """How much the batch counts: its tokens with loss, its pairs, its examples; at least 0.

        Raises:
            TypeError, ValueError: for a batch that the model cannot learn from; before anything is done with it.
        """

    def mean(self, model: Any, batch: Batch) -> Tensor:
        """The mean over what `weight` counts: a tensor with one number, in the graph of what trains.

        A batch of weight 0 is not asked for its mean.
        """
