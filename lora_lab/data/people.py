"""The people of the generated world: what they are called, and the five facts about each.

Three populations never share a full name:

* the world's own people (`world.World.people`): pretraining repeats their facts until the model knows them;
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

Field = Literal["name", "born", "town", "job", "pet", "colour"]
Fact = Literal["born", "town", "job", "pet", "colour"]
Group = Literal["pretrain", "train", "heldout"]

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


FIRST_NAMES, TOWNS = len(_spelled(_FIRST)), len(_spelled(_TOWN))
"""How many there can be."""
