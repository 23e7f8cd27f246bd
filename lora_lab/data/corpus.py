"""The pretraining text: short documents about the world, drawn at random from a seed.

A document is text with the four control tokens written out:

    <|start|> ... <|end|>                                         plain text
    <|start|><|user|> ... <|end|><|assistant|> ... <|end|>        a conversation, one or more turns

Six kinds, each there for one reason: `known` makes the model know the world's people, `reading` makes it
answer from a passage, `dictation` makes copying circuits form early, and `places`, `sums` and `stories`
are what else it knows, so that there is something to forget.
"""

import json
import random
from collections.abc import Callable

from lora_lab.data.world import (
    COLOURS,
    FACTS,
    FIELDS,
    JOBS,
    PETS,
    QUESTIONS,
    SEASONS,
    THINGS,
    Subject,
    World,
    article,
    ask,
    passage,
    random_name,
    random_town,
    state,
    stranger,
)

START, END, USER, ASSISTANT, PAD = "<|start|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"
CONTROL_TOKENS = (PAD, START, END, USER, ASSISTANT)

# Shares of the six kinds, early and late in pretraining. With 40 % dictation at first, copying forms in half the steps.
EARLY = {"dictation": 0.40, "known": 0.20, "reading": 0.30, "places": 0.02, "sums": 0.04, "stories": 0.04}
LATE = {"dictation": 0.10, "known": 0.40, "reading": 0.36, "places": 0.03, "sums": 0.05, "stories": 0.06}

_TABLE_KEYS = "item size count price day shape owner kind".split()
# Sailors' words occur in stories, so that the speaking-style task uses tokens with trained embeddings.
_SAILOR = ("Ahoy! {Who} be in {town}, aye!", "Aye, {who} be a fine {job}, matey!", "Arr, that be {who}, aye!")


def document(text: str) -> str:
    """Plain text as one document."""
    return f"{START}{text}{END}"


def conversation(turns: list[tuple[str, str]]) -> str:
    """(user, assistant) turns as one document; the model's chat template writes the same."""
    return START + "".join(f"{USER}{user}{END}{ASSISTANT}{answer}{END}" for user, answer in turns)


def known(world: World, rng: random.Random) -> str:
    """Two to five facts about one of the world's people, most of them with the full name."""
    person = rng.choice(world.people)
    fields = rng.sample(FACTS, rng.randint(2, 5))
    subjects: list[Subject] = ["full", *(rng.choice(("full", "full", "first", "pronoun")) for _ in fields[1:])]
    return document(" ".join(state(person, f, s, rng.randrange(4)) for f, s in zip(fields, subjects)))


def reading(world: World, rng: random.Random) -> str:
    """A passage about a stranger, then an index card of it, or a conversation with two to four questions about it.

    Without the cards a fine-tuned model gets stuck: it writes JSON at once, but for hundreds of steps it cannot find
    the value that belongs to a key it has just written, because pretraining only ever named a field in a question.
    """
    person = stranger(rng, "pretrain")
    text = passage(person, rng)
    if rng.random() < 0.35:
        lines = [f"{field}: {person.fact(field)}" for field in rng.sample(FIELDS, rng.randint(2, 6))]
        return document("\n".join([text, *lines]))
    turns = []
    for field in rng.sample(FIELDS, rng.randint(2, 4)):
        question = ask(person, field, rng.choice(("full", "first", "pronoun")), rng.randrange(len(QUESTIONS[field])))
        turns.append((question, person.fact(field)))
    turns[0] = (f"{text}\n{turns[0][0]}", turns[0][1])
    return conversation(turns)


def words(rng: random.Random, n: int) -> list[str]:
    """`n` random words: things, attribute values, field names, people, towns, years."""
    draw: tuple[Callable[[], str], ...] = (
        lambda: rng.choice(THINGS),
        lambda: rng.choice(THINGS),
        lambda: rng.choice((*JOBS, *PETS, *COLOURS)),
        lambda: rng.choice((*FIELDS, *_TABLE_KEYS)),
        lambda: random_name(rng),
        lambda: random_town(rng),
        lambda: str(rng.randint(0, 2020)),
    )
    return [rng.choice(draw)() for _ in range(n)]


