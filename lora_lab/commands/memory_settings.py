"""What the flags of `lora-lab memory` mean: the words of the Trainer, and what the stack sets."""

import argparse
from collections.abc import Mapping
from typing import Any

from lora_lab import ranges
from lora_lab.commands.memory_options import ANSWERING, SETTINGS, TOGETHER, USUAL_LENGTH

# The words of `transformers.TrainingArguments.optim` and of `attn_implementation`. A fused update makes the same
# states; FlashAttention keeps what sdpa keeps: query, key, value, output and the log-sum-exp.
OPTIMIZER_WORDS = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_bnb_8bit": "adamw8bit", "adamw_8bit": "adamw8bit",
    "paged_adamw_8bit": "paged_adamw8bit", "paged_adamw_32bit": "paged_adamw",
}  # fmt: skip
ATTENTION_WORDS = {"flash_attention_2": "sdpa", "flash_attention_3": "sdpa"}

_OF_ADAPTERS = ("r", "target_modules", "adapter_dtype", "dropout", "modules_to_save")
_OF_FOUR_BITS = ("double_quant", "block_size", "upcast_frozen", "base", "quantize_experts", "quant_storage")
USELESS = {"full": _OF_ADAPTERS + _OF_FOUR_BITS, "lora": _OF_FOUR_BITS, "qlora": ()}
"""Which settings a method has no use for."""


def given(options: argparse.Namespace, cards: int) -> dict[str, Any]:
    """The settings that were typed, in the words of the library; of a step, also its method and its stack, and between
    how many cards it is shared if there are several.

    Raises:
        ValueError: for an unknown optimizer or attention; for a setting that the method has no use for.
    """
    from lora_lab.memory.settings import ATTENTIONS, OPTIMIZERS

    names = ANSWERING if options.inference else (*SETTINGS, *TOGETHER)
    typed = {name: value for name in names if (value := getattr(options, name)) is not None}
    for name, known, words in (("optimizer", OPTIMIZERS, OPTIMIZER_WORDS), ("attention", ATTENTIONS, ATTENTION_WORDS)):
        if name in typed:
            written = typed[name].strip().lower()
            ranges.choice(name, written, (*known, *words))
            typed[name] = words.get(written, written)
    if options.inference:
        return typed
    typed = {"method": "qlora", "stack": "peft", **typed}
    typed["stack"] = typed["stack"].strip().lower()
    if cards > 1:
        typed = {**typed, "gpus": cards, "sharding": typed.get("sharding", "ddp")}
    for name in USELESS[typed["method"]]:
        if name in typed and typed[name] is not False:
            what = "adapters" if name in _OF_ADAPTERS else "4-bit weights"
            raise ValueError(
                f"{flag(name, typed[name])} has no use with --method {typed['method']}, which has no {what}"
            )
    if typed.get("base") == "int8":
        for name in ("double_quant", "block_size"):
            if typed.get(name):
                raise ValueError(
                    f"{flag(name, typed[name])} is of 4-bit weights, and --base int8 has none: leave it out"
                )
    return typed


def settle(config: Any, typed: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Every setting of a step but the model: what was typed, then what the stack sets, then what the model needs.

    Args:
        config: a preset or a `transformers` config.
        typed: of `given`.

    Returns:
        Keyword arguments for `memory.estimate` and its like, and a sentence on each setting that neither was typed nor
        is usual.
    """
    from lora_lab.memory.stacks import get_stack, own_settings

    remarks = []
    own = own_settings(get_stack(typed["stack"]), typed["method"], typed.get("sharding"))
    for name in _ruled_out(typed, own):
        own[name] = None if name == "chunked_loss" else False
        remarks.append(f"the stack's {flag(name, True)} does not go with what was asked for, and is left out")
    settled = {**own, **{name: value for name, value in typed.items() if name not in TOGETHER}}
    needed, more = of_the_model(config, typed, "seq_len")
    return settled | needed, remarks + more


def of_the_model(config: Any, typed: Mapping[str, Any], length: str) -> tuple[dict[str, Any], list[str]]:
    """What a model needs of attention and length where they were not typed, and a sentence on each that is not usual.

    Args:
        config, typed: as for `settle`.
        length: "seq_len", or "context" of a model that answers.
    """
    from lora_lab.memory.contradictions import positions

    needed: dict[str, Any] = {}
    remarks = []
    if "attention" not in typed and (kind := _caps_scores(config)):
        needed["attention"] = "eager"
        remarks.append(f"--attention eager, since sdpa cannot cap the scores as {kind} does")
    limit = positions(config)
    if length not in typed:
        needed[length] = USUAL_LENGTH if limit is None else min(USUAL_LENGTH, limit)
        if needed[length] < USUAL_LENGTH:
            remarks.append(f"{flag(length, limit)}, since this model reads no more")
    return needed, remarks


def _ruled_out(typed: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Settings of the stack that cannot be had together with what was typed."""
    ruled_out = []
    if own.get("upcast_frozen") and "upcast_frozen" not in typed and typed.get("precision") in ("bf16", "fp32"):
        ruled_out.append("upcast_frozen")
    other_loss = typed.get("chunked_loss") or typed.get("fused_loss")
    if own.get("keep_outputs") and "keep_outputs" not in typed and other_loss:
        ruled_out.append("keep_outputs")
    needs_another = typed.get("keep_outputs") or typed.get("fused_loss")
    if own.get("chunked_loss") and "chunked_loss" not in typed and needs_another:
        ruled_out.append("chunked_loss")
    if own.get("optimizer_in_backward") and "optimizer_in_backward" not in typed and typed.get("accumulation", 1) > 1:
        ruled_out.append("optimizer_in_backward")
    return ruled_out


def _caps_scores(config: Any) -> str | None:
    """The architecture's name if its attention caps the scores."""
    from lora_lab.memory.sizes import sizes

    try:
        return config.model_type if sizes(config).score_cap else None
    except ValueError:  # without closed forms: what it can is not known here
        return None


def flag(name: str, value: Any) -> str:
    """A setting as it is typed: "--seq-len 512", "--checkpointing", "--no-double-quant"."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    return f"--{dashed} {','.join(value) if isinstance(value, (tuple, list)) else value}"
