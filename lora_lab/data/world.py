"""A small world of people and places, generated from a seed.

Everything the embedded base model knows, and everything the fine-tuning tasks ask,
comes from here, so that what a model has learned can be counted exactly.

Who the people are is in `people`, how a fact about them is said in `wordings`; both are handed on from here.
"""

import random
from dataclasses import dataclass

from lora_lab import ranges
from lora_lab.data.people import (
    COLOURS,
    FACTS,
    FIELDS,
    FIRST_NAMES,
    Fact,
    Field,
    GOODS,
    GROUPS,
    Group,
    JOBS,
    PETS,
    Person,
    REGIONS,
    SEASONS,
    THINGS,
    TOWNS,
    YEARS,
    names,
    population,
    random_name,
    random_town,
    stranger,
)
from lora_lab.data.wordings import (
    QUESTIONS,
    RECALL_PROMPTS,
    STATEMENTS,
    Subject,
    article,
    ask,
    passage,
    recall_prompt,
    state,
)

__all__ = [
    "COLOURS",
    "FACTS",
    "FIELDS",
    "Fact",
    "Field",
    "GOODS",
    "GROUPS",
    "Group",
    "JOBS",
    "PETS",
    "Person",
    "Place",
    "QUESTIONS",
    "RECALL_PROMPTS",
    "REGIONS",
    "SEASONS",
    "STATEMENTS",
    "Subject",
    "THINGS",
    "World",
    "YEARS",
    "article",
    "ask",
    "names",
    "passage",
    "population",
    "random_name",
    "random_town",
    "recall_prompt",
    "state",
    "stranger",
]


@dataclass(frozen=True)
class Place:
    """One town of the world."""

    name: str
    region: str
    goods: str


@dataclass(frozen=True)
class World:
    """The people and towns that the embedded base knows by heart."""

    people: tuple[Person, ...]
    places: tuple[Place, ...]

    @classmethod
    def generate(cls, seed: int = 0, people: int = 64, places: int = 16) -> "World":
        """The same world for the same seed, on any machine.

        No two people share a first name, so a first name alone says who is meant.

        Raises:
            TypeError: for a number that is not whole.
            ValueError: for a negative seed, none, or more people than first names or places than names of towns.
        """
        people = ranges.whole("people", people, 1, FIRST_NAMES)
        places = ranges.whole("places", places, 1, TOWNS)
        rng = random.Random(ranges.seed(seed))
        towns: dict[str, Place] = {}
        while len(towns) < places:
            name = random_town(rng)
            towns[name] = Place(name, rng.choice(REGIONS), rng.choice(GOODS))
        known: dict[str, Person] = {}
        while len(known) < people:
            person = stranger(rng, "pretrain", list(towns))
            known.setdefault(person.first_name, person)
        return cls(tuple(known.values()), tuple(towns.values()))

    def facts(self) -> list[tuple[str, str]]:
        """Every (unfinished sentence, ending) about the people: what recall is counted on."""
        return [recall_prompt(person, field) for person in self.people for field in FACTS]
