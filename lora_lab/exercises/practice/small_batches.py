"""Exercises 13, the second and third: accumulated gradients, and several examples in one row."""

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.practice.chat_turns import near_difference
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.units import IGNORE

_Example = dict[str, list[int]]


def _accumulated(losses: list[Tensor], counts: list[int]) -> list[Tensor]:
    total = sum(counts)
    return [loss * (n / total) if n else torch.zeros(()) for loss, n in zip(losses, counts)]


def _packed_row(examples: list[_Example]) -> dict[str, list[int]]:
    row: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for example in examples:
        row["input_ids"] += example["input_ids"]
        row["labels"] += [IGNORE, *example["labels"][1:]]
        row["position_ids"] += range(len(example["input_ids"]))
        row["boundaries"].append(len(row["input_ids"]))
    return row


@task(reference=lambda: _accumulated)
def accumulated(accumulated: Any) -> None:
    """What to call backward on, so that the sum is the gradient of the mean over all answer tokens."""
    for counts in ([1, 3], random.sample(range(2, 9), 3), [random.randint(2, 5), 0, random.randint(6, 9), 1]):
        weight = torch.randn(6, 4, requires_grad=True)
        inputs, labels = [], []
        for n in counts:
            inputs.append(torch.randn(9, 4))
            labels.append(torch.cat([torch.full((9 - n,), IGNORE), torch.randint(6, (n,))]))
        losses = [F.cross_entropy(x @ weight.T, y) for x, y in zip(inputs, labels)]  # nan where nothing is learned
        said = f"for counts {counts}"
        handed = list(counts)
        with untouched(counts=handed):
            found = accumulated(list(losses), handed)
        if isinstance(found, Tensor) and found.dim() == 0:
            raise Wrong(
                "yours gives one tensor, wanted a list, one for each micro-batch: a loop calls backward on each"
            )
        parts = required.several(found, len(counts), "one tensor for each micro-batch")
        for part, n in zip(parts, counts):
            if isinstance(part, (int, float)) and n:
                raise Wrong("yours gives plain numbers, and no gradient flows back from them: multiply the tensors")
            if isinstance(part, Tensor) and not bool(part.isfinite().all()):
                raise Wrong(
                    f"{said} yours holds nan: a micro-batch without an answer has the loss nan, and 0 · nan is nan"
                )
            if n:
                required.tensor(part, f"{said} the part of a micro-batch with answers", ())
                if not part.requires_grad:
                    raise Wrong(f"{said} a part has no way back to its loss: is it detached, or made anew?")
        torch.stack([part for part in parts if isinstance(part, Tensor) and part.requires_grad]).sum().backward()
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        if not bool(grad.isfinite().all()):
            raise Wrong(f"{said} the gradient is nan: leave the nan out, a plain zero takes its place")
        shown = _as_numbers(parts, losses, counts) if len(counts) == 2 else []
        _compare_gradient(grad, weight, inputs, labels, counts, shown)


def _as_numbers(parts: list[Any], losses: list[Tensor], counts: list[int]) -> list[list[float]]:
    """The values of the parts, given and wanted, so that they can be read beside each other."""
    wanted = [loss * n / sum(counts) for loss, n in zip(losses, counts)]
    return [[round(each.item(), 4) for each in values] for values in (parts, wanted)]


def _compare_gradient(
    grad: Tensor, weight: Tensor, inputs: list[Tensor], labels: list[Tensor], counts: list[int], shown: list[Any]
) -> None:
    whole = F.cross_entropy(torch.cat(inputs) @ weight.T, torch.cat(labels))
    (wanted,) = torch.autograd.grad(whole, weight)
    if float((grad - wanted).norm()) <= 1e-4 * float(wanted.norm()):
        return
    each = [torch.zeros_like(weight) if not n else torch.autograd.grad(F.cross_entropy(x @ weight.T, y), weight)[0]
            for x, y, n in zip(inputs, labels, counts)]  # fmt: skip
    k, total = len(counts), sum(counts)
    plain = torch.stack(each).sum(0)
    weighted = torch.stack([g * n for g, n in zip(each, counts)]).sum(0)
    slips = {
        "the mean of the micro-batches' means: a token in a short one counts for more": plain / k,
        "the mean over the micro-batches that have answers: a token in a short one counts for more": plain
        / max(1, sum(n > 0 for n in counts)),
        "the sum of the micro-batches' means: the more there are, the larger the step": plain,
        "the sum over all answer tokens: divide by how many there are in all": weighted,
        "the right one, divided by the number of micro-batches as well": weighted / total / k,
        "the sum over all answer tokens, divided by the number of micro-batches: by that of answer tokens": weighted
        / k,
        "the sum over all answer tokens, divided by the largest count: by the sum of the counts": weighted
        / max(counts),
        "the sum of the losses, each divided by its own count once more: a loss is a mean already": torch.stack(
            [g / n if n else g for g, n in zip(each, counts)]
        ).sum(0),
        "each mean divided by the whole count: multiply it by its own count first": plain / total,
    }
    why = required.slip(grad, slips)
    why = f"yours is {why}" if why else "how many of all answer tokens does each loss speak for?"
    raise Wrong(f"for counts {counts} the gradient is not the whole batch's: {why}", *shown)


