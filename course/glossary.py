"""The glossary and the links to it: `glossary.md` is the one list of terms.

    python course/glossary.py              # which terms their first lesson does not link to yet, and where it could
    python course/glossary.py --link 06    # writes those links into the master of lesson 06 (then: course/build.py)

An entry is a paragraph `<a id="rank"></a>**rank**, r: what it is. (lesson [00](workbook/00_start_here.ipynb))`; entries
stand in the order of their terms. A master links to it as `[rank](../course/glossary.md#rank)`, where the lesson first
uses the word. Only a term that stands in the prose as in the glossary, in singular or plural, can be linked by the
script; the rest is for a writer.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path


COURSE = Path(__file__).resolve().parent
MASTERS = COURSE / "masters" / "lessons"
PATH = COURSE / "glossary.md"

_ENTRY = re.compile(
    r'<a id="(?P<anchor>[a-z0-9-]+)"></a>\*\*(?P<term>[^*]+)\*\*(?P<words>.+) '
    r"\(lesson \[(?P<number>\d\d)\]\((?P<link>workbook/\d\d_\w+\.ipynb)\)\)"
)
_LINK = re.compile(r"\]\(\.\./course/glossary\.md#([^)\s]*)\)")
_NOT_PROSE = re.compile(r"!?\[[^]]*\]\([^)]*\)|`[^`]*`|\$[^$]*\$|<[^>]*>|\*\*(?:Help|A first hint)[^*]*\*\*")


@dataclass(frozen=True)
class Term:
    """One entry: where a link leads, the word, what is said about it, the first lesson and the link to that lesson."""

    anchor: str
    term: str
    words: str
    number: str
    link: str


def terms(text: str | None = None) -> list[Term]:
    """The entries, in their order; ValueError for a paragraph that is none."""
    paragraphs = (PATH.read_text(encoding="utf-8") if text is None else text).split("\n\n")[2:]
    found = []
    for paragraph in paragraphs:
        match = _ENTRY.fullmatch(paragraph.strip())
        if match is None:
            raise ValueError(f"glossary.md: no entry, see course/glossary.py for the form: {paragraph.strip()[:80]!r}")
        found.append(Term(**match.groupdict()))
    return found


def linked() -> dict[str, list[str]]:
    """Anchor → the masters that link to it, in their order."""
    found: dict[str, list[str]] = {}
    for master in sorted(MASTERS.glob("[0-9][0-9]_*.py")):
        for anchor in _LINK.findall(master.read_text(encoding="utf-8")):
            found.setdefault(anchor, []).append(master.stem)
    return found


def missing() -> list[Term]:
    """The terms that their own lesson does not link to, as far as that lesson exists in the form of the course."""
    written = {master.stem for master in MASTERS.glob("[0-9][0-9]_*.py")}
    there, links = {name[:2] for name in written}, linked()
    return [term for term in terms() if term.number in there
            and term.number not in {name[:2] for name in links.get(term.anchor, [])}]  # fmt: skip


def first_use(lines: list[str], term: Term) -> tuple[int, int, int] | None:
    """Line, beginning and end of the word's first use in the prose of a master: what is not folded comes first."""
    word = re.compile(rf"(?<![\w-]){re.escape(term.term)}(?:s|es)?(?![\w-])", 0 if term.term[0].isupper() else re.I)
    prose = folded = False
    later = None
    for number, line in enumerate(lines):
        if line.startswith("# %%"):
            prose, folded = "[markdown]" in line, "hint:" in line
            continue
        folded_here = folded or "<details>" in line
        folded = (folded or "<details>" in line) and "</details>" not in line
        if not prose or not line.startswith("# ") or line.startswith("# #"):
            continue
        plain = _NOT_PROSE.sub(lambda match: "\0" * len(match[0]), line)
        if match := word.search(plain, 2):
            if not folded_here:
                return number, *match.span()
            later = later or (number, *match.span())
    return later


def link(number: str) -> list[str]:
    """Write the missing links of one lesson into its master; return the terms that it does not use word for word."""
    (master,) = MASTERS.glob(f"{number}_*.py")
    lines, left = master.read_text(encoding="utf-8").split("\n"), []
    for term in (each for each in missing() if each.number == number):
        place = first_use(lines, term)
        if place is None:
            left.append(term.term)
            continue
        at, begin, end = place
        address = f"../course/glossary.md#{term.anchor}"
        lines[at] = f"{lines[at][:begin]}[{lines[at][begin:end]}]({address}){lines[at][end:]}"
    master.write_text("\n".join(lines), encoding="utf-8")
    return left


def main(arguments: list[str]) -> int:
    """The command line: 1 if a link is missing."""
    if arguments[:1] == ["--link"]:
        for number in arguments[1:]:
            for term in link(number):
                print(f"lesson {number}: {term!r} does not stand there word for word; link it by hand")
    for term in missing():
        (master,) = MASTERS.glob(f"{term.number}_*.py")
        place = first_use(master.read_text(encoding="utf-8").split("\n"), term)
        where = f", line {place[0] + 1}" if place else ""
        print(f"{master.stem}{where}: link [{term.term}](../course/glossary.md#{term.anchor})")
    return int(bool(missing()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
