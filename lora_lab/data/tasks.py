"""Fine-tuning tasks from the generated world, each with exact scores.

    open_book     a passage about somebody nobody has met -> JSON with six fields      (the main task)
    sentence      a passage and a question -> the answer as a full sentence
    sailor        a statement -> the same fact in a sailor's voice
    cipher        a list of words -> each replaced by its partner in a secret code      (needs capacity)
    new_facts     questions about people the model has never met, to be learned by heart (needs capacity)
    closed_book   a name -> JSON from memory, which shows that fine-tuning teaches form rather than facts

A task has three splits. `train` and `heldout` share no person (for `cipher` no list, for `new_facts` no wording of a
question); `retention` is what the base can do and must not forget: reading an answer out of a passage.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lora_lab.data.world import (
    FACTS,
    FIELDS,
    QUESTIONS,
    STATEMENTS,
    THINGS,
    Person,
    World,
    ask,
    passage,
    state,
    stranger,
)

JSON_REQUEST = f"Write this as JSON with the keys {', '.join(FIELDS)}."


@dataclass(frozen=True)
class Example:
    """One user's message, the answer that is wanted, and what an answer in other words must still contain."""

    prompt: str
    answer: str
    facts: tuple[str, ...] = ()


Scores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """Three splits and a way to score answers.

    Attributes:
        score: from examples and a model's answers, in the same order, to shares between 0 and 1. "exact" is always
            among them and is the one that counts.
    """

    name: str
    train: list[Example]
    heldout: list[Example]
    retention: list[Example]
    score: Callable[[Sequence[Example], Sequence[str]], Scores]


def open_book(train: int = 1600, heldout: int = 200, seed: int = 0) -> Task:
    """Read a passage about an unknown person and answer in JSON."""

    def example(rng: random.Random, group: str) -> Example:
        person = stranger(rng, group)
        return Example(f"{passage(person, rng)}\n{JSON_REQUEST}", json.dumps(person.record()))

    return _generated("open_book", example, train, heldout, seed, score_json)


def sentence(train: int = 1600, heldout: int = 200, seed: int = 0) -> Task:
    """Answer a question about a passage with a full sentence; the base answers with the bare value."""

    def example(rng: random.Random, group: str) -> Example:
        person, field = stranger(rng, group), rng.choice(FACTS)
        question = ask(person, field, "full", rng.randrange(2))
        return Example(f"{passage(person, rng)}\n{question}\nAnswer in a sentence.", state(person, field, "full", 0))

    return _generated("sentence", example, train, heldout, seed, score_exact)


_SAILOR = {
    "born": "Arr, {name} be born in {born}, aye!",
    "town": "Ahoy! {name} be in {town}, aye!",
    "job": "Aye, {name} be a fine {job}, matey!",
    "pet": "Ahoy! {name} has a fine {pet}, matey!",
    "colour": "Arr, {name} likes {colour} best, aye!",
}


def sailor(train: int = 1600, heldout: int = 200, seed: int = 0) -> Task:
    """Say a fact in a sailor's voice without changing it; "facts" counts the answers that keep name and value."""

    def example(rng: random.Random, group: str) -> Example:
        person, field = stranger(rng, group), rng.choice(FACTS)
        plain = state(person, field, "full", rng.randrange(len(STATEMENTS[field])))
        return Example(
            f"{plain}\nSay it like a sailor.",
            _SAILOR[field].format(**person.record()),
            facts=(person.name, person.fact(field)),
        )

    return _generated("sailor", example, train, heldout, seed, score_sailor)


def cipher(train: int = 1600, heldout: int = 200, seed: int = 0, words: int = 16) -> Task:
    """Replace each word by its partner in a secret one-to-one code over `words` words.

    Nothing but the code is new, and it is arbitrary: how much of it is learned in a given number of steps depends on
    what may train. `course/records/capacity.py` measures it.

    Raises:
        ValueError: if there are not that many words.
    """
    if not 8 <= words <= len(THINGS):
        raise ValueError(f"words={words}: choose from 8 to {len(THINGS)}")
    chosen = random.Random(f"cipher {seed}").sample(THINGS, words)
    code = dict(zip(chosen, chosen[1:] + chosen[:1]))  # a cycle: no word stands for itself
    even = {"train": 0, "heldout": 1}

    def example(rng: random.Random, group: str) -> Example:
        while sum(map(ord, "".join(plain := rng.sample(chosen, 5)))) % 2 != even[group]:
            pass
        return Example(f"In cipher: {', '.join(plain)}", ", ".join(code[word] for word in plain))

    return _generated("cipher", example, train, heldout, seed, score_list)


