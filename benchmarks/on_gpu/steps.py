"""Whole training steps: QLoRA up to 70B, ours against bitsandbytes + PEFT, and what four bits cost in time."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from on_gpu.common import Run, spread
from on_gpu.stacks import OURS, PEFT, PEFT_LOOP, build, stepper
from transformers import LlamaConfig

from lora_lab import memory
from lora_lab.memory.presets import load_config
from lora_lab.units import first_line

Row = dict[str, Any]

CARD = 48 * 10**9  # what a 70B model is to be trained in


def qlora_step(run: Run) -> Iterator[Row]:
    """Tokens per second and peak of one step, batch 1, checkpointed, bf16; the 70B model on a card of 48 GB."""
    every, both = (OURS, PEFT, PEFT_LOOP), (OURS, PEFT)
    cases: tuple[tuple[str, tuple[int, ...], int | None, tuple[str, ...]], ...] = (
        ("llama-3.2-1b", (512, 2048), None, both),
        ("llama-3.1-8b", (512, 2048), None, every),
        ("llama-3.1-70b", (512, 2048), CARD, both),
        ("llama-2-70b", (2048,), CARD, both),
    )
    if run.toy:
        cases = (("toy", (32, 48), None, every),)
    for name, lengths, cap, stacks in cases:
        config = toy_config() if run.toy else load_config(name)
        for stack in stacks:
            yield from _steps(run, name, config, stack, lengths, cap)


def amortise(run: Run) -> Iterator[Row]:
    """Milliseconds of a step by the tokens in it, LoRA and QLoRA, without checkpointing: two layers of an 8B model."""
    config = toy_config() if run.toy else load_config("llama-3.1-8b")
    config.num_hidden_layers, config.vocab_size = 2, 512  # the head is not what is measured
    models = {
        f"{method} {stack}": (build(config, stack, method, run.device, checkpointing=False), stack)
        for method in ("lora", "qlora")
        for stack in (OURS, PEFT)
    }
    for tokens in (16, 64) if run.toy else (16, 64, 256, 1024, 4096, 16384):
        length = min(tokens, 2048)
        ids = torch.randint(512, (tokens // length, length), device=run.device)
        ways = {name: stepper(model, stack, ids) for name, (model, stack) in models.items()}
        times = run.times(ways, 1.0)
        slowdown = {stack: round(times[f"qlora {stack}"]["ms"] / times[f"lora {stack}"]["ms"], 3)
                    for stack in (OURS, PEFT)}  # fmt: skip
        yield {"what": "QLoRA over LoRA", "layers": 2, "tokens": tokens, "slowdown": slowdown, "ways": times}


def toy_config() -> LlamaConfig:
    """Sizes that bitsandbytes can take on a CPU."""
    return LlamaConfig(vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256)  # fmt: skip


def _steps(run: Run, name: str, config: Any, stack: str, lengths: tuple[int, ...], cap: int | None) -> Iterator[Row]:
    total = torch.cuda.get_device_properties(0).total_memory if run.device == "cuda" else None
    room = min(cap or total, total) if total else None
    if cap and total and cap < total:
        torch.cuda.set_per_process_memory_fraction(cap / total)
    model = None
    try:
        for length in lengths:
            row: Row = {"model": name, "stack": stack, "seq_len": length, "cap": cap}
            expected = memory.estimate(config, "qlora", batch_size=1, seq_len=length, checkpointing=True).peak_bytes
            row["estimate"] = expected
            if room and expected > room:
                yield row | {"status": f"not tried: {expected / 1e9:.1f} GB are expected, of {room / 1e9:.1f} GB"}
                continue
            try:
                if model is None:
                    model = build(config, stack, "qlora", run.device)
                    run.free()  # what the first layer of each shape was made of
                row |= _measured(run, model, stack, length)
            except torch.OutOfMemoryError as error:
                row["status"] = f"did not fit: {first_line(error)[:160]}"
            yield row
            if row["status"] != "done":  # only now has the error let go of the step's tensors
                model = None
                run.free()
    finally:
        model = None
        run.free()
        if cap and total:
            torch.cuda.set_per_process_memory_fraction(1.0)


def _measured(run: Run, model: Any, stack: str, length: int) -> Row:
    step = stepper(model, stack, torch.randint(512, (1, length), device=run.device))
    loss = float(step())  # makes the optimizer's states
    peaks = {}
    if run.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        peaks = {"peak_allocated": torch.cuda.max_memory_allocated(), "peak_reserved": torch.cuda.max_memory_reserved()}
    times = _plain_times(run, step)
    return {"status": "done", "loss": round(loss, 4), **times,
            "tokens_per_s": round(1e3 * length / times["ms"], 1), **peaks}  # fmt: skip


def _plain_times(run: Run, step: Any) -> Row:
    """Steps one after the other, as in training; no cache is overwritten, whose memory a full card does not have."""
    taken: list[float] = []
    end = time.perf_counter() + (0 if run.toy else 2)
    while len(taken) < (1 if run.toy else 4) or time.perf_counter() < end:
        run.synchronize()
        start = time.perf_counter()
        step()
        run.synchronize()
        taken.append(1e3 * (time.perf_counter() - start))
    return spread(taken)
