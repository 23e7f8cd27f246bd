"""What a config.json describes that nothing here counts: more than a decoder, none at all, or one quantized before."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lora_lab.memory.sizes import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_BESIDE = ("vision_config", "audio_config", "vision_tower", "audio_encoder_config")


def refuse_uncounted(name: str, config: "PreTrainedConfig") -> None:
    """Refuse a config whose count would be another model's.

    Args:
        name: of the model, as it was typed.
        config: as it was read.

    Raises:
        ValueError: with what is missing, and what to ask for.
    """
    if found := next((each for each in _BESIDE if getattr(config, each, None)), None):
        raise ValueError(reads_more(f"'{name}'", found))
    if config.model_type not in FAMILIES and not _generates(config):
        raise ValueError(
            f"the architecture '{config.model_type}' of '{name}' is no causal LM, which alone is counted here: choose "
            f"a model of {', '.join(FAMILIES)}, or another decoder"
        )
    kind = _quantized_by(getattr(config, "quantization_config", None))
    if kind not in (None, "bitsandbytes", "bitsandbytes_4bit"):  # whose weights are those of NF4, which are counted
        raise ValueError(
            f"the checkpoint of '{name}' is already quantized ({kind}), which is not counted here: give the config of "
            "the model that it was made from"
        )


def reads_more(name: str, part: str) -> str:
    """What is said of a model that has a tower beside its decoder."""
    return (
        f"{name} reads more than text ('{part}'): its tower and projector are not counted here. Ask for "
        "the text model that it was built on, and add the bytes of the tower"
    )


def _generates(config: "PreTrainedConfig") -> bool:
    """Whether transformers has a causal LM of this architecture, which is neither an encoder nor half of a pair."""
    from transformers.models.auto import modeling_auto

    kind = config.model_type
    if kind not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or getattr(config, "is_encoder_decoder", False):
        return False
    return kind not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES or getattr(config, "is_decoder", False)


def _quantized_by(stored: Any) -> str | None:
    """The method that a `quantization_config` names; None for none."""
    if not stored:
        return None
    of = stored.get if isinstance(stored, Mapping) else lambda name: getattr(stored, name, None)
    method = of("quant_method")
    said = str(getattr(method, "value", method or "by what it does not say"))
    return f"{said}, int8" if of("load_in_8bit") else said
