"""Exercise 06: the cache of a long chat, what optimizers keep, texts at a time."""

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import number, said, slip
from lora_lab.exercises.tasks import Wrong, task

BLOCK, SMALL = 256, 4096  # of 8-bit states: numbers with one constant; a smaller tensor keeps fp32


def _kv_cache_bytes(config: Any, tokens: int, texts: int, width: int) -> int:
    values = config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return 2 * values * tokens * texts * width


def _optimizer_bytes(shapes: Sequence[Sequence[int]], optimizer: str) -> int:
    total = 0
    for shape in shapes:
        count = torch.Size(shape).numel()
        if optimizer == "momentum":
            total += 4 * count
        elif optimizer == "adamw" or (optimizer == "adamw8bit" and count < SMALL):
            total += 8 * count
        elif optimizer == "adamw8bit":
            total += 2 * (count + 4 * -(-count // BLOCK))
        elif optimizer == "adafactor":
            total += 4 * (sum(shape) if len(shape) == 2 else count)
    return total


def _texts_at_a_time(need: Callable[[int], int], texts: int, budget: int) -> tuple[int, int] | None:
    for at_once in range(texts, 0, -1):
        if texts % at_once == 0 and need(at_once) <= budget:
            return at_once, texts // at_once
    return None


@task(reference=lambda: _kv_cache_bytes)
def kv_cache_bytes(kv_cache_bytes: Any) -> None:
    """Bytes of the keys and values of every layer, token and text, by the key-value heads."""
    for groups, width in ((4, 1), (3, 4), (1, 2)):
        kv = random.choice((3, 5))
        config = SimpleNamespace(
            num_hidden_layers=random.choice((7, 11, 13)), num_attention_heads=kv * groups, num_key_value_heads=kv,
            head_dim=random.choice((40, 56)), hidden_size=random.choice((608, 736)),
        )  # fmt: skip
        tokens, texts = random.choice((1009, 1013, 2027)), random.choice((17, 19))
        where = f"for {tokens} tokens, {texts} texts, width {width}, and {said(config)}"
        found = number(kv_cache_bytes(config, tokens, texts, width), where)
        wanted = _by_lists(config, tokens, texts, width)
        if found != wanted:
            why = _cache_slip(found, wanted, config, tokens, texts, width)
            raise Wrong(f"your bytes are off{why} ({where})", found, wanted)


def _by_lists(config: Any, tokens: int, texts: int, width: int) -> int:
    """One tensor of keys and one of values for each layer, counted without their storage."""
    with torch.device("meta"):
        layer = [torch.empty(texts, config.num_key_value_heads, tokens, config.head_dim) for _ in ("keys", "values")]
    return sum(each.numel() * width for each in layer * config.num_hidden_layers)


def _cache_slip(found: float, wanted: int, config: Any, tokens: int, texts: int, width: int) -> str:
    kv, heads, d = config.num_key_value_heads, config.num_attention_heads, config.head_dim
    return slip(found, (
        (wanted / 2, "keys *and* values are kept"),
        (wanted / kv * heads, "only the key-value heads are kept, and query heads share them"),
        (wanted / (kv * d) * config.hidden_size,
         "a token's key is as wide as all key-value heads, not as the hidden state"),
        (wanted / d * (config.hidden_size / heads),
         "a head's width stands in the config, and need not be hidden_size / heads"),
        (wanted / d * (config.hidden_size // heads),
         "a head's width stands in the config, and need not be hidden_size / heads"),
        (wanted / kv * heads / d * (config.hidden_size // heads),
         "neither query heads nor hidden_size say how wide a key is"),
        (wanted / config.num_hidden_layers, "every layer has a cache of its own"),
        (wanted / texts, "each of the texts has a cache of its own"),
        (wanted / tokens, "each token has its key and its value"),
        (wanted * tokens, "attention compares every pair of tokens, and keeps only one key and one value for each"),
        (wanted / width, "those are values, and each has `width` bytes"),
        (wanted / width * 2, "`width` says how many bytes a value has, and need not be 2"),
        (wanted / 8, "`width` is in bytes already"),
        (wanted / d, "each key-value head has head_dim values"),
        (wanted / kv, "each key-value head has a key of its own"),
    ))  # fmt: skip


@task(reference=lambda: _optimizer_bytes)
def optimizer_bytes(optimizer_bytes: Any) -> None:
    """Bytes of the states that each of five optimizers keeps for trained fp32 tensors of these shapes."""
    rows, columns = random.choice((129, 131, 137)), random.choice((63, 65, 67))
    matrix, vector, small = [rows, columns], [random.choice((401, 409))], [random.choice((31, 37)), 50]
    for optimizer in ("sgd", "momentum", "adamw", "adafactor", "adamw8bit"):
        for shapes in (
            [matrix],
            [vector],
            [small],
            [[64, 64]],
            [vector, small, [7, 500], [9, 300]],
            [matrix, matrix, vector],
        ):
            where = f"for {optimizer!r} and the shapes {shapes}"
            with untouched(shapes=shapes):
                found = number(optimizer_bytes(shapes, optimizer), where)
            wanted = sum(map(_states_of(optimizer), shapes))
            if found != wanted:
                why = _states_slip(found, wanted, shapes, optimizer)
                raise Wrong(f"your bytes are off {where}{why}", found, wanted)


def _states_of(optimizer: str) -> Callable[[Sequence[int]], int]:
    """Counted on tensors without storage: what has the shape of which state."""

    def states(shape: Sequence[int]) -> int:
        weight = torch.empty(shape, device="meta")
        if optimizer == "sgd":
            return 0
        if optimizer == "adafactor":
            kept = [weight] if weight.dim() < 2 else [weight[0], weight[:, 0]]
            return sum(4 * each.numel() for each in kept)
        if optimizer == "adamw8bit" and weight.numel() >= SMALL:
            return 2 * (weight.numel() + 4 * len(weight.flatten().split(BLOCK)))
        return weight.numel() * (4 if optimizer == "momentum" else 8)

    return states


def _states_slip(found: float, wanted: int, shapes: Sequence[Sequence[int]], optimizer: str) -> str:
    counts = [torch.Size(shape).numel() for shape in shapes]
    every = sum(counts)
    eight = sum(2 * (n + 4 * -(-n // BLOCK)) for n in counts)
    if optimizer == "adafactor":
        return slip(found, (
            (wanted / 4, "those are numbers, and each has 4 bytes"),
            (sum(4 * (s[0] + s[-1]) for s in shapes) if any(len(s) == 1 for s in shapes) else -1.0,
             "a vector has one side, and yours counts it twice: one number for each of its own"),
            (4 * every, "of a matrix only one number for each row and each column is kept"),
            (8 * every, "that is AdamW's; of a matrix only one number for each row and each column is kept"),
            (4 * sum(map(sum, shapes)), "one number for each row and each column"),
            (4 * sum(shape[0] for shape in shapes), "the columns have their numbers, too"),
            (2 * wanted, "that is twice as many: one number for each row, one for each column"),
            (4 * sum(sum(s) if len(s) == 2 else 1 for s in shapes), "a vector keeps one number for each of its own"),
            (4 * sum(sum(s) for s in shapes if len(s) == 2), "a vector keeps one number for each of its own"),
        ))  # fmt: skip
    if optimizer == "adamw8bit":
        kept = [n for n in counts if n >= SMALL]
        fp32 = 8 * (every - sum(kept))
        if 8 * every == found and SMALL in counts:
            return f": exactly {SMALL:,} numbers are no longer under {SMALL:,}"
        return slip(found, (
            (2 * every, "the constants are missing: 4 bytes for each 256 numbers"),
            (2 * sum(kept) + fp32, "the constants are missing: 4 bytes for each 256 numbers"),
            (eight, f"a tensor under {SMALL:,} numbers keeps its states in fp32"),
            (fp32 + sum(2 * n + 4 * -(-n // BLOCK) for n in kept), "both states have constants of their own"),
            (fp32 + sum(n + 4 * -(-n // BLOCK) for n in kept), "AdamW has two states, and both are stored"),
            (fp32 + sum(2 * (n + 4 * (n // BLOCK)) for n in kept),
             "the last block may be short, and has a constant, too: round up"),
            (fp32 + sum(2 * (n + 4 * n / BLOCK) for n in kept), "a short block has a whole constant: round up"),
            (fp32 + sum(2 * (n + -(-n // BLOCK)) for n in kept), "a constant is fp32: 4 bytes"),
            (2 * (every + 4 * -(-every // BLOCK)), "each tensor is looked at by itself: its size, and its last block"),
            (8 * every, f"from {SMALL:,} numbers on, each state has one byte" + " and not four" * (every >= SMALL)),
            (fp32 / 2 + sum(2 * (n + 4 * -(-n // BLOCK)) for n in kept), "in fp32, too, AdamW has two states"),
        ))  # fmt: skip
    return slip(found, (
        (every * {"momentum": 1, "adamw": 2}.get(optimizer, 0), "those are numbers, and each has 4 bytes"),
        (4 * every, {"sgd": "plain SGD keeps nothing from step to step"}.get(optimizer, "AdamW keeps two states")),
        (8 * every, {"sgd": "plain SGD keeps nothing from step to step"}.get(optimizer,
         "momentum is one number, AdamW has two")),
        (12 * every, "the states alone: the gradient is counted elsewhere"),
        (16 * every, "the states alone: weight and gradient are counted elsewhere"),
        (wanted + 4 * every, "the states alone: weights and gradients are counted elsewhere"),
        (0, "does the loop add up, and does every name have its case?"),
    ))  # fmt: skip


@task(reference=lambda: _texts_at_a_time)
def texts_at_a_time(texts_at_a_time: Any) -> None:
    """The most texts at a time that fit and divide all evenly, and in how many passes; None if not even one fits."""
    texts = random.choice((60, 84, 90))
    fixed, each = random.randint(300, 500), random.randint(40, 60)

    def need(n: int) -> int:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise Wrong(f"yours asks need({n!r}): a number of texts is whole, and 1 at least")
        return fixed + each * n

    odd = next(n for n in range(7, texts) if texts % n)  # fits, and divides nothing
    for room in (odd, 6, texts, texts + 40, 1, 2, 0):
        budget = fixed + each * room + (0 if room in (6, 1) else each // 2)
        with_budget = f"for {texts} texts, {budget:,} bytes, and need(n) = {fixed} + {each} n"
        found = texts_at_a_time(need, texts, budget)
        best = max((n for n in range(1, texts + 1) if n <= room and texts % n == 0), default=0)
        wanted = (best, texts // best) if best else None
        if found is None and wanted is None:
            continue
        if found is None:
            raise Wrong(f"yours gives None {with_budget}, and one text at a time does fit", found, wanted)
        given = required.several(found, 2, "at_once, passes")
        at_once, passes = (number(value, with_budget) for value in given)
        if wanted is None:
            raise Wrong(f"yours gives {at_once:g} at a time {with_budget}: not even one fits, so it must be None")
        fractions = any(isinstance(value, float) for value in given)  # 12 / 4 is 3.0
        if fractions or (at_once, passes) != wanted:
            exact = best == room and budget == need(best)
            why = _texts_slip(at_once, passes, texts, room, wanted, exact)
            raise Wrong(f"yours gives {at_once:g} at a time in {passes:g} passes {with_budget}: {why}", found, wanted)


def _texts_slip(at_once: float, passes: float, texts: int, room: int, wanted: tuple[float, float], exact: bool) -> str:
    if (passes, at_once) == wanted:
        return "those are turned round; first how many at a time, then how many passes"
    if at_once != int(at_once) or passes != int(passes) or (at_once, passes) == wanted:
        return "these must be whole numbers: divide with //"
    if at_once < 1 or at_once > texts:
        return "there are only so many texts as there are" if at_once > texts else "one at a time at least"
    if at_once > room:
        return "so many at a time need more than the budget"
    if at_once * passes != texts:
        return "at a time times passes are not all texts: every pass must have as many, so they must divide evenly"
    if exact and at_once == max(n for n in range(1, room) if texts % n == 0):
        return "more at a time fit: what needs exactly the budget does"
    return "more at a time fit, and divide them evenly" if at_once < wanted[0] else "look at the number of passes"
