"""The flags of `lora-lab memory`."""

import argparse
from argparse import BooleanOptionalAction
from collections.abc import Callable
from functools import partial
from typing import Any

from lora_lab.commands.arguments import names, number, whole, word
from lora_lab.units import METHODS

SETTINGS = (
    "method", "stack", "r", "target_modules", "batch_size", "seq_len", "optimizer", "precision", "checkpointing",
    "accumulation", "attention", "double_quant", "block_size", "upcast_frozen", "adapter_dtype", "keep_outputs",
    "chunked_loss", "offload", "dropout", "optimizer_in_backward", "modules_to_save", "base", "quantize_experts",
    "fused_loss", "quant_storage",
)  # fmt: skip
"""Options that are settings of a step, under the names of `memory.Setup`."""

TOGETHER = ("gpus", "sharding", "dpo", "reference")
"""Options that ask for a step of another kind: among several cards, or on preferences."""

ANSWERING = ("weights", "batch_size", "context", "cache", "attention", "double_quant")
"""Options of a model that answers, under the names of `memory.inference`."""

USUAL_LENGTH = 2048


def add(commands: Any, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the command, which `run` answers, to the parser's commands."""
    parser = commands.add_parser(
        "memory",
        help="will it fit? the bytes of a training step or of answering, from a model's name",
        description="Predict the memory of one training step, or with --inference of answering, before a weight is "
        "downloaded. The first line is the answer. Exit status 0 if it fits or nothing was asked, 3 if it does not fit "
        "into --gpu or --budget, 4 if that is uncertain, 2 for bad input.",
    )
    parser.add_argument(
        "model",
        type=word,
        help="a preset such as llama-3.1-8b, a name on the hub, a config.json or the folder that holds it",
    )
    parser.add_argument("--method", choices=METHODS, help="default: qlora")
    parser.add_argument(
        "--stack",
        type=word,
        help="whose layers and loop: peft (under the Trainer), peft-loop (a loop of one's own, without autocast), "
        "lora_lab or torchtune; default: peft",
    )
    room = parser.add_argument_group("room").add_mutually_exclusive_group()
    room.add_argument("--gpu", type=word, help="does it fit there? t4, 4090, 'rtx 3060 12gb', a100-80gb, 2xt4, ...")
    room.add_argument("--budget", type=word, metavar="BYTES", help="does it fit into so much, such as 16GB or 14.5GiB?")
    _add_kinds(parser)
    _add_settings(parser.add_argument_group("settings (one that is not given is the stack's)"))
    answer = parser.add_argument_group("answer")
    answer.add_argument(
        "--simulate",
        action="store_true",
        help="run the model's own code on tensors without values, with this package's layers: takes seconds to a "
        "minute",
    )
    answer.add_argument("--json", action="store_true", help="all of it, in bytes, for a script")
    answer.add_argument("--plot", type=word, metavar="FILE", help="draw the three methods as bars (png, svg or pdf)")
    parser.set_defaults(command=run)


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    cards = parser.add_argument_group("several cards")
    cards.add_argument("--gpus", type=whole, metavar="N", help="cards that train one model together; 2xt4 says so too")
    cards.add_argument("--sharding", type=word, help="ddp, zero1, zero2, zero3 or fsdp2; default: ddp")
    pairs = parser.add_argument_group("preferences")
    pairs.add_argument("--dpo", action="store_const", const=True, help="a step of DPO; --batch-size counts its pairs")
    pairs.add_argument(
        "--reference",
        type=word,
        help="what it compares with: adapters (left out for a moment), copy or precomputed; default: adapters where "
        "there are any, else copy",
    )
    answering = parser.add_argument_group("answering (with --batch-size, --attention and --double-quant)")
    answering.add_argument("--inference", action="store_true", help="what generating needs, instead of a training step")
    answering.add_argument("--weights", type=word, help="nf4, int8, bf16, fp16 or fp32; default: bf16")
    answering.add_argument(
        "--context", type=whole, metavar="TOKENS", help="prompt and answer together; default: as for --seq-len"
    )
    answering.add_argument("--cache", type=word, help="keys and values: fp32, bf16, fp16 or fp8; default: as products")


def _add_settings(group: Any) -> None:
    def switch(flag: str, text: str) -> None:
        group.add_argument(flag, action=BooleanOptionalAction, default=None, help=text)

    group.add_argument("--r", type=whole, help="rank of the adapters; default: 16")
    group.add_argument(
        "--target-modules",
        type=names,
        metavar="NAMES",
        help="all-linear, or names such as q_proj,v_proj; default: all-linear",
    )
    group.add_argument("--batch-size", type=whole, help="sequences at a time; default: 1")
    group.add_argument("--seq-len", type=whole, help=f"tokens; default: {USUAL_LENGTH}, or as many as the model reads")
    group.add_argument("--accumulation", type=whole, help="batches per optimizer step; default: 1")
    group.add_argument(
        "--optimizer",
        type=word,
        help="adamw, adamw8bit, paged_adamw8bit, paged_adamw, adafactor or sgd, or as the Trainer calls them "
        "(adamw_torch, paged_adamw_8bit, ...); default: adamw",
    )
    group.add_argument("--precision", type=word, help="mixed, bf16, fp16 or fp32; default: mixed")
    group.add_argument("--attention", type=word, help="sdpa, eager or flash_attention_2; default: sdpa where it can")
    group.add_argument("--adapter-dtype", type=word, help="fp32 or bf16; default: by precision")
    group.add_argument("--block-size", type=whole, help="4-bit weights per constant; default: 64")
    group.add_argument("--chunked-loss", type=whole, metavar="TOKENS", help="tokens whose logits are made at a time")
    group.add_argument("--offload", type=word, help="optimizer, weights or activations, to the host's memory")
    group.add_argument("--dropout", type=number, help="of the adapters' inputs; default: 0")
    switch("--checkpointing", "repeat the forward pass instead of keeping it")
    switch("--double-quant", "also quantize the constants of 4-bit weights")
    switch("--upcast-frozen", "what is not 4-bit is fp32, as after prepare_model_for_kbit_training")
    switch("--keep-outputs", "the loop holds on to the logits while it goes backward")
    switch("--optimizer-in-backward", "each weight is updated as soon as its gradient is there")
    group.add_argument(
        "--modules-to-save",
        type=partial(names, such="embed_tokens, lm_head, or both"),
        metavar="NAMES",
        help="trained in full beside adapters: embed_tokens, lm_head",
    )
    group.add_argument("--base", type=word, help="of qlora: nf4 or int8; default: nf4")
    group.add_argument(
        "--quant-storage",
        type=word,
        help="numbers that 4-bit weights are stored as, uint8 or bf16, of which fsdp2 shares the latter alone; "
        "default: uint8",
    )
    switch("--quantize-experts", "a mixture's experts are in four bits too")
    switch("--fused-loss", "the loss is made without logits")
