"""The three methods of `lora-lab memory` as bars in a file."""

import io
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_lab import memory
from lora_lab.commands.memory_settings import USELESS
from lora_lab.commands.memory_training import count
from lora_lab.disk import atomic_path
from lora_lab.units import GB, METHODS

# By format, what would tell the day and the writer's version: without it the same figure has the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def format_of(path: Path) -> str:
    """The format that a file's name asks for; png for a name without.

    Raises:
        ValueError: for one that is not offered, and for what is no file's name.
    """
    no_file = path.exists() and not path.is_file() and not path.is_dir()  # a folder is refused when it is written
    if no_file or path.name in ("-", *(f".{kind}" for kind in _METADATA)) or re.match("[a-z][a-z0-9]+:/", str(path)):
        raise ValueError(f"cannot draw to '{path}', which is no file: choose a name such as memory.png")
    chosen = path.suffix.lstrip(".").lower() or "png"
    if chosen not in _METADATA:
        raise ValueError(f"cannot draw '{path.name}' as {chosen!r}: choose a name in .png, .svg or .pdf")
    return chosen


def plot(
    path: Path, name: str, config: Any, typed: Mapping[str, Any], estimate: memory.MemoryEstimate, room: int | None
) -> None:
    """Draw the three methods with the settings that were asked for.

    Args:
        path: of the file; its folder is made.
        name: of the model, for the title.
        config, typed: as for `memory_training.count`.
        estimate: of the method that was asked for.
        room: bytes, for a line across the bars.

    Raises:
        OSError: if the figure cannot be written; what stood there is untouched.
    """
    os.environ["MPLBACKEND"] = "agg"  # a file needs no window, and where none can open others refuse
    import matplotlib.pyplot as plt

    from lora_lab import show

    kind = format_of(path)
    bars: dict[str, memory.MemoryEstimate] = {}
    for method in METHODS:
        try:
            other = {name: value for name, value in typed.items() if name not in USELESS[method]} | {"method": method}
            is_given = method == typed["method"]
            bars[method] = estimate if is_given else count(config, other)
        except ValueError:  # such as 4 bits for a model without nn.Linear
            continue
    title = f"{name}: {estimate.peak_bytes / GB:.1f} GB with {typed['method']}"
    drawing = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "lora_lab"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box in the title is warning enough
        fig = show.memory_bars(bars, title, room)
        fig.savefig(drawing, format=kind, dpi=110, metadata=_METADATA[kind])
        plt.close(fig)
    with atomic_path(str(path)) as temporary:
        temporary.write_bytes(drawing.getvalue())
