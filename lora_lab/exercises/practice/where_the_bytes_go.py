"""Exercise 07: the peak of an allocator's diary, and checkpoints in segments."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import number, slip
from lora_lab.exercises.tasks import Wrong, task

PIECE = 512  # bytes: what the allocator of CUDA rounds up to
Diary = Sequence[Sequence[Any]]


def _peak_of_diary(diary: Diary) -> tuple[int, list[str]]:
    alive: dict[str, int] = {}
    peak, names = 0, []
    for what, name, size in diary:
        if what == "free":
            del alive[name]
            continue
        alive[name] = -(-size // PIECE) * PIECE
        if sum(alive.values()) > peak:
            peak, names = sum(alive.values()), sorted(alive)
    return peak, names


def _best_segment(layers: int, enters: int, keeps: int) -> tuple[int, int, int]:
    best: tuple[int, int, int] | None = None
    for size in range(layers, 0, -1):
        doors = math.ceil(layers / size) - 1
        needed = doors * enters + size * keeps
        if best is None or needed < best[1]:
            best = size, needed, doors * size
    assert best is not None
    return best


@task(reference=lambda: _peak_of_diary)
def peak_of_diary(peak_of_diary: Any) -> None:
    """The most bytes alive at once in a list of allocations and frees, each rounded up, and what was alive then."""
    for diary in (_short(), _EXAMPLE, _long(), _long()):
        with untouched(diary=diary):
            found = peak_of_diary(diary)
        said = f"for {diary}" if len(diary) < 10 else f"for a diary of {len(diary)} lines"
        most, names = required.several(found, 2, "most, names")
        most = number(most, said)
        wanted, alive = _by_difference(diary)
        if most != wanted:
            raise Wrong(f"yours gives {most:,.0f} bytes {said}{_peak_slip(most, diary)}", most, wanted)
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise Wrong(f"your bytes are right; the names are a {type(names).__name__}, and must be a list of names")
        if list(names) != alive:
            raise Wrong(
                f"your bytes are right, the names are not: {_names_slip(list(names), alive, diary)}", names, alive
            )


_EXAMPLE: Diary = [["alloc", "w", 600], ["alloc", "a", 100], ["free", "a", 100], ["alloc", "g", 513]]


def _short() -> Diary:
    """The peak is in the middle, and comes twice; a name is freed before it; one size is a multiple of 512."""
    a, b = PIECE * random.randint(4, 8) + random.randint(1, 99), PIECE * random.randint(2, 3) + random.randint(1, 99)
    even = random.choice((512, 1024))
    return [
        ["alloc", "batch", 301], ["free", "batch", 301], ["alloc", "weights", a], ["alloc", "x", b],
        ["alloc", "a", even], ["free", "x", b], ["alloc", "y", b], ["free", "a", even], ["free", "y", b],
    ]  # fmt: skip


def _long() -> Diary:
    """Names are used again, and freed in another order than they came."""
    diary: list[list[Any]] = []
    alive: dict[str, int] = {}
    for step in range(60):
        free = [name for name in "abcdefgh" if name not in alive]
        if (free and random.random() < (0.75 if step < 25 else 0.35)) or not alive:
            name, size = random.choice(free), random.randint(1, 40) * 100 + 1
            alive[name] = size
            diary.append(["alloc", name, size])
        else:
            name = random.choice(sorted(alive))
            diary.append(["free", name, alive.pop(name)])
    return diary


def _rounded(size: int) -> int:
    return math.ceil(size / PIECE) * PIECE


def _by_difference(diary: Diary, rounded: Callable[[int], int] = _rounded) -> tuple[int, list[str]]:
    """By running sums, and the names counted from the beginning up to the first largest one."""
    sums = [0]
    for what, _, size in diary:
        sums.append(sums[-1] + (rounded(size) if what == "alloc" else -rounded(size)))
    names: list[str] = []
    for what, name, _ in diary[: sums.index(max(sums))]:
        (names.append if what == "alloc" else names.remove)(name)
    return max(sums), sorted(names)


def _peak_slip(found: float, diary: Diary) -> str:
    exact, _ = _by_difference(diary, lambda size: size)
    down, _ = _by_difference(diary, lambda size: size // PIECE * PIECE)
    more, _ = _by_difference(diary, lambda size: (size // PIECE + 1) * PIECE)
    taken = [_rounded(size) for what, _, size in diary if what == "alloc"]
    left = sum(taken) - sum(_rounded(size) for what, _, size in diary if what == "free")
    return slip(found, (
        (exact, f"each piece is rounded up to a multiple of {PIECE}"),
        (_rounded(exact), "every piece is rounded up by itself, not their sum"),
        (down, f"a piece is rounded *up* to a multiple of {PIECE}"),
        (more, f"a multiple of {PIECE} stays as it is"),
        (sum(taken), "what is freed is no longer alive"),
        (sum(size for what, _, size in diary if what == "alloc"), "what is freed is no longer alive"),
        (left, "that is what is left at the end: look after every line"),
        (max(taken), "that is the largest piece: add up what is alive together"),
        (_by_difference(diary)[0] / PIECE, f"bytes, and not pieces of {PIECE}"),
    ))  # fmt: skip


def _names_slip(names: list[str], alive: list[str], diary: Diary) -> str:
    if sorted(names) == alive:
        return "they are to be sorted"
    if set(names) == set(alive):
        return "each name once"
    left = sorted({name for _, name, _ in diary if _alive_at_end(name, diary)})
    if sorted(names) == left:
        return "those are what is alive at the end. Keep a copy of the names when you see a new peak"
    most, alone = _by_difference(diary)[0], set(names) - set(alive)
    if set(alive) < set(names) and alone <= _freed_before(most, diary):
        return "what was freed before that moment still stands in them, though it has no bytes any more"
    if set(names) == {name for _, name, _ in diary}:
        return "those are all that ever lived"
    return "they must be those of the first moment at which so much was alive"


def _freed_before(most: int, diary: Diary) -> set[str]:
    """The names of the frees up to the first moment at which so much is alive."""
    total, freed = 0, set()
    for what, name, size in diary:
        total += _rounded(size) if what == "alloc" else -_rounded(size)
        if what == "free":
            freed.add(name)
        if total == most:
            break
    return freed


def _alive_at_end(name: str, diary: Diary) -> bool:
    last = [what for what, each, _ in diary if each == name][-1]
    return bool(last == "alloc")


@task(reference=lambda: _best_segment)
def best_segment(best_segment: Any) -> None:
    """The size of segments that needs the fewest bytes, those bytes, and how many layers are run twice."""
    layers = random.choice((30, 34, 38))
    cases = (
        (layers, 2, random.choice((35, 37))), (23, 6, 6), (layers, 1, 1), (layers, random.choice((51, 53)), 2),
        (random.randint(40, 60), random.randint(40, 60), random.randint(5, 9)), (1, 3, 5),
    )  # fmt: skip
    for case in cases:
        where = "for {} layers, {} bytes that enter one and {} that it keeps".format(*case)
        found = required.several(best_segment(*case), 3, "size, needed, twice")
        size, needed, twice = (number(each, where) for each in found)
        wanted = _by_hand(*case)
        said = f"yours gives segments of {size:g}, {needed:,g} bytes, {twice:g} layers twice {where}: "
        if (size, needed, twice) != wanted:
            raise Wrong(said + _segment_slip(size, needed, twice, wanted, *case), [size, needed, twice], list(wanted))


def _walk(size: int, layers: int, enters: int, keeps: int) -> tuple[int, int]:
    """A step as it goes: what is alive, layer by layer, and how many layers run again."""
    segments = [min(size, layers - start) for start in range(0, layers, size)]
    doors, most, again = enters * (len(segments) - 1), 0, 0
    for place in range(len(segments) - 1, -1, -1):
        most = max(most, doors + segments[place] * keeps)
        if place < len(segments) - 1:
            again += segments[place]
            doors -= enters
    return most, again


def _by_hand(layers: int, enters: int, keeps: int) -> tuple[int, int, int]:
    tried = [(*_walk(size, layers, enters, keeps), size) for size in range(1, layers + 1)]
    needed, _, size = min(tried, key=lambda each: (each[0], -each[2]))
    return size, needed, _walk(size, layers, enters, keeps)[1]


def _segment_slip(
    size: float, needed: float, twice: float, wanted: tuple[int, int, int], layers: int, enters: int, keeps: int
) -> str:
    if size != int(size) or not 1 <= size <= layers:
        return f"a segment has 1 to {layers} layers, a whole number of them"
    fewest, again = _walk(int(size), layers, enters, keeps)
    segments = math.ceil(layers / size)
    if needed != fewest:
        why = slip(needed, (
            (segments * enters + size * keeps,
             "the last segment is not checkpointed, so nothing is put aside for it"),
            (layers / size * enters + size * keeps,
             "the last segment may be short, and the last one puts nothing aside"),
            ((layers / size - 1) * enters + size * keeps,
             "the last segment may be short: round the number of segments up"),
            ((layers // size - 1) * enters + size * keeps,
             "the last segment may be short: round the number of segments up"),
            (max((segments - 1) * enters, size * keeps),
             "what entered the segments lies there while one of them is at work: add the two"),
            ((segments - 1) * enters + layers * keeps, "one segment is at work at a time"),
            ((segments - 1) * enters + keeps, "each layer of the segment at work keeps its own"),
            (layers * enters + size * keeps, "what enters is put aside once for each segment, not for each layer"),
        ))  # fmt: skip
        return f"the bytes are not those of that size{why}"
    if size != wanted[0]:
        if needed == wanted[1]:
            return "another size needs as few bytes: of equals the largest, which repeats fewer layers"
        if size == round(math.sqrt(layers)) or size == math.ceil(math.sqrt(layers)) or size == math.isqrt(layers):
            return (
                "the root of the number of layers is best only where a layer keeps as much as enters it. Try all sizes"
            )
        return "another size needs fewer bytes. Did you try all?"
    why = slip(twice, (
        (layers, "the last segment is not run again: the backward pass begins with it"),
        (layers - size, "the last segment may be short: count the layers of the others"),
        (segments - 1, "those are segments, and each has its layers"),
        (size, "every segment but the last is run again"),
        (0, "every segment but the last is run again"),
    ))  # fmt: skip
    return f"size and bytes are right; the layers run twice are not{why}"
