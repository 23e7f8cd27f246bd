"""`lora-lab demo`: the main job of the course, from a base model to a saved and re-loaded adapter."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from lora_lab import lora, models, quant, ranges, records, train
from lora_lab.commands import reading_back, reporting
from lora_lab.data import tasks
from lora_lab.data.tasks import Example, Task
from lora_lab.disk import writable_folder
from lora_lab.models import real
from lora_lab.models.tiers import EMBEDDED, REAL
from lora_lab.train import Report
from lora_lab.units import METHODS, Method

TARGET = 0.95  # held-out exact match that the demo must pass on any model but the real one
ALLOWED = 0.10  # by which the real model may miss the worst of the recorded seeds


def run(
    method: Method = "qlora",
    seed: int = 0,
    tier: models.TierName = "auto",
    out: str | Path = "out/demo",
    model: str | None = None,
) -> int:
    """Fine-tune a base model on open-book JSON and show what changed.

    Args:
        method: "full", "lora" or "qlora".
        seed: of the task's data, the adapters and the order of training.
        tier: see `models.get_tier`.
        out: folder for the adapter (for "full": the model).
        model: a name as `models.load` takes it; by default the tier's.

    Returns:
        0 if the held-out exact match passes `target` and the saved adapter gives the same answers when `peft` loads it,
        else 1.

    Raises:
        TypeError, ValueError: for a method, seed, tier or model that there is not, before anything is trained.
        OSError: if `out` cannot be written in, again before, the model cannot be fetched, or the disk is full.
        KeyboardInterrupt: if it is interrupted; it says what was trained and where it is.
    """
    started = time.perf_counter()
    chosen = settings(model, tier)
    _refuse(method, seed)
    out = writable_folder(out)  # refuse before an hour of training, not after
    task = _task(chosen, seed)
    base, tokenizer = _base(model, tier, method)
    print(f"{base.name_or_path or model or 'embedded base'} · {method} · tier {chosen.name} · seed {seed}\n")
    sizes = base_bytes(base)

    before = _measured(base, tokenizer, task, "before")
    tuned = train.prepare(base, method, seed=seed)
    history = _trained(tuned, tokenizer, task, method, chosen, seed)
    saved = reporting.save(tuned, tokenizer, method, out)  # at once: whatever happens to what follows, this is not lost
    with reporting.interruption_says(f"interrupted after the training: {saved}"):
        after = _measured(tuned, tokenizer, task, "after")
        print("\n" + _score_table(before, after))
        print("\n" + _size_table(tuned, sizes, method))
        _print_samples(task.heldout[:3], before.answers, after.answers)
        print(f"\n{saved[0].upper()}{saved[1:]}.")
        same = method == "full" or _read_back(tuned, tokenizer, task, after.answers, method, (model, tier), out)
    seconds = time.perf_counter() - started
    print(f"\n{len(history.losses)} steps in {history.seconds[-1]:.0f} s; all of it in {seconds:.0f} s.")
    exact, wanted = after.scores["exact"], target(model, method)
    verdict = "reached" if exact > wanted else "NOT reached"
    print(f"Held-out exact match {exact:.1%}, target above {wanted:.0%}: {verdict}.")
    return 0 if exact > wanted and same else 1


def settings(model: str | None, tier: models.TierName) -> models.Tier:
    """Batch, steps and rates: the tier's for its own model, those of the real one for that and what else is named."""
    chosen = models.get_tier(tier)
    if model is None:
        return chosen
    if model == EMBEDDED:
        return models.TIERS["cpu"]
    return models.SMOLLM2 if model == REAL or chosen.embedded else chosen


def target(model: str | None, method: Method) -> float:
    """Held-out exact match: for the real model the worst of its recorded seeds, less 10 points."""
    if model != REAL:
        return TARGET
    reached = [row["exact"] for row in records.load("real_finetune")["rows"] if row["run"] == method]
    return min(reached, default=TARGET) - ALLOWED


def _task(chosen: models.Tier, seed: int) -> Task:
    """What the base could do before is measured on models that were taught to answer with the bare value."""
    task = tasks.open_book(train=chosen.steps * chosen.batch_size, heldout=chosen.heldout, seed=seed)
    return replace(task, retention=[]) if chosen is models.SMOLLM2 else task


def _base(model: str | None, tier: models.TierName, method: Method) -> tuple[Any, Any]:
    return models.load_base(tier, method) if model is None else models.load(model)


def _refuse(method: str, seed: int) -> None:
    ranges.choice("method", method, METHODS)
    ranges.seed(seed)


