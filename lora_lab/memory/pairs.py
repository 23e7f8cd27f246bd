"""What learning from preferences needs: twice the sequences, and a model to compare with.

Each example is a pair, chosen and rejected, and both go through the model in one batch. A reference says how likely the
model found them before: a second set of weights; or no second one, when the adapters are left out for a moment; or its
log-probabilities are computed once, before training.

The reference reads the batch while the policy's tensors wait for the backward pass, without keeping any of its own: the
policy's fp32 logits, and the reference's in 16 bits and fp32, are then 10 bytes for each token and word of the
vocabulary, as many as a cross-entropy has there. Backward are 12, as there.

Source: trl f2cd577, trainer/dpo_trainer.py:1344-1385 (policy, then reference), trainer/utils.py:506 (log-probabilities
row by row); Rafailov et al., arXiv 2305.18290, equation 7.
"""

from dataclasses import replace
from typing import Any, Literal, Unpack, get_args

from lora_lab import ranges
from lora_lab.memory.closed_form import estimate
from lora_lab.memory.reach import quantized_weights
from lora_lab.memory.result import COMPONENTS, MemoryEstimate, Moment
from lora_lab.memory.settings import Options, Setup
from lora_lab.memory.shapes import parameters
from lora_lab.memory.sizes import Sized
from lora_lab.memory.stacks import with_defaults
from lora_lab.units import METHODS, Method

Reference = Literal["adapters", "copy", "precomputed"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)


def preference(
    config: Sized, method: Method = "lora", reference: Reference | None = None, **options: Unpack[Options]
) -> MemoryEstimate:
    """Predict the memory of a step of DPO, in closed form.

        memory.preference("llama-3.1-8b", "qlora", batch_size=2, seq_len=1024, checkpointing=True).table()

    Args:
        config, method: as for `memory.estimate`.
        reference: "adapters" (the same weights without them), "copy" (weights of its own, stored as the policy's frozen
            ones) or "precomputed"; None for "adapters", or "copy" for method "full", which has none.
        options: as for `memory.estimate`; `batch_size` counts pairs, `seq_len` the tokens of the longer of a pair.

    Raises:
        TypeError, ValueError: as `memory.estimate`; for an unknown reference, or adapters where there are none.
    """
    ranges.choice("method", method, METHODS)
    ranges.choice("reference", reference, (*REFERENCES, None))
    if method == "full" and reference == "adapters":
        raise ValueError("reference='adapters' with method='full', which has none: choose 'copy' or 'precomputed'")
    given: dict[str, Any] = with_defaults(method, options)
    pairs = Setup(config, method, **given).batch_size  # refuses what cannot be
    doubled = estimate(config, method, **(given | {"batch_size": 2 * pairs}))
    if reference != "copy" and (reference or method != "full"):
        return doubled
    return _beside(doubled, reference_bytes(Setup(config, method, **given)))


def reference_bytes(setup: Setup) -> tuple[int, int]:
    """Bytes of a second set of weights, stored as frozen ones: all but quantization constants, and those."""
    width = setup.weight_dtype.itemsize
    if setup.method != "qlora":
        return width * parameters(setup.sizes).total, 0
    stored = quantized_weights(setup.sizes, setup.block_size, setup.double_quant, width)
    return stored.packed + stored.dense, stored.constants


def _beside(one: MemoryEstimate, held: tuple[int, int]) -> MemoryEstimate:
    """The same with more weights at every moment."""
    more = dict(zip(("frozen weights", "quantization constants"), held))
    extra = [more.get(name, 0) for name in COMPONENTS]
    return replace(
        one,
        peak_bytes=one.peak_bytes + sum(held),
        phases={phase: count + sum(held) for phase, count in one.phases.items()},
        components={name: count + more.get(name, 0) for name, count in one.components.items()},
        timeline=tuple(Moment(m.phase, tuple(a + b for a, b in zip(m.bytes, extra))) for m in one.timeline),
    )
