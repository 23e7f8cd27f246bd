"""A small world of people and places, generated from a seed.

Everything the embedded base model knows, and everything the fine-tuning tasks ask,
comes from here, so that what a model has learned can be counted exactly.

Three populations of people never share a full name:

* the world's own people (`World.people`): pretraining repeats their facts until the model knows them;
* passers-by (`stranger(rng, "pretrain")`): met once in pretraining, which teaches reading instead of recall;
* people reserved for the tasks (`stranger(rng, "train")`, `stranger(rng, "heldout")`): pretraining says nothing about
  them. At most their names come up, among the random words of a dictation.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal, get_args

from lora_lab import ranges

Field = Literal["name", "born", "town", "job", "pet", "colour"]
Fact = Literal["born", "town", "job", "pet", "colour"]
Group = Literal["pretrain", "train", "heldout"]
Subject = Literal["full", "first", "pronoun"]

FACTS: tuple[Fact, ...] = get_args(Fact)
FIELDS: tuple[Field, ...] = get_args(Field)

_FIRST = (
    "Ma Ta Lo Ke Vi Ru Sa Ne Jo Di Bra El Hu Fi Pe Gri Wa Ze Cla To".split(),
    "ra lin vek mo na dor sha bel tis ric ya gan lu fe nor ska den pi rek za".split(),
)
_LAST = (
    "Ver Hol Bran Kost Mil Dun Ash Tor Pel Gar Wex Sor Lind Fen Quil Ham Rost Yar Cor Nim".split(),
    "lin ton eck berg ard ow sen wick ley man ova ers ing dale field more ski ran etti ane".split(),
)
_TOWN = (
    "Or Al Bel Cas Du Fro Gle Har Ist Kil Lum Mon Nor Ply Rav Sel Tam Ul Ver Wol".split(),
    "a de en i lo mar na o ri ther".split(),
    "by ford ton mouth ville burg stad wick dale port".split(),
)

JOBS = (
    "baker farmer teacher doctor painter singer writer tailor miller sailor "
    "pilot nurse judge cook potter weaver hunter fisher banker barber "
    "butcher carpenter clerk dancer driver gardener jeweller lawyer librarian mason "
    "merchant miner printer shepherd smith soldier surgeon waiter watchmaker actor"
).split()
PETS = (
    "cat dog goat horse rabbit parrot snake turtle hamster duck "
    "goose pig sheep pony lizard frog mouse owl crow ferret donkey hen swan fox"
).split()
COLOURS = "red blue green yellow orange purple brown black white grey pink gold silver violet crimson teal".split()
REGIONS = "north south east west".split()
GOODS = "bread wool glass salt honey cheese wine paper silk iron fish apples".split()
THINGS = (
    "lamp table chair window door bridge river garden letter book boat wheel basket bottle candle clock "
    "hammer needle ladder kettle mirror pillow ribbon saddle shovel ticket tower towel wagon whistle "
    "button carpet castle cherry copper cotton dragon drum feather flower forest island jacket kitchen "
    "lemon market meadow medal mountain music ocean onion pepper pencil pocket rocket school shadow "
    "spoon stone storm summer sugar temple thunder timber tunnel valley village violin winter yard"
).split()

YEARS = range(1920, 2010)
GROUPS: tuple[Group, ...] = get_args(Group)
SEASONS = "spring summer autumn winter".split()

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


@dataclass(frozen=True)
class Person:
    """One person and the five facts about them."""

    name: str
    born: int
    town: str
    job: str
    pet: str
    colour: str

    @property
    def first_name(self) -> str:
        return self.name.split()[0]

    @property
    def pronoun(self) -> str:
        """First names that end in a vowel take "she", the others "he"."""
        return "she" if self.name.split()[0][-1] in "aeiou" else "he"

    def fact(self, field: Field) -> str:
        """The value of one of `FIELDS` as text."""
        return str(getattr(self, field))

    def record(self) -> dict[str, str | int]:
        """All six fields, in the order of `FIELDS`."""
        return {field: getattr(self, field) for field in FIELDS}


def population(name: str) -> Group:
    """Which population may use a full name: "pretrain" (9 names in 10), "train" or "heldout"."""
    return ("train", "heldout")[bucket] if (bucket := zlib.crc32(name.encode()) % 20) < 2 else "pretrain"


def random_name(rng: random.Random) -> str:
    """A full name, such as "Mara Verlin": one of 160,000."""
    return " ".join("".join(rng.choice(part) for part in parts) for parts in (_FIRST, _LAST))


def random_town(rng: random.Random) -> str:
    """A town, such as "Ordeby": one of 2,000."""
    return "".join(rng.choice(part) for part in _TOWN)


@cache
def names(group: Group) -> frozenset[str]:
    """Every full name that a population may use; see `population`."""
    everybody = (f"{first} {last}" for first, last in product(_spelled(_FIRST), _spelled(_LAST)))
    return frozenset(name for name in everybody if population(name) == group)


def stranger(rng: random.Random, group: Group, towns: Sequence[str] | None = None) -> Person:
    """A person drawn at random whose name belongs to `group`.

    Args:
        rng: the source of all choices.
        group: "pretrain", "train" or "heldout"; see `population`.
        towns: draw the town from these instead of making one up.

    Raises:
        ValueError: for any other group.
    """
    if group not in GROUPS:
        raise ValueError(f"unknown group {group!r}: choose {', '.join(GROUPS)}")
    return Person(
        _name(rng, group),
        rng.choice(YEARS),
        rng.choice(towns) if towns else random_town(rng),
        rng.choice(JOBS),
        rng.choice(PETS),
        rng.choice(COLOURS),
    )


def _name(rng: random.Random, group: Group) -> str:
    """A name of the group. Ends for every `rng`, also for one that says the same name again and again."""
    for _ in range(10_000):  # one draw in 20 hits the rarest group
        if population(name := random_name(rng)) == group:
            return name
    return rng.choice(sorted(names(group)))


def _spelled(parts: tuple[list[str], ...]) -> set[str]:
    """Every word that takes one syllable from each part."""
    return {"".join(word) for word in product(*parts)}


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
        people = ranges.whole("people", people, 1, len(_spelled(_FIRST)))
        places = ranges.whole("places", places, 1, len(_spelled(_TOWN)))
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