def base_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of the base's parameters in fp32, in bf16, and with its linear layers in NF4 with double quantization.

    Embeddings and norms stay in bf16 in the last of them.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    linears = [m for m in model.modules() if type(m) is nn.Linear and m is not head]
    quantized = sum(quant.quantize(m.weight, double_quant=True).nbytes for m in linears)
    total = sum(p.numel() for p in model.parameters())
    rest = total - sum(m.weight.numel() for m in linears)
    return {"fp32": 4 * total, "bf16": 2 * total, "NF4+DQ": quantized + 2 * rest}


def _measured(model: Any, tokenizer: Any, task: Task, when: str) -> Report:
    with reporting.bar(len(task.heldout), f"answers {when}", "prompt") as bar:
        if task.retention:
            return train.report(model, tokenizer, task, progress=bar.update)
        answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=80, progress=bar.update)
    loss = train.answer_loss(model, tokenizer, task.heldout, batch_size=8)
    return Report(task.score(task.heldout, answers), loss, math.nan, answers)


def _trained(model: Any, tokenizer: Any, task: Task, method: Method, tier: models.Tier, seed: int) -> train.History:
    done = 0
    with reporting.bar(tier.steps, "training", "step") as bar:

        def on_step(step: int, loss: float) -> None:
            nonlocal done
            done += 1  # a bar that is not shown does not count
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        try:
            return train.finetune(
                model,
                tokenizer,
                task,
                method,
                lr=tier.lr(method),
                steps=tier.steps,
                batch_size=tier.batch_size,
                warmup=tier.warmup,
                seed=seed,
                checkpointing=tier.checkpointing,
                on_step=on_step,
            )
        except KeyboardInterrupt as stop:
            stop.args = (f"interrupted after {done} of {tier.steps} steps of training: nothing was saved",)
            raise


def _score_table(before: Report, after: Report) -> str:
    rows = [
        ("exact match, held out", before.scores["exact"], after.scores["exact"]),
        ("valid JSON", before.scores["valid"], after.scores["valid"]),
        ("fields right", before.scores["fields"], after.scores["fields"]),
        ("retention: reading", before.retention, after.retention),
    ]
    lines = [f"{name:24}{a:>10.1%}  →{b:>10.1%}" for name, a, b in rows if not math.isnan(a)]
    lines.append(f"{'loss, nats per token':24}{before.loss:>10.3f}  →{after.loss:>10.3f}")
    return "\n".join([f"{'':24}{'before':>10}   {'after':>10}", *lines])


def _size_table(model: nn.Module, sizes: dict[str, int], method: str) -> str:
    lines = [f"base in {name:16}{size / 1e6:>10.3f} MB" for name, size in sizes.items()]
    count = lora.count_parameters(model)
    if method != "full":
        lines.append(f"{'adapter in fp32':24}{4 * count.trainable / 1e6:>10.3f} MB")
    return "\n".join([str(count), *lines])


def _print_samples(examples: Sequence[Example], before: Sequence[str], after: Sequence[str]) -> None:
    for example, was, now in zip(examples, before, after):
        print(f"\nprompt  {example.prompt}\nbefore  {was[:160]}\nafter   {now}")


def _read_back(
    tuned: Any,
    tokenizer: Any,
    task: Task,
    answers: list[str],
    method: Method,
    source: tuple[str | None, models.TierName],
    out: Path,
) -> bool:
    """Let `peft` put the adapter onto the base as trained, and onto a 4-bit one, and compare the answers."""
    examples = task.heldout[:64]
    ours = reading_back.choices(tuned, tokenizer, examples, answers[:64])

    def alike(other: Any, onto: str) -> bool:
        agree = reading_back.agreeing(ours, reading_back.choices(other, tokenizer, examples, answers[:64]))
        print(f"Loaded by peft onto {onto}, it gives the same answers to {agree} of {len(examples)} prompts.")
        return agree == len(examples)

    base, _ = _base(*source, method)
    if method == "lora":
        return alike(reading_back.over(base, out), "the base")
    quant.dequantize_model(quant.quantize_model(base))
    same = alike(reading_back.over(base, out), "the dequantized base")
    if source[0] != REAL:
        return same
    if find_spec("bitsandbytes") is None:
        print("Not tried over a 4-bit base: bitsandbytes is not installed.")
        return same
    return alike(reading_back.over_bitsandbytes(real.fetched(), out), "the base in bitsandbytes' 4 bits") and same
