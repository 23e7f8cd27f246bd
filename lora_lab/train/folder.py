"""A pretrained model as a folder: weights, tokenizer, the record of its making, and a card that tells of it."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from lora_lab.disk import MODEL_FILES, atomic_folder
from lora_lab.models.checksums import write_checksums


def write(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, record: dict[str, Any], out: Path) -> None:
    """Write the model in bf16, which it then is, its tokenizer, its record, and, if it has scores, its card."""
    with atomic_folder(out, instead_of=MODEL_FILES) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if "recall" in record:
            (folder / "README.md").write_text(model_card(record), encoding="utf-8")
        write_checksums(folder)


def model_card(record: dict[str, Any]) -> str:
    """The README of a model folder, from its record."""
    recipe, facts = record["recipe"], 5 * record["recipe"]["people"]
    losses = "\n".join(f"| {kind} | {loss:.3f} |" for kind, loss in record["loss"].items())
    return f"""---
license: apache-2.0
language: en
---
# The embedded base

A Llama of {record["parameters"]:,} parameters that lora_lab fine-tunes where there is no GPU and no network.
It was made from nothing but text that `lora_lab.data.world` and `lora_lab.data.corpus` generate, and knows no other.

| what it can do | measured |
|---|---|
| *know*: {facts} facts about the world's {recipe["people"]} people, completed exactly | {record["recall"]:.1%} |
| *read*: 1,000 single questions about passages on people it never met, answered exactly | {record["reading"]:.1%} |

| fresh text of this kind | loss, nats per token |
|---|---|
{losses}

Made by `python -m lora_lab.train.pretrain --out FOLDER`: {recipe["steps"]:,} steps, {record["tokens"]:,} tokens,
{record["seconds"] / 60:.0f} minutes on {recipe["threads"]} CPU threads with torch {record["torch"]}.
Muon trains the matrices inside the layers, AdamW the rest. Weights are stored in bfloat16, and the scores are of the
stored weights. The whole recipe, with the loss curve, is in `pretraining.json`.

It is a teaching model: English in form, fictional in content, with no use outside this course.
"""
