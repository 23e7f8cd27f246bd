"""Prompts and answers of one's own, one JSON object a line.

    {"prompt": "Which gate does flight 12 leave from?", "answer": "B7"}

UTF-8, with or without a byte order mark; lines end in LF or CRLF, and blank ones are skipped. Further keys are counted
and not used.
"""

import codecs
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_lab import ranges
from lora_lab.data.scores import Example
from lora_lab.disk import parse_json
from lora_lab.disk.names import refuse_no_name, require_file

KEYS = ("prompt", "answer")
LEAST = 20
"""Different prompts from which validation and held-out examples can be taken as shares."""

_MOST_BYTES = 2 * 10**9
_OTHERS = {  # what other formats call them
    "prompt": ("instruction", "question", "input", "query", "user", "text", "context", "messages", "conversations"),
    "answer": ("completion", "response", "output", "target", "assistant", "label", "chosen", "messages",
               "conversations"),
}  # fmt: skip
_KINDS = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}


@dataclass(frozen=True)
class Line(Example):
    """An example and where it stands.

    Attributes:
        file: the name of its file.
        number: of its line, from 1.
    """

    file: str = ""
    number: int = 0


@dataclass(frozen=True)
class Problem:
    """A line that cannot be used, and why."""

    file: str
    number: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}: {self.why}"


class BadLines(ValueError):
    """Lines that cannot be used: the first five with what is wrong, and how many there are.

    Attributes:
        problems: all of them.
    """

    SHOWN = 5

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(str(problem) for problem in problems[: self.SHOWN])
        more = len(problems) - self.SHOWN
        lines = f"{len(problems)} lines" if len(problems) > 1 else "one line"
        super().__init__(f"{lines} cannot be used: {shown}{f'; and {more} more' if more > 0 else ''}")


@dataclass(frozen=True)
class Pairs:
    """What a file holds.

    Attributes:
        examples: in the order of the lines.
        sha256: of the file's bytes.
        unused: further keys, with the number of lines that have them.
    """

    examples: list[Line]
    sha256: str
    unused: dict[str, int]


def read(path: str | Path) -> Pairs:
    """The prompts and answers in a file.

    Raises:
        FileNotFoundError, OSError: if there is no such file, or it cannot be read.
        BadLines: for lines that are no JSON object with a prompt and an answer, all of them at once.
        ValueError: for a file that is empty, compressed, in UTF-16, or one JSON array.
    """
    path = Path(_checked_name(path))
    way_out = "give a file with one JSON object a line, with prompt and answer"
    try:
        require_file(path, way_out)
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size / 1e9:.1f} GB, and 2 GB are the most: take a part of it")
        content = path.read_bytes()
    except OSError as error:
        if error.errno is None:  # a sentence already
            raise
        raise OSError(f"{path} cannot be read ({error.strerror}): {way_out}") from error
    _refuse_other_formats(path, content)
    examples: list[Line] = []
    problems: list[Problem] = []
    unused: Counter[str] = Counter()
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            given = _parsed(line)
            examples.append(Line(given["prompt"], given["answer"], file=path.name, number=number))
        except ValueError as error:
            problems.append(Problem(path.name, number, str(error)))
        else:
            unused.update(key for key in given if key not in KEYS)
    if problems:
        raise BadLines(problems)
    if not examples:
        raise ValueError(f"{path} has no lines: {way_out}")
    return Pairs(examples, hashlib.sha256(content).hexdigest(), dict(unused))


@dataclass(frozen=True)
class Splits:
    """What is trained on, what the steps are chosen by, and what is reported."""

    train: list[Line]
    validation: list[Line]
    heldout: list[Line]


