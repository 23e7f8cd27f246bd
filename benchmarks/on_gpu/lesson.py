"""Lessons 12 and 13 on this machine's tier: one model, data, start and loop, over our 4-bit layer and bitsandbytes'.

The embedded base, the real model where its folder is given, and the tier's model from the hub where the cache has its
pinned revision: each learns open-book JSON by QLoRA. Rates are the tier's own; nothing is chosen here.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from on_gpu.common import Run, name_of
from on_gpu.real import load
from on_gpu.stacks import OURS, PEFT_LOOP, adapted, replace_linears
from torch import Tensor

from lora_lab import lora, memory, models, quant, train
from lora_lab.data import tasks
from lora_lab.data.batches import collate, encode_example
from lora_lab.models import hub, room
from lora_lab.models.tiers import SMOLLM2, TIERS, Tier
from lora_lab.units import first_line

Row = dict[str, Any]
Load = Callable[[], tuple[Any, Any]]

ENOUGH = 60
"""Seconds that must be left to begin with a model from the hub."""


@dataclass(frozen=True)
class _Case:
    name: str
    tier: Tier
    load: Load
    steps: int
    heldout: int
    seeds: int


def rows(run: Run) -> Iterator[Row]:
    """Of each model, seed and stack: every step's loss, tokens per second, peak and prediction, held-out scores."""
    small = _Case("embedded base", TIERS["cpu"], lambda: models.load_base("embedded"), 60, 64, 3)
    if run.toy:
        yield from _both(run, _Case(small.name, small.tier, small.load, 1, 2, 1))
        yield {"model": "the tier's hub model", "status": "not run: at toy size nothing is loaded from the hub"}
        return
    yield from _both(run, small)
    if run.real is None:
        yield {"model": SMOLLM2.model, "status": "not run: its folder was not given: --real FOLDER"}
    else:
        folder = run.real
        yield from _both(run, _Case(SMOLLM2.model, SMOLLM2, lambda: load(folder), SMOLLM2.steps, 64, 2))
    yield from _from_the_hub(run, models.get_tier())


def _from_the_hub(run: Run, tier: Tier) -> Iterator[Row]:
    """The tier's own model, or why it was not run."""
    if tier.embedded:
        return
    reason = ""
    if not hub.cached(tier.model, tier.revision):
        reason = f"the hub's cache on this machine does not hold its revision {tier.revision}"
    elif run.left() < ENOUGH:
        reason = f"{run.left():.0f} s were left of the section's time"
    else:
        try:
            room.require(tier)
        except ValueError as error:
            reason = first_line(error)
    if reason:
        yield {"model": tier.model, "status": f"not run: {reason}"}
        return
    yield from _both(run, _Case(tier.model, tier, lambda: models.load_base(tier.name), 20, 32, 1))


def _both(run: Run, case: _Case) -> Iterator[Row]:
    for seed in range(case.seeds):
        start: dict[str, Tensor] = {}  # ours drew it; both begin there
        for stack in (OURS, PEFT_LOOP):
            yield _trained(run, case, stack, seed, start)
            run.free()


def _trained(run: Run, case: _Case, stack: str, seed: int, start: dict[str, Tensor]) -> Row:
    tier, size = case.tier, 2 if run.toy else case.tier.batch_size
    model, tokenizer = case.load()
    model = model.to(run.device, models.choose_dtype("cuda")[0] if run.device == "cuda" else torch.float32)
    task = tasks.open_book(train=case.steps * size, heldout=case.heldout, seed=seed, validation=0)
    model = _four_bits(model, stack, seed, start)
    encoded = [encode_example(tokenizer, e.prompt, e.answer) for e in task.train]
    batches = [collate(encoded[i : i + size], tokenizer.pad_token_id) for i in range(0, len(encoded), size)]
    if run.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    run.synchronize()
    began = time.perf_counter()
    history = train.loop.run(
        model,
        batches,
        train.losses.answers,
        steps=case.steps,
        optimizer=train.optimizers.adamw(tier.lr("qlora")),
        schedule=train.schedules.cosine(tier.warmup),
        checkpointing=tier.checkpointing,
        seed=seed,
    )
    run.synchronize()
    seconds = time.perf_counter() - began
    tokens, longest = sum(map(len, (e["input_ids"] for e in encoded))), max(len(e["input_ids"]) for e in encoded)
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point() and not p.requires_grad)
    row: Row = {"model": case.name, "stack": stack, "seed": seed, "dtype": name_of(dtype), "steps": case.steps,
                "batch_size": size, "longest": longest, "lr": tier.lr("qlora"), "checkpointing": tier.checkpointing,
                "losses": [round(loss, 5) for loss in history.losses], "seconds": round(seconds, 2),
                "tokens_per_s": round(tokens / seconds, 1)}  # fmt: skip
    row["estimate"] = memory.estimate(
        model.config, "qlora", r=16, batch_size=size, seq_len=longest, checkpointing=tier.checkpointing,
        precision={torch.float32: "fp32", torch.float16: "fp16"}.get(dtype, "mixed"),
        stack="lora_lab" if stack == OURS else "peft-loop", double_quant=True, upcast_frozen=False, keep_outputs=False,
    ).peak_bytes  # fmt: skip
    if run.device == "cuda":
        row["peak_allocated"] = torch.cuda.max_memory_allocated()
    answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=4 if run.toy else 80)
    scores = task.score(task.heldout, answers)
    row |= {"heldout": case.heldout, "heldout_loss": round(train.answer_loss(model, tokenizer, task.heldout, 8), 5)}
    return row | {"exact": round(scores["exact"], 4), "valid": round(scores["valid"], 4), "status": "done"}


def _four_bits(model: Any, stack: str, seed: int, start: dict[str, Tensor]) -> Any:
    """NF4 with double quantization and adapters on all linear layers, at the same start for both stacks."""
    torch.manual_seed(seed)
    if stack == OURS:
        model = adapted(quant.quantize_model(model), OURS)
        start |= {name: layer.lora_A.detach().cpu() for name, layer in lora.adapters(model).items()}
        return model
    model = adapted(replace_linears(model), stack)
    with torch.no_grad():
        for name, A in start.items():
            model.get_submodule(f"base_model.model.{name}.lora_A.default").weight.copy_(A)
    return model
