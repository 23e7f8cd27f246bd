"""The class: who is in it, and who of them handed in a file.

A roster is a table in CSV with a column `student`, under whose names the marks are given, and any others, such as name,
email or id, by which a file may be theirs too.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lora_lab import ranges
from lora_lab.disk.names import require_file
from lora_lab.grading.claims import Claim, Words, stands_in, words
from lora_lab.grading.files import shown

_MOST_BYTES = 10_000_000
_WAY_OUT = "give a CSV file with a column 'student'"


class Unmatched(Exception):
    """A file is nobody's, or could be several people's: the rest of a sentence about it."""


@dataclass(frozen=True)
class Roster:
    """Who is in the class.

    Attributes:
        students: in the table's order.
        names: how each may be called, in words; the name of a group is one of several students.
    """

    students: tuple[str, ...]
    names: dict[str, frozenset[Words]]

    def owner(self, claim: Claim) -> tuple[str, str]:
        """Whose a file is, and a note if a part of its path decided.

        Raises:
            Unmatched: if it is nobody's, or could be several people's.
        """
        called = self._called(words(claim.name))
        if not called and claim.platform in ("Canvas", "Gradescope"):
            called = self._called((claim.id,))
        if len(called) == 1:
            return called[0], ""
        if not claim.platform:
            if (by_part := self._by_a_part(claim.parts)) is not None:
                return by_part
        if called:
            raise Unmatched(f"could be of {_or(called)}, who are called the same")
        whose = f"is of {ranges.brief(claim.name)}" if claim.name else "has a path that names nobody"
        raise Unmatched(f"{whose}, who is not in the roster" if claim.name else whose)

    def _called(self, name: Words) -> list[str]:
        """Those who are called exactly so."""
        return [student for student in self.students if name and name in self.names[student]]

    def _by_a_part(self, parts: Iterable[Words]) -> tuple[str, str] | None:
        """Whose name, which is nobody else's, stands somewhere in the path; None if nobody's does.

        The longest one, so that Ann Lee Smith's file is not Ann Lee's.
        """
        often = Counter(name for forms in self.names.values() for name in forms)
        found: dict[str, int] = {}
        for student, forms in self.names.items():
            standing = [name for name in forms for part in parts if often[name] == 1 and stands_in(name, part)]
            found |= {student: max(len("".join(name)) for name in standing)} if standing else {}
        longest = [student for student, length in found.items() if length == max(found.values())]
        if len(longest) > 1:
            raise Unmatched(f"could be of {_or(longest)}, whose names all stand in its path")
        if not longest:
            return None
        others = [student for student in found if student != longest[0]]
        more = f"; the name of {ranges.first(others)} stands there too" if others else ""
        return longest[0], f"taken for {longest[0]}'s by a part of its path{more}"


def read(path: str | Path) -> Roster:
    """The roster in a file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no such table, names nobody, or somebody twice.
    """
    rows = _rows(Path(path))
    first_seen: dict[str, int] = {}
    names: dict[str, frozenset[Words]] = {}
    for line, row in rows:
        student = shown(row.get("student") or "")
        if not student:
            if any((value or "").strip() for value in row.values() if isinstance(value, str)):
                raise ValueError(f"{path}, line {line}: the column 'student' is empty: fill it in, or remove the line")
            continue
        if student in first_seen:
            raise ValueError(
                f"{path}: {ranges.brief(student)} stands in the lines {first_seen[student]} and {line}: "
                "name each student once, and those who are called the same by something else, such as an id"
            )
        first_seen[student] = line
        values = [value for value in row.values() if isinstance(value, str) and value.strip()]
        names[student] = frozenset(form for value in values for form in _forms(value))
    if not first_seen:
        raise ValueError(f"{path} names no student: {_WAY_OUT}")
    return Roster(tuple(first_seen), names)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Each line of the table, with its number; columns in small letters."""
    require_file(path, _WAY_OUT)
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has over {_MOST_BYTES:,} bytes, which no class needs: {_WAY_OUT}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error.reason}): save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)  # spreadsheets write the first, or the second where 1,5 is a number
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        columns = [column.strip().casefold() for column in next(reader, [])]
        if columns.count("student") != 1:
            seen = ", ".join(map(ranges.brief, columns[:8])) or "nothing"
            raise ValueError(f"{path} has the columns {seen}, and none or several called 'student': {_WAY_OUT}")
        return [(reader.line_num, dict(zip(columns, row))) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}): {_WAY_OUT}") from error


def _forms(value: str) -> Iterable[Words]:
    """How a name may stand in a path: its words in any rotation, because "Lovelace, Ada" is "Ada Lovelace", and the
    same written together, as Canvas does."""
    name = words(value)
    for at in range(len(name)):
        turned = name[at:] + name[:at]
        yield turned
        yield ("".join(turned),)


def _or(names: list[str]) -> str:
    return " or ".join(map(ranges.brief, names[:3])) + (" or others" if len(names) > 3 else "")