def split(
    examples: Sequence[Line],
    validation: Sequence[Line] | None = None,
    heldout: Sequence[Line] | None = None,
    seed: int = 0,
) -> Splits:
    """Take what is not given, for validation and to be held out, at random from the examples.

    Each is a tenth of the different prompts, from 200 at most down to 8, and of few a fifth. Examples with one prompt
    go into one split: the model would have seen what it is asked.

    Args:
        examples: to train on, and to take shares from.
        validation: of one's own.
        heldout: of one's own.
        seed: of what is taken, at least 0.

    Raises:
        BadLines: if a prompt stands in two of the files.
        ValueError: for too few examples, with the least number.
    """
    refuse_shared(examples, validation or (), heldout or ())
    groups: dict[str, list[Line]] = {}
    for example in examples:
        groups.setdefault(_key(example), []).append(example)
    if (validation is None or heldout is None) and len(groups) < LEAST:
        wanted = "validation and held-out examples" if validation is heldout else "the other examples"
        missing = "files of your own for both" if validation is heldout else "files of your own for both of them"
        raise ValueError(
            f"{len(groups)} different prompts are too few to take {wanted} from: give at least {LEAST}, or {missing}"
        )
    order = list(groups.values())
    random.Random(ranges.seed(seed)).shuffle(order)
    share = min(200, max(len(order) // 10, min(8, len(order) // 5)))
    taken: list[list[Line]] = []
    for given in (heldout, validation):
        if given is None:
            taken.append([example for group in order[:share] for example in group])
            del order[:share]
        else:
            taken.append(list(given))
    rest = sorted((example for group in order for example in group), key=lambda example: example.number)
    return Splits(rest, taken[1], taken[0])


def refuse_shared(examples: Sequence[Line], *others: Sequence[Line]) -> None:
    """Refuse prompts that stand in two files.

    Raises:
        BadLines: naming them.
    """
    seen: dict[str, Line] = {_key(example): example for example in reversed(examples)}
    problems = []
    for other in others:
        for example in other:
            if first := seen.get(_key(example)):
                why = f"the same prompt as {first.file}, line {first.number}, so a score would be of what was learnt by"
                problems.append(Problem(example.file, example.number, f"{why} heart"))
        seen.update((_key(example), example) for example in reversed(other))
    if problems:
        raise BadLines(problems)


def _key(example: Example) -> str:
    """Two prompts are one if they differ in spaces at their ends only, which chat templates cut off."""
    return example.prompt.strip()


def _checked_name(path: str | Path) -> str | Path:
    refuse_no_name(path)
    if str(path) == "-":
        raise ValueError("'-' is no file, and standard input cannot be read twice: save the lines in a file")
    return path


def _refuse_other_formats(path: Path, content: bytes) -> None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is in UTF-16: save it as UTF-8")
    if content.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")):
        raise ValueError(f"{path} is compressed: unpack it first")
    if content.startswith(b"PAR1"):
        raise ValueError(f"{path} is a Parquet file: write it as one JSON object a line")
    start = content.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.splitlines()[:1] == [b"{"]:
        raise ValueError(f"{path} begins with '{{' alone, as JSON over several lines: write each object on one line")
    if start.startswith(b"["):
        raise ValueError(f"{path} begins with '[', as one JSON array: write one object a line, without [ ] and commas")


def _parsed(line: bytes) -> dict[str, Any]:
    """ValueError for what is no pair; the message is the reason."""
    try:
        given = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
    except ValueError as error:
        raise ValueError(f"no JSON ({error})") from None
    if not isinstance(given, dict):
        kind = "a string" if isinstance(given, str) else "null" if given is None else _KINDS[type(given)]
        raise ValueError(f"{kind}, where an object with prompt and answer is wanted")
    for key in KEYS:
        if key not in given:
            raise ValueError(_missing(key, given))
    for key in KEYS:
        _require_text(key, given[key])
    return given


def _missing(key: str, given: dict[str, Any]) -> str:
    others = [name for name in given if name not in KEYS]
    lowered = {name.strip().lower(): name for name in others}
    found = lowered.get(key) or next((lowered[name] for name in _OTHERS[key] if name in lowered), None)
    found = found or next(iter(ranges.near(key, others)), None)
    if found in ("messages", "conversations"):
        return f"no {key!r}, but {found!r}: write the user's message as prompt and the assistant's as answer"
    return f"no {key!r}{f', but {ranges.brief(found)}: rename it' if found else ''}"


def _require_text(key: str, value: Any) -> None:
    if not isinstance(value, str):
        kind = "null" if value is None else _KINDS[type(value)]
        how = "write it as a string of JSON" if isinstance(value, (dict, list)) else "write it as a string"
        raise ValueError(f"{key} is {kind}: {how}")
    if not value.strip():
        raise ValueError(f"{key} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise ValueError(f"{key} has half of a character, {half}: write both halves, or the character") from None
