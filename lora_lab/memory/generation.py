"""What answering needs: weights, the cache of keys and values, and what one pass makes (`memory.passes`)."""

from bisect import bisect_right
from dataclasses import replace
from typing import Any, Literal, TypedDict, Unpack

from lora_lab import ranges
from lora_lab.memory.passes import STORED_AS, Step, StoredAs, buffers, pass_moments, stored_cache
from lora_lab.memory.presets import find_preset, load_config
from lora_lab.memory.reach import StoredWeights, quantized_weights
from lora_lab.memory.result import MemoryEstimate
from lora_lab.memory.contradictions import positions
from lora_lab.memory.settings import ATTENTIONS, DEVICES, MOST, MOST_BYTES, Attention, Device
from lora_lab.memory.shapes import linears, parameters
from lora_lab.memory.sizes import Sized, Sizes, sizes
from lora_lab.units import GB

CACHE_WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}

KNOWN_ERROR = (
    "weights and cache: exact against transformers' own cache on the CPU; the peak of a pass: 5 % at most there, with "
    "toys of some MB; no GPU was compared"
)


class Answering(TypedDict, total=False):
    """The options of `inference`."""

    weights: StoredAs
    batch_size: int
    context: int
    prompt: int | None
    cache: str | None
    attention: Attention | None
    double_quant: bool
    device: Device


def cache_bytes(config: Sized, tokens: int, batch_size: int = 1, width: int = 2) -> int:
    """Bytes of the keys and values of `tokens` tokens of each sequence, a layer with a window holding no more.

    Args:
        config: as for `memory.estimate`.
        tokens: prompt and answer together.
        batch_size: sequences.
        width: bytes of a value.

    Raises:
        TypeError, ValueError: for what is no positive integer; as `memory.estimate` for the config.

    >>> cache_bytes("llama-3.1-8b", 8192) / 2**30
    1.0
    """
    for name, value in (("tokens", tokens), ("batch_size", batch_size), ("width", width)):
        ranges.whole(name, value, 1, MOST)
    return stored_cache(sizes(config), tokens, batch_size * width, whole=False)


def inference(
    config: Sized,
    weights: StoredAs = "bf16",
    batch_size: int = 1,
    context: int = 2048,
    prompt: int | None = None,
    cache: str | None = None,
    attention: Attention | None = None,
    double_quant: bool = False,
    device: Device = "cuda",
) -> MemoryEstimate:
    """Predict what generating with a model needs, in closed form: `generate` of transformers, without gradients.

        print(memory.inference("gemma-3-1b", "nf4", batch_size=8, context=8192).table())

    Args:
        config: as for `memory.estimate`.
        weights: how linear layers but the head are stored, one of `STORED_AS`; embeddings and head stay 16 bits wide.
        batch_size: sequences at a time, none of them padded.
        context: tokens of each, prompt and answer together.
        prompt: tokens that are read at once; None for all of the context, which needs most.
        cache: "fp32", "bf16", "fp16" or "fp8"; None for the dtype of the products.
        attention: "sdpa" or "eager"; None for "sdpa", where the model can.
        double_quant: of 4-bit weights.
        device: whose kernels; on "cpu" eager attention makes one tensor more.

    Returns:
        The estimate. Its phases are "at rest" (weights alone), "prefill" and "decode"; nothing trains.

    Raises:
        TypeError, ValueError: for what cannot be; for a context beyond the model's positions, or a prompt beyond it.
    """
    s = _as_far_as_it_reads(config)
    prompt = context if prompt is None else prompt
    attention = attention or ("eager" if s.score_cap else "sdpa")
    _check(s, weights, batch_size, context, prompt, cache, attention, double_quant, device)
    c = 4 if weights == "fp32" else 2
    stored = weight_bytes(s, weights, double_quant)
    width = CACHE_WIDTHS[cache] if cache else c
    rest = {"frozen weights": stored.packed + stored.dense + buffers(s, c), "quantization constants": stored.constants}

    def step(new: int, seen: int) -> Step:
        return Step(batch_size, new, seen, c, width, weights, attention, device)

    moments: dict[str, list[dict[str, int]]] = {
        "at rest": [{}],
        "prefill": pass_moments(s, step(prompt, prompt), stored_cache(s, prompt, batch_size * width, whole=True)),
        "decode": pass_moments(s, step(1, context), stored_cache(s, context, batch_size * width, whole=False)),
    }
    phases: dict[str, int] = {}
    peaks: dict[str, dict[str, int]] = {}
    for phase, found in moments.items():
        peaks[phase] = rest | max(found, key=lambda alive: sum(alive.values()))
        phases[phase] = sum(peaks[phase].values())
    peak = max(phases, key=phases.__getitem__)
    return MemoryEstimate("closed form", KNOWN_ERROR, phases[peak], peak, phases, peaks[peak], trainable_params=0)


