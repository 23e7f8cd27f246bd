"""The numbers that decide every shape of a decoder, under one name for all families."""

from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from lora_lab.memory.presets import PRESETS, Preset, find_preset, load_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BIAS_FIELDS = ("attention_bias", "mlp_bias")
_SLIDING = "sliding_attention"  # as `layer_types` of a config calls it
NEEDED = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "max_position_embeddings")


@dataclass(frozen=True)
class Family:
    """In what the decoders of one architecture differ from Llama's.

    Attributes:
        architecture: the class of its causal LM.
        norms: per layer.
        query_norm: whether each head's query and key are normalised.
        wide_norm: whether an RMSNorm multiplies by its weight before it goes back to 16 bits, as Gemma's do.
        layer_norm: whether norms are LayerNorms, with a bias, and take their input as it is.
        fused: whether query, key and value are one matrix, and so gate and up.
        gated: whether the MLP has a gate.
        conv1d: whether linear layers are `Conv1D`, with a bias each and the weight turned round.
        learned_positions: whether positions have embeddings.
        qkv_bias: whether query, key and value have a bias that no field of the config names.
        bias_fields: the fields of the config that say whether attention and MLP have biases.
        mixture: whether an MLP may be a mixture of experts.
        rotary_kinds: whether each kind of layer has rotary frequencies of its own.
    """

    architecture: str
    norms: int = 2
    query_norm: bool = False
    wide_norm: bool = False
    layer_norm: bool = False
    fused: bool = False
    gated: bool = True
    conv1d: bool = False
    learned_positions: bool = False
    qkv_bias: bool = False
    bias_fields: tuple[str, ...] = ()
    mixture: bool = False
    rotary_kinds: bool = False


FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", bias_fields=("attention_bias", "mlp_bias")),
    "mistral": Family("MistralForCausalLM"),
    "qwen2": Family("Qwen2ForCausalLM", qkv_bias=True, bias_fields=("attention_bias",)),
    "qwen3": Family("Qwen3ForCausalLM", query_norm=True, bias_fields=("attention_bias",)),
    "gemma": Family("GemmaForCausalLM", wide_norm=True, bias_fields=("attention_bias",)),
    "phi3": Family("Phi3ForCausalLM", fused=True),
    "gpt2": Family("GPT2LMHeadModel", layer_norm=True, gated=False, conv1d=True, learned_positions=True),
    "mixtral": Family("MixtralForCausalLM", mixture=True),
    "qwen3_moe": Family("Qwen3MoeForCausalLM", query_norm=True, bias_fields=("attention_bias",), mixture=True),
    "gemma2": Family("Gemma2ForCausalLM", norms=4, wide_norm=True, bias_fields=("attention_bias",)),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        norms=4,
        query_norm=True,
        wide_norm=True,
        bias_fields=("attention_bias",),
        rotary_kinds=True,
    ),
}


