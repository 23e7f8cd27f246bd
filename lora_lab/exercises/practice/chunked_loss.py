"""Exercise 07: a loss that never holds all logits."""

import math
import random
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import number
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.units import IGNORE


def _loss_in_chunks(head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor, chunk: int) -> float:
    total, count = 0.0, 0
    for start in range(0, len(hidden), chunk):
        own = labels[start : start + chunk]
        total += float(F.cross_entropy(head(hidden[start : start + chunk]), own, reduction="sum"))
        count += int((own != IGNORE).sum())
    return total / count


@task(reference=lambda: _loss_in_chunks)
def loss_in_chunks(loss_in_chunks: Any) -> None:
    """The mean cross-entropy over all labels but -100, with no more than `chunk` rows of logits at a time."""
    width, words = 5, random.choice((11, 13))
    weight = torch.randn(words, width)
    for tokens, chunk, ignored in ((12, 4, (0, 1, 5, 10)), (11, 4, (4, 5, 6, 7, 9)), (7, 20, ()), (9, 1, (8,))):
        hidden, labels = torch.randn(tokens, width), torch.randint(words, (tokens,))
        labels[list(ignored)] = IGNORE
        asked: list[Tensor] = []
        made: list[weakref.ref[Tensor]] = []

        def head(
            rows: Tensor, chunk: int = chunk, asked: list[Tensor] = asked, made: list[weakref.ref[Tensor]] = made
        ) -> Tensor:
            if not isinstance(rows, Tensor) or rows.dim() != 2 or rows.shape[1] != width:
                raise Wrong(f"the head takes rows of hidden, [rows, {width}]: give it hidden[start : start + chunk]")
            if len(rows) > chunk:
                raise Wrong(f"yours makes the logits of {len(rows)} rows at a time, and `chunk` allows {chunk}")
            asked.append(rows.detach())
            if len(asked) > 500:
                raise Wrong("yours asks the head without end: does `start` go on in every turn?")
            if sum(logits() is not None for logits in made) > 1:  # the last ones may still have their name
                raise Wrong(
                    "yours keeps the logits of earlier chunks while it makes new ones, so that it holds all of them in "
                    "the end: turn those of a chunk into its sum of losses before you go on"
                )
            logits = rows.detach() @ weight.T
            made.append(weakref.ref(logits))
            return logits

        where = f"for {tokens} tokens, {len(ignored)} of them without a label, {chunk} at a time"
        with untouched(hidden=hidden, labels=labels):
            found = loss_in_chunks(head, hidden, labels, chunk)
        if isinstance(found, Tensor) and found.numel() == 1:
            found = float(found.detach())
        if isinstance(found, float) and math.isnan(found):
            raise Wrong(f"yours gives NaN {where}: the mean over a chunk without a label is 0 / 0; add up sums instead")
        loss = number(found, where)
        kept = labels != IGNORE
        log_p = (hidden.double() @ weight.double().T).log_softmax(-1)
        losses = -log_p[kept, labels[kept]]
        wanted = float(losses.mean())
        if not math.isclose(loss, wanted, rel_tol=1e-4, abs_tol=1e-5):
            why = _labels_slip(loss, log_p, labels) or _loss_slip(loss, losses, kept, chunk, tokens, asked)
            raise Wrong(f"yours gives {loss:.4f} {where}{why}", loss, wanted)


def _labels_slip(found: float, log_p: Tensor, labels: Tensor) -> str:
    """What comes of labels that stand beside other rows, or of -100 as a word."""

    def mean(log_p: Tensor, labels: Tensor) -> float:
        return float(F.nll_loss(log_p, labels))

    return next((f": {why}" for value, why in (
        (mean(log_p[:-1], labels[1:]), "nothing is shifted here: a row's label is the word that follows it already"),
        (mean(log_p[1:], labels[:-1]), "nothing is shifted here: a row's label is the word that follows it already"),
        (mean(log_p, labels.clamp(min=0)), "a row labelled -100 counts for nothing, and not as if it had a word"),
        (mean(log_p, labels.clamp(min=0)) * len(labels) / int((labels != IGNORE).sum()),
         "a row labelled -100 counts for nothing, and not as if it had a word"),
    ) if math.isclose(found, value, rel_tol=1e-4)), "")  # fmt: skip


def _loss_slip(found: float, losses: Tensor, kept: Tensor, chunk: int, tokens: int, asked: list[Tensor]) -> str:
    total, places = float(losses.sum()), torch.arange(tokens)[kept] // chunk
    means = [float(losses[places == k].mean()) for k in places.unique()]
    chunks = math.ceil(tokens / chunk)
    slips = (
        (total, "that is the sum: divide by the number of labels"),
        (total / tokens, "rows labelled -100 do not count: divide by the others"),
        (total / chunk, "divide by the labels, not by the length of a chunk"),
        (total / chunks, "divide by the labels, not by the number of chunks"),
        (sum(means) / len(means),
         "the mean of the chunks' means weighs a label in a sparse chunk more: add up sums, and divide once"),
        (sum(means) / chunks,
         "the mean of the chunks' means weighs a label in a sparse chunk more: add up sums, and divide once"),
        (sum(means), "those are means of chunks, added up: add up sums, and divide once"),
        (sum(means) / len(losses), "those are means of chunks, divided by all labels: add up sums"),
        (float(losses[places == places.max()].mean()), "that is the last chunk alone"),
    )  # fmt: skip
    rows = sum(map(len, asked))
    if rows == tokens // chunk * chunk < tokens:
        return f": the head saw {rows} rows of {tokens}. The last chunk may be short, and counts"
    if rows < int(kept.sum()):
        early = "only one chunk. Does the return stand in the loop?" if len(asked) == 1 else "too few"
        return f": the head saw {rows} rows, {early}"
    why = next((f": {words}" for value, words in slips if math.isclose(found, value, rel_tol=1e-4)), "")
    return why or ": it is the mean of −ln p over the rows that have a label"