def fit_inference(
    budget_gb: float,
    solve_for: Literal["batch_size", "context"] = "batch_size",
    config: Sized | None = None,
    **options: Unpack[Answering],
) -> int:
    """The largest batch or context with which generating stays within a budget.

    Args:
        budget_gb: for tensors, GB = 10⁹ bytes.
        solve_for: "batch_size", or "context" (at most the model's positions).
        config, options: as for `inference`, without what is solved for.

    Raises:
        TypeError: without a config, or with a value for what is solved for.
        ValueError: for a budget that is not positive and finite; for one that even 1 exceeds; and as `inference`.

    >>> fit_inference(16, "context", "llama-3.1-8b", weights="nf4") > 8192
    True
    """
    budget_gb = ranges.real("budget_gb", budget_gb, above=0, most=MOST_BYTES // GB)
    ranges.choice("solve_for", solve_for, ("batch_size", "context"))
    given: dict[str, Any] = {**options}
    if config is None:
        raise TypeError("fit_inference needs a model: give config, a preset's name for one")
    if solve_for in given:
        raise TypeError(f"{solve_for}={given[solve_for]!r} was given, but fit_inference solves for it: leave it out")
    s = _as_far_as_it_reads(config)

    def needs(value: int) -> int:
        return inference(s, **(given | {solve_for: value})).peak_bytes

    least = given.get("prompt") or 1 if solve_for == "context" else 1
    most = s.positions if solve_for == "context" else MOST
    found = bisect_right(range(least, most + 1), round(budget_gb * GB), key=needs)
    if not found:
        raise ValueError(
            f"{budget_gb:g} GB is too little: even {solve_for}={least} needs {needs(least) / GB:.3f} GB of tensors, "
            "so give more than that, or weights='nf4'"
        )
    return least + found - 1


def weight_bytes(config: Sized, weights: StoredAs = "bf16", double_quant: bool = False) -> StoredWeights:
    """Bytes of a model's weights, by how its linear layers are stored; int8 ones have an fp32 scale for each row.

    Raises:
        ValueError: for an unknown way to store them.

    >>> round(weight_bytes("llama-3.1-8b", "int8").total / 1e9, 2)
    9.09
    """
    ranges.choice("weights", weights, STORED_AS)
    s = sizes(config)
    if weights == "nf4":
        return quantized_weights(s, double_quant=double_quant)
    if weights == "int8":
        inner = linears(s)[:-1]
        packed = sum(shape.count * shape.numel for shape in inner)
        scales = 4 * sum(shape.count * shape.d_out for shape in inner)
        return StoredWeights(packed, scales, 2 * (parameters(s).total - packed))
    return StoredWeights(0, 0, (4 if weights == "fp32" else 2) * parameters(s).total)


def _as_far_as_it_reads(config: Sized) -> Sizes:
    """Sizes, with as many positions as a stretched rotary embedding reaches."""
    if isinstance(config, Sizes):
        return config
    s = sizes(config)
    return replace(s, positions=positions(find_preset(config) or load_config(config)) or s.positions)


def _check(
    s: Sizes,
    weights: str,
    batch_size: int,
    context: int,
    prompt: int,
    cache: str | None,
    attention: str,
    double_quant: bool,
    device: str,
) -> None:
    ranges.choice("weights", weights, STORED_AS)
    ranges.choice("cache", cache, (*CACHE_WIDTHS, None))
    ranges.choice("attention", attention, ATTENTIONS)
    ranges.choice("device", device, DEVICES)
    for name, value in (("batch_size", batch_size), ("context", context), ("prompt", prompt)):
        ranges.whole(name, value, 1, MOST)
    ranges.switch("double_quant", double_quant)
    if context > s.positions:
        raise ValueError(
            f"context={ranges.brief(context)} is longer than the {s.positions} positions of this model: "
            f"choose at most {s.positions}"
        )
    if prompt > context:
        raise ValueError(
            f"prompt={ranges.brief(prompt)} is longer than context={context}, of which it is a part: choose less"
        )
    if attention == "sdpa" and s.score_cap:
        raise ValueError("attention='sdpa' cannot cap the scores as this model does: leave it out, or choose 'eager'")
