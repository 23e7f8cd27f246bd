"""The three ways to fine-tune that the course compares, from a base model to scores before and after.

full    every weight trains
lora    adapters on every linear layer train, over the frozen base
qlora   the same, over a base whose linear layers are stored in NF4 with double quantization
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

import torch
from torch import nn

from lora_lab import lora, quant, ranges
from lora_lab.data.batches import Encoded, collate, encode_example
from lora_lab.data.tasks import Example, Scores, Task
from lora_lab.models.tiers import TIERS
from lora_lab.train.evaluate import answer, mean_loss, reading
from lora_lab.train.fitting import fit
from lora_lab.train.history import History
from lora_lab.train.limits import require_readable, vocabulary
from lora_lab.train.settings import FitOptions, require_options
from lora_lab.units import METHODS, Method

M = TypeVar("M", bound=nn.Module)

# Peak learning rates for the embedded base. Adapters want several times the rate of full fine-tuning.
LEARNING_RATES: dict[Method, float] = {method: TIERS["cpu"].lr(method) for method in METHODS}

LOGITS = 2 * 10**8
"""Numbers whose loss is measured at a time: 2 GB where 16-bit ones are copied to float32 and normalised. 64 answers of
a model with 150,000 tokens would be eight times as many, and fill a T4."""


def prepare(model: M, method: Method, config: lora.LoRAConfig | None = None, seed: int = 0) -> M:
    """Make a base model ready for one method, in place.

    Args:
        model: a transformers causal LM.
        method: one of `METHODS`.
        config: of the adapters; by default rank 16 on all linear layers. "full" has none, and does not look at it.
        seed: of the adapters' random factors, at least 0.

    Raises:
        TypeError: for a seed that is not a whole number.
        ValueError: for an unknown method, a model that was prepared already, or as `lora.inject` and
            `quant.quantize_model`. The model is then unchanged.
    """
    _require_method(method)
    seed = ranges.seed(seed)
    if lora.adapters(model):
        raise ValueError("the model has adapters already: call lora.remove(model), or load the base anew")
    if method == "full":
        if any(isinstance(module, quant.Linear4bit) for module in model.modules()):
            raise ValueError("4-bit weights cannot be trained: call quant.dequantize_model(model), or choose qlora")
        return model.requires_grad_(True)
    config = config or lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear")
    with _unchanged_after_an_error(model):
        if method == "qlora":
            # Before minutes of quantizing: does the configuration mean layers of this model?
            lora.targets(model, config.target_modules, config.exclude_modules, config.layers_to_transform)
            quant.quantize_model(model)
        torch.manual_seed(seed)
        lora.inject(model, config)
    return model


@contextmanager
def _unchanged_after_an_error(model: nn.Module) -> Iterator[None]:
    """After an error in the block the model holds the modules it had, which train as they did."""
    modules = dict(model.named_modules(remove_duplicate=False))
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    except BaseException:
        for name, module in modules.items():
            if name and _submodule(model, name) is not module:
                model.set_submodule(name, module)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        raise


def _submodule(model: nn.Module, name: str) -> nn.Module | None:
    """None if a parent was replaced too; it comes first, and brings its own parts back."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


@dataclass(frozen=True)
class Report:
    """Scores of one model on one task.

    Attributes:
        scores: the task's, on held-out examples.
        loss: nats per token of the wanted answers.
        retention: share of reading questions still answered.
        answers: to the held-out examples, in order.
    """

    scores: Scores
    loss: float
    retention: float
    answers: list[str]


@torch.no_grad()
def report(
    model: nn.Module,
    tokenizer: Any,
    task: Task,
    max_new_tokens: int = 80,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Measure a model on the held-out and the retention split of a task.

    Raises:
        ValueError: if one of them is empty, or as `complete`.
    """
    for split in ("heldout", "retention"):
        if not getattr(task, split):
            raise ValueError(f"the task {task.name!r} has no {split} examples, so there is nothing to report")
    answers = answer(model, tokenizer, task.heldout, max_new_tokens, progress=progress)
    return Report(
        task.score(task.heldout, answers),
        answer_loss(model, tokenizer, task.heldout),
        reading(model, tokenizer, task.retention),
        answers,
    )


def answer_loss(model: nn.Module, tokenizer: Any, examples: Sequence[Example], batch_size: int = 64) -> float:
    """Nats per token of the wanted answers.

    Args:
        model: a transformers causal LM.
        tokenizer: its tokenizer.
        examples: prompts with the answers that are wanted.
        batch_size: examples at a time; fewer, where their logits would be more than `LOGITS`.

    Raises:
        TypeError: for a batch size that is not a whole number.
        ValueError: for no examples, one that is longer than the model has positions, or no pad token.
    """
    size = ranges.whole("batch_size", batch_size)
    if not examples:
        raise ValueError("there are no examples to measure the loss on: give at least one")
    encoded = _encoded(tokenizer, examples)
    for i, example in enumerate(encoded):
        require_readable(model, example["input_ids"], f"example {i}")
    longest = max(len(example["input_ids"]) for example in encoded)
    size = max(1, min(size, LOGITS // (longest * (vocabulary(model) or 1))))
    return mean_loss(
        model, (collate(encoded[i : i + size], tokenizer.pad_token_id) for i in range(0, len(encoded), size))
    )


def finetune(
    model: nn.Module,
    tokenizer: Any,
    task: Task,
    method: Method,
    *,
    lr: float | None = None,
    **options: Unpack[FitOptions],
) -> History:
    """Train a prepared model on a task.

    With `patience`, the loss on the task's validation split is measured every `evaluate_every` steps (as a score it is
    negative: higher is better), training stops when it no longer falls, and the model is left with the weights of the
    best step. The held-out split is not looked at: it is for `report`.

    Args:
        model: as `prepare` left it.
        tokenizer: its tokenizer.
        task: what to learn.
        method: one of `METHODS`; it chooses the learning rate.
        lr: peak learning rate, by default the embedded base's for `method`.
        options: go to `fit`.

    Raises:
        TypeError: for an option that `fit` does not have, or as `fit`.
        ValueError: for an unknown method, patience without validation examples, or as `fit`.
    """
    _require_method(method)
    require_options("finetune", ["lr"], options, FitOptions)
    if options.get("patience") is not None and options.get("evaluate") is None:
        if not task.validation:
            raise ValueError(
                f"patience needs examples to watch, and the task {task.name!r} has none for validation: "
                "give it some, or an evaluate of your own"
            )
        options["evaluate"] = lambda: -answer_loss(model, tokenizer, task.validation)
    if options.get("pad_id") is None and tokenizer.pad_token_id is not None:
        options["pad_id"] = tokenizer.pad_token_id  # a hub model's configuration often names none
    return fit(model, _encoded(tokenizer, task.train), lr=LEARNING_RATES[method] if lr is None else lr, **options)


def _encoded(tokenizer: Any, examples: Sequence[Example]) -> list[Encoded]:
    return [encode_example(tokenizer, example.prompt, example.answer) for example in examples]


def _require_method(method: object) -> None:
    ranges.choice("method", method, METHODS)
