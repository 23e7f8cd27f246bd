"""Our 4-bit layer and bitsandbytes' on the same weights: outputs, gradients, and the losses of a whole training."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from on_gpu.common import DTYPES, Run, name_of
from on_gpu.stacks import OURS, PEFT_LOOP, adapted, bitsandbytes_linear, replace_linears
from torch import Tensor, nn

from lora_lab import lora, models, quant
from lora_lab.data import tasks
from lora_lab.data.batches import collate, encode_example

Row = dict[str, Any]


def rows(run: Run) -> Iterator[Row]:
    """Layers by dtype and tokens, then losses by dtype."""
    for dtype in DTYPES:
        for tokens in (1, 16, 256):
            yield _layer(run, dtype, tokens)
    for dtype in DTYPES[:1] if run.toy else DTYPES[:2]:
        yield _losses(run, dtype, *((2, 2) if run.toy else (50, 16)))


def _layer(run: Run, dtype: torch.dtype, tokens: int) -> Row:
    torch.manual_seed(0)
    d_in, d_out = (128, 96) if run.toy else (4096, 1024)
    linear = nn.Linear(d_in, d_out, bias=False, device=run.device, dtype=dtype)
    ours, theirs = quant.Linear4bit.from_linear(linear), bitsandbytes_linear(linear.weight.data)
    x = torch.randn(tokens, d_in, device=run.device, dtype=dtype, requires_grad=True)
    seed = torch.randn(tokens, d_out, device=run.device, dtype=dtype)
    made = []
    for layer in (ours, theirs):
        y = layer(x)
        made.append((y, torch.autograd.grad(y, x, seed)[0]))
    compared = {part: _difference(a, b) for part, a, b in zip(("forward", "gradient"), *made)}
    if run.device == "cuda":  # one token without a gradient takes a kernel of its own there
        with torch.no_grad():
            compared["forward without gradient"] = _difference(ours(x), theirs(x))
    return {"what": "Linear4bit", "shape": [d_out, d_in], "dtype": name_of(dtype), "tokens": tokens} | compared


def _difference(a: Tensor, b: Tensor) -> Row:
    apart = (a.detach().double() - b.detach().double()).abs().max()
    return {
        "equal": torch.equal(a, b),
        "largest_difference": float(apart),
        "largest_value": float(b.detach().abs().max()),
    }


def _losses(run: Run, dtype: torch.dtype, steps: int, size: int) -> Row:
    """The same data, the same first adapters, AdamW; NF4 with double quantization."""
    base, tokenizer = models.load_base("cpu")
    base = base.to(run.device, dtype)
    examples = tasks.open_book(train=size * steps, heldout=1, seed=0, validation=0).train
    encoded = [encode_example(tokenizer, e.prompt, e.answer) for e in examples]
    batches = [collate(encoded[i : i + size], tokenizer.pad_token_id) for i in range(0, len(encoded), size)]
    torch.manual_seed(0)
    ours = adapted(quant.quantize_model(copy.deepcopy(base)), OURS)
    theirs = adapted(replace_linears(copy.deepcopy(base)), PEFT_LOOP)
    with torch.no_grad():
        for name, layer in lora.adapters(ours).items():
            theirs.get_submodule(f"base_model.model.{name}.lora_A.default").weight.copy_(layer.lora_A)
    curves = [_trained(run, model, batches) for model in (ours, theirs)]
    apart = max(abs(a - b) for a, b in zip(*curves))
    return {"what": "training of the embedded base", "dtype": name_of(dtype), "steps": steps,
            "lora_lab": curves[0], "bitsandbytes + PEFT": curves[1], "largest_difference": apart}  # fmt: skip


def _trained(run: Run, model: Any, batches: list[dict[str, Tensor]]) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    model.train()
    losses = []
    for batch in batches:
        loss = model(**{key: value.to(run.device) for key, value in batch.items()}, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(round(loss.item(), 6))
    return losses
