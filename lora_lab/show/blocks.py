"""A diagram of one Llama block: its seven linear layers with their shapes, coloured by the groups that adapters go to.

show.figure(*show.block_diagram(d_model=192, d_ff=512, d_kv=64))
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from lora_lab import ranges
from lora_lab.show.drawing import FROZEN, INK, Box, Drawing, Look, Side, arrow, canvas, matrix, node, shape, step, words
from lora_lab.show.figures import BLUE, GREEN, POINT, PURPLE, SKY

# The linear layers of a Llama block: rows and columns, in the words of `block_diagram`.
_PLACES = {
    "q_proj": ("d_model", "d_model"),
    "k_proj": ("d_kv", "d_model"),
    "v_proj": ("d_kv", "d_model"),
    "o_proj": ("d_model", "d_model"),
    "gate_proj": ("d_ff", "d_model"),
    "up_proj": ("d_ff", "d_model"),
    "down_proj": ("d_model", "d_ff"),
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
# What groups look like: told apart by the filling too.
_LOOKS = (
    Look("#F8D9C4", POINT, None, INK),
    Look("#E4EFF7", BLUE, "...", INK),
    Look("#E3F5EF", GREEN, "\\\\\\", INK),
    Look("#F9EEF4", PURPLE, "xx", INK),
    Look("#EAF6FD", SKY, "++", INK),
)


def block_diagram(
    d_model: int,
    d_ff: int,
    d_kv: int | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    notes: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Drawing:
    """One block of a Llama: its seven linear layers as boxes with their shapes, and what flows between them.

    Args:
        d_model: width of the residual stream.
        d_ff: width of the MLP.
        d_kv: rows of k_proj and v_proj, by default d_model; fewer where key and value heads are shared.
        groups: name → places, such as {"attention": show.ATTENTION, "MLP": show.MLP}, which is the default. A group
            has a colour and a filling; a place in no group is grey and hatched, as frozen ones are. At most five.
        notes: place → a word or a number beside its shape, such as how many numbers train there.
        title: in place of one that names the groups.

    Returns:
        The figure and its alt text, which holds the shapes.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1, a place that is none of the seven or in two
            groups, or more groups than can be told apart.
    """
    d_model, d_ff = ranges.whole("d_model", d_model), ranges.whole("d_ff", d_ff)
    sizes = {"d_model": d_model, "d_ff": d_ff, "d_kv": d_model if d_kv is None else ranges.whole("d_kv", d_kv)}
    groups = {"attention": ATTENTION, "MLP": MLP} if groups is None else groups
    member = _members(groups)
    notes = notes or {}
    if unknown := set(notes) - set(_PLACES):
        raise ValueError(f"notes has {', '.join(sorted(unknown))}: a block's places are {', '.join(_PLACES)}")
    fig, axes = canvas(7.2, 5.8, title or f"One block: {' and '.join(groups) or 'seven linear layers'}")
    shapes = {place: (sizes[rows], sizes[columns]) for place, (rows, columns) in _PLACES.items()}
    inch = min(0.95 / max(d_ff, sizes["d_kv"]), 0.55 / d_model)

    look = {place: _LOOKS[list(groups).index(group)] for place, group in member.items()}

    def put(place: str, left: float, middle: float, side: Side) -> Box:
        rows, columns = shapes[place]
        size = (rows * inch, columns * inch)
        box = matrix(axes, (left + size[1] / 2, middle), size, look.get(place, FROZEN))
        lines = [place, shape(rows, columns), *filter(None, [notes.get(place)])]
        spot = box.right if side == "right" else box.bottom
        words(axes, spot, "\n".join(lines), side, look.get(place, FROZEN), fontsize=10)
        return box

    words(axes, (0.45, 5.05), f"x {shape(d_model)}")
    arrow(axes, (0.45, 5.05), (0.45, 0.08))
    q, k, v = put("q_proj", 1.6, 4.72, "right"), put("k_proj", 1.6, 4.1, "right"), put("v_proj", 1.6, 3.48, "right")
    o = put("o_proj", 5.3, 4.1, "below")
    _row(axes, (q, k, v), "attention\nsoftmax(q kᵀ) v", o, 4.1, 3.0)
    gate, up = put("gate_proj", 1.6, 2.3, "right"), put("up_proj", 1.6, 1.2, "right")
    down = put("down_proj", 5.3, 1.75, "below")
    _row(axes, (gate, up), "SiLU(gate) · up", down, 1.75, 0.42)
    _legend(axes, groups, len(member) < len(_PLACES))
    return Drawing(fig, _block_alt(shapes, groups, notes))


def _members(groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """place → its group, after a look at whether each place is one, and in one group only."""
    if len(groups) > len(_LOOKS):
        raise ValueError(f"{len(groups)} groups, of which a reader can tell {len(_LOOKS)} apart: draw fewer")
    member: dict[str, str] = {}
    for group, places in groups.items():
        for place in places:
            if place not in _PLACES:
                raise ValueError(f"{place!r} in the group {group!r} is no place: a block has {', '.join(_PLACES)}")
            if place in member:
                raise ValueError(f"{place} is in the groups {member[place]} and {group}: give it to one")
            member[place] = group
    return member


def _row(axes: Axes, entered: Sequence[Box], what: str, last: Box, middle: float, back: float) -> None:
    """From the residual stream through a norm into some layers, what joins them, the last one, and back."""
    norm = step(axes, (1.0, middle), "norm", 0.5)
    joined = step(axes, (4.12, middle), what, 1.45)
    arrow(axes, (0.45, middle), norm.left)
    for box in entered:
        turn = 1.38
        arrow(axes, norm.right, (turn, middle), (turn, box.left[1]), box.left)
        arrow(axes, (3.12, box.right[1]), (3.24, box.right[1]), (3.24, middle), joined.left)
    arrow(axes, joined.right, last.left)
    plus = node(axes, (0.45, back), "+")
    arrow(axes, last.right, (6.95, middle), (6.95, back), plus.right)


def _legend(axes: Axes, groups: Mapping[str, Sequence[str]], some_frozen: bool) -> None:
    """The groups in a line under the title, each with a box that looks like its places."""
    left = 1.6
    for name, look in [*zip(groups, _LOOKS), *([("frozen", FROZEN)] if some_frozen else [])]:
        box = matrix(axes, (left + 0.13, 5.22), (0.17, 0.26), look)
        words(axes, box.right, name, "right", fontsize=10)
        left += 0.55 + 0.085 * len(name)


def _block_alt(
    shapes: Mapping[str, tuple[int, int]], groups: Mapping[str, Sequence[str]], notes: Mapping[str, str]
) -> str:
    def said(place: str) -> str:
        return " ".join(filter(None, [place, shape(*shapes[place]), notes.get(place)]))

    grouped = "; ".join(f"{group}: {', '.join(said(place) for place in places)}" for group, places in groups.items())
    rest = [said(place) for place in shapes if place not in {place for places in groups.values() for place in places}]
    alone = f" Frozen: {', '.join(rest)}." if rest else ""
    return (
        "One Llama block. From the residual stream a norm leads to q_proj, k_proj and v_proj, attention and o_proj, "
        "whose output is added to the stream; then another to gate_proj and up_proj, SiLU(gate) times up, and "
        f"down_proj, whose output is added too. {grouped}.{alone}"
    )
