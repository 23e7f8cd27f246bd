"""`lora-lab memory`: will it fit? The bytes of one training step, from the name of a model."""

import argparse
import io
import json
import os
import re
import warnings
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from lora_lab import memory
from lora_lab.disk import atomic_path
from lora_lab.memory.settings import MOST
from lora_lab.units import GB, GIB, METHODS

_UNITS = {"gb": GB, "gib": GIB, "mb": 10**6, "mib": 2**20}
# By format, what would tell the day and the writer's version: without it the same figure has the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_KEYWORDS = ("method", "r", "target_modules", "batch_size", "seq_len", "optimizer", "precision", "checkpointing",
             "attention", "offload")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the estimate as text or JSON, and draw it if asked.

    Returns:
        0, or 1 if a GPU or a budget was named and the step does not fit.

    Raises:
        ValueError: for a model, setting, GPU, budget or format of a figure that cannot be.
        OSError: if the figure cannot be written; nothing is printed then, and what stood there is untouched.
    """
    keywords = {name: getattr(options, name) for name in _KEYWORDS}
    budget = _budget(options)  # before anything that takes time
    drawn_as = None if options.plot is None else _format(Path(options.plot))
    count = memory.simulate if options.simulate else memory.estimate
    estimate = count(options.model, **keywords)
    fits = None if budget is None else _needed(options, estimate) <= budget
    if options.json:
        answer = json.dumps(_as_json(options, estimate, budget, fits), indent=1)
    else:
        answer = f"{options.model}, {_title(keywords)}\n\n{estimate.table()}\n\n"
        answer += _verdict(options, estimate, keywords, budget, fits)
    if drawn_as:
        _plot(options, estimate, keywords, budget, drawn_as)
        answer += "" if options.json else f"\ndrawn: {options.plot}"
    print(answer)
    return int(fits is False)


def parse_bytes(text: str) -> int:
    """ "16GB" (10⁹), "14.5 GiB" (2³⁰), "900MB" or "900MiB" in bytes.

    Raises:
        ValueError: for anything else, a bare number too, since GB and GiB differ by 7 %.
    """
    match = re.fullmatch(r"\s*(-?[0-9]{0,20}(?:\.[0-9]{0,20})?)\s*([a-zA-Z]*)\s*", text)
    if not match or match[2].lower() not in _UNITS or not re.search("[0-9]", match[1]):
        raise ValueError(f"{text[:60]!r} is no amount of memory: write it with its unit, such as 16GB or 14.5GiB")
    value = round(Fraction(match[1].strip(".") if match[1][-1] == "." else match[1]) * _UNITS[match[2].lower()])
    if value <= 0:
        raise ValueError(f"a budget of {text!r} holds nothing: give more than 0")
    if value > MOST:
        raise ValueError(f"a budget of {text!r} is no machine's: give what there is")
    return value


def _budget(options: argparse.Namespace) -> int | None:
    if options.gpu is not None:
        return memory.get_gpu(options.gpu).usable_bytes
    return None if options.budget is None else parse_bytes(options.budget)


def _format(path: Path) -> str:
    chosen = path.suffix.lstrip(".").lower() or "png"
    if chosen not in _METADATA:
        raise ValueError(f"cannot draw '{path.name}' as {chosen!r}: choose a name in .png, .svg or .pdf")
    return chosen


def _needed(options: argparse.Namespace, estimate: memory.MemoryEstimate) -> int:
    """Of a GPU the process takes its share too; a budget in bytes is taken as one for tensors."""
    return memory.process_bytes(estimate.peak_bytes)[0] if options.gpu else estimate.peak_bytes


def _title(keywords: dict[str, Any]) -> str:
    adapters = "" if keywords["method"] == "full" else f" r={keywords['r']} on {keywords['target_modules']}"
    extras = "".join(f", {word}" for word in ("checkpointing",) if keywords[word])
    return (
        f"{keywords['method']}{adapters}, {keywords['batch_size']} × {keywords['seq_len']:,} tokens, "
        f"{keywords['optimizer']}, {keywords['precision']}{extras}"
    )


def _verdict(
    options: argparse.Namespace, estimate: memory.MemoryEstimate, keywords: dict[str, Any], budget: int | None,
    fits: bool | None,
) -> str:  # fmt: skip
    low, high = (size / GIB for size in memory.process_bytes(estimate.peak_bytes))
    around = f"With the CUDA context and fragmentation a process takes {low:.1f} to {high:.1f} GiB."
    if budget is None:
        names = ", ".join(fit.gpu.name for fit in memory.gpus_that_fit(estimate))
        return f"{around}\nFits on: {names or 'no single GPU of the catalogue'}"
    where = f"{options.gpu} ({budget / GIB:.2f} GiB usable)" if options.gpu else f"{options.budget} of tensors"
    if not fits:
        return f"{around}\nDoes not fit into {where}.\n{_way_out(options, keywords, budget)}"
    lines = [around, f"Fits into {where}."]
    if options.gpu:
        if high * GIB > budget:
            lines[-1] = f"Fits into {where}, unless memory fragments badly."
        lines += _speed(options, keywords)
    return "\n".join(lines)


def _speed(options: argparse.Namespace, keywords: dict[str, Any]) -> list[str]:
    try:
        slow, fast = memory.tokens_per_second(
            options.model, options.gpu, keywords["method"], keywords["seq_len"], keywords["checkpointing"])  # fmt: skip
    except ValueError:  # an architecture whose products are not counted here, and that was simulated
        return []
    low, high = memory.UTILISATION
    peak = memory.get_gpu(options.gpu).tflops
    return [
        f"About {slow:,.0f} to {fast:,.0f} tokens a second, if it reaches {low:.0%} to {high:.0%} of the peak of "
        f"{peak:g} TFLOP/s."
    ]


def _way_out(options: argparse.Namespace, keywords: dict[str, Any], budget: int) -> str:
    """What to change, from `memory.cheapest_method`."""
    wanted = {name: value for name, value in keywords.items() if name not in ("method", "checkpointing")}
    try:
        found = memory.cheapest_method(budget / GB, options.model, **wanted)
    except ValueError as error:
        return f"{str(error)[0].upper()}{str(error)[1:]}."
    return f"What would: {found}"


def _as_json(
    options: argparse.Namespace, estimate: memory.MemoryEstimate, budget: int | None, fits: bool | None
) -> dict[str, Any]:
    record = {name: value for name, value in asdict(estimate).items() if name != "timeline"}
    low, high = memory.process_bytes(estimate.peak_bytes)
    return {
        "model": options.model,
        "setup": {name: getattr(options, name) for name in _KEYWORDS},
        "unit": "bytes",
        **record,
        "process_bytes": [low, high],
        "gpus_that_fit": [fit.gpu.name for fit in memory.gpus_that_fit(estimate)],
        "budget_bytes": budget,
        "fits": fits,
    }


def _plot(
    options: argparse.Namespace,
    estimate: memory.MemoryEstimate,
    keywords: dict[str, Any],
    budget: int | None,
    kind: str,
) -> None:
    os.environ["MPLBACKEND"] = "agg"  # a file needs no window, and where none can open others refuse
    import matplotlib.pyplot as plt

    from lora_lab import show

    bars: dict[str, memory.MemoryEstimate] = {}
    for method in METHODS:
        try:
            is_given = method == keywords["method"]
            bars[method] = estimate if is_given else memory.estimate(options.model, **(keywords | {"method": method}))
        except ValueError:  # such as 4 bits for a model without nn.Linear
            continue
    title = f"{options.model}: {estimate.peak_bytes / GB:.1f} GB with {keywords['method']}"
    drawing = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "lora_lab"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box in the title is warning enough
        fig = show.memory_bars(bars, title, budget)
        fig.savefig(drawing, format=kind, dpi=110, metadata=_METADATA[kind])
        plt.close(fig)
    with atomic_path(options.plot) as temporary:
        temporary.write_bytes(drawing.getvalue())
