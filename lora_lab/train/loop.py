"""One plain training loop for every method: full fine-tuning, LoRA, QLoRA.

It trains the parameters that require a gradient, whatever they are. The loss is the mean cross-entropy of the next
token over the labels that are not -100, so with `data.batches.encode_example` over the answers only.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab import ranges
from lora_lab.data.batches import Encoded, collate, require_pad_id
from lora_lab.train.causal import inside, require_causal
from lora_lab.train.history import History
from lora_lab.train.limits import has_loss, require_dataset, vocabulary
from lora_lab.train.restoring import checkpointed, gradients_cleared, left_with, modes_restored
from lora_lab.train.settings import require_callback, require_counts, require_evaluation, require_rates
from lora_lab.units import IGNORE


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to zero after the last step.

    With more warm-up than steps the peak is not reached.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(
    model: Any,
    dataset: Sequence[Encoded],
    *,
    steps: int = 100,
    lr: float = 2e-4,
    batch_size: int = 16,
    accumulate: int = 1,
    warmup: int = 10,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    checkpointing: bool = False,
    evaluate: Callable[[], float] | None = None,
    evaluate_every: int = 25,
    patience: int | None = None,
    seed: int = 0,
    pad_id: int | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> History:
    """Train with AdamW.

    Args:
        model: a transformers causal LM, or a module that shifts its labels as those do; its parameters that require a
            gradient are trained.
        dataset: examples with `input_ids` and `labels`, as `data.batches.encode_example` makes them.
        steps: optimizer steps, at least 1; the data are reshuffled after each pass.
        lr: peak learning rate, above 0 and at most 1. LoRA wants a larger one than full fine-tuning.
        batch_size: examples per forward pass, at least 1.
        accumulate: forward passes per optimizer step, at least 1. Gradients are weighted by tokens with loss, so that
            `accumulate=2` with half the batch size is the same step, not nearly the same, and a batch without such
            tokens weighs nothing.
        warmup: steps of linear warm-up, at least 0; with more than `steps` the peak is not reached.
        clip: largest norm of the gradient of all trainable parameters, above 0; a large one, such as 1e6, never clips.
        weight_decay: AdamW's, applied to matrices only; at least 0 and below 1 / lr.
        checkpointing: recompute activations in the backward pass instead of keeping them.
        evaluate: called every `evaluate_every` steps; a higher score is better.
        evaluate_every: from 1 to `steps`, if there is something to evaluate.
        patience: stop after this many evaluations without a better score, at least 1. With patience the model is left
            with the weights of the best evaluation (`History.best_step`), whether training stops early or not, and
            also after an error or an interruption; that takes a copy of what trains.
        seed: of the order of the data and of dropout, at least 0.
        pad_id: id for padding, by default the model's.
        on_step: called with (steps done, loss) after each step.

    Returns:
        The history. Each module is left in the mode it came in, and without gradients, also after an error or an
        interruption; gradients that were there before are not used.

    Raises:
        TypeError: for a number or function of the wrong type, or a dataset that holds anything but lists of token ids.
        ValueError: for numbers out of range, a model that is no causal LM or has no trainable parameters, and a dataset
            that is empty, damaged, beyond the model's vocabulary or positions, or without any token with loss.
        FloatingPointError: if the loss or the gradient stops being finite; it names the step. The weights are those
            before the step, or with patience those of the best evaluation so far.
    """
    require_counts(steps, batch_size, accumulate, warmup)
    require_rates(lr, clip, weight_decay)
    require_evaluation(evaluate, evaluate_every, patience, steps)
    require_callback("on_step", on_step, "of the steps done and the loss")
    ranges.switch("checkpointing", checkpointing)
    seed = ranges.seed(seed)
    require_causal(model)
    trainable = _trainable(model)
    pad = _pad_id(model, pad_id)
    require_dataset(model, dataset)

    torch.manual_seed(seed)
    optimizer = _adamw(trainable, lr, weight_decay)
    scaler = torch.amp.GradScaler(trainable[0].device.type, enabled=_compute_dtype(model) == torch.float16)
    stream = _batches(dataset, batch_size, accumulate, seed)
    history, started = History(), time.perf_counter()
    best: list[Tensor] = []
    with modes_restored(model), checkpointed(model, checkpointing), left_with(trainable, best):
        for step in range(steps):
            model.train()  # each time, for `evaluate` and `on_step` may leave it in another mode
            rate = learning_rate(step, steps, lr, warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with gradients_cleared(optimizer):
                batches = [collate(examples, pad) for examples in next(stream)]
                loss, norm, tokens = _gradients(model, batches, optimizer, trainable, clip, scaler, step + 1)
                scaler.step(optimizer)
                scaler.update()

            history.record(loss, rate, norm, tokens, time.perf_counter() - started)
            if on_step:
                on_step(step + 1, loss)
            if evaluate and (step + 1) % evaluate_every == 0:
                history.evaluations.append((step + 1, _score(evaluate, step + 1)))
                if patience is not None and history.best_step == step + 1:
                    best[:] = [p.detach().clone() for p in trainable]
                if patience is not None and history.evaluations_since_best >= patience:
                    history.stopped_early = True
                    break
    return history


def _gradients(
    model: Any,
    batches: list[dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    trainable: list[nn.Parameter],
    clip: float,
    scaler: torch.amp.GradScaler,
    step: int,
) -> tuple[float, float, int]:
    """The clipped gradients of one step.

    Over a float16 base the loss is scaled up, so that small gradients do not vanish. Where large ones overflow, they
    are computed again at half the scale: the scale is to blame until it is 1.

    Returns:
        Loss per token, the gradient's norm before clipping, and the tokens with loss.
    """
    while True:
        loss, tokens = _backward(model, batches, scaler)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step}: {_remedy(step)}")
        scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(trainable, clip))
        if math.isfinite(norm):
            return loss, norm, tokens
        if scaler.get_scale() <= 1:
            raise FloatingPointError(f"the gradient's norm is {norm} at step {step}: {_remedy(step)}")
        scaler.update(scaler.get_scale() / 2)
        optimizer.zero_grad(set_to_none=True)


def _backward(model: Any, batches: list[dict[str, Tensor]], scaler: torch.amp.GradScaler) -> tuple[float, int]:
    """The backward passes of one step.

    Returns:
        Loss per token over all batches, and their tokens with loss.
    """
    device = next(model.parameters()).device
    tokens = [int((batch["labels"][:, 1:] != IGNORE).sum()) for batch in batches]
    total = 0.0
    for batch, n in zip(batches, tokens):
        if n == 0:
            continue  # its mean over no token is NaN, and its weight is 0
        inputs = {key: value.to(device) for key, value in batch.items()}
        loss = model(**inputs, use_cache=False).loss * (n / sum(tokens))  # a cache is for generating
        if not loss.requires_grad:
            raise ValueError("the loss depends on nothing that trains: are the adapters switched off?")
        scaler.scale(loss).backward()
        total += loss.item()
    return total, sum(tokens)


def _remedy(step: int) -> str:
    if step == 1:
        return "nothing was trained yet, so look for weights that are not finite"
    return "lower lr; the weights are those before this step"


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("no parameter requires a gradient: inject adapters, or call model.requires_grad_(True)")
    if any(p.dtype == torch.float16 for p in trainable):
        raise ValueError(
            "float16 weights are too coarse to be trained themselves: train adapters (lora, qlora), "
            "or load the model in bfloat16 or float32"
        )
    return trainable


def _pad_id(model: Any, pad_id: int | None) -> int:
    if pad_id is None:
        pad_id = getattr(getattr(inside(model), "config", None), "pad_token_id", None)
    pad, size = require_pad_id(pad_id), vocabulary(model)
    if size is not None and pad >= size:
        raise ValueError(f"pad_id={pad}: the model's vocabulary ends at {size - 1}, choose an id in it")
    return pad


def _adamw(trainable: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    matrices = [p for p in trainable if p.ndim >= 2]
    others = [p for p in trainable if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)


def _batches(dataset: Sequence[Encoded], batch_size: int, accumulate: int, seed: int) -> Iterator[list[list[Encoded]]]:
    """The batches of one step after another without end, each pass over the data in a new order.

    A step whose batches hold no token with loss would teach nothing: the next ones take its place.
    """
    rng = random.Random(seed)
    waiting: list[int] = []
    while True:
        batches = []
        for _ in range(accumulate):
            while len(waiting) < batch_size:
                waiting += rng.sample(range(len(dataset)), len(dataset))
            batches.append([dataset[i] for i in waiting[:batch_size]])
            del waiting[:batch_size]
        if any(has_loss(example) for batch in batches for example in batch):
            yield batches


def _score(evaluate: Callable[[], float], step: int) -> float:
    score = evaluate()
    try:
        number = float(score)
    except (TypeError, ValueError):
        raise TypeError(f"evaluate gave {score!r} after step {step}: give a number, the higher the better") from None
    if math.isnan(number):
        raise ValueError(f"evaluate gave nan after step {step}: give a number, the higher the better")
    return number


def _compute_dtype(model: nn.Module) -> torch.dtype:
    """That of the embeddings: the first floating-point parameter."""
    return next(p.dtype for p in model.parameters() if p.is_floating_point())
