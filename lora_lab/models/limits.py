"""What a configuration says a model can read: how many tokens in a row, and of which vocabulary."""

from typing import Any

# Kinds of rotary positions that reach `factor` times further than `max_position_embeddings` says, unless they say how
# far they reached before they were stretched. In the other kinds it says how far they reach.
_STRETCHED = ("linear", "dynamic", "yarn")
# They number positions from behind the id of the padding.
_OFFSET = ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


def positions(config: Any) -> int | None:
    """How many tokens in a row the model was made for; None if its configuration does not say."""
    config = _of_text(config)
    limit = getattr(config, "max_position_embeddings", None)
    if not limit:
        return None
    if getattr(config, "model_type", None) in _OFFSET:
        return limit - config.pad_token_id - 1
    rope = getattr(config, "rope_parameters", None) or {}
    factor, original = rope.get("factor") or 1.0, rope.get("original_max_position_embeddings")
    if original or rope.get("rope_type") in _STRETCHED:
        return max(limit, int((original or limit) * factor))
    return limit


def vocabulary(config: Any) -> int | None:
    """How many token ids the model can read; None if it does not say."""
    return getattr(_of_text(config), "vocab_size", None)


def _of_text(config: Any) -> Any:
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
