"""How a fact is said, asked for, and left unfinished."""

import random
from typing import Literal

from lora_lab.data.people import FACTS, Fact, Field, Person

Subject = Literal["full", "first", "pronoun"]

# Several wordings of every fact: a model that meets a fact in one wording only learns the sentence, not the fact
# (Allen-Zhu and Li, "Physics of Language Models 3.1", arXiv 2309.14316).
# {Who} starts a sentence, {who} does not; {Whose} and {whose} are their possessives.
STATEMENTS = {
    "born": (
        "{Who} was born in {born}.",
        "{Who} came into the world in {born}.",
        "The year of {whose} birth was {born}.",
        "In {born}, {who} was born.",
    ),
    "town": (
        "{Who} lives in {town}.",
        "{Who} has a house in {town}.",
        "{Whose} home is in {town}.",
        "The town of {town} is where {who} lives.",
    ),
    "job": (
        "{Who} works as {a_job}.",
        "{Who} is {a_job}.",
        "By trade, {who} is {a_job}.",
        "{Who} earns a living as {a_job}.",
    ),
    "pet": (
        "{Who} has {a_pet} as a pet.",
        "{Whose} pet is {a_pet}.",
        "{Who} keeps {a_pet} at home.",
        "At home, {who} looks after {a_pet}.",
    ),
    "colour": (
        "{Whose} favourite colour is {colour}.",
        "{Who} likes {colour} best of all colours.",
        "{Who} always wears {colour}.",
        "Of all colours, {who} likes {colour} best.",
    ),
}

QUESTIONS = {
    "name": ("Who is the text about?", "What is the name of the person?"),
    "born": ("When was {who} born?", "What is the year of {whose} birth?"),
    "town": ("Where does {who} live?", "In what town is {whose} home?"),
    "job": ("What is {whose} job?", "What does {who} do for a living?"),
    "pet": ("What pet does {who} have?", "What is {whose} pet?"),
    "colour": ("What is {whose} favourite colour?", "What colour does {who} like best?"),
}

# One unfinished sentence per fact; the model completes it, and exact recall is counted on that. Each can be finished
# by one fact only ("{name} has" could go on with a pet or with a house).
RECALL_PROMPTS = {
    "born": "{name} was born in",
    "town": "{name} lives in",
    "job": "{name} works as",
    "pet": "{name}'s pet is",
    "colour": "{name}'s favourite colour is",
}


def article(noun: str) -> str:
    """`"an actor"`, `"a baker"`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def state(person: Person, field: Fact, subject: Subject, wording: int) -> str:
    """One sentence with one fact.

    Args:
        person: whom it is about.
        field: one of `FACTS`.
        subject: how the person is called: "full", "first" or "pronoun".
        wording: index into `STATEMENTS[field]`.
    """
    return STATEMENTS[field][wording].format(**_forms(person, subject))


def ask(person: Person, field: Field, subject: Subject, wording: int) -> str:
    """One question whose answer is `person.fact(field)`; arguments as for `state`."""
    return QUESTIONS[field][wording].format(**_forms(person, subject))


def passage(person: Person, rng: random.Random) -> str:
    """All five facts about a person in random order and wording; the first sentence gives the full name."""
    fields = rng.sample(FACTS, len(FACTS))
    subjects: list[Subject] = ["full", *(rng.choice(("first", "pronoun")) for _ in fields[1:])]
    return " ".join(state(person, field, subject, rng.randrange(4)) for field, subject in zip(fields, subjects))


def recall_prompt(person: Person, field: Fact) -> tuple[str, str]:
    """An unfinished sentence about a person, and the exact words that finish it."""
    ending = article(person.fact(field)) if field in ("job", "pet") else person.fact(field)
    return RECALL_PROMPTS[field].format(name=person.name), f" {ending}."


def _forms(person: Person, subject: Subject) -> dict[str, str | int]:
    she = person.pronoun
    who = {"full": person.name, "first": person.first_name, "pronoun": she}[subject]
    whose = {"she": "her", "he": "his"}[she] if subject == "pronoun" else f"{who}'s"
    return {
        "who": who,
        "whose": whose,
        "Who": who[0].upper() + who[1:],
        "Whose": whose[0].upper() + whose[1:],
        "a_job": article(person.job),
        "a_pet": article(person.pet),
        **person.record(),
    }
