"""What there is: so many bytes, on each of so many cards."""

import argparse
import re
from dataclasses import dataclass
from fractions import Fraction

from lora_lab import memory, ranges
from lora_lab.memory.cards import MOST_CARDS, get_cards, namesakes
from lora_lab.memory.gpus import FRAGMENTATION, Answer, answer
from lora_lab.memory.settings import MOST_BYTES
from lora_lab.units import GB, GIB

_UNITS = {"gb": GB, "gib": GIB, "mb": 10**6, "mib": 2**20}


@dataclass(frozen=True)
class Room:
    """What there is.

    Attributes:
        bytes: on each card.
        words: what it is, such as "usable on t4".
        gpu: whose, if it is a GPU's.
        count: of cards.
    """

    bytes: int
    words: str
    gpu: memory.GPU | None = None
    count: int = 1

    def answer(self, tensor_bytes: int) -> Answer:
        """Whether so many bytes of tensors fit."""
        return answer(tensor_bytes, self.bytes, self.gpu)

    def unlikely(self, tensor_bytes: int) -> bool:
        """Whether the tensors fit, but not even the lower end of the process."""
        return tensor_bytes <= self.bytes < memory.process_bytes(tensor_bytes, self.gpu)[0]

    @property
    def sure_bytes(self) -> int:
        """Of tensors, with which even the upper end of the process fits; negative if none do."""
        context = memory.process_bytes(0, self.gpu)[1]
        return int((self.bytes - context) / (1 + FRAGMENTATION[1])) - 1


def find(options: argparse.Namespace) -> tuple[Room | None, int, list[str]]:
    """The room that was named, the number of cards, and what a reader must know of them.

    Raises:
        ValueError: for an unknown GPU, an amount that is none, and numbers of cards that contradict each other.
    """
    count, gpu = _cards(options.gpu) if options.gpu is not None else (1, None)
    if options.gpus is not None:
        typed = ranges.whole("gpus", options.gpus, 1, MOST_CARDS)
        if count not in (1, typed):
            raise ValueError(f"--gpus {typed} with --gpu {options.gpu}, which is {count} cards: leave out --gpus")
        count = typed
    each = f"each of {count} × " if count > 1 else ""
    if options.budget is not None:
        on_each = f", on each of {count} cards" if count > 1 else ""
        return Room(parse_bytes(options.budget), f"given (--budget {options.budget}){on_each}", None, count), count, []
    if gpu is None:
        return None, count, []
    remarks = []
    if gpu.as_advertised:
        remarks.append(f"of {gpu.memory_gib} GiB that {gpu.name} is sold with, the driver keeps some back")
    others = [other.name for other in namesakes(options.gpu) if other != gpu]
    if others:
        remarks.append(f"'{options.gpu}' is taken for {gpu.name}; there is also {' and '.join(others)}")
    words = f"{'as advertised' if gpu.as_advertised else 'usable'} on {each}{gpu.name}"
    return Room(gpu.usable_bytes, words, gpu, count), count, remarks


def _cards(name: str) -> tuple[int, memory.GPU]:
    try:
        return get_cards(name)
    except ValueError as error:
        if "unknown GPU" not in str(error):
            raise
        raise ValueError(f"{error}; or give a card's memory in place of its name, as in --budget 24GB") from None


def parse_bytes(text: str) -> int:
    """ "16GB" (10⁹), "14.5 GiB" (2³⁰), "900MB" or "900MiB" in bytes.

    Raises:
        ValueError: for anything else, a bare number too, since GB and GiB differ by 7 %.
    """
    match = re.fullmatch(r"\s*(-?[0-9]{0,20}(?:\.[0-9]{0,20})?)\s*([a-zA-Z]*)\s*", text)
    if "," in text and re.fullmatch(r"\s*[0-9]{1,20},[0-9]{1,20}\s*[a-zA-Z]+\s*", text):
        raise ValueError(
            f"{text[:60]!r} is no amount of memory: write it with a point, {text.strip().replace(',', '.')}"
        )
    if not match or match[2].lower() not in _UNITS or not re.search("[0-9]", match[1]):
        raise ValueError(f"{text[:60]!r} is no amount of memory: write it with its unit, such as 16GB or 14.5GiB")
    value = round(Fraction(match[1].strip(".") if match[1][-1] == "." else match[1]) * _UNITS[match[2].lower()])
    if value <= 0:
        raise ValueError(f"a budget of {text!r} holds nothing: give more than 0")
    if value > MOST_BYTES:
        raise ValueError(f"a budget of {text!r} is no machine's: give what there is")
    return value
