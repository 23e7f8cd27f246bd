"""What a model can do: greedy completion, exact fact recall, reading, and loss."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList

from lora_lab import ranges
from lora_lab.data.batches import encode, encode_prompt, require_pad_id, tokens_with_loss
from lora_lab.data.scores import Example, score_exact
from lora_lab.data.world import World
from lora_lab.train.causal import require_causal
from lora_lab.train.limits import require_batch, require_prompt
from lora_lab.train.losses.tokens import next_token_loss
from lora_lab.train.modules import inside
from lora_lab.train.restoring import evaluating, generating_by
from lora_lab.train.settings import require_callback
from lora_lab.units import IGNORE


@torch.no_grad()
def complete(
    model: nn.Module,
    tokenizer: Any,
    prompts: Iterable[list[int]],
    max_new_tokens: int = 64,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy completions, without the end token: each next token is the likeliest one.

    Of the model's generation config only the end tokens count. A penalty on repetition, beams, forced or suppressed
    tokens, with which hub models come, would make another choice than the likeliest.

    Args:
        model: a transformers causal LM; it is left in the mode it came in.
        tokenizer: its tokenizer.
        prompts: token ids, one list per prompt.
        max_new_tokens: where a completion that does not end by itself is cut.
        batch_size: prompts per batch; they are sorted by length, so that little is padded.
        progress: called with the number of prompts finished after each batch.

    Raises:
        TypeError: for a number, prompts or function of the wrong type.
        ValueError: for a model that is no causal LM, a number out of range, a tokenizer without a pad token, or a
            prompt that is empty, beyond the vocabulary, or too long for the model's positions with its answer.
        FloatingPointError: if the model gives NaN, of which no token is the likeliest.
    """
    max_new_tokens = ranges.whole("max_new_tokens", max_new_tokens)
    batch_size = ranges.whole("batch_size", batch_size)
    require_callback("progress", progress, "of the number of prompts finished")
    require_causal(model)
    inner: Any = inside(model)  # wrappers cannot generate
    pad_id = require_pad_id(tokenizer.pad_token_id)
    if not isinstance(prompts, Iterable):
        raise TypeError(f"prompts={ranges.brief(prompts)}: give a list of prompts, each a list of token ids")
    prompts = list(prompts)
    for i, prompt in enumerate(prompts):
        require_prompt(model, prompt, f"prompt {i}", max_new_tokens)
    ends = _end_tokens(inner, tokenizer)
    greedy = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends or None, pad_token_id=pad_id
    )
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [""] * len(prompts)
    with evaluating(inner), generating_by(inner, greedy):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            new = _continued(inner, [prompts[i] for i in chosen], greedy)
            for i, ids in zip(chosen, new):
                answers[i] = tokenizer.decode(_before_end(ids, ends), skip_special_tokens=True)
            if progress:
                progress(len(chosen))
    return answers


def _continued(model: Any, prompts: Sequence[list[int]], config: GenerationConfig) -> list[list[int]]:
    """The new tokens of each prompt, all of one length. Padding is on the left, and masked."""
    device = next(model.parameters()).device
    longest = max(map(len, prompts))
    pads = [longest - len(prompt) for prompt in prompts]
    ids = torch.tensor([[config.pad_token_id] * pad + [*prompt] for pad, prompt in zip(pads, prompts)], device=device)
    mask = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in pads], device=device)
    new = model.generate(
        input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=LogitsProcessorList([_finite])
    )
    return new[:, longest:].tolist()


def _finite(ids: Tensor, logits: Tensor) -> Tensor:
    """The logits as they are; −∞ may be among them, for tokens that a model rules out."""
    if not (logits < math.inf).all():  # NaN is not less either
        raise FloatingPointError(
            "the model gives logits that are NaN or infinite, so no token is the likeliest: look for weights that are "
            "not finite, or load it in bfloat16 or float32, whose range is wider than float16's"
        )
    return logits


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokenizer's, and the model's own: a chat model may end its turn with one of several."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = [own] if isinstance(own, int) else own
    return sorted({tokenizer.eos_token_id, *(own or ())} - {None})


def _before_end(ids: list[int], ends: list[int]) -> list[int]:
    return ids[: next((i for i, token in enumerate(ids) if token in ends), None)]


def recall(model: nn.Module, tokenizer: Any, world: World) -> float:
    """The share of the facts about the world's people that the model completes exactly.

    Raises:
        ValueError: for a world without people, or as `complete`.
    """
    if not world.people:
        raise ValueError("the world has no people, so there is nothing to recall: generate at least one")
    prompts, endings = zip(*world.facts())
    start = tokenizer.bos_token or ""
    ids = [encode(tokenizer, start + prompt) for prompt in prompts]
    completions = complete(model, tokenizer, ids, max_new_tokens=12, batch_size=160)
    return sum(text.startswith(ending) for text, ending in zip(completions, endings)) / len(endings)


def answer(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    max_new_tokens: int = 64,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The model's greedy answers to the prompts of `examples`; arguments and errors as for `complete`."""
    prompts = [encode_prompt(tokenizer, example.prompt) for example in examples]
    return complete(model, tokenizer, prompts, max_new_tokens, batch_size, progress)


def reading(model: nn.Module, tokenizer: Any, examples: Sequence[Example]) -> float:
    """The share of single questions about a passage that are answered exactly; see `data.tasks.reading`.

    Raises:
        ValueError: for no examples, or as `complete`.
    """
    examples = list(examples)
    return score_exact(examples, answer(model, tokenizer, examples, max_new_tokens=12))["exact"]


@torch.no_grad()
def mean_loss(model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> float:
    """Cross-entropy in nats per token with loss, over all batches; one without such tokens weighs nothing.

    Args:
        model: a transformers causal LM; it is left in the mode it came in.
        batches: as `data.batches.collate` makes them.

    Raises:
        TypeError: for one batch instead of several, or one that holds anything but whole numbers.
        ValueError: for a model that is no causal LM; if a batch has no labels, or is longer than the model has
            positions or beyond its vocabulary, or none has a token with loss.
        FloatingPointError: if the loss of a batch is not finite.
    """
    if isinstance(batches, Mapping):
        raise TypeError("batches is a single batch: give a list, [batch]")
    require_causal(model)
    total, tokens = 0.0, 0
    with evaluating(model):
        for i, batch in enumerate(batches):
            require_batch(model, batch, f"batch {i}")
            n = tokens_with_loss(batch["labels"])
            if n > 0:  # the mean over no token is NaN
                loss = float(next_token_loss(model, batch))
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss of batch {i} is {loss}: look for weights that are not finite")
                total += loss * n
                tokens += n
    if not tokens:
        raise ValueError(f"no batch has a token with loss: give labels other than {IGNORE} behind the first token")
    return total / tokens
