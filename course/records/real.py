"""Record the main job on the real model, and what it reaches without training: prompting, and retrieval.

    python course/records/real.py             # writes lora_lab/records/real_*.json; about 2 hours of one core

Each row is written as soon as it is measured, and one that is there already is not measured again: stop it and start
it at will. A later run on another machine would mix two machines in one record, so delete the files first.

real_finetune     full, LoRA, QLoRA, and a control that trains QLoRA on other people's answers
real_prompting    no training: 0, 1, 3 or 5 examples with their answers as earlier turns of the chat
real_retrieval    the passage is not given but looked up, among 240, by the words that it shares with the question
"""

import argparse
import copy
import json
import math
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from open_book import shuffled

from lora_lab import models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import machine
from lora_lab.data import tasks
from lora_lab.data.batches import encode
from lora_lab.data.scores import Example
from lora_lab.disk import write_json
from lora_lab.models import real

Row = dict[str, Any]

RATES = {"full": 1e-4, "lora": 1e-3, "qlora": 1e-3}  # of earlier trials; nothing is chosen here
STEPS, BATCH, WARMUP = 30, 8, 3
WEIGHTS = "through Q4_1, as the package index has them"
HELDOUT = 32  # for time's sake: one answer more or less is 3 points
PASSAGES = 240
SHUFFLED = "qlora, answers shuffled"
RETRIEVED = {"base": "retrieval, base with one example", "qlora": "retrieval, qlora"}
WITHHELD = {"base": "passage withheld, base with one example", "qlora": "passage withheld, qlora"}
HEADS = {
    "real_finetune": {
        "steps": STEPS,
        "batch_size": BATCH,
        "warmup": WARMUP,
        "seconds": "of training, by the clock, on one thread of a machine that had other work too",
    },
    "real_prompting": {"examples": "the first of the training split, as earlier turns of the chat"},
    "real_retrieval": {
        "passages": PASSAGES,
        "found_by": "words shared with the question, each weighing log(passages / passages with it)",
    },
}


def main(model: str) -> None:
    """Measure what is missing, what is needed first at first."""
    torch.set_num_threads(1)
    base, tokenizer = models.load(model)
    for seed in (0, 1, 2):
        tuned(base, tokenizer, "qlora", seed)
    for shots in (0, 1, 3, 5):
        prompted(base, tokenizer, shots, 0)
    for seed in (0, 1, 2):
        looked_up(base, tokenizer, seed)
        for shots in (0, 1, 3, 5):
            prompted(base, tokenizer, shots, seed)
    for seed in (0, 1, 2):
        for run in ("lora", "full", SHUFFLED):
            tuned(base, tokenizer, run, seed)


def the_task(seed: int) -> tasks.Task:
    """Open-book JSON: a passage about somebody unknown, and six fields to fill."""
    return tasks.open_book(train=STEPS * BATCH, heldout=HELDOUT, seed=seed, validation=0)


def tuned(base: Any, tokenizer: Any, run: str, seed: int) -> None:
    """Train one way and answer before and after; QLoRA's model also answers from what retrieval finds."""
    names = {"real_finetune": [run], "real_retrieval": [RETRIEVED[run], WITHHELD[run]] if run == "qlora" else []}
    if all(known(record, run=name, seed=seed) for record, of_record in names.items() for name in of_record):
        return
    task, method = the_task(seed), run.split(",")[0]
    model = train.prepare(copy.deepcopy(base), method, seed=seed)
    before = scored(model, tokenizer, task.heldout, [example.prompt for example in task.heldout])
    data = shuffled(task, seed) if run == SHUFFLED else task
    options = {"lr": RATES[method], "steps": STEPS, "batch_size": BATCH, "warmup": WARMUP, "seed": seed}
    history = train.finetune(model, tokenizer, data, method, **options)
    after = scored(model, tokenizer, task.heldout, [example.prompt for example in task.heldout])
    row = {"run": run, "seed": seed, "lr": RATES[method], "steps": STEPS}
    row |= {f"{name}_before": value for name, value in before.items()} | after
    row |= {"loss_first": round(history.losses[0], 4), "loss_last": round(history.losses[-1], 4)}
    note("real_finetune", row | {"seconds": round(history.seconds[-1], 1)})
    if run == "qlora":
        from_what_was_found(model, tokenizer, task, seed, "qlora", [])


def prompted(base: Any, tokenizer: Any, shots: int, seed: int) -> None:
    """No training: examples stand before the question."""
    if known("real_prompting", shots=shots, seed=seed):
        return
    task = the_task(seed)
    scores = scored(base, tokenizer, task.heldout, [e.prompt for e in task.heldout], task.train[:shots])
    note("real_prompting", {"run": "prompt", "shots": shots, "seed": seed, **scores})