@dataclass(frozen=True)
class Sizes:
    """The numbers that decide every shape, under one name for all families.

    Attributes:
        model_type: the architecture, a key of `FAMILIES`.
        vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, positions: as the names say.
        tied: whether the output head is the embedding.
        experts, top_k, expert_width: of a mixture; 0 without one.
        moe_layers: numbers of the layers whose MLP is a mixture.
        qkv_bias, o_bias, mlp_bias: which linear layers have a bias.
        window: tokens that a layer with a sliding window looks back; 0 without one.
        windowed: the share of layers that have it.
        kinds: how many kinds of attention there are among the layers.
        score_cap, logit_cap: whether attention's scores, or the logits, are softly capped.
        attention_dropout, hidden_dropout: whether dropout acts on attention's weights, or on what a layer adds.
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
    window: int = 0
    windowed: float = 0.0
    kinds: int = 1
    score_cap: bool = False
    logit_cap: bool = False
    attention_dropout: bool = False
    hidden_dropout: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"num_key_value_heads={self.kv_heads} does not divide num_attention_heads={self.heads}: each key head "
                "serves as many query heads as any other"
            )
        if self.head_dim % 2 and not self.family.learned_positions:
            raise ValueError(f"head_dim={self.head_dim} is odd: rotary positions turn pairs of values")

    @property
    def family(self) -> Family:
        """In what its layers differ from Llama's."""
        return FAMILIES[self.model_type]

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads, and of all value heads, together."""
        return self.kv_heads * self.head_dim


Sized: TypeAlias = Union[Sizes, Preset, "PreTrainedConfig", str]
"""What says the sizes of a model: see `sizes`."""


def sizes(config: Sized) -> Sizes:
    """Read a model's sizes; those of a preset without loading `transformers`.

    Args:
        config: sizes, returned as they are; a preset or its name; a `transformers` config, a config.json or its folder.

    Raises:
        TypeError, ValueError: as `load_config`; for an architecture whose shapes are not known here; for a config whose
            numbers make no model.
    """
    if isinstance(config, Sizes):
        return config
    preset = config if isinstance(config, Preset) else find_preset(config)
    return _of_preset(preset.name) if preset else _read(load_config(config))


@lru_cache
def _of_preset(name: str) -> Sizes:
    return _read(SimpleNamespace(**PRESETS[name].stated()))


def _read(config: Any) -> Sizes:
    """Sizes from attributes as a `transformers` config has them."""
    kind = config.model_type
    if kind not in FAMILIES:
        inner = ", or give config.text_config for its text part" if hasattr(config, "text_config") else ""
        raise ValueError(
            f"no closed form for the architecture {kind!r} (there are for {', '.join(FAMILIES)}): "
            f"memory.simulate builds any causal LM of transformers{inner}"
        )
    family = FAMILIES[kind]
    needed = (*NEEDED, "intermediate_size", "num_key_value_heads") if family.gated else NEEDED
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
    return Sizes(
        model_type=kind,
        vocab=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size if family.gated else config.n_inner or 4 * config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=config.num_key_value_heads if family.gated else heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        positions=config.max_position_embeddings,
        tied=bool(config.tie_word_embeddings),
        **_biases(config, family),
        **_attention(config),
        hidden_dropout=bool(getattr(config, "resid_pdrop", 0)),
        logit_cap=bool(getattr(config, "final_logit_softcapping", None)),
        **(_mixture(config) if family.mixture else {}),
    )


def _biases(config: Any, family: Family) -> dict[str, Any]:
    if family.conv1d:
        return {"qkv_bias": True, "o_bias": True, "mlp_bias": True}
    attention, mlp = (bool(name in family.bias_fields and getattr(config, name, False)) for name in BIAS_FIELDS)
    return {"qkv_bias": attention or family.qkv_bias, "o_bias": attention, "mlp_bias": mlp}


def _attention(config: Any) -> dict[str, Any]:
    """Windows, caps and dropout. A window without kinds of layers is every layer's."""
    window = getattr(config, "sliding_window", None) or 0  # 0 says none too
    kinds = getattr(config, "layer_types", None) or [_SLIDING if window else "full_attention"]
    share = kinds.count(_SLIDING) / len(kinds) if window else 0.0
    return {
        "window": window,
        "windowed": share,
        "kinds": len(set(kinds)),
        "score_cap": getattr(config, "attn_logit_softcapping", None) is not None,
        "attention_dropout": bool(getattr(config, "attn_pdrop", 0)),
    }


def _mixture(config: Any) -> dict[str, Any]:
    experts, every, dense = getattr(config, "num_local_experts", 0), 1, set()
    width = config.intermediate_size
    if config.model_type == "qwen3_moe":
        experts, width = config.num_experts, config.moe_intermediate_size
        every, dense = config.decoder_sparse_step, set(config.mlp_only_layers or ())
    sparse = tuple(n for n in range(config.num_hidden_layers) if n not in dense and (n + 1) % every == 0)
    return {"experts": experts, "top_k": config.num_experts_per_tok, "expert_width": width, "moe_layers": sparse}
