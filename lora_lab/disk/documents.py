"""JSON: read strictly, and written so that a half-written file never replaces a whole one."""

import json
from pathlib import Path
from typing import Any

from lora_lab.disk.atomic import atomic_path
from lora_lab.disk.names import require_file
from lora_lab.ranges import brief

_MOST_JSON = 100 * 10**6  # bytes; a large model's index has one of them


def read_json(path: Path, way_out: str, finite: bool = True) -> dict[str, Any]:
    """A JSON file that holds one object, in UTF-8, with or without a byte order mark.

    A key that stands twice is refused, because readers differ in which of the two they take.

    Args:
        path: the file.
        way_out: what to do about a file that is missing or damaged; it ends the error's sentence.
        finite: refuse NaN and Infinity too, which JSON does not have; Python writes them all the same.

    Raises:
        FileNotFoundError, OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged, or holds something else.
    """
    require_file(path, way_out)
    try:
        if path.stat().st_size > _MOST_JSON:
            raise ValueError(f"{path.stat().st_size:,} bytes are too many")
        content = parse_json(path.read_text(encoding="utf-8-sig"), finite)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}): {way_out}") from error
    except ValueError as error:  # bad JSON, bad UTF-8, a number of thousands of digits
        raise ValueError(f"{path} is damaged ({error}): {way_out}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (an object is expected, not a {type(content).__name__}): {way_out}")
    return content


def parse_json(text: str, finite: bool = True) -> Any:
    """What a text says in JSON.

    Raises:
        ValueError: for anything else: a key that stands twice, nesting that is too deep, and, if `finite`, NaN and
            Infinity.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_number if finite else float)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_json(
    path: str | Path, content: object, *, indent: int = 1, sort_keys: bool = False, finite: bool = True
) -> None:
    """Write what `read_json` reads: UTF-8, lines that end in LF on every system, a line's end at the end.

    Raises:
        TypeError: for what JSON cannot hold.
        ValueError: if `finite`, for NaN and infinity, which JSON does not have; nothing is written then.
        OSError: as `atomic_path`.
    """
    text = json.dumps(content, indent=indent, sort_keys=sort_keys, allow_nan=not finite) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {brief(key)} stands there twice")
        content[key] = value
    return content


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")
