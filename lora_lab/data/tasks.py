"""Fine-tuning tasks from the generated world, each with exact scores.

    open_book     a passage about somebody nobody has met -> JSON with six fields      (the main task)
    sentence      a passage and a question -> the answer as a full sentence
    sailor        a statement -> the same fact in a sailor's voice
    cipher        a list of words -> each replaced by its partner in a secret code      (needs capacity)
    new_facts     questions about people the model has never met, to be learned by heart (needs capacity)
    closed_book   a name -> JSON from memory, which shows that fine-tuning teaches form rather than facts

A task has four splits. `train`, `validation` and `heldout` share no person (for `cipher` no list, for `new_facts` no
wording of a question). Choices, such as when to stop, are made on `validation`, and `heldout` is for what is then
reported. `retention` is what the base can do and must not forget: reading an answer out of a passage.
"""

import json
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from lora_lab import ranges
from lora_lab.data.scores import Example, Scores, score_exact, score_json, score_list, score_sailor
from lora_lab.data.world import (
    FACTS,
    FIELDS,
    QUESTIONS,
    STATEMENTS,
    THINGS,
    Fact,
    Group,
    Person,
    World,
    ask,
    names,
    passage,
    state,
    stranger,
)

JSON_REQUEST = f"Write this as JSON with the keys {', '.join(FIELDS)}."


@dataclass(frozen=True)
class Task:
    """Four splits and a way to score answers.

    Attributes:
        train: to train on.
        heldout: to report a score on, once.
        retention: what the base could do before; see `reading`.
        score: from examples and a model's answers, in the same order, to shares between 0 and 1. "exact" is always
            among them and is the one that counts.
        validation: to choose on, as `train.finetune` does with patience.
    """

    name: str
    train: list[Example]
    heldout: list[Example]
    retention: list[Example]
    score: Callable[[Sequence[Example], Sequence[str]], Scores]
    validation: list[Example] = field(default_factory=list)


def open_book(train: int = 1600, heldout: int = 200, seed: int = 0, *, validation: int = 100) -> Task:
    """Read a passage about an unknown person and answer in JSON.

    Args:
        train, heldout, validation: examples per split; `validation` may be 0.
        seed: of all choices.

    Raises:
        TypeError: for a number that is not whole.
        ValueError: for a number out of range, or if training leaves nobody to validate on.
    """

    def example(person: Person, rng: random.Random) -> Example:
        return Example(f"{passage(person, rng)}\n{JSON_REQUEST}", json.dumps(person.record()))

    return _generated("open_book", _of_person(example), (train, heldout, validation), seed, score_json)


def sentence(train: int = 1600, heldout: int = 200, seed: int = 0, *, validation: int = 100) -> Task:
    """Answer a question about a passage with a full sentence; the base answers with the bare value.

    Arguments and errors as for `open_book`.
    """

    def example(person: Person, rng: random.Random) -> Example:
        field = rng.choice(FACTS)
        question = ask(person, field, "full", rng.randrange(2))
        return Example(f"{passage(person, rng)}\n{question}\nAnswer in a sentence.", state(person, field, "full", 0))

    return _generated("sentence", _of_person(example), (train, heldout, validation), seed, score_exact)


_SAILOR = {
    "born": "Arr, {name} be born in {born}, aye!",
    "town": "Ahoy! {name} be in {town}, aye!",
    "job": "Aye, {name} be a fine {job}, matey!",
    "pet": "Ahoy! {name} has a fine {pet}, matey!",
    "colour": "Arr, {name} likes {colour} best, aye!",
}


def sailor(train: int = 1600, heldout: int = 200, seed: int = 0, *, validation: int = 100) -> Task:
    """Say a fact in a sailor's voice without changing it; "facts" counts the answers that keep name and value.

    Arguments and errors as for `open_book`.
    """

    def example(person: Person, rng: random.Random) -> Example:
        field = rng.choice(FACTS)
        plain = state(person, field, "full", rng.randrange(len(STATEMENTS[field])))
        return Example(
            f"{plain}\nSay it like a sailor.",
            _SAILOR[field].format(**person.record()),
            facts=(person.name, person.fact(field)),
        )

    return _generated("sailor", _of_person(example), (train, heldout, validation), seed, score_sailor)


_PARITY = {"train": 0, "heldout": 1}


def cipher(train: int = 1600, heldout: int = 200, seed: int = 0, words: int = 16, *, validation: int = 100) -> Task:
    """Replace each word by its partner in a secret one-to-one code over `words` words.

    Nothing but the code is new, and it is arbitrary: how much of it is learned in a given number of steps depends on
    what may train. `course/records/capacity.py` measures it.

    Raises:
        TypeError, ValueError: as `open_book`; also if there are not that many words.
    """
    words = ranges.whole("words", words, 8, len(THINGS))
    rng = random.Random(f"cipher {ranges.seed(seed)}")
    chosen = rng.sample(THINGS, words)
    while len({_parity([word]) for word in chosen}) < 2:  # then all lists would be of one split
        chosen = rng.sample(THINGS, words)
    code = dict(zip(chosen, chosen[1:] + chosen[:1]))  # a cycle: no word stands for itself

    def draw(rng: random.Random, group: Group) -> tuple[Hashable, Example]:
        plain = rng.sample(chosen, 5)
        while _parity(plain) != _PARITY[group]:
            plain = rng.sample(chosen, 5)
        return tuple(plain), Example(f"In cipher: {', '.join(plain)}", ", ".join(code[word] for word in plain))

    return _generated("cipher", draw, (train, heldout, validation), seed, score_list)