@task(reference=lambda: _packed_row)
def packed_row(packed_row: Any) -> None:
    """Examples one after the other, with positions that begin anew, boundaries, and no loss across one."""
    for sizes, prompt in (([2, 3], 0), ([random.randint(4, 7) for _ in range(3)], 3), ([5], 2), ([1, 4, 2], 0)):
        examples = []
        for size in sizes:
            ids = [random.randint(10, 99) for _ in range(size)]
            quiet = random.randint(min(2, prompt), prompt)  # without a prompt, as in plain text, every label is an id
            examples.append({"input_ids": ids, "labels": [IGNORE] * quiet + ids[quiet:]})
        handed = [{key: list(each) for key, each in example.items()} for example in examples]
        with untouched(examples=handed):
            found = packed_row(handed)
        said, row = f"for examples of {sizes} tokens", _lists(found)
        wanted = _row_by_place(examples)
        for key, why in (("input_ids", _why_row), ("position_ids", _why_positions),
                         ("boundaries", _why_boundaries), ("labels", _why_row_labels)):  # fmt: skip
            if row[key] != wanted[key]:
                shown: list[Any] = [row[key], wanted[key]]
                if len(wanted[key]) > 8:
                    shown = near_difference(row[key], wanted[key], lambda part: ", ".join(map(str, part)), room=8)
                raise Wrong(f"{said} the {key} are off: {why(row[key], examples)}", *shown)


def _lists(found: object) -> dict[str, list[int]]:
    keys = ("input_ids", "labels", "position_ids", "boundaries")
    if found is None:
        raise Wrong("yours gives None, wanted a dictionary of four lists: is a return missing?")
    if not isinstance(found, Mapping):
        raise Wrong(f"yours gives a {type(found).__name__}, wanted a dictionary with the keys {', '.join(keys)}")
    if missing := [key for key in keys if key not in found]:
        raise Wrong(f"yours lacks the key {missing[0]}")
    return {key: required.whole_numbers(found[key], f"the {key}") for key in keys}


def _row_by_place(examples: list[_Example]) -> dict[str, list[int]]:
    """The same, by asking at each place of the row which example it belongs to."""
    sizes = [len(each["input_ids"]) for each in examples]
    owner = [number for number, size in enumerate(sizes) for _ in range(size)]
    begins = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
    inside = [place - begins[number] for place, number in enumerate(owner)]
    return {
        "input_ids": [examples[n]["input_ids"][i] for n, i in zip(owner, inside)],
        "labels": [examples[n]["labels"][i] if i else IGNORE for n, i in zip(owner, inside)],
        "position_ids": inside, "boundaries": begins}  # fmt: skip


def _why_row(found: list[int], examples: list[_Example]) -> str:
    return "the examples' ids, one after the other, with nothing between them and no padding"


def _why_positions(found: list[int], examples: list[_Example]) -> str:
    row = _row_by_place(examples)["position_ids"]
    if found == list(range(len(row))):
        return "they run on: to the model a position is the place in *its* example, so each begins anew"
    if found == [each + 1 for each in row]:
        return "they begin at 1: positions count from 0"
    owner = [n for n, each in enumerate(examples) for _ in each["input_ids"]]
    if found == owner:
        return "those are the numbers of the examples: wanted is the place within each"
    return "a place counted within its own example, from 0"


def _why_boundaries(found: list[int], examples: list[_Example]) -> str:
    begins = _row_by_place(examples)["boundaries"]
    sizes = [len(each["input_ids"]) for each in examples]
    if found == sizes:
        return "those are lengths: a boundary is a place in the row, where the next example begins"
    if found == [0, *sizes]:
        return "those are lengths after a 0: add them up"
    if found == begins[1:]:
        return "the first is missing: the first example begins at 0"
    if found == begins[:-1]:
        return "the last is missing: it is the length of the row, so that every example has a begin and an end"
    if found == begins[1:-1]:
        return "the two ends are missing: 0 at first, and the length of the row at last"
    if found == [0, *[each - 1 for each in begins[1:]]]:
        return "the place of an example's last token, wanted is the place *after* it"
    return "0, then for every example the place after its last token"


def _why_row_labels(found: list[int], examples: list[_Example]) -> str:
    right = _row_by_place(examples)["labels"]
    plain = [label for each in examples for label in each["labels"]]
    ids = [token for each in examples for token in each["input_ids"]]
    last = [label for each in examples for label in [*each["labels"][:-1], IGNORE]]
    later = [label for number, each in enumerate(examples)
             for label in ([IGNORE, *each["labels"][1:]] if number else each["labels"])]  # fmt: skip
    if found == plain or found == [IGNORE, *plain[1:]]:
        return (
            "at each boundary the last token of one example would learn to predict the first of the next: that first "
            f"token's label must be {IGNORE}"
        )
    if found == later:
        return f"the very first token is predicted by nothing: its label is {IGNORE}, as at every boundary"
    if found == last:
        return (
            f"the {IGNORE} stands at each example's last token, and a label stands at the token that *is* predicted: "
            "at the first of the next"
        )
    if found in (right[1:] + [IGNORE], [*plain[1:], IGNORE]):
        return "they are moved by one place: the model does that itself"
    if (
        found == [token if i else IGNORE for each in examples for i, token in enumerate(each["input_ids"])]
        or found == ids
    ):
        return f"they are the ids: an example's own {IGNORE}, on its prompt, must stay"
    return f"each example's labels, with {IGNORE} for its first token"
