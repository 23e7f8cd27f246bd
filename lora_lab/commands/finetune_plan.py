"""What will be done, before anything is: the data as tokens, the settings, and their words."""

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_lab import lora, ranges
from lora_lab.commands.finetune_base import Base
from lora_lab.data import jsonl
from lora_lab.data.batches import Encoded, encode_example, encode_prompt, tokens_with_loss
from lora_lab.data.jsonl import BadLines, Line, Pairs, Problem, Splits
from lora_lab.models.limits import positions
from lora_lab.models.tiers import TIERS
from lora_lab.units import METHODS, Method, first_line

FILES = ("data", "validation", "heldout")
EVALUATIONS = 10
WARMUP = 10
MANY = 10**6

# qlora's rates come with alpha / r = 0.25. Those of all weights are a cautious guess where no task was tried; "about
# ten times" is what thinkingmachines.ai/blog/lora found for the best rate of LoRA over that of full fine-tuning.
_RATES = (
    # at most so many parameters; peak rates of adapters and of all weights; whence
    (10**7, TIERS["cpu"].adapter_lr, TIERS["cpu"].full_lr, "as for the embedded base"),
    (10**9, 1e-3, 1e-4, "with which SmolLM2-135M learnt the course's task"),
    (1.35 * 10**10, 2e-4, 1e-5, "the default of github.com/artidoro/qlora, with alpha r / 4; of all weights, a guess"),
    (
        math.inf,
        1e-4,
        5e-6,
        "github.com/artidoro/qlora's beyond 13 billion, with alpha r / 4; of all weights, a guess",
    ),
)


@dataclass(frozen=True)
class Data:
    """The examples and what is to be said of their files.

    Attributes:
        splits: the examples.
        sha256: of each file that was given.
        notes: further words.
    """

    splits: Splits
    sha256: dict[str, str]
    notes: list[str]


def read_data(options: argparse.Namespace) -> Data:
    """The files of the command line, and their splits.

    Raises:
        ValueError, OSError: as `jsonl.read` and `jsonl.split`; bad lines of all files at once.
    """
    files: dict[str, Pairs] = {}
    problems: list[Problem] = []
    for name in FILES:
        if (path := getattr(options, name)) is not None:
            try:
                files[name] = jsonl.read(path)
            except BadLines as bad:
                problems += bad.problems
    if problems:
        raise BadLines(problems)
    examples = {name: pairs.examples for name, pairs in files.items()}
    splits = jsonl.split(examples["data"], examples.get("validation"), examples.get("heldout"), options.seed)
    unused: Counter[str] = sum((Counter(pairs.unused) for pairs in files.values()), Counter())
    keys = [f"{ranges.brief(key)} ({count} lines)" for key, count in sorted(unused.items())]
    notes = [f"keys that are not used: {ranges.first(keys)}"] if keys else []
    prompts = Counter(example.prompt.strip() for example in splits.train)
    if repeated := sum(count - 1 for count in prompts.values()):
        notes.append(f"{repeated} lines repeat a prompt of an earlier one")
    return Data(splits, {name: pairs.sha256 for name, pairs in files.items()}, notes)


@dataclass(frozen=True)
class Tokens:
    """The examples as token ids.

    Attributes:
        train: to learn from.
        longest: tokens of the longest example of all splits.
        most: tokens that an example may have; None if neither the model nor the user says.
        trained: tokens with loss in a pass over the data.
        spelt: special tokens that examples spell out, with the number of examples that do.
    """

    train: list[Encoded]
    longest: int
    most: int | None
    trained: int
    spelt: dict[str, int]


def encode(base: Base, splits: Splits, seq_len: int | None) -> Tokens:
    """As the model will read them.

    Raises:
        BadLines: for examples that are too long; none is cut.
        ValueError: for a length that the model cannot read, or a chat template that refuses a prompt or leaves it out.
    """
    limit = positions(base.config)
    if seq_len is not None:
        ranges.whole("seq_len", seq_len, 2, limit)
    most = seq_len or limit
    problems: list[Problem] = []
    encoded: dict[str, list[Encoded]] = {}
    for name in ("train", "validation", "heldout"):
        encoded[name] = [_encoded(base, line) for line in getattr(splits, name)]
        for line, example in zip(getattr(splits, name), encoded[name]):
            if most is not None and (n := len(example["input_ids"])) > most:
                rule = f"--seq-len is {most}" if seq_len else f"the model has {most} positions"
                problems.append(Problem(line.file, line.number, f"{n} tokens, and {rule}: shorten it or leave it out"))
    if problems:
        raise BadLines(sorted(problems, key=lambda problem: (problem.file, problem.number)))
    _require_prompts_read(base)
    longest = max(len(example["input_ids"]) for split in encoded.values() for example in split)
    trained = sum(tokens_with_loss(e["labels"]) for e in encoded["train"])
    return Tokens(encoded["train"], longest, most, trained, _spelt(base, splits))


def _spelt(base: Base, splits: Splits) -> dict[str, int]:
    """An end token in the middle of an answer is one to the model: it would learn to end there."""
    texts = [f"{line.prompt}\n{line.answer}" for line in (*splits.train, *splits.validation, *splits.heldout)]
    counts = {token: sum(token in text for text in texts) for token in base.tokenizer.all_special_tokens}
    return {token: count for token, count in counts.items() if count}


def _require_prompts_read(base: Base) -> None:
    """A template may want messages of another kind, such as lists of parts, and find nothing in those of text."""
    if encode_prompt(base.tokenizer, "a") == encode_prompt(base.tokenizer, "b"):
        raise ValueError(f"the chat template of {base.name} leaves prompts of plain text out: give another model")


