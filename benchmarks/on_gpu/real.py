"""The main job on the real model: SmolLM2-135M-Instruct learns to answer in JSON, three ways, three seeds.

Rates and steps are those of earlier trials on a CPU; nothing is chosen here. The weights came through Q4_1.
"""

import copy
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from on_gpu.common import Run, Skip

from lora_lab import memory, models, train
from lora_lab.data import tasks
from lora_lab.data.batches import encode_example
from lora_lab.models import from_gguf
from lora_lab.units import METHODS, Method

Row = dict[str, Any]

RATES = {"full": 1e-4, "lora": 1e-3, "qlora": 1e-3}


def rows(run: Run) -> Iterator[Row]:
    """Exact match on held-out people before and after, seconds, tokens per second, peak against the estimate."""
    if run.real is None and not run.toy:
        raise Skip("the real model was not given: --real FOLDER")
    base, tokenizer = load(run.real) if run.real else models.load_base("cpu")
    for seed in range(1 if run.toy else 3):
        for method in METHODS:
            yield _tuned(run, base, tokenizer, method, seed)


def load(folder: Path) -> tuple[Any, Any]:
    """A model in float32 on the CPU, and its tokenizer; from a GGUF file, if one lies there.

    Raises:
        Skip: if nothing does.
    """
    files = sorted(folder.glob("*.gguf"))
    if not files and not (folder / "config.json").exists():
        raise Skip(f"the folder '{folder.name}' holds neither a GGUF file nor a config.json")
    with tempfile.TemporaryDirectory() as made:
        if files:
            from_gguf.convert(files[0], Path(made))
        return models.load(Path(made) if files else folder, device="cpu")


def _tuned(run: Run, base: Any, tokenizer: Any, method: Method, seed: int) -> Row:
    steps, size, heldout = (1, 2, 2) if run.toy else (30, 8, 64)
    task = tasks.open_book(train=steps * size, heldout=heldout, seed=seed, validation=0)
    wide = method == "full" or run.device == "cpu"
    model = copy.deepcopy(base).to(run.device, torch.float32 if wide else torch.bfloat16)
    train.prepare(model, method, seed=seed)
    before = _exact(run, model, tokenizer, task)
    lengths = [len(encode_example(tokenizer, e.prompt, e.answer)["input_ids"]) for e in task.train]
    if run.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    history = train.finetune(
        model, tokenizer, task, method, lr=RATES[method], steps=steps, batch_size=size, warmup=3, seed=seed
    )
    run.synchronize()
    seconds = time.perf_counter() - started
    row: Row = {"model": "SmolLM2-135M-Instruct" if run.real else "embedded base", "method": method, "seed": seed,
                "steps": steps, "batch_size": size, "heldout": heldout, "lr": RATES[method],
                "dtype": "float32" if wide else "bfloat16", "exact_before": before[0]}  # fmt: skip
    expected = memory.estimate(model.config, method, batch_size=size, seq_len=max(lengths),
                               precision="fp32" if wide else "mixed")  # fmt: skip
    row |= {"longest": max(lengths), "estimate": expected.peak_bytes}
    if run.device == "cuda":
        row["peak_allocated"] = torch.cuda.max_memory_allocated()
    after = _exact(run, model, tokenizer, task)
    del model
    run.free()
    row |= {"exact_after": after[0], "valid_before": before[1], "valid_after": after[1], "seconds": round(seconds, 2)}
    row |= {"loss_first": round(history.losses[0], 4), "loss_last": round(history.losses[-1], 4)}
    return row | {"tokens_per_s": round(sum(lengths) / seconds, 1), "seconds_answering": round(after[2], 2)}


def _exact(run: Run, model: Any, tokenizer: Any, task: tasks.Task) -> tuple[float, float, float]:
    """Exact match, valid JSON, and the seconds that answering took."""
    started = time.perf_counter()
    answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=4 if run.toy else 80)
    run.synchronize()
    scores = task.score(task.heldout, answers)
    return round(scores["exact"], 4), round(scores["valid"], 4), time.perf_counter() - started
