"""What a decoder consists of, from its config alone: its parameters by group, its linear layers.

Closed forms, no weights. With h hidden, i intermediate, a heads of width d, k key-value heads, V the vocabulary:

    attention  h·(a + 2k)·d + a·d·h        mlp  3·h·i        norms  2·h        per layer
    embeddings V·h        head V·h, or nothing when it is tied to them
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from lora_lab.memory.sizes import Sizes, Sized, sizes


@dataclass(frozen=True)
class ParameterGroups:
    """Numbers of parameters; biases are counted with the layer they belong to.

    Attributes:
        embeddings: of tokens, and of positions where they are learned.
        attention: query, key, value and output projections.
        mlp: of the layers without a mixture.
        experts: of all of them, used or not.
        router: which chooses the experts.
        norms: of the layers, of queries and keys, and the last.
        head: the output projection; 0 when it is tied to the embeddings.
        tied: whether it is.
    """

    embeddings: int
    attention: int
    mlp: int
    experts: int
    router: int
    norms: int
    head: int
    tied: bool

    @property
    def total(self) -> int:
        """All of them, a tied weight once."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "tied")


@dataclass(frozen=True)
class LinearShape:
    """One kind of linear layer and how often it occurs.

    Attributes:
        name: the last part of its name.
        d_out, d_in: of the weight [d_out, d_in], which a `Conv1D` keeps turned round.
        count: how many there are.
        bias: whether it has a bias [d_out].
        paths: the full names, `count` of them.
        group: "attention", "mlp" or "head", as in `ParameterGroups`.
    """

    name: str
    d_out: int
    d_in: int
    count: int
    bias: bool
    paths: tuple[str, ...]
    group: str

    @property
    def numel(self) -> int:
        """Values of one weight."""
        return self.d_out * self.d_in


@dataclass(frozen=True)
class Weight:
    """One kind of parameter tensor.

    Attributes:
        group: a field of `ParameterGroups`.
        shape: of one.
        count: how many there are.
    """

    group: str
    shape: tuple[int, ...]
    count: int

    @property
    def numel(self) -> int:
        """Values of one."""
        return math.prod(self.shape)


def weights(config: Sized) -> list[Weight]:
    """Every parameter tensor of the model, a tied one once."""
    return list(_weights(sizes(config)))


@lru_cache
def _weights(s: Sizes) -> tuple[Weight, ...]:
    h, moe, family = s.hidden, len(s.moe_layers), s.family
    found = [Weight("embeddings", (s.vocab, h), 1)]
    if family.learned_positions:
        found.append(Weight("embeddings", (s.positions, h), 1))
    for shape in layer_linears(s):
        matrix = (shape.d_in, shape.d_out) if family.conv1d else (shape.d_out, shape.d_in)
        found.append(Weight(shape.group, matrix, shape.count))
        if shape.bias:
            found.append(Weight(shape.group, (shape.d_out,), shape.count))
    if moe:
        found.append(Weight("router", (s.experts, h), moe))
        found.append(Weight("experts", (s.experts, 2 * s.expert_width, h), moe))
        found.append(Weight("experts", (s.experts, h, s.expert_width), moe))
    found.append(Weight("norms", (h,), (1 + family.layer_norm) * (s.layers * family.norms + 1)))  # with a bias or none
    if family.query_norm:
        found.append(Weight("norms", (s.head_dim,), 2 * s.layers))
    if not s.tied:
        found.append(Weight("head", (s.vocab, h), 1))
    return tuple(found)


def parameters(config: Sized) -> ParameterGroups:
    """Count parameters by group, exactly as the model class would make them.

    >>> from lora_lab.memory import load_config
    >>> parameters(load_config("llama-2-7b")).total
    6738415616
    """
    counts = dict.fromkeys((field.name for field in fields(ParameterGroups) if field.name != "tied"), 0)
    for weight in weights(config):
        counts[weight.group] += weight.count * weight.numel
    return ParameterGroups(**counts, tied=sizes(config).tied)


def active_parameters(config: Sized) -> int:
    """The parameters that take part in the products of one token: no embedding, and of the experts those chosen."""
    s, groups = sizes(config), parameters(config)
    chosen = groups.experts * s.top_k // s.experts if s.experts else 0
    return groups.attention + groups.mlp + groups.router + chosen + s.vocab * s.hidden


def linears(config: Sized) -> list[LinearShape]:
    """Every linear layer of the model, the output head last; GPT-2's are `Conv1D`, which compute the same.

    LoRA can adapt them, and `quant.quantize_model` stores them in four bits, all but the head by default. A mixture has
    no experts here.
    """
    s = sizes(config)
    head = LinearShape("lm_head", s.vocab, s.hidden, 1, False, ("lm_head",), "head")
    return [*layer_linears(s), head]


@lru_cache
def layer_linears(s: Sizes) -> tuple[LinearShape, ...]:
    """The linear layers inside the decoder's layers, in the model's order."""
    everywhere = list(range(s.layers))
    dense_mlp = [n for n in everywhere if n not in s.moe_layers]
    q, kv, h, i = s.q_width, s.kv_width, s.hidden, s.intermediate
    if s.family.conv1d:
        rows = [
            ("attn.c_attn", 3 * h, h, True, everywhere),
            ("attn.c_proj", h, h, True, everywhere),
            ("mlp.c_fc", i, h, True, everywhere),
            ("mlp.c_proj", h, i, True, everywhere),
        ]
        return tuple(_shape("transformer.h", *row) for row in rows)
    if s.family.fused:
        rows = [
            ("self_attn.o_proj", h, q, False, everywhere),
            ("self_attn.qkv_proj", q + 2 * kv, h, False, everywhere),
            ("mlp.gate_up_proj", 2 * i, h, False, everywhere),
            ("mlp.down_proj", h, i, False, everywhere),
        ]
        return tuple(_shape("model.layers", *row) for row in rows)
    rows = [
        ("self_attn.q_proj", q, h, s.qkv_bias, everywhere),
        ("self_attn.k_proj", kv, h, s.qkv_bias, everywhere),
        ("self_attn.v_proj", kv, h, s.qkv_bias, everywhere),
        ("self_attn.o_proj", h, q, s.o_bias, everywhere),
    ]
    if dense_mlp:
        rows += [
            ("mlp.gate_proj", i, h, s.mlp_bias, dense_mlp),
            ("mlp.up_proj", i, h, s.mlp_bias, dense_mlp),
            ("mlp.down_proj", h, i, s.mlp_bias, dense_mlp),
        ]
    return tuple(_shape("model.layers", *row) for row in rows)


def _shape(prefix: str, name: str, d_out: int, d_in: int, bias: bool, layers: Sequence[int]) -> LinearShape:
    paths = tuple(f"{prefix}.{n}.{name}" for n in layers)
    group = "mlp" if name.startswith("mlp.") else "attention"
    return LinearShape(name.rpartition(".")[2], d_out, d_in, len(paths), bias, paths, group)
