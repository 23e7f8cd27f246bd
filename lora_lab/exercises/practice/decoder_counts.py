"""Exercise 06: the parameters of a decoder from its config."""

import random
from types import SimpleNamespace
from typing import Any

import torch

from lora_lab.exercises.quantities import number, said, slip
from lora_lab.exercises.tasks import Wrong, task


def _decoder_parameters(config: Any) -> int:
    h, d = config.hidden_size, config.head_dim
    q, kv = config.num_attention_heads * d, config.num_key_value_heads * d
    attention = h * (q + 2 * kv) + q * h
    if config.attention_bias:
        attention += q + 2 * kv + h
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


@task(reference=lambda: _decoder_parameters)
def decoder_parameters(decoder_parameters: Any) -> None:
    """The parameters of a Llama from its config: grouped heads, a head's own width, biases, tied embeddings."""
    for bias, tied in ((False, False), (False, True), (True, False)):
        kv = random.choice((3, 5))
        config = SimpleNamespace(
            vocab_size=random.choice((1013, 2003)), hidden_size=2 * kv * random.choice((15, 17)),
            intermediate_size=random.choice((301, 307)), num_hidden_layers=random.choice((5, 7)),
            num_attention_heads=2 * kv, num_key_value_heads=kv, head_dim=random.choice((22, 26)),
            attention_bias=bias, tie_word_embeddings=tied,
        )  # fmt: skip
        found = number(decoder_parameters(config), f"for {said(config)}")
        wanted = _by_layers(config)
        if found != wanted:
            raise Wrong(f"your count is off{_count_slip(found, wanted, config)} (for {said(config)})", found, wanted)


def _by_layers(config: Any) -> int:
    """Counted on tensors without storage, one for each that the model holds."""
    h, d, bias = config.hidden_size, config.head_dim, config.attention_bias
    shapes = [(config.vocab_size, h), (h,)] + [(config.vocab_size, h)] * (not config.tie_word_embeddings)
    for _ in range(config.num_hidden_layers):
        outputs = [config.num_attention_heads * d, config.num_key_value_heads * d, config.num_key_value_heads * d]
        linear = [(out, h) for out in outputs] + [(h, config.num_attention_heads * d)]
        shapes += linear + [(out,) for out, _ in linear if bias]
        shapes += [
            (config.intermediate_size, h),
            (config.intermediate_size, h),
            (h, config.intermediate_size),
            (h,),
            (h,),
        ]
    return sum(torch.empty(shape, device="meta").numel() for shape in shapes)


def _count_slip(found: float, wanted: int, config: Any) -> str:
    h, d, n, i = config.hidden_size, config.head_dim, config.num_hidden_layers, config.intermediate_size
    q, kv, table = (
        config.num_attention_heads * d,
        config.num_key_value_heads * d,
        config.vocab_size * config.hidden_size,
    )
    bias = (q + 2 * kv + h) if config.attention_bias else 0
    layer = 2 * h * (q + kv) + bias + 3 * h * i + 2 * h
    off = found - wanted
    slips = []
    if bias:  # all else was right before, where there was none
        slips += [
            (-n * bias, "with attention_bias each of the four projections has a bias as long as its output"),
            (-n * h, "the projection of the attention's output has a bias, too"),
            (-n * 2 * kv, "keys and values have biases, too"),
            (-n * kv, "keys and values have a bias each"),
            (-n * q, "the queries have a bias, too"),
            (n * (q - h), "the bias of the attention's output is as long as its output, not as the queries"),
            (n * (kv - h), "the bias of the attention's output is as long as its output, not as a key"),
            (-n * (bias - 4 * h), "a bias is as long as the output of its own projection"),
            (n * 2 * (h - kv), "a bias is as long as the *output* of its own projection, not as what comes in"),
            (n * 2 * (q - kv), "the biases of keys and values are as long as keys and values"),
            (n * (4 - bias), "a bias is one number for each output of its projection, not one alone"),
            (-n * (h + kv), "each of the four projections has a bias"),
            (n * (2 * i + h), "only the attention's projections have biases"),
            (-(n - 1) * bias, "every layer has these biases"),
        ]
    slips += [
        (table,
         "tied, head and embedding are one table" if config.tie_word_embeddings else "that has one table too many"),
        (-table, "embedding and head are two tables here, or was none counted?" if not config.tie_word_embeddings
         else "the embedding's table is there, tied or not"),
        (-2 * table, "the embedding and the head are missing"),
        (-h, "a last norm stands before the head"),
        ((n - 1) * h, "the last norm stands there once, not in every layer"),
        (-(n - 1) * layer, "what a layer has, every layer has: multiply by num_hidden_layers"),
        (-n * h, "every layer has two norms"),
        (-n * 2 * h, "the norms of the layers are missing, two in each"),
        (-(2 * n + 1) * h, "the norms are missing: two in every layer, and a last one"),
        (n * 2 * h * (q - kv), "keys and values are as wide as the key-value heads, and query heads share them"),
        (n * (2 * (h + bool(bias)) * (q - kv)),
         "keys and values are as wide as the key-value heads, and query heads share them"),
        (-n * q * h, "the projection of the attention's output is missing"),
        (-n * (q * h + (h if bias else 0)), "the projection of the attention's output is missing"),
        (n * (h - q) * 2 * h, "queries are num_attention_heads · head_dim wide, which need not be hidden_size"),
        (n * (h - q) * h, "the attention's output is as wide as the queries, and need not be hidden_size"),
        (-n * h * i, "the MLP has three matrices: gate, up and down"),
        (n * h * i, "the MLP has three matrices: gate, up and down"),
        (-n * h * kv, "keys and values have a projection each"),
        (-n * (h * kv + (kv if bias else 0)), "keys and values have a projection each"),
    ]  # fmt: skip
    if not bias:
        slips += [(n * (q + 2 * kv + h), "there are biases only where attention_bias says so")]
    d2 = h // config.num_attention_heads
    slips += [
        (
            n * 2 * h * (d2 - d) * (q + kv) / d,
            "a head is head_dim wide, which need not be hidden_size / num_attention_heads",
        )
    ]
    slips += [(n * (4 * h * h - 2 * h * (q + kv)), "neither queries nor keys need be as wide as hidden_size")]
    if why := slip(off, slips):
        return why
    if bias:
        return ": without biases it was right. Each of the four projections has one, as long as its output"
    return ": count table by table in the example, 40, 72, 72, 8 and 4"
