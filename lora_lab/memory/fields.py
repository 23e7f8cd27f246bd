"""What the numbers of a config must be for shapes to follow from them.

Some versions of `transformers` take any value that a config.json holds; then negative sizes would be counted, and a
billion layers counted one by one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lora_lab.ranges import brief

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MOST = 10**9
MOST_LAYERS = 1000  # the largest published model has 126

# Under the names of `transformers`, and under GPT-2's own.
LAYERS = ("num_hidden_layers", "n_layer")
COUNTS = (
    "vocab_size", "hidden_size", "n_embd", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim",
    "intermediate_size", "n_inner", "max_position_embeddings", "n_positions", "num_experts_per_tok",
    "moe_intermediate_size", "decoder_sparse_step",
)  # fmt: skip
MAYBE_NONE = ("sliding_window", "num_experts", "num_local_experts")  # which 0 says too
SWITCHES = ("tie_word_embeddings", "attention_bias", "mlp_bias")
SHARES = ("attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout", "hidden_dropout")


def check_config(config: "PreTrainedConfig") -> None:
    """Refuse a config, or the text part of one, whose numbers make no model.

    Raises:
        ValueError: naming the field, its value and the rule.
    """
    text = config.get_text_config()
    if not hasattr(text, "model_type"):
        raise _refusal("text_config", text, "left out: this architecture has none")
    own = getattr(text, "attribute_map", {})  # GPT-2's config.json says n_embd, where others say hidden_size
    names = (*COUNTS, *LAYERS, *MAYBE_NONE, *SWITCHES, *SHARES)
    check_fields({own.get(name, name): getattr(text, name, None) for name in names})


def check_fields(values: Mapping[str, Any]) -> None:
    """The same for what a config.json holds. A field that is absent or null is not looked at, nor a list, which in
    some architectures gives a number for each layer."""
    values = {name: value for name, value in values.items() if value is not None and not isinstance(value, list)}
    for names, least, most in ((COUNTS, 1, MOST), (LAYERS, 1, MOST_LAYERS), (MAYBE_NONE, 0, MOST)):
        for name in sorted(values.keys() & names):
            value = values[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise _refusal(name, value, f"a whole number from {least} to {most:,}")
    for name in sorted(values.keys() & SWITCHES):
        if not isinstance(values[name], bool):
            raise _refusal(name, values[name], "true or false")
    for name in sorted(values.keys() & SHARES):
        share = values[name]
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise _refusal(name, share, "a number from 0 to 1")


def _refusal(name: str, value: Any, rule: str) -> ValueError:
    return ValueError(f"the config says {name}={brief(value)}, which must be {rule}")