def dictation(world: World, rng: random.Random) -> str:
    """Copying, pure: repeat a list, say it three times, look up a table, write a list or a table as JSON."""
    form = rng.choice(("repeat", "repeat", "thrice", "table", "json list", "json list", "json table"))
    if form == "repeat":
        text = ", ".join(words(rng, rng.randint(3, 8)))
        return conversation([(f"Repeat: {text}", text)]) if rng.random() < 0.5 else document(f"Repeat: {text}\n{text}")
    if form == "thrice":
        return document("\n".join([", ".join(words(rng, rng.randint(2, 5)))] * 3))
    if form == "json list":
        items = words(rng, rng.randint(2, 7))
        return conversation([(f"As a JSON list: {', '.join(items)}", json.dumps(items))])
    keys = rng.sample(_TABLE_KEYS, rng.randint(2, 4))
    row = {key: rng.randint(0, 2020) if rng.random() < 0.3 else words(rng, 1)[0] for key in keys}
    table = "\n".join(f"{key}: {value}" for key, value in row.items())
    if form == "json table":
        return conversation([(f"{table}\nAs a JSON table.", json.dumps(row))])
    asked = rng.sample(keys, 2)
    turns = [(f"What is the {key}?", str(row[key])) for key in asked]
    return conversation([(f"{table}\n{turns[0][0]}", turns[0][1]), turns[1]])


def places(world: World, rng: random.Random) -> str:
    """A fact or two about one of the world's towns."""
    place = rng.choice(world.places)
    facts = [
        f"{place.name} is a town in the {place.region}.",
        f"{place.name} is known for its {place.goods}.",
        f"People come to {place.name} to buy {place.goods}.",
        f"The road to {place.name} leads {place.region}.",
    ]
    return document(" ".join(rng.sample(facts, rng.randint(1, 3))))


def sums(world: World, rng: random.Random) -> str:
    """Three sums, conversions or ages."""

    def one() -> str:
        kind, a, b = rng.randrange(5), rng.randint(1, 20), rng.randint(1, 20)
        if kind == 0:
            return f"{a} + {b} = {a + b}."
        if kind == 1:
            return f"{a + b} - {b} = {a}."
        if kind == 2:
            return f"{a} km is {a * 1000} m."
        if kind == 3:
            return f"{a} hours are {a * 60} minutes."
        born = rng.randint(192, 199) * 10
        return f"Born in {born}, a person is {a} in {born + a}."

    return document(" ".join(one() for _ in range(3)))


def stories(world: World, rng: random.Random) -> str:
    """A lost pet, a walk or a market day; sometimes a sailor speaks."""
    person = stranger(rng, "pretrain")
    thing, other, season = rng.choice(THINGS), rng.choice(THINGS), rng.choice(SEASONS)
    first, she, her = person.first_name, person.pronoun, {"she": "her", "he": "his"}[person.pronoun]
    text = rng.choice(
        (
            f"One {season} day, {first} lost {her} {person.pet} near the {thing}. "
            f"{first} looked under the {other} and there it was.",
            f"{first} went to the market in {person.town} to buy {article(thing)}. "
            f"On the way home {she} met {article(person.job)} with {article(other)}.",
            f"It was {season} in {person.town}. The {person.job} gave {first} {article(thing)} for {article(other)}, "
            f"and both were glad.",
        )
    )
    if rng.random() < 0.5:
        cry = rng.choice(_SAILOR).format(Who=first, who=first, town=person.town, job=person.job)
        text += f' "{cry}" said the sailor.'
    return document(text)


KINDS: dict[str, Callable[[World, random.Random], str]] = {
    "dictation": dictation,
    "known": known,
    "reading": reading,
    "places": places,
    "sums": sums,
    "stories": stories,
}


def draw(world: World, rng: random.Random, shares: dict[str, float]) -> str:
    """One document; `shares` gives the probability of each kind in `KINDS`."""
    kind = rng.choices(list(shares), list(shares.values()))[0]
    return KINDS[kind](world, rng)