def new_facts(people: int = 40, seed: int = 0) -> Task:
    """Learn five facts about each of `people` strangers by heart.

    Held out is the second wording of each question; validation asks in a third, "Mara Verlin. When was she born?".

    Raises:
        TypeError: for a number that is not whole.
        ValueError: for a negative seed, nobody, or more people than there are names.
    """
    people = ranges.whole("people", people, 1, len(names("train")))
    rng = random.Random(f"new facts {ranges.seed(seed)}")
    strangers: dict[str, Person] = {}
    while len(strangers) < people:
        person = stranger(rng, "train")
        strangers.setdefault(person.name, person)

    def questions(word: Callable[[Person, Fact], str]) -> list[Example]:
        return [Example(word(person, f), person.fact(f)) for person in strangers.values() for f in FACTS]

    return Task(
        "new_facts",
        train=questions(lambda person, f: ask(person, f, "full", 0)),
        heldout=questions(lambda person, f: ask(person, f, "full", 1)),
        retention=reading(seed=seed),
        score=score_exact,
        validation=questions(lambda person, f: f"{person.name}. {ask(person, f, 'pronoun', 0)}"),
    )


def closed_book(world: World, seed: int = 0) -> Task:
    """JSON from memory about the world's people, all of whom the base knows.

    Half of them are held out, an eighth is to validate on, the rest to train on.

    Raises:
        TypeError: for a seed that is not a whole number.
        ValueError: for a negative seed, or a world of fewer than four people.
    """
    if len(world.people) < 4:
        raise ValueError(f"a world of {len(world.people)} people is too small to be split: generate at least 4")
    people = random.Random(f"closed book {ranges.seed(seed)}").sample(world.people, len(world.people))
    half = len(people) // 2
    learned = half - max(1, half // 4)

    def examples(chosen: Sequence[Person]) -> list[Example]:
        request = JSON_REQUEST.replace("this", "what you know about {}")
        return [Example(request.format(person.name), json.dumps(person.record())) for person in chosen]

    return Task(
        "closed_book",
        train=examples(people[:learned]),
        heldout=examples(people[half:]),
        retention=reading(seed=seed),
        score=score_json,
        validation=examples(people[learned:half]),
    )


def reading(n: int = 200, seed: int = 0) -> list[Example]:
    """Single questions about passages on people never met, in the form that pretraining taught.

    Raises:
        TypeError: for a number that is not whole.
        ValueError: for a negative seed, or no questions.
    """
    rng = random.Random(f"reading {ranges.seed(seed)}")
    examples = []
    for _ in range(ranges.whole("n", n)):
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


def _parity(words: Sequence[str]) -> int:
    return sum(map(ord, "".join(words))) % 2


_Draw = Callable[[random.Random, Group], tuple[Hashable, Example]]
"""From a group, an example and what no two splits may share: a name, a list of words."""


def _of_person(example: Callable[[Person, random.Random], Example]) -> _Draw:
    """Examples about strangers."""

    def draw(rng: random.Random, group: Group) -> tuple[Hashable, Example]:
        person = stranger(rng, group)
        return person.name, example(person, rng)

    return draw


def _generated(
    name: str,
    draw: _Draw,
    sizes: tuple[int, int, int],
    seed: int,
    score: Callable[[Sequence[Example], Sequence[str]], Scores],
) -> Task:
    """A task whose examples are drawn; validation is drawn as training is, from what training left."""
    train, heldout = ranges.whole("train", sizes[0]), ranges.whole("heldout", sizes[1])
    validation = ranges.whole("validation", sizes[2], 0)
    rngs = {split: random.Random(f"{name} {split} {ranges.seed(seed)}") for split in ("train", "validation", "heldout")}
    learned = [draw(rngs["train"], "train") for _ in range(train)]
    taken = {subject for subject, _ in learned}
    return Task(
        name,
        train=[example for _, example in learned],
        heldout=[draw(rngs["heldout"], "heldout")[1] for _ in range(heldout)],
        retention=reading(seed=seed),
        score=score,
        validation=[_untaken(name, draw, rngs["validation"], taken) for _ in range(validation)],
    )


def _untaken(name: str, draw: _Draw, rng: random.Random, taken: set[Hashable]) -> Example:
    for _ in range(1000):
        subject, example = draw(rng, "train")
        if subject not in taken:
            return example
    raise ValueError(
        f"{name}'s {len(taken):,} training subjects leave hardly any to validate on: train on fewer, or validation=0"
    )