def _encoded(base: Base, line: Line) -> Encoded:
    tokenizer = base.tokenizer  # which, if it cannot be read, is no template's fault
    try:
        return encode_example(tokenizer, line.prompt, line.answer)
    except Exception as error:  # a template is a program of somebody else's, and fails as it likes
        raise ValueError(
            f"{line.file}, line {line.number}: the model's chat template refuses it ({first_line(error)}): change the "
            "prompt, or give another model"
        ) from error


@dataclass(frozen=True)
class Settings:
    """All that the training depends on but model and data.

    Attributes:
        why_lr: whence the rate is, in words.
        passes: over the data.
        evaluate_every: steps between two validations.
        the others: as the options of the command line.
    """

    method: Method
    r: int
    alpha: float
    target_modules: str | tuple[str, ...]
    lr: float
    why_lr: str
    steps: int
    passes: float
    warmup: int
    batch_size: int
    accumulate: int
    evaluate_every: int
    patience: int
    checkpointing: bool
    seed: int

    @property
    def adapters(self) -> lora.LoRAConfig | None:
        """None where all weights train."""
        if self.method == "full":
            return None
        return lora.LoRAConfig(r=self.r, alpha=self.alpha, target_modules=self.target_modules)

    def identity(self, base: Base, data: Data) -> dict[str, Any]:
        """What two runs must share for one to go on with the other, by the names of the command line."""
        own = {name: getattr(self, name) for name in ("method", "lr", "steps", "batch_size", "accumulate", "patience",
                                                      "seed", "evaluate_every", "warmup")}  # fmt: skip
        if self.method != "full":
            own |= {"r": self.r, "alpha": self.alpha, "target_modules": self.target_modules}
        files = {f"lines in --{name}": data.sha256.get(name) for name in FILES}
        return {"model": base.title, **own, **files}


def settle(options: argparse.Namespace, base: Base, examples: int) -> Settings:
    """Every setting, with what follows from model and data where the user left it open.

    Raises:
        TypeError, ValueError: for numbers out of range.
    """
    ranges.choice("method", options.method, METHODS)
    batch_size = ranges.whole("batch_size", options.batch_size, 1, MANY)
    accumulate = ranges.whole("accumulate", options.accumulate, 1, MANY)
    per_step = batch_size * accumulate
    if options.steps is not None:
        steps = ranges.whole("steps", options.steps, 1, MANY)
    elif options.epochs is not None:
        epochs = ranges.real("epochs", options.epochs, above=0, most=MANY)
        steps = ranges.whole("steps", max(1, math.ceil(epochs * examples / per_step)), 1, MANY)
    else:
        steps = max(100, math.ceil(3 * examples / per_step))
    lr, why = default_rate(options.method, base.parameters)
    if options.lr is not None:
        lr, why = ranges.real("lr", options.lr, above=0, most=1), "as given"
    r = ranges.whole("r", options.r)
    settings = Settings(
        method=options.method,
        r=r,
        alpha=float(2 * r) if options.alpha is None else options.alpha,
        target_modules=options.target_modules,
        lr=lr,
        why_lr=why,
        steps=steps,
        passes=steps * per_step / examples,
        warmup=min(WARMUP, steps // 5),
        batch_size=batch_size,
        accumulate=accumulate,
        evaluate_every=max(1, steps // EVALUATIONS),
        patience=ranges.whole("patience", options.patience),
        checkpointing=options.checkpointing,
        seed=options.seed,
    )
    _ = settings.adapters  # which checks its numbers
    return settings


def default_rate(method: Method, parameters: int) -> tuple[float, str]:
    """A peak learning rate for a model of so many parameters, and whence it is."""
    adapters, full, why = next(row[1:] for row in _RATES if parameters <= row[0])
    return (full if method == "full" else adapters), why


def in_words(
    base: Base, data: Data, tokens: Tokens, settings: Settings, trainable: int | None
) -> list[tuple[str, str]]:
    """The plan as rows of a name and a text."""
    s, splits = settings, data.splits
    lengths = f"the longest example has {tokens.longest:,} tokens"
    lengths += f" of {tokens.most:,}" if tokens.most else ""
    template = "its own chat template" if base.own_template else "the course's chat format, as it has none"
    rows = [
        ("data", f"{_files(splits)}; {lengths}; {'; '.join(data.notes)}".rstrip("; ")),
        ("prompts", f"in {template}; loss on the {tokens.trained:,} tokens of answers only{_in_words(tokens.spelt)}"),
        (
            "training",
            f"{s.steps:,} steps of {s.batch_size * s.accumulate} examples, {s.passes:.1f} passes over the data; peak "
            f"rate {s.lr:g} ({s.why_lr}), warm-up over {s.warmup} steps; a validation after every {s.evaluate_every}, "
            f"and an end when {s.patience} of them bring no lower loss",
        ),
    ]
    if s.method == "full":
        rows.append(("trains", f"all {base.parameters:,} parameters"))
    else:
        targets = s.target_modules if isinstance(s.target_modules, str) else ",".join(s.target_modules)
        count = "" if trainable is None else f": {trainable:,} parameters beside {base.parameters:,}"
        rows.append(("trains", f"adapters, r = {s.r}, alpha = {s.alpha:g}, on {targets}{count}"))
    return rows


def _in_words(spelt: dict[str, int]) -> str:
    if not spelt:
        return ""
    said = ranges.first([f"{ranges.brief(token)} in {count:,}" for token, count in spelt.items()])
    return f"; examples spell out special tokens, which are read as such: {said}"


def _files(splits: Splits) -> str:
    def of(lines: Sequence[Line]) -> str:
        return " + ".join(sorted({line.file for line in lines}))

    parts = (("to train on", splits.train), ("for validation", splits.validation), ("held out", splits.heldout))
    return ", ".join(f"{len(lines):,} {what} ({of(lines)})" for what, lines in parts)
