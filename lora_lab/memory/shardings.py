"""The ways in which ranks share one model: what each makes of a step's settings, refuses, and leaves to be said.

In mixed precision what trains is kept in fp32, whatever width it was given in:

    zero1 to zero3    DeepSpeed's optimizer makes fp32 copies of its 16-bit weights (edaa722,
                      runtime/precision_config.py: `bf16_master_weights_and_grads` is off)
    fsdp2             accelerate casts what trains before it is shared, unless the model has 4-bit weights (accelerate
                      1.15.0, utils/fsdp_utils.py:815); frozen weights stay as they are
"""

from dataclasses import replace
from typing import Literal, get_args

from lora_lab import ranges
from lora_lab.memory.settings import MOST, Setup

Sharding = Literal["ddp", "zero1", "zero2", "zero3", "fsdp2"]
SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)
BITSANDBYTES = ("adamw8bit", "paged_adamw8bit", "paged_adamw")  # optimizers of bitsandbytes, which knows no DTensor


def as_kept(setup: Setup, sharding: Sharding) -> Setup:
    """The same step, with adapters as wide as the ranks keep them."""
    return replace(setup, adapter_dtype=None) if _widens(setup, sharding) and setup.adapter_dtype == "bf16" else setup


def _widens(setup: Setup, sharding: Sharding) -> bool:
    """Whether 16 bits that train become fp32, in mixed precision."""
    return setup.mixed and (sharding.startswith("zero") or (sharding == "fsdp2" and not _in_four_bits(setup)))


def _in_four_bits(setup: Setup) -> bool:
    return setup.method == "qlora" and setup.base == "nf4"


def refuse_unshared(setup: Setup, ranks: int, sharding: Sharding) -> None:
    """Raise ValueError for what so many ranks cannot do together."""
    ranges.whole("ranks", ranks, 1, MOST)
    if ranks > 1 and setup.stack == "torchtune":
        raise ValueError(
            "stack='torchtune' is its single-device recipes, which share nothing among several cards: ask for one "
            "card, or choose stack='peft'"
        )
    if setup.offload and sharding != "ddp":
        raise ValueError(
            f"offload={setup.offload!r} is not counted with sharding={sharding!r}, which has ways of its own: "
            "leave it out, or choose sharding='ddp'"
        )
    if setup.modules_to_save and sharding != "ddp":
        raise ValueError(
            f"modules_to_save={','.join(setup.modules_to_save)!r} is not counted with sharding={sharding!r}, where a "
            "copy would be shared too: leave it out, or choose sharding='ddp'"
        )
    if sharding != "fsdp2":
        return
    if setup.optimizer in BITSANDBYTES:
        raise ValueError(
            f"optimizer={setup.optimizer!r} is bitsandbytes', whose optimizers do not take FSDP2's shares "
            "(bitsandbytes issue 1633): choose optimizer='adamw', or sharding='zero3'"
        )
    if setup.quant_storage == "bf16" and setup.precision == "fp16":
        raise ValueError(
            "quant_storage='bf16' with sharding='fsdp2' in precision='fp16', which casts what it gathers and so would "
            "spoil 4-bit weights: leave it out, or choose precision='mixed'"
        )


def shared_notes(setup: Setup, sharding: Sharding) -> tuple[str, ...]:
    """What must be said of a step that is shared.

    Args:
        setup: as it was asked for.
        sharding: one of `SHARDINGS`.
    """
    return (*_of_width(setup, sharding), *_of_quantized(setup, sharding))


def _of_width(setup: Setup, sharding: Sharding) -> tuple[str, ...]:
    """Whether what trains is fp32 though 16 bits were asked for, or could be."""
    who = "DeepSpeed" if sharding.startswith("zero") else "accelerate"
    if as_kept(setup, sharding) != setup:
        return (f"--adapter-dtype bf16 (adapter_dtype) changes nothing: {who} keeps what trains in fp32",)
    if setup.precision != "bf16" or sharding == "ddp":
        return ()
    if who == "DeepSpeed":
        return (
            "DeepSpeed keeps fp32 weights and states unless bf16_master_weights_and_grads and bf16_optimizer_states "
            "are on; counted as if they were",
        )
    if _in_four_bits(setup):
        return ()
    return (
        "counted without mixed precision (bf16=False); with bf16=True accelerate keeps what trains in fp32: "
        "--precision mixed (precision='mixed')",
    )


def _of_quantized(setup: Setup, sharding: Sharding) -> tuple[str, ...]:
    """Whether quantized weights are shared, and what becomes of an upcast."""
    if setup.method != "qlora" or sharding == "ddp":
        return ()
    if sharding.startswith("zero"):
        return ("after loading, without --upcast-frozen (upcast_frozen), which DeepSpeed undoes",) * setup.upcast_frozen
    if setup.base == "int8":
        return ("8-bit weights stay whole on each card under FSDP2",)
    if setup.quant_storage == "bf16":
        return ("FSDP2 shares 4-bit weights, which are stored as bf16: bnb_4bit_quant_storage=torch.bfloat16",)
    why = "4-bit weights stay whole on each card under FSDP2, since they are stored as uint8"
    return (f"{why}: --quant-storage bf16 (bnb_4bit_quant_storage=torch.bfloat16) lets it share them, in bfloat16",)
