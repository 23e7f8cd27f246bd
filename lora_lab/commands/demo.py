"""`lora-lab demo`: the main job of the course, from a base model to a saved and re-loaded adapter."""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from lora_lab import lora, models, quant, ranges, train
from lora_lab.data import tasks
from lora_lab.data.tasks import Example, Task
from lora_lab.disk import MODEL_FILES, atomic_folder, writable_folder
from lora_lab.train import Report
from lora_lab.units import METHODS, Method

TARGET = 0.95  # held-out exact match that the demo must pass


def run(method: Method = "qlora", seed: int = 0, tier: models.TierName = "auto", out: str | Path = "out/demo") -> int:
    """Fine-tune a base model on open-book JSON and show what changed.

    Args:
        method: "full", "lora" or "qlora".
        seed: of the task's data, the adapters and the order of training.
        tier: see `models.get_tier`.
        out: folder for the adapter (for "full": the model).

    Returns:
        0 if the held-out exact match passes `TARGET` and the saved adapter gives the same answers when `peft` loads it,
        else 1.

    Raises:
        TypeError, ValueError: for a method, seed or tier that there is not, before anything is loaded.
        OSError: if `out` cannot be written in, again before, or the disk is full.
        KeyboardInterrupt: if it is interrupted; it says what was trained and where it is.
    """
    started = time.perf_counter()
    chosen = models.get_tier(tier)
    _refuse(method, seed)
    out = writable_folder(out)  # refuse before an hour of training, not after
    task = tasks.open_book(train=chosen.steps * chosen.batch_size, heldout=chosen.heldout, seed=seed)
    model, tokenizer = models.load_base(tier)
    print(f"{model.name_or_path or 'embedded base'} · {method} · tier {chosen.name} · seed {seed}\n")
    sizes = base_bytes(model)

    before = _measured(model, tokenizer, task, "before")
    train.prepare(model, method, seed=seed)
    history = _trained(model, tokenizer, task, method, chosen, seed)
    saved = _saved(model, tokenizer, method, out)  # at once: whatever happens to what follows, this is not lost
    with _interruption_says(f"interrupted after the training: {saved}"):
        after = _measured(model, tokenizer, task, "after")
        print("\n" + _score_table(before, after))
        print("\n" + _size_table(model, sizes, method))
        _print_samples(task.heldout[:3], before.answers, after.answers)
        print(f"\n{saved[0].upper()}{saved[1:]}.")
        same = method == "full" or _answers_the_same(tokenizer, task, after.answers, method, tier, out)
    seconds = time.perf_counter() - started
    print(f"\n{len(history.losses)} steps in {history.seconds[-1]:.0f} s; all of it in {seconds:.0f} s.")
    exact = after.scores["exact"]
    verdict = "reached" if exact > TARGET else "NOT reached"
    print(f"Held-out exact match {exact:.1%}, target above {TARGET:.0%}: {verdict}.")
    return 0 if exact > TARGET and same else 1


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
    with tqdm(total=len(task.heldout), desc=f"answers {when}", unit="prompt") as bar:
        return train.report(model, tokenizer, task, progress=bar.update)


def _trained(model: Any, tokenizer: Any, task: Task, method: Method, tier: models.Tier, seed: int) -> train.History:
    with tqdm(total=tier.steps, desc="training", unit="step") as bar:

        def on_step(step: int, loss: float) -> None:
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
                seed=seed,
                checkpointing=tier.checkpointing,
                on_step=on_step,
            )
        except KeyboardInterrupt as stop:
            stop.args = (f"interrupted after {bar.n} of {tier.steps} steps of training: nothing was saved",)
            raise


def _score_table(before: Report, after: Report) -> str:
    rows = [
        ("exact match, held out", before.scores["exact"], after.scores["exact"]),
        ("valid JSON", before.scores["valid"], after.scores["valid"]),
        ("fields right", before.scores["fields"], after.scores["fields"]),
        ("retention: reading", before.retention, after.retention),
    ]
    lines = [f"{name:24}{a:>10.1%}  →{b:>10.1%}" for name, a, b in rows]
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


def _saved(model: Any, tokenizer: Any, method: Method, out: Path) -> str:
    """Save what was trained, all of it or nothing; a sentence that says where it is."""
    with _interruption_says(f"interrupted after the training, while it was saved: what is in {out} is as it was"):
        if method != "full":
            lora.save_adapter(model, out)
            return f"adapter saved in {out}"
        with atomic_folder(out, instead_of=(*MODEL_FILES, "adapter_*")) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        return f"model saved in {out}"


@contextmanager
def _interruption_says(sentence: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.args = (sentence,)
        raise


def _answers_the_same(
    tokenizer: Any, task: Task, answers: list[str], method: Method, tier: models.TierName, out: Path
) -> bool:
    """Let `peft` put the adapter onto the base as trained, and compare the answers."""
    base, _ = models.load_base(tier)
    if method == "qlora":
        quant.dequantize_model(quant.quantize_model(base))
    examples = task.heldout[:64]
    again = train.answer(_read_by_peft(base, out), tokenizer, examples, max_new_tokens=80)
    agree = sum(a == b for a, b in zip(again, answers))
    onto = "dequantized base" if method == "qlora" else "base"
    print(f"Loaded by peft onto the {onto}, it gives the same answers to {agree} of {len(examples)} prompts.")
    return agree == len(examples)


def _read_by_peft(base: Any, folder: Path) -> Any:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of bitsandbytes, which peft imports, about kernels that nobody needs here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls what transformers is about to rename
            import peft

            return peft.PeftModel.from_pretrained(base, folder)
    finally:
        logging.disable(before)
