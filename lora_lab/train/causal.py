"""What can be trained and measured here: a causal language model, whose loss at a token is of the next one."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from lora_lab.train.modules import inside, require_weights
from lora_lab.wrappers import require_module

# Families whose causal models want labels that the caller has shifted already.
_UNSHIFTED = ("cpmant", "prophetnet", "whisper", "xlnet")


def require_causal(model: Any) -> None:
    """Refuse a model whose loss would be weighed wrongly, or that has nothing to compute with.

    A module that is not of `transformers` is taken at its word: it must shift its labels as those do.

    Raises:
        TypeError: for anything but a module.
        ValueError: for a model of `transformers` that is no causal language model, one spread over several GPUs by
            DataParallel, or one without weights.
    """
    require_module(model)
    if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
        raise ValueError(
            "DataParallel gives a loss per GPU, each a mean over its own tokens, which cannot be weighed: give "
            "model.module"
        )
    inner = inside(model)
    if hasattr(inner, "get_base_model"):  # of peft
        inner = inner.get_base_model()
    if why := _not_causal(inner):
        raise ValueError(f"{type(inner).__name__} is no causal language model: {why}")
    require_weights(model)


def _not_causal(model: nn.Module) -> str | None:
    config: Any = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if getattr(config, "is_encoder_decoder", False):
        return "an encoder reads the whole input, and a decoder answers; give one with a decoder only"
    if not isinstance(model, PreTrainedModel):
        return None
    if not model.can_generate():
        return "it does not predict the next token; load it with AutoModelForCausalLM"
    if kind in _UNSHIFTED:
        return f"models of the family {kind!r} compare a label with the output at the same place, not one before"
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        return "it sees the tokens that it should predict; set is_decoder=True in its config, if it was trained so"
    return None
