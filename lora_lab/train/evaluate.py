"""What a model can do: greedy completion, exact fact recall, reading, and loss."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.data.batches import encode_prompt
from lora_lab.data.tasks import Example, score_exact
from lora_lab.data.world import World


@torch.no_grad()
def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    max_new_tokens: int = 64,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy completions, without the end token.

    Args:
        model: a transformers causal LM.
        tokenizer: its tokenizer.
        prompts: token ids, one list per prompt.
        max_new_tokens: where a completion that does not end by itself is cut.
        batch_size: prompts per batch; they are sorted by length, so that little is padded.
        progress: called with the number of prompts finished after each batch.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = len(prompts[chosen[-1]])
        pads = [longest - len(prompts[i]) for i in chosen]
        ids = torch.tensor([[tokenizer.pad_token_id] * pad + prompts[i] for i, pad in zip(chosen, pads)], device=device)
        mask = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in pads], device=device)
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for i, text in zip(chosen, tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)):
            answers[i] = text
        if progress:
            progress(len(chosen))
    model.train(was_training)
    return answers


def recall(model: Any, tokenizer: Any, world: World) -> float:
    """The share of the facts about the world's people that the model completes exactly."""
    prompts, endings = zip(*world.facts())
    ids = [tokenizer(tokenizer.bos_token + prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    completions = complete(model, tokenizer, ids, max_new_tokens=12, batch_size=160)
    return sum(text.startswith(ending) for text, ending in zip(completions, endings)) / len(endings)


def answer(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    max_new_tokens: int = 64,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The model's greedy answers to the prompts of `examples`; arguments as for `complete`."""
    prompts = [encode_prompt(tokenizer, example.prompt) for example in examples]
    return complete(model, tokenizer, prompts, max_new_tokens, batch_size, progress)


def reading(model: Any, tokenizer: Any, examples: Sequence[Example]) -> float:
    """The share of single questions about a passage that are answered exactly; see `data.tasks.reading`."""
    return score_exact(examples, answer(model, tokenizer, examples, max_new_tokens=12))["exact"]


@torch.no_grad()
def mean_loss(model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> float:
    """Cross-entropy in nats per token with loss, over all batches."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total, tokens = 0.0, 0
    for batch in batches:
        n = int((batch["labels"][:, 1:] != -100).sum())
        total += float(model(**{key: value.to(device) for key, value in batch.items()}).loss) * n
        tokens += n
    model.train(was_training)
    return total / tokens
