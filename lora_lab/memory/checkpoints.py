"""The peak of loading a checkpoint, quantizing it on the way: often the largest moment of QLoRA with short sequences.

Weights come one at a time. One that is quantized is there in 16 bits first, and what is made of it beside it; then the
16 bits go. The most is there at the last of the large ones, when nearly all others are there in their final form:

    peft       its 16 bits, and with double quantization its constants twice in fp32
    lora_lab   its 16 bits, its packed values once more, and 17 bytes for each of up to 2²² values at work

Sources: transformers 5.23.0, core_model_loading.py:1722 (one by one where it quantizes), :1316 (else four at a time,
each in its final form), integrations/bitsandbytes.py:56, :118 (int8 by way of float16); bitsandbytes 0.50.2,
nn/modules.py:382, functional.py:939 (the constants less their mean); `lora_lab.quant.stream`, `quant.blockwise`.
"""

from typing import Literal, get_args

from lora_lab import ranges
from lora_lab.memory.generation import weight_bytes
from lora_lab.memory.passes import STORED_AS, StoredAs
from lora_lab.memory.result import MemoryEstimate
from lora_lab.memory.shapes import layer_linears
from lora_lab.memory.sizes import Sized, sizes

Loader = Literal["peft", "lora_lab"]
LOADERS: tuple[Loader, ...] = get_args(Loader)
CHUNK = 2**22  # values that are quantized at a time on a GPU: quant/lookup.py

KNOWN_ERROR = "1 % at most of what quantizing one weight makes, as counted operator by operator; no GPU was compared"


def loading(
    config: Sized,
    weights: StoredAs = "nf4",
    stack: Loader = "peft",
    double_quant: bool = False,
    upcast_frozen: bool = False,
) -> MemoryEstimate:
    """Predict the most that is on the device while a checkpoint of 16 bits is loaded, in closed form.

        memory.loading("llama-3.1-8b", "nf4").peak_bytes

    Args:
        config: as for `memory.estimate`.
        weights: how linear layers but the head are stored in the end, one of `inference.STORED_AS`.
        stack: "peft" (transformers with bitsandbytes) or "lora_lab" (`quant.quantize_model(..., checkpoint=folder)`).
        double_quant: of 4-bit weights.
        upcast_frozen: what is not quantized is cast to fp32 afterwards, one weight after the other, as PEFT's
            `prepare_model_for_kbit_training` does it (peft 0.21.2, utils/other.py:204).

    Returns:
        The estimate. Its phases are "at rest" (all weights in their final form), "loading" and, where there is one,
        "upcast"; nothing trains.

    Raises:
        TypeError, ValueError: as `memory.estimate` for the config; for unknown weights or an unknown stack, and int8
            with our own, which has none.
    """
    ranges.choice("weights", weights, STORED_AS)
    ranges.choice("stack", stack, LOADERS)
    ranges.switch("double_quant", double_quant)
    ranges.switch("upcast_frozen", upcast_frozen)
    if weights == "int8" and stack == "lora_lab":
        raise ValueError("weights='int8' with stack='lora_lab', which has 4-bit layers only: choose stack='peft'")
    s = sizes(config)
    stored = weight_bytes(s, weights, double_quant)
    largest = max(shape.numel for shape in layer_linears(s))
    passing = in_flight(largest, weights, stack, double_quant)
    stages = {
        "at rest": (stored.dense, 0),
        "loading": (stored.dense, passing),
    }  # dense weights; beside them
    if upcast_frozen:  # embeddings or head, the largest, are there in both widths when all others are there in fp32
        stages |= {"at rest": (2 * stored.dense, 0), "upcast": (2 * stored.dense, 2 * s.vocab * s.hidden)}
    phases = {name: stored.packed + stored.constants + dense + beside for name, (dense, beside) in stages.items()}
    peak = max(phases, key=phases.__getitem__)
    components = {
        "frozen weights": stored.packed + stages[peak][0],
        "quantization constants": stored.constants,
        "workspace": stages[peak][1],
    }
    return MemoryEstimate("closed form", KNOWN_ERROR, phases[peak], peak, phases, components, trainable_params=0)


def in_flight(numel: int, weights: StoredAs, stack: Loader = "peft", double_quant: bool = False) -> int:
    """Bytes beside its final form while a weight of `numel` values is quantized; none for one that is not."""
    if weights not in ("int8", "nf4"):
        return 0
    constants = 2 * 4 * (numel // 64) if double_quant else 0
    if stack == "peft":
        return 2 * numel + constants
    return 2 * numel + numel // 2 + 17 * min(numel, CHUNK)