def looked_up(base: Any, tokenizer: Any, seed: int) -> None:
    """No training: one example, and the passage that was found."""
    if not all(known("real_retrieval", run=name, seed=seed) for name in (RETRIEVED["base"], WITHHELD["base"])):
        task = the_task(seed)
        from_what_was_found(base, tokenizer, task, seed, "base", task.train[:1])


def from_what_was_found(
    model: Any, tokenizer: Any, task: tasks.Task, seed: int, who: str, shown: Sequence[Example]
) -> None:
    """Two rows: the answers from the passages that retrieval finds, and, as a control, from no passage."""
    questions = [question(example) for example in task.heldout]
    passages = library(task, seed)
    prompts = with_the_passage(questions, passages, rarity(passages))
    found = {
        "found": share_right(task, prompts),
        "found_by_plain_count": share_right(task, with_the_passage(questions, passages, defaultdict(lambda: 1.0))),
    }
    scores = scored(model, tokenizer, task.heldout, prompts, shown)
    note("real_retrieval", {"run": RETRIEVED[who], "seed": seed, **found, **scores})
    scores = scored(model, tokenizer, task.heldout, questions, [Example(question(e), e.answer) for e in shown])
    note("real_retrieval", {"run": WITHHELD[who], "seed": seed, "found": 0.0, **scores})


def question(example: Example) -> str:
    """What is asked where the passage is not given."""
    name = json.loads(example.answer)["name"]
    return tasks.JSON_REQUEST.replace("this", f"what you know about {name}")


def library(task: tasks.Task, seed: int) -> list[str]:
    """The passages of everybody held out, among those of others: 240 in all, in random order."""
    texts = [example.prompt.removesuffix(f"\n{tasks.JSON_REQUEST}") for example in (*task.heldout, *task.train)]
    return random.Random(seed).sample(texts[:PASSAGES], PASSAGES)


def rarity(passages: Sequence[str]) -> dict[str, float]:
    """The weight of each word: log(passages / passages with it), so that a name counts and "the" hardly does."""
    times = Counter(word for passage in passages for word in words(passage))
    return {word: math.log(len(passages) / n) for word, n in times.items()}


def with_the_passage(questions: Sequence[str], passages: Sequence[str], weight: Mapping[str, float]) -> list[str]:
    """Each question's prompt: the passage whose words, as far as the question has them too, weigh most."""
    prompts = []
    for text in questions:
        best = max(passages, key=lambda passage: math.fsum(weight[word] for word in words(text) & words(passage)))
        prompts.append(f"{best}\n{tasks.JSON_REQUEST}")
    return prompts


def share_right(task: tasks.Task, prompts: Sequence[str]) -> float:
    """How often the passage that was found is the person's own."""
    return round(sum(prompt == e.prompt for prompt, e in zip(prompts, task.heldout)) / len(prompts), 4)


def words(text: str) -> set[str]:
    """A text's distinct words, in small letters."""
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def scored(
    model: Any, tokenizer: Any, wanted: Sequence[Example], prompts: Sequence[str], shown: Sequence[Example] = ()
) -> dict[str, float]:
    """The task's scores of greedy answers to prompts, after examples as earlier turns."""
    turns = [turn for example in shown for turn in (said("user", example.prompt), said("assistant", example.answer))]
    chats = [[*turns, said("user", prompt)] for prompt in prompts]
    template: Callable[..., str] = tokenizer.apply_chat_template
    ids = [encode(tokenizer, template(chat, tokenize=False, add_generation_prompt=True)) for chat in chats]
    answers = train.complete(model, tokenizer, ids, max_new_tokens=80, batch_size=32)
    return {name: round(score, 4) for name, score in tasks.score_json(wanted, answers).items()}


def said(role: str, content: str) -> dict[str, str]:
    """One turn of a chat."""
    return {"role": role, "content": content}


def rows(record: str) -> list[Row]:
    """What was measured already."""
    return records.load(record)["rows"] if (records.FOLDER / f"{record}.json").exists() else []


def known(record: str, **wanted: str | int) -> bool:
    """Whether a row with these values is there."""
    return any(all(row[name] == value for name, value in wanted.items()) for row in rows(record))


def note(record: str, row: Row) -> None:
    """Add one row, in place of one of the same run; a file that is half written never replaces a whole one."""
    keys = ("run", "shots", "seed")
    others = [old for old in rows(record) if any(old.get(key) != row.get(key) for key in keys)]
    head = {"model": real.HUB, "weights": WEIGHTS, "task": "open_book", "heldout": HELDOUT, **HEADS[record]}
    write_json(records.FOLDER / f"{record}.json", {**head, "machine": machine.describe(), "rows": [*others, row]})
    print(time.strftime("%H:%M:%S"), record, row, flush=True)


if __name__ == "__main__":
    pin()
    parser = argparse.ArgumentParser(description="Record runs on the real model.")
    parser.add_argument("--model", default="smollm2", help="as models.load takes it; default: %(default)s")
    main(parser.parse_args().model)
