"""Which settings cannot go together: one sentence names both, and the way out."""

from typing import TYPE_CHECKING, Any

from lora_lab.memory.presets import Preset
from lora_lab.memory.sizes import FAMILIES, sizes

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def refuse_contradictions(setup: Any) -> None:
    """Raise ValueError for the settings of a `Setup`, which asks this of itself, that no step can have at once."""
    limit = positions(setup.config)
    if limit is not None and setup.seq_len > limit:
        raise ValueError(
            f"seq_len={setup.seq_len} is longer than the {limit} positions of this model: choose at most {limit}"
        )
    if setup.upcast_frozen and (setup.method != "qlora" or not setup.mixed):
        raise ValueError(
            "upcast_frozen=True models prepare_model_for_kbit_training, which needs a 4-bit model in mixed "
            f"precision: leave it out for method={setup.method!r}, precision={setup.precision!r}"
        )
    if setup.adapter_dtype and not setup.adapted:
        raise ValueError(
            f"adapter_dtype={setup.adapter_dtype!r} with method='full', which has no adapters: "
            "choose precision instead, or method 'lora' or 'qlora'"
        )
    if setup.dropout and not setup.adapted:
        raise ValueError(f"dropout={setup.dropout} is the adapters', and method='full' has none: leave it out")
    if setup.optimizer_in_backward and setup.accumulation > 1:
        raise ValueError(
            f"optimizer_in_backward=True updates in each backward pass, so accumulation={setup.accumulation} would "
            "find no gradients to add to: choose one of the two"
        )
    if setup.modules_to_save and not setup.adapted:
        raise ValueError(
            f"modules_to_save={setup.modules_to_save} with method='full', which trains every module: leave it out"
        )
    if "lm_head" in setup.modules_to_save and setup.config.model_type in FAMILIES and setup.sizes.tied:
        raise ValueError(
            "modules_to_save='lm_head' with a tied head, which is the embedding itself: a copy of it would end "
            "the tie; choose 'embed_tokens', or method='full'"
        )
    for name, default in (("base", "nf4"), ("quantize_experts", False), ("quant_storage", "uint8")):
        if getattr(setup, name) != default and setup.method != "qlora":
            raise ValueError(
                f"{name}={getattr(setup, name)!r} says how frozen weights are quantized, and "
                f"method={setup.method!r} quantizes none: choose method='qlora', or leave it out"
            )
    if setup.base == "int8" and setup.quantize_experts:
        raise ValueError("base='int8' reaches linear layers alone: quantize_experts=True needs base='nf4'")
    if setup.quantize_experts and setup.config.model_type in FAMILIES and not setup.sizes.experts:
        raise ValueError("quantize_experts=True with a model that has no experts: leave it out")
    if setup.base == "int8" and setup.quant_storage != "uint8":
        raise ValueError(
            f"quant_storage={setup.quant_storage!r} is of 4-bit weights, and base='int8' has none: leave it out, or "
            "choose base='nf4'"
        )
    if setup.offload == "activations" and not setup.checkpointing:
        raise ValueError("offload='activations' moves checkpoints to the host: it needs checkpointing=True")
    if setup.fused_loss and (setup.keep_outputs or setup.chunked_loss):
        other = "keep_outputs=True" if setup.keep_outputs else f"chunked_loss={setup.chunked_loss}"
        raise ValueError(f"fused_loss=True makes no logits, and {other} needs them: choose one of the two")
    if setup.keep_outputs and setup.chunked_loss:
        raise ValueError(
            f"keep_outputs=True needs logits, which chunked_loss={setup.chunked_loss} never makes as a whole: "
            "choose one of the two"
        )


def positions(config: "Preset | PreTrainedConfig") -> int | None:
    """How many tokens in a row a model reads; None if its configuration does not say."""
    if isinstance(config, Preset):
        return sizes(config).positions
    from lora_lab.models import limits

    return limits.positions(config)
