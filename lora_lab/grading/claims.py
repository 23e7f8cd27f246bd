"""Whose a file is, by the names that learning platforms give to files and folders.

    Moodle       Ada Lovelace_12345_assignsubmission_file_/01_svd.ipynb
    Canvas       lovelaceada_late_123_456_01_svd-1.ipynb
    Gradescope   submission_123/01_svd.ipynb
    by hand      alice/01_svd.ipynb, alice_01_svd (1).ipynb

The names of exercises are taken out before a name is looked for, so that "01_svd" is nobody's.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_\w+?(?:_|$)")
_CANVAS = re.compile(r"(?P<name>[^\W_]+)_(?P<late>late_)?(?P<id>\d{3,})_\d{3,}_.", re.IGNORECASE)
_GRADESCOPE = re.compile(r"submission_(?P<id>\d+)")
_COPY = re.compile(r"(?:[ _-]*\(\d+\)|[-_ ]+copy(?:[-_ ]*\d+)?)+$", re.IGNORECASE)  # "(1)", "-Copy1"

Words = tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """What a path says of whose it is.

    Attributes:
        name: as it stands there; empty if it names nobody.
        id: the platform's number for the person or the submission; empty without one.
        platform: "Moodle", "Canvas", "Gradescope" or "".
        late: whether the platform has marked the file as late.
        parts: the words of each folder, outermost first, and of the file, without those of the exercise.
    """

    name: str
    id: str = ""
    platform: str = ""
    late: bool = False
    parts: tuple[Words, ...] = ()


def read(path: str, level: int | None, exercises: Collection[str]) -> Claim:
    """What the path of a file says.

    Args:
        path: from the root of what was handed in.
        level: which of its folders, counted from the outermost, tells the students apart; None if no folder does.
        exercises: the names of exercises, such as "01_svd".
    """
    *folders, file = PurePosixPath(path).parts
    known = [words(each) for each in exercises]
    stem = _stem(file)
    parts = tuple(words(folder) for folder in folders) + (_without(words(stem), known),)
    for part in (*folders, file):
        if found := _MOODLE.match(part):
            return Claim(_tidy(found["name"]), found["id"], "Moodle", parts=parts)
        if found := _GRADESCOPE.fullmatch(part):
            return Claim(part, found["id"], "Gradescope", parts=parts)
    if found := _CANVAS.match(file):
        return Claim(found["name"], found["id"], "Canvas", bool(found["late"]), parts)
    own = folders[level : level + 1] if level is not None else []
    own += [_tidy(_cut(stem, known)), *folders]
    name = next((each for each in own if _without(words(each), known)), "")
    return Claim(_tidy(name), parts=parts)


def level_of(paths: Collection[str], exercises: Collection[str]) -> int | None:
    """Which of their folders, counted from the outermost, tells students apart: the one with the most names.

    None if all lie in the same folders: then the names of the files do.
    """
    known = [words(each) for each in exercises]
    folders = [PurePosixPath(path).parts[:-1] for path in paths]
    names: dict[int, list[str]] = {}
    for level in range(max(map(len, folders), default=0)):
        there = [each[level] for each in folders if len(each) > level]
        if set(there) != {there[0]} or len(there) < len(folders):  # what all have in common tells nobody apart
            names[level] = [name for name in set(there) if _without(words(name), known)]
    return max(names, key=lambda level: (len(names[level]), -level), default=None)


def words(text: str) -> Words:
    """The runs of letters and digits, of any script, in the form in which spellings of one name are equal."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = "".join(each if unicodedata.category(each)[0] in "LNM" else " " for each in folded)
    return tuple(plain.split())


def stands_in(few: Words, many: Words) -> bool:
    """Whether the words stand among the others, one after the other."""
    return bool(few) and any(many[at : at + len(few)] == few for at in range(len(many) - len(few) + 1))


def _without(many: Words, known: Collection[Words]) -> Words:
    """Words without the names of exercises."""
    for few in sorted(known, key=len, reverse=True):
        for at in range(len(many) - len(few) + 1):
            if few and many[at : at + len(few)] == few:
                many = many[:at] + many[at + len(few) :]
                break
    return many


def _stem(file: str) -> str:
    """A file's name without its ending and what a browser or an editor adds to a copy's."""
    return _COPY.sub("", file[: -len(".ipynb")] if file.casefold().endswith(".ipynb") else file)


def _cut(stem: str, known: Collection[Words]) -> str:
    """A file's name without that of an exercise, as far as it stands there as one piece; Canvas may add "-1" to it."""
    for few in sorted(known, key=len, reverse=True):
        pattern = r"[\W_]*".join(map(re.escape, few))
        if few and (found := re.search(rf"(?:^|[\W_]){pattern}(?:-\d{{1,2}}$|$|(?=[\W_]))", stem, re.IGNORECASE)):
            return f"{stem[: found.start()]} {stem[found.end() :]}"
    return stem


def _tidy(name: str) -> str:
    """A name without what joins it to others."""
    return unicodedata.normalize("NFC", " ".join(name.split()).strip(" _-.,")) or name
