"""`lora-lab memory`: will it fit? The bytes of one training step, from the name of a model."""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_lab import memory
from lora_lab.files import atomic_path

_UNITS = {"gb": 10**9, "gib": 2**30, "mb": 10**6, "mib": 2**20}
_KEYWORDS = ("method", "r", "target_modules", "batch_size", "seq_len", "optimizer", "precision", "checkpointing",
             "attention", "offload")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the estimate as text or JSON, and draw it if asked.

    Returns:
        0, or 1 if a GPU or a budget was named and the step does not fit.

    Raises:
        ValueError: for a model, setting, GPU or budget that cannot be.
    """
    keywords = {name: getattr(options, name) for name in _KEYWORDS}
    budget = _budget(options)  # before anything that takes time
    count = memory.simulate if options.simulate else memory.estimate
    estimate = count(options.model, **keywords)
    fits = None if budget is None else _needed(options, estimate) <= budget
    if options.json:
        print(json.dumps(_as_json(options, estimate, budget, fits), indent=1))
    else:
        print(f"{options.model}, {_title(keywords)}\n\n{estimate.table()}\n")
        print(_verdict(options, estimate, keywords, budget, fits))
    if options.plot:
        _plot(options, estimate, keywords, budget)
    return int(fits is False)


def parse_bytes(text: str) -> int:
    """ "16GB" (10⁹), "14.5 GiB" (2³⁰), "900MB" or "900MiB" in bytes.

    Raises:
        ValueError: for anything else, a bare number too, since GB and GiB differ by 7 %.
    """
    match = re.fullmatch(r"\s*(-?[\d.]+)\s*([a-zA-Z]*)\s*", text)
    if not match or match[2].lower() not in _UNITS or match[1].count(".") > 1 or not re.search(r"\d", match[1]):
        raise ValueError(f"{text!r} is no amount of memory: write it with its unit, such as 16GB or 14.5GiB")
    value = round(float(match[1]) * _UNITS[match[2].lower()])
    if value <= 0:
        raise ValueError(f"a budget of {text!r} holds nothing: give more than 0")
    return value


def _budget(options: argparse.Namespace) -> int | None:
    if options.gpu:
        return memory.get_gpu(options.gpu).usable_bytes
    return parse_bytes(options.budget) if options.budget else None


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
    low, high = (size / 2**30 for size in memory.process_bytes(estimate.peak_bytes))
    around = f"With the CUDA context and fragmentation a process takes {low:.1f} to {high:.1f} GiB."
    if budget is None:
        names = ", ".join(fit.gpu.name for fit in memory.gpus_that_fit(estimate))
        return f"{around}\nFits on: {names or 'no single GPU of the catalogue'}"
    where = f"{options.gpu} ({budget / 2**30:.2f} GiB usable)" if options.gpu else f"{options.budget} of tensors"
    if not fits:
        return f"{around}\nDoes not fit into {where}.\n{_way_out(options, keywords, budget)}"
    lines = [around, f"Fits into {where}."]
    if options.gpu:
        if high * 2**30 > budget:
            lines[-1] = f"Fits into {where}, unless memory fragments badly."
        slow, fast = memory.tokens_per_second(
            options.model, options.gpu, keywords["method"], keywords["seq_len"], keywords["checkpointing"])  # fmt: skip
        lines.append(
            f"About {slow:,.0f} to {fast:,.0f} tokens a second, if it reaches {memory.UTILISATION[0]:.0%} to "
            f"{memory.UTILISATION[1]:.0%} of the peak of {memory.get_gpu(options.gpu).tflops:g} TFLOP/s."
        )
    return "\n".join(lines)


def _way_out(options: argparse.Namespace, keywords: dict[str, Any], budget: int) -> str:
    """What to change, from `memory.cheapest_method`."""
    wanted = {name: value for name, value in keywords.items() if name not in ("method", "checkpointing")}
    try:
        found = memory.cheapest_method(options.model, budget / 1e9, **wanted)
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
    options: argparse.Namespace, estimate: memory.MemoryEstimate, keywords: dict[str, Any], budget: int | None
) -> None:
    from lora_lab import show

    others = [method for method in ("full", "lora", "qlora") if method != keywords["method"]]
    bars = {keywords["method"]: estimate}
    for method in others:
        try:
            bars[method] = memory.estimate(options.model, **(keywords | {"method": method}))
        except ValueError:  # such as 4 bits for a model without nn.Linear
            continue
    ordered = {method: bars[method] for method in ("full", "lora", "qlora") if method in bars}
    title = f"{options.model}: {estimate.peak_bytes / 1e9:.1f} GB with {keywords['method']}"
    fig = show.memory_bars(ordered, title, **({} if budget is None else {"budget": budget}))
    path = Path(options.plot)
    try:
        with atomic_path(path) as temporary:
            fig.savefig(temporary, format=path.suffix.lstrip(".") or "png", dpi=110, metadata={"Software": None})
    except ValueError as error:
        raise ValueError(f"cannot draw {path.name}: {error}") from error
    print(f"drawn: {path}")
