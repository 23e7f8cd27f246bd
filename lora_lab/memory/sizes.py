"""The numbers in a config that decide every shape, under one name for all families of decoders."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from lora_lab.memory.presets import load_config

# What distinguishes the families from Llama: 4 norms a layer instead of 2, a norm on each head's query and key,
# one matrix for query, key and value and one for gate and up, biases that no field of the config names.
FOUR_NORMS = {"gemma2", "gemma3_text"}
QK_NORM = {"qwen3", "qwen3_moe", "gemma3_text"}
FUSED = {"phi3"}
QKV_BIAS = {"qwen2"}
MOE = {"mixtral", "qwen3_moe"}
NEEDED = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "max_position_embeddings")
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "gpt2", *sorted(MOE), *sorted(FOUR_NORMS))


@dataclass(frozen=True)
class Sizes:
    """The numbers that decide every shape, under one name for all families.

    Attributes:
        vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, positions: as the names say.
        tied: whether the output head is the embedding.
        experts, top_k, expert_width: of a mixture; 0 without one.
        moe_layers: numbers of the layers whose MLP is a mixture.
        qkv_bias, o_bias, mlp_bias: which linear layers have a bias.
        norms: per layer.
    """

    model_type: str
    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    positions: int
    tied: bool
    experts: int = 0
    top_k: int = 0
    expert_width: int = 0
    moe_layers: tuple[int, ...] = ()
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"num_key_value_heads={self.kv_heads} does not divide num_attention_heads={self.heads}: each key head "
                "serves as many query heads as any other"
            )
        if self.head_dim % 2 and self.model_type != "gpt2":
            raise ValueError(f"head_dim={self.head_dim} is odd: rotary positions turn pairs of values")

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads, and of all value heads, together."""
        return self.kv_heads * self.head_dim

    @property
    def qk_norm(self) -> bool:
        """Whether each head's query and key are normalised."""
        return self.model_type in QK_NORM


def sizes(config: PreTrainedConfig | str) -> Sizes:
    """Read a config.

    Raises:
        ValueError: for an architecture whose shapes are not known here; for a config whose numbers make no model.
    """
    config = load_config(config)  # refuses numbers that count nothing
    kind = config.model_type
    if kind not in FAMILIES:
        inner = ", or give config.text_config for its text part" if hasattr(config, "text_config") else ""
        raise ValueError(
            f"no closed form for the architecture {kind!r} (there are for {', '.join(FAMILIES)}): "
            f"memory.simulate builds any causal LM of transformers{inner}"
        )
    needed = NEEDED if kind == "gpt2" else (*NEEDED, "intermediate_size", "num_key_value_heads")
    if missing := [name for name in needed if not isinstance(getattr(config, name, None), int)]:
        raise ValueError(
            f"the config of {kind!r} lacks a number for {', '.join(missing)}: give the whole config.json of the model"
        )
    if getattr(config, "add_cross_attention", False):
        raise ValueError("no closed form for a GPT-2 with cross-attention: memory.simulate builds it as it is")
    heads = config.num_attention_heads
    if not getattr(config, "head_dim", None) and config.hidden_size % heads:
        raise ValueError(
            f"num_attention_heads={heads} does not divide hidden_size={config.hidden_size}: the config of {kind!r} "
            "needs heads that do, or a head_dim"
        )
    shared: dict[str, Any] = {
        "model_type": kind,
        "vocab": config.vocab_size,
        "hidden": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": heads,
        "positions": config.max_position_embeddings,
        "tied": bool(config.tie_word_embeddings),
        "head_dim": getattr(config, "head_dim", None) or config.hidden_size // heads,
    }
    if kind == "gpt2":
        width = config.n_inner or 4 * config.hidden_size
        return Sizes(**shared, kv_heads=heads, intermediate=width, qkv_bias=True, o_bias=True, mlp_bias=True)
    biased = bool(getattr(config, "attention_bias", False)) and kind not in ("mistral", "mixtral", "phi3")
    return Sizes(
        **shared,
        kv_heads=config.num_key_value_heads,
        intermediate=config.intermediate_size,
        qkv_bias=biased or kind in QKV_BIAS,
        o_bias=biased,
        mlp_bias=kind == "llama" and bool(config.mlp_bias),
        norms=4 if kind in FOUR_NORMS else 2,
        **_mixture(config),
    )


def _mixture(config: PreTrainedConfig) -> dict[str, Any]:
    if config.model_type == "mixtral":
        experts, width, every, dense = config.num_local_experts, config.intermediate_size, 1, set()
    elif config.model_type == "qwen3_moe":
        experts, width = config.num_experts, config.moe_intermediate_size
        every, dense = config.decoder_sparse_step, set(config.mlp_only_layers or ())
    else:
        return {}
    sparse = tuple(n for n in range(config.num_hidden_layers) if n not in dense and (n + 1) % every == 0)
    return {"experts": experts, "top_k": config.num_experts_per_tok, "expert_width": width, "moe_layers": sparse}
