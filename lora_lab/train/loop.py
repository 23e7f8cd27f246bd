"""One plain training loop for every method: full fine-tuning, LoRA, QLoRA.

It trains the parameters that require a gradient, whatever they are. The loss is the mean cross-entropy of the next
token over the labels that are not -100, so with `data.batches.encode_example` over the answers only.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.data.batches import IGNORE, Encoded, collate


@dataclass
class History:
    """What happened, one entry per optimizer step.

    Attributes:
        losses: nats per token with loss.
        learning_rates: of the step.
        grad_norms: before clipping.
        tokens: with loss, so far.
        seconds: since the start.
        evaluations: (step, score) of every call of `evaluate`.
        stopped_early: whether patience ran out.
    """

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    stopped_early: bool = False

    def record(self, loss: float, learning_rate: float, grad_norm: float, tokens: int, seconds: float) -> None:
        """Add one optimizer step."""
        self.losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.grad_norms.append(grad_norm)
        self.tokens.append(tokens + (self.tokens[-1] if self.tokens else 0))
        self.seconds.append(seconds)

    @property
    def evaluations_since_best(self) -> int:
        """How many evaluations followed the first one with the best score."""
        scores = [score for _, score in self.evaluations]
        return len(scores) - 1 - scores.index(max(scores))


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to zero after the last step."""
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
        model: a transformers causal LM; its parameters that require a gradient are trained.
        dataset: examples with `input_ids` and `labels`, as `data.batches.encode_example` makes them.
        steps: optimizer steps; the data are reshuffled after each pass.
        lr: peak learning rate. LoRA wants a larger one than full fine-tuning.
        batch_size: examples per forward pass.
        accumulate: forward passes per optimizer step. Gradients are weighted by tokens, so that `accumulate=2` with
            half the batch size is the same step, not nearly the same.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient of all trainable parameters.
        weight_decay: AdamW's, applied to matrices only.
        checkpointing: recompute activations in the backward pass instead of keeping them.
        evaluate: called every `evaluate_every` steps; a higher score is better.
        patience: stop after this many evaluations without a better score.
        seed: of the order of the data and of dropout.
        pad_id: id for padding, by default the model's.
        on_step: called with (steps done, loss) after each step.

    Returns:
        The history. The model is left in the mode it came in.

    Raises:
        ValueError: for an empty dataset, numbers out of range, or a model without trainable parameters.
        FloatingPointError: if the loss stops being finite; it names the step.
    """
    for name, value in (
        ("steps", steps),
        ("batch_size", batch_size),
        ("accumulate", accumulate),
        ("evaluate_every", evaluate_every),
    ):
        if value < 1:
            raise ValueError(f"{name}={value}: choose at least 1")
    if not lr > 0:
        raise ValueError(f"lr={lr}: choose a positive learning rate")
    if not dataset:
        raise ValueError("the dataset is empty: there is nothing to learn from")
    if patience is not None and evaluate is None:
        raise ValueError("patience needs a score to watch: give evaluate as well")
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("no parameter requires a gradient: inject adapters, or call model.requires_grad_(True)")
    if any(p.dtype == torch.float16 for p in trainable):
        raise ValueError(
            "float16 weights are too coarse to be trained themselves: train adapters (lora, qlora), "
            "or load the model in bfloat16 or float32"
        )

    was_training = model.training
    torch.manual_seed(seed)
    pad = model.config.pad_token_id if pad_id is None else pad_id
    if pad is None:
        raise ValueError("the model names no pad token: give pad_id=tokenizer.pad_token_id")
    optimizer = _adamw(trainable, lr, weight_decay)
    scaler = torch.amp.GradScaler(trainable[0].device.type, enabled=_compute_dtype(model) == torch.float16)
    stream = _batches(dataset, batch_size, seed)
    history, started = History(), time.perf_counter()
    with _checkpointed(model, checkpointing):
        for step in range(steps):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, lr, warmup)
            loss, tokens = _backward(model, [collate(next(stream), pad) for _ in range(accumulate)], scaler)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {step + 1}: lower the learning rate ({lr:g})")
            scaler.unscale_(optimizer)
            norm = float(nn.utils.clip_grad_norm_(trainable, clip))
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)

            history.record(loss, optimizer.param_groups[0]["lr"], norm, tokens, time.perf_counter() - started)
            if on_step:
                on_step(step + 1, loss)
            if evaluate and (step + 1) % evaluate_every == 0:
                history.evaluations.append((step + 1, evaluate()))
                if patience is not None and history.evaluations_since_best >= patience:
                    history.stopped_early = True
                    break
    model.train(was_training)
    return history


def _backward(model: Any, batches: list[dict[str, Tensor]], scaler: torch.amp.GradScaler) -> tuple[float, int]:
    """The backward passes of one step.

    Returns:
        Loss per token over all batches, and their tokens with loss.
    """
    device = next(model.parameters()).device
    tokens = [int((batch["labels"][:, 1:] != IGNORE).sum()) for batch in batches]
    total = 0.0
    for batch, n in zip(batches, tokens):
        inputs = {key: value.to(device) for key, value in batch.items()}
        loss = model(**inputs, use_cache=False).loss * (n / sum(tokens))  # a cache is for generating
        scaler.scale(loss).backward()
        total += loss.item()
    return total, sum(tokens)


def _adamw(trainable: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    matrices = [p for p in trainable if p.ndim >= 2]
    others = [p for p in trainable if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)


def _batches(dataset: Sequence[Encoded], batch_size: int, seed: int) -> Iterator[list[Encoded]]:
    """Batches without end, each pass over the data in a new order."""
    rng = random.Random(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += rng.sample(range(len(dataset)), len(dataset))
        yield [dataset[i] for i in waiting[:batch_size]]
        del waiting[:batch_size]


def _compute_dtype(model: nn.Module) -> torch.dtype:
    """That of the embeddings: the first floating-point parameter."""
    return next(p.dtype for p in model.parameters() if p.is_floating_point())


class _checkpointed:
    """Activation checkpointing for the length of a block."""

    def __init__(self, model: Any, on: bool) -> None:
        self.model, self.on = model, on

    def __enter__(self) -> None:
        if self.on:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def __exit__(self, *error: object) -> None:
        if self.on:
            self.model.gradient_checkpointing_disable()
