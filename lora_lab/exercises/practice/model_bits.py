"""Exercise 10: bits for each number of a whole model."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import number, slip
from lora_lab.exercises.tasks import Wrong, task

Shapes = Mapping[str, Sequence[int]]
Kept = Callable[[str, Sequence[str]], bool]  # is the tensor of that name of a skipped module?


def _model_bits(tensors: Shapes, skipped: Sequence[str], block: int) -> float:
    stored = numbers = 0
    for name, shape in tensors.items():
        numel = math.prod(shape)
        numbers += numel
        if len(shape) == 2 and name.split(".")[-2] not in skipped:
            stored += math.ceil(numel / 2) + 4 * math.ceil(numel / block)
        else:
            stored += 2 * numel
    return 8 * stored / numbers


@task(reference=lambda: _model_bits)
def model_bits(model_bits: Any) -> None:
    """Bits for each number of a model whose matrices are in four bits, but for those that are skipped."""
    h, words = random.choice((40, 48)), random.choice((300, 410))
    few: Shapes = {"model.layers.0.mlp.up_proj.weight": [h, 33]}
    norm: Shapes = {**few, "model.norm.weight": [h]}
    sides: Shapes = {**norm, "model.layers.0.mlp.experts.weight": [3, h, 7]}
    whole: Shapes = {
        "model.embed_tokens.weight": [words, h],
        "model.layers.0.self_attn.q_proj.weight": [h, h], "model.layers.0.self_attn.q_proj.bias": [h],
        "model.layers.0.mlp.up_proj.weight": [3 * h + 1, h], "model.layers.0.input_layernorm.weight": [h],
        "model.layers.1.mlp.lm_head_proj.weight": [5, 33], "lm_head.draft.weight": [7, h + 3],
        "model.draft_lm_head.weight": [9, h],
        "lm_head.weight": [words, h],
    }  # fmt: skip
    cases: tuple[tuple[Shapes, list[str]], ...] = (
        (few, []),
        (norm, []),
        (sides, []),
        (whole, ["lm_head", "embed_tokens"]),
        (whole, ["embed_tokens"]),
        (whole, ["embed_tokens", "lm_head", "q_proj"]),
    )
    for tensors, skipped in cases:
        for block in (64, 32):
            count = "one tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"
            where = f"for {count}, skipped {skipped}, blocks of {block}"
            with untouched(tensors=tensors, skipped=skipped):
                found = number(model_bits(tensors, skipped, block), where)
            wanted = _by_tensor(tensors, skipped, block)
            if not math.isclose(found, wanted, rel_tol=1e-9):
                why = _bits_slip(found, tensors, skipped, block)
                raise Wrong(f"yours gives {found:.6g} bits a number {where}{why}", found, wanted)


def _by_module(name: str, skipped: Sequence[str]) -> bool:
    return name.rpartition(".")[0].rpartition(".")[2] in skipped


def _by_tensor(tensors: Shapes, skipped: Sequence[str], block: int, kept: Kept = _by_module, **but: Any) -> float:
    """As a fraction; `kept` and `but` say what is done differently, for the slips."""
    bits, numbers, pooled = Fraction(0), 0, 0
    for name, shape in tensors.items():
        numel = math.prod(shape)
        matrix = len(shape) == 2 or (len(shape) < 2 and "vectors" in but) or (len(shape) > 2 and "more_sides" in but)
        whole = not matrix or kept(name, skipped)
        if whole and "left_out" in but:
            continue
        numbers += numel
        if whole:
            bits += but.get("wide", 16) * numel
            continue
        pooled += numel
        pairs = Fraction(numel, 2) if "half" in but else numel // 2 if "half_down" in but else -(-numel // 2)
        constants = {
            "fraction": Fraction(numel, block), "down": Fraction(numel // block),
            "rows": Fraction(math.prod(shape[:-1]) * -(-shape[-1] // block)), "codes_only": Fraction(0),
            "pooled": Fraction(0),
        }  # fmt: skip
        how = next((each for each in constants if each in but), "")
        bits += 8 * pairs + 32 * constants.get(how, Fraction(-(-numel // block)))
    if "pooled" in but:
        bits += 32 * -(-pooled // block)
    return float(bits / numbers) if numbers else 0.0


_OTHER_NAMES: tuple[tuple[Kept, str], ...] = (
    (lambda name, skipped: any(part in name for part in skipped),
     "a name is skipped as a whole: 'lm_head' is not in 'lm_head_proj'"),
    (lambda name, skipped: not {*name.split(".")}.isdisjoint(skipped),
     "the module is the part before the last: an earlier part of the name does not count"),
    (lambda name, skipped: name.split(".")[0] in skipped,
     "the module is the part before the *last*, and yours looks at the first part"),
    (lambda name, skipped: name.rpartition(".")[0] in skipped,
     "the module is one part of the name, the one before the last, and yours takes all that stands before .weight"),
    (lambda name, skipped: any(name.rpartition(".")[0].endswith(each) for each in skipped),
     "a name is skipped as a whole, from one dot to the next"),
    (lambda name, skipped: any(name.startswith(each) for each in skipped),
     "the module is the part before the *last*, and yours looks at the beginning"),
    (lambda name, skipped: False, "look at what is skipped: the name of the module, which stands before .weight"),
)  # fmt: skip


def _bits_slip(found: float, tensors: Shapes, skipped: Sequence[str], block: int) -> str:
    wanted = _by_tensor(tensors, skipped, block)
    each = [_by_tensor({name: shape}, [], block) for name, shape in tensors.items()]

    def other(kept: Kept = _by_module, **but: Any) -> float:
        return _by_tensor(tensors, skipped, block, kept, **but)

    by_name = [(other(kept), why) for kept, why in _OTHER_NAMES]
    none_skipped, why_none = _OTHER_NAMES[-1]
    by_name.append((other(none_skipped, half=True), why_none))

    return slip(found, (
        (wanted / 8, "that is bytes: eight bits are a byte"),
        (other(codes_only=True), "the constants are missing: 4 bytes for each block"),
        (other(left_out=True), "what is skipped stays in 16 bits, and counts, too"),
        (other(wide=32), "what is skipped is stored in 16 bits, not 32"),
        (other(wide=2), "16 bits are two bytes: count all in bits, or all in bytes"),
        (other(vectors=True), "norms and biases are no matrices, and stay in 16 bits"),
        (other(more_sides=True), "a matrix has two sides: what has three is none, and stays in 16 bits"),
        (other(more_sides=True, vectors=True), "only what has two sides is a matrix, and all else stays in 16 bits"),
        (other(none_skipped, vectors=True, more_sides=True), "the skipped ones and the vectors stay in 16 bits"),
        *by_name,
        (other(half_down=True), "two codes in a byte, rounded *up*: an odd last one has a byte, too"),
        (other(pooled=True), "each tensor has its own blocks: round up for each of them, and not once for all"),
        (other(pooled=True, half=True), "each tensor has its own blocks and bytes: round up for each of them"),
        (other(rows=True), "blocks run on from row to row: a tensor has its numbers / block of them, rounded up once"),
        (other(down=True), "the last block of a tensor may be short, and has a constant, too: round up"),
        (other(fraction=True), "blocks are whole, and each tensor has its own: round up"),
        (other(fraction=True, half=True), "blocks and bytes are whole, and each tensor has its own: round up"),
        (other(half=True), "two codes in a byte: an odd last one fills a byte, too"),
        (sum(each) / len(each),
         "the mean of tensors' bits gives a small tensor the weight of a large one: all bits over all numbers"),
        (wanted * sum(map(math.prod, tensors.values())), "that is all bits: divide by the number of numbers"),
        (4 + 32 / block, "that is a weight in four bits; the others count, too, and so do short blocks"),
    ))  # fmt: skip
