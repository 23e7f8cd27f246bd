"""The options of `lora-lab finetune`; what runs it is imported when it runs."""

import argparse
from pathlib import Path
from typing import Any

from lora_lab.commands.arguments import folder, names, number, seed, whole, word
from lora_lab.units import METHODS


def add(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser(
        "finetune",
        help="fine-tune a model of your own on your own prompts and answers",
        description="Fine-tune a model on prompts and answers, one JSON object a line with 'prompt' and 'answer' "
        "(strings; further keys are not used). Says first whether it fits into memory and what will be done, measures "
        "held-out examples before and after, and writes an adapter in PEFT's format with a report. Exit status 1 if "
        "the held-out loss did not improve, 130 after Ctrl-C, which keeps what was trained.",
    )
    parser.add_argument("model", type=word, help="embedded, smollm2, a folder, or a hub model's name")
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=word, required=True, metavar="FILE", help="prompts and answers, as above")
    data.add_argument(
        "--validation", type=word, metavar="FILE", help="to choose the steps by; default: a tenth of --data, by --seed"
    )
    data.add_argument("--heldout", type=word, metavar="FILE", help="to report on; default: another tenth of --data")
    data.add_argument("--seq-len", type=whole, metavar="TOKENS", help="longest example; default: the model's positions")
    method = parser.add_argument_group("method")
    method.add_argument("--method", choices=METHODS, default="qlora", help="default: %(default)s")
    method.add_argument("--r", type=whole, default=16, help="rank of the adapters; default: %(default)s")
    method.add_argument("--alpha", type=number, help="the update is scaled by alpha / r; default: 2 r")
    method.add_argument(
        "--target-modules",
        type=names,
        default="all-linear",
        metavar="NAMES",
        help="all-linear, or names such as q_proj,v_proj; default: %(default)s",
    )
    training = parser.add_argument_group("training")
    training.add_argument("--lr", type=number, help="peak learning rate; default: by method and size of the model")
    length = training.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=number, help="passes over the data; default: 3, but at least 100 steps")
    length.add_argument("--steps", type=whole, help="optimizer steps, instead of passes")
    training.add_argument("--batch-size", type=whole, default=8, help="examples at a time; default: %(default)s")
    training.add_argument("--accumulate", type=whole, default=1, help="batches per step; default: %(default)s")
    training.add_argument(
        "--patience",
        type=whole,
        default=3,
        help="stop after so many validations without a lower loss, ten of which are made; default: %(default)s",
    )
    training.add_argument("--checkpointing", action="store_true", help="less memory, about a third more time")
    training.add_argument("--seed", type=seed, default=0, help="of splits, adapters and order; default: %(default)s")
    result = parser.add_argument_group("result")
    result.add_argument(
        "--out", type=folder, default=Path("out/finetune"), help="folder for the result; default: %(default)s"
    )
    result.add_argument("--resume", action="store_true", help="go on with the interrupted run in --out")
    result.add_argument("--dry-run", action="store_true", help="stop after the verdict on memory and the plan")
    result.add_argument("--force", action="store_true", help="train even if memory seems too small")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from lora_lab.commands.finetune import run

    return run(options)
