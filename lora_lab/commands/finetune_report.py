"""What fine-tuning changed: loss and exact answers on held-out examples, before and after, on screen and as JSON."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_lab import train
from lora_lab.commands import installed
from lora_lab.commands.finetune_base import COMES_WITH_US, Base
from lora_lab.commands.finetune_plan import Data, Settings
from lora_lab.commands.reporting import bar, one_line, width
from lora_lab.data.batches import encode, encode_prompt
from lora_lab.data.jsonl import Line
from lora_lab.models.limits import positions
from lora_lab.train import History, fingerprints
from lora_lab.units import command_line

NAME = "finetune.json"
SAMPLES = 3
_PROMPTS = 16  # at a time
_SPARE = 16  # tokens that an answer may be longer than the longest that is wanted
_PACKAGES = ("lora_lab", "torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers")


@dataclass(frozen=True)
class Scores:
    """Of one model on the held-out examples.

    Attributes:
        loss: nats per token of the wanted answers.
        exact: share of answers that are, but for blanks at their ends, letter for letter what is wanted.
        answers: in the order of the examples.
    """

    loss: float
    exact: float
    answers: list[str]


def measure(model: Any, tokenizer: Any, examples: Sequence[Line], batch_size: int, when: str) -> Scores:
    """Answer the held-out examples greedily, and weigh the wanted answers.

    Raises:
        ValueError: as `train.answer`.
    """
    loss = train.answer_loss(model, tokenizer, examples, batch_size)
    answers = [""] * len(examples)
    with bar(len(examples), f"answers {when}", "prompt") as progress:
        for chosen, new in _in_batches(model, tokenizer, examples):
            given = train.answer(model, tokenizer, [examples[i] for i in chosen], new, progress=progress.update)
            for i, text in zip(chosen, given):
                answers[i] = text
    hits = [answer.strip() == example.answer.strip() for answer, example in zip(answers, examples)]
    return Scores(loss, sum(hits) / len(hits), answers)


def _in_batches(model: Any, tokenizer: Any, examples: Sequence[Line]) -> list[tuple[list[int], int]]:
    """Examples that are answered together, and the most new tokens for them: a bit more than the longest wanted
    answer, but not past the model's positions, for which a batch is cut in half where that helps."""
    limit = positions(model.config)
    prompts = [len(encode_prompt(tokenizer, example.prompt)) for example in examples]
    wanted = [len(encode(tokenizer, example.answer)) + 1 for example in examples]
    order = sorted(range(len(examples)), key=lambda i: prompts[i])
    waiting = [order[i : i + _PROMPTS] for i in range(0, len(order), _PROMPTS)]
    batches = []
    while waiting:
        chosen = waiting.pop(0)
        new = max(wanted[i] for i in chosen) + _SPARE
        left = new if limit is None else limit - max(prompts[i] for i in chosen)
        if left < max(wanted[i] for i in chosen) and len(chosen) > 1:
            waiting[:0] = [chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]]
        else:
            batches.append((chosen, min(new, left)))
    return batches


def table(before: Scores, after: Scores) -> str:
    """Loss and exact answers, before and after."""
    count = len(before.answers)
    rows = [
        ("held out", "before", "after"),
        ("loss, nats per token", f"{before.loss:.3f}", f"{after.loss:.3f}"),
        (f"exact, of {count:,}", f"{before.exact:.0%}", f"{after.exact:.0%}"),
    ]
    return "\n".join(f"{name:<22}{was:>8}{now:>8}" for name, was, now in rows)


def samples(examples: Sequence[Line], before: Scores, after: Scores) -> str:
    """A few held-out prompts, what is wanted, and the answers before and after."""
    lines = []
    for example, was, now in list(zip(examples, before.answers, after.answers))[:SAMPLES]:
        rows = (("prompt", example.prompt), ("wanted", example.answer), ("before", was), ("after", now))
        lines += ["", *(f"{name:<8}{one_line(text, width() - 8)}" for name, text in rows)]
    return "\n".join(lines)


def content(
    base: Base, data: Data, settings: Settings, history: History, before: Scores, after: Scores, seconds: float
) -> dict[str, Any]:
    """All that is needed to repeat the run, and what came out: for `disk.write_json`."""
    versions = {name: found for name in _PACKAGES if (found := installed.version(name))}
    splits = {name: [f"{e.file}:{e.number}" for e in getattr(data.splits, name)] for name in ("validation", "heldout")}
    return {
        "model": base.title,
        "parameters": base.parameters,
        "dtype": str(base.dtype).removeprefix("torch."),
        "settings": asdict(settings),
        "data": {"sha256": data.sha256, "train": len(data.splits.train), **splits},
        "before": {"loss": before.loss, "exact": before.exact},
        "after": {"loss": after.loss, "exact": after.exact},
        "steps_done": len(history.losses),
        "stopped_early": history.stopped_early,
        "best_step": history.best_step,
        "losses": history.losses,
        "validation_losses": [[step, -score] for step, score in history.evaluations],
        "answers": [
            {"line": f"{e.file}:{e.number}", "wanted": e.answer, "before": was, "after": now}
            for e, was, now in zip(data.splits.heldout, before.answers, after.answers)
        ],
        "seconds": {"training": history.seconds[-1] if history.seconds else 0.0, "all": seconds},
        "identity": fingerprints.of_values(settings.identity(base, data)),
        "python": platform.python_version(),
        "versions": versions,
    }


def how_to_load(base: Base, method: str, out: Path) -> str:
    """Lines of Python that load the result; with the tokenizer where the chat template is not the model's own."""
    lines = _lines_to_load(base, method, out)
    if method != "full" and not base.own_template:
        lines += f"\nfrom transformers import AutoTokenizer\ntokenizer = AutoTokenizer.from_pretrained({str(out)!r})"
    return lines


def _lines_to_load(base: Base, method: str, out: Path) -> str:
    if method == "full":
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f"model = AutoModelForCausalLM.from_pretrained({str(out)!r})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({str(out)!r})"
        )
    if base.name in COMES_WITH_US:
        origin, load = "from lora_lab import models", f"base, tokenizer = models.load({base.name!r})"
        if method == "qlora":
            origin = "from lora_lab import models, quant"
            load += "\nquant.dequantize_model(quant.quantize_model(base))  # in NF4, as it was trained on"
    else:
        origin, options = "from transformers import AutoModelForCausalLM", ""
        if method == "qlora":
            origin = f"import torch\n{origin}, BitsAndBytesConfig"
            load = "nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', "
            load += f"bnb_4bit_use_double_quant=True,\n                         bnb_4bit_compute_dtype={base.dtype})\n"
            options = f", quantization_config=nf4, dtype={base.dtype}"  # as it was trained
        else:
            load = ""
        load += f"base = AutoModelForCausalLM.from_pretrained({base.name!r}{options})"
    return f"from peft import PeftModel\n{origin}\n{load}\nmodel = PeftModel.from_pretrained(base, {str(out)!r})"


def again(words: Sequence[str]) -> str:
    """The command that goes on with an interrupted run."""
    return command_line(["lora-lab", *words, *([] if "--resume" in words else ["--resume"])])