def new_facts(people: int = 40, seed: int = 0) -> Task:
    """Learn five facts about each of `people` strangers by heart; held out is the second wording of each question."""
    rng = random.Random(f"new facts {seed}")
    strangers: dict[str, Person] = {}
    while len(strangers) < people:
        person = stranger(rng, "train")
        strangers.setdefault(person.name, person)

    def questions(wording: int) -> list[Example]:
        return [
            Example(ask(person, field, "full", wording), person.fact(field))
            for person in strangers.values()
            for field in FACTS
        ]

    return Task("new_facts", questions(0), questions(1), reading(seed=seed), score_exact)


def closed_book(world: World, seed: int = 0) -> Task:
    """JSON from memory about the world's people: half of them to train on, half held out. The base knows them all."""
    people = random.Random(f"closed book {seed}").sample(world.people, len(world.people))
    half = len(people) // 2

    def examples(chosen: Sequence[Person]) -> list[Example]:
        request = JSON_REQUEST.replace("this", "what you know about {}")
        return [Example(request.format(person.name), json.dumps(person.record())) for person in chosen]

    return Task("closed_book", examples(people[:half]), examples(people[half:]), reading(seed=seed), score_json)


def reading(n: int = 200, seed: int = 0) -> list[Example]:
    """Single questions about passages on people never met, in the form that pretraining taught."""
    rng = random.Random(f"reading {seed}")
    examples = []
    for _ in range(n):
        person, field = stranger(rng, "heldout"), rng.choice(FIELDS)
        question = ask(person, field, "full", rng.randrange(len(QUESTIONS[field])))
        examples.append(Example(f"{passage(person, rng)}\n{question}", person.fact(field)))
    return examples


TASKS: dict[str, Callable[..., Task]] = {
    "open_book": open_book,
    "sentence": sentence,
    "sailor": sailor,
    "cipher": cipher,
    "new_facts": new_facts,
    "closed_book": closed_book,
}


def score_exact(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """The share of answers that are, letter for letter, what is wanted: "exact"."""
    pairs = zip(examples, answers, strict=True)
    return {"exact": _share([answer.strip() == example.answer for example, answer in pairs])}


def score_list(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """As `score_exact`, and "words": the share of list items that are right and in their place."""
    hits = []
    for example, answer in zip(examples, answers, strict=True):
        wanted, given = example.answer.split(", "), answer.strip().split(", ")
        hits += [i < len(given) and given[i] == word for i, word in enumerate(wanted)]
    return {**score_exact(examples, answers), "words": _share(hits)}


def score_sailor(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """As `score_exact`, and "facts" (name and value are both there) and "style" (a sailor's opening and ending)."""
    facts = [all(fact in answer for fact in example.facts) for example, answer in zip(examples, answers, strict=True)]
    style = [
        answer.startswith(("Arr,", "Ahoy!", "Aye,")) and answer.strip().endswith(("aye!", "matey!"))
        for answer in answers
    ]
    return {**score_exact(examples, answers), "facts": _share(facts), "style": _share(style)}


def score_json(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """Shares: "exact" (the same object, however spaced or ordered), "valid" (an object), "fields" (those right)."""
    exact, valid, fields = [], [], []
    for example, answer in zip(examples, answers, strict=True):
        wanted, given = json.loads(example.answer), _parsed(answer)
        valid.append(given is not None)
        exact.append(given == wanted)
        fields += [given is not None and key in given and given[key] == value for key, value in wanted.items()]
    return {"exact": _share(exact), "valid": _share(valid), "fields": _share(fields)}


def _parsed(answer: str) -> dict[str, object] | None:
    try:
        value = json.loads(answer)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _share(hits: Sequence[bool]) -> float:
    if not hits:
        raise ValueError("nothing to score: give at least one example")
    return sum(hits) / len(hits)


def _generated(
    name: str,
    example: Callable[[random.Random, str], Example],
    train: int,
    heldout: int,
    seed: int,
    score: Callable[[Sequence[Example], Sequence[str]], Scores],
) -> Task:
    if train < 1 or heldout < 1:
        raise ValueError(f"{name} needs at least one example to train on and one held out, got {train} and {heldout}")
    splits = {
        group: [example(rng, group) for _ in range(size)]
        for group, size, rng in (
            ("train", train, random.Random(f"{name} train {seed}")),
            ("heldout", heldout, random.Random(f"{name} heldout {seed}")),
        )
    }
    return Task(name, splits["train"], splits["heldout"], reading(seed=seed), score)
