"""Fine-tuning a causal language model on a list of examples: full, LoRA or QLoRA, whatever requires a gradient.

The loss is the mean cross-entropy of the next token over the labels that are not -100, so with
`data.batches.encode_example` over the answers only.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Unpack

from torch import Tensor, nn

from lora_lab import ranges
from lora_lab.data.batches import Encoded, collate, require_pad_id
from lora_lab.train import fingerprints
from lora_lab.train.causal import require_causal
from lora_lab.train.history import History
from lora_lab.train.limits import require_dataset, vocabulary
from lora_lab.train.loop import run
from lora_lab.train.losses.tokens import Answers
from lora_lab.train.modules import inside
from lora_lab.train.optimizers import LR, adamw
from lora_lab.train.schedules import cosine
from lora_lab.train.settings import MANY, RunOptions, require_options


def fit(
    model: nn.Module,
    dataset: Sequence[Encoded],
    *,
    steps: int = 100,
    lr: float = LR,
    batch_size: int = 16,
    warmup: int = 10,
    weight_decay: float = 0.0,
    seed: int = 0,
    pad_id: int | None = None,
    **options: Unpack[RunOptions],
) -> History:
    """Train with AdamW.

    Args:
        model: a transformers causal LM, or a module that shifts its labels as those do; its parameters that require a
            gradient are trained.
        dataset: examples with `input_ids` and `labels`, as `data.batches.encode_example` makes them.
        steps: optimizer steps, at least 1; the data are reshuffled after each pass.
        lr: peak learning rate, above 0 and at most 1. LoRA wants a larger one than full fine-tuning.
        batch_size: examples per forward pass, at least 1.
        warmup: steps of linear warm-up, at least 0; with more than `steps` the peak is not reached.
        weight_decay: AdamW's, applied to matrices only; at least 0 and below 1 / lr.
        seed: of the order of the data and of dropout, at least 0.
        pad_id: id for padding, by default the model's.
        options: accumulate, clip, checkpointing, evaluate, evaluate_every, patience, on_step, resume, save_every and
            identity, as `train.loop.run` explains them; gradients are weighted by tokens with loss. With
            `resume="runs/first"` the run is kept in that folder, and the same call goes on with it.

    Returns:
        The history; what is left behind is as after `train.loop.run`.

    Raises:
        TypeError: for an option that is none, a number or function of the wrong type, or a dataset that holds anything
            but lists of token ids.
        ValueError: for numbers out of range, a model that is no causal LM or has no trainable parameters, and a dataset
            that is empty, damaged, beyond the model's vocabulary or positions, or without any token with loss.
        FloatingPointError: if the loss or the gradient stops being finite; it names the step. The weights are those
            before the step, or with patience those of the best evaluation so far.
    """
    own = ("steps", "lr", "batch_size", "warmup", "weight_decay", "seed", "pad_id")
    require_options("fit", own, options, RunOptions)
    batch_size, seed = ranges.whole("batch_size", batch_size, 1, MANY), ranges.seed(seed)
    optimizer, schedule = adamw(lr, weight_decay), cosine(warmup)
    require_causal(model)
    pad = _pad_id(model, pad_id)
    require_dataset(model, dataset)
    if options.get("resume") is not None:
        settings = {"lr": lr, "batch_size": batch_size, "warmup": warmup, "weight_decay": weight_decay, "pad_id": pad}
        same = {"examples to learn from": fingerprints.of_values([dataset[i] for i in range(len(dataset))])}
        options["identity"] = {**(options.get("identity") or {}), **settings, **same}
    return run(
        model,
        _batches(dataset, batch_size, pad, seed),
        Answers(checked=True),
        steps=steps,
        optimizer=optimizer,
        schedule=schedule,
        seed=seed,
        **options,
    )


def _pad_id(model: Any, pad_id: int | None) -> int:
    if pad_id is None:
        pad_id = getattr(getattr(inside(model), "config", None), "pad_token_id", None)
    pad, size = require_pad_id(pad_id), vocabulary(model)
    if size is not None and pad >= size:
        raise ValueError(f"pad_id={pad}: the model's vocabulary ends at {size - 1}, choose an id in it")
    return pad


def _batches(dataset: Sequence[Encoded], batch_size: int, pad: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """One batch after another without end, each pass over the data in a new order."""
    rng = random.Random(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += rng.sample(range(len(dataset)), len(dataset))
        yield collate([dataset[i] for i in waiting[:batch_size]], pad)
        del waiting[:batch_size]
