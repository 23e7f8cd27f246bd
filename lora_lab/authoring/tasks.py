"""What the learner does in one cell: guesses, a turn to type, and the hints for it.

A guess is a line of a cell tagged `guess:NAME`; what it reveals may go on in comments that begin with a bar:

    energy = 40     #? directions of 192 | 192: full rank sounds as if all were needed | 16: the rank that papers use

A turn is a cell tagged `turn:NAME`; what stands between its markers is for the learner to type:

    def lora_forward(self, x):
        #> the base's output plus the scaled update
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
        #<

What is malformed is refused by its name and the line of the master.
"""

import ast
import math
import re
from dataclasses import dataclass, field

from lora_lab.authoring.gaps import Gap, blank, fill
from lora_lab.authoring.percent import Cell

_GUESS = re.compile(r"(?P<name>\w+) = (?P<value>[^#]*?)\s*#\?(?P<words>.*)")
_GOES_ON = re.compile(r"#\s*\|")
_HINT = re.compile(r"\*\*(?P<label>(?:(?!\*\*).)+)\*\* (?P<text>\S.*)", re.DOTALL)
_FACTS = re.compile(r"difficulty ([1-5]) of 5 · importance ([1-5]) of 5 · (\d+) minutes(?: · (\d+) points?)?")
_NEXT_HINT = re.compile(r"\n\n(?=\*\*(?:(?!\*\*).)+\*\* \S)")


@dataclass(frozen=True)
class Guess:
    """A prediction: its question, the notebook's honest guess, two or more typical wrong values and what they reveal.

    Polls part what was measured from the first two.
    """

    name: str
    question: str
    value: float
    wrong: tuple[tuple[float, str], ...]
    gap: Gap
    section: int | None


@dataclass(frozen=True)
class Hint:
    """A bold label, such as "Help, I get a shape error.", and what it unfolds to."""

    label: str
    text: str


@dataclass
class Turn:
    """What the learner types: the gaps of a cell, the whole cell solved and with its stubs, and its hints."""

    name: str
    solution: str
    stub: str
    gaps: tuple[Gap, ...]
    section: int | None
    hints: list[Hint] = field(default_factory=list)


@dataclass(frozen=True)
class Stated:
    """What is asked in an exercise: its heading, difficulty and importance from 1 to 5, minutes, and points."""

    name: str
    title: str
    difficulty: int
    importance: int
    minutes: int
    points: int


def names(cell: Cell, kind: str) -> list[str]:
    """What follows the colon in a cell's tags of one kind: the names of its guesses, its minutes, …"""
    return [tag.partition(":")[2] for tag in cell.tags if tag.partition(":")[0] == kind]


def refused(cell: Cell, sentence: str, offset: int = 0) -> ValueError:
    """The error that says where in the master something is malformed."""
    return ValueError(f"line {cell.line + offset}: {sentence}")


def hints(cell: Cell) -> list[Hint]:
    """The hints of a cell: each begins with its label in bold and goes on to the next one.

    Raises:
        ValueError: the first has no label, or a text holds a fold of its own.
    """
    found = []
    for part in _NEXT_HINT.split(cell.source):
        match = _HINT.fullmatch(part)
        if match is None or "\n" in match["label"]:
            raise refused(cell, "a hint begins with its label in bold and a space, as in '**A first hint.** Text'")
        if re.search("</?(details|summary)", part):
            raise refused(cell, "a hint becomes a fold and cannot hold another: leave <details> to the build")
        found.append(Hint(match["label"], match["text"]))
    return found


def stated(cell: Cell, name: str) -> Stated:
    """The statement of a task.

    Raises:
        ValueError: it does not begin with its heading and the line of facts.
    """
    heading, *rest = [line for line in cell.source.split("\n") if line.strip()]
    facts = _FACTS.fullmatch(rest[0]) if rest else None
    if not heading.startswith("## ") or facts is None:
        such_as = "'difficulty 2 of 5 · importance 4 of 5 · 10 minutes' (and ' · 3 points', if it is not 1)"
        raise refused(cell, f"task:{name} begins with '## ' and its heading, then a line such as {such_as}")
    difficulty, importance, minutes, points = (int(each or 1) for each in facts.groups())
    return Stated(name, heading.removeprefix("## ").strip(), difficulty, importance, minutes, points)


def guesses(cell: Cell, section: int | None) -> list[Guess]:
    """The guesses of a cell, from top to bottom; ValueError for a malformed one."""
    tagged = names(cell, "guess")
    lines = cell.source.split("\n") if cell.kind == "code" else []
    found = []
    for number, line in enumerate(lines):
        if "#?" in line:
            more = _going_on(lines[number + 1 :])
            found.append(_guess([line, *more], section, cell, number))
    by_name = {guess.name: guess for guess in found}
    if surplus := [name for name in by_name if name not in tagged]:
        raise refused(cell, f'the guess {surplus[0]!r} is not named in the tags of its cell: add "guess:{surplus[0]}"')
    if missing := [name for name in tagged if name not in by_name]:
        raise refused(cell, f"guess:{missing[0]} has no line '{missing[0]} = VALUE  #? QUESTION | WRONG: … | WRONG: …'")
    if len(by_name) < len(found):
        raise refused(cell, "a guess stands there twice")
    return found


def _going_on(lines: list[str]) -> list[str]:
    end = next((number for number, line in enumerate(lines) if not _GOES_ON.match(line)), len(lines))
    return lines[:end]


def _guess(lines: list[str], section: int | None, cell: Cell, number: int) -> Guess:
    match = _GUESS.fullmatch(lines[0])
    if match is None:
        raise refused(cell, "a guess is a line 'NAME = NUMBER  #? QUESTION | WRONG: … | WRONG: …'", number)
    name = match["name"]
    words = " ".join([match["words"], *(line.lstrip("# ") for line in lines[1:])])
    question, *wrong = [part.strip() for part in words.split("|")]
    value = _number(match["value"])
    if value is None:
        raise refused(cell, f"guess {name!r}: {match['value']!r} is no number", number)
    if not question:
        raise refused(cell, f"guess {name!r}: say after '#?' what is guessed, or in what unit", number)
    pairs = [(_number(each.partition(":")[0]), each.partition(":")[2].strip()) for each in wrong]
    typical = tuple((number, words) for number, words in pairs if number is not None and words)
    if len(pairs) < 2 or len({value for value, _ in typical}) < len(pairs):
        two = "two or more wrong values, all different"
        raise refused(cell, f"guess {name!r} wants {two}, each 'NUMBER: what it reveals'", number)
    gap = Gap(f"{name} = ...  # {question}", "\n".join(lines))
    return Guess(name, question, value, typical, gap, section)


def _number(text: str) -> float | None:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None


def turn(cell: Cell, name: str, section: int | None) -> Turn:
    """What the learner types in a cell; ValueError if it is malformed."""
    if names(cell, "guess"):
        raise refused(cell, f"turn:{name}: guess in a cell of its own")
    found: list[Gap] = []
    solution: list[str] = []
    opened: list[str] = []  # the lines of the gap that is open
    lines = cell.source.split("\n")
    for number, line in enumerate(lines):
        if line.strip().startswith("#>"):
            if opened:
                raise refused(cell, f"turn {name!r}: a second '#>' before '#<'", number)
            opened = [line]
        elif line.strip() == "#<":
            if len(opened) < 2:
                raise refused(cell, f"turn {name!r}: '#<' without '#>' and a solution above it", number)
            if _indent(line) != _indent(opened[0]):
                raise refused(cell, f"turn {name!r}: '#>' and '#<' are indented alike", number)
            found.append(Gap(_stub(opened, name), "\n".join([*opened, line])))
            solution += opened[1:]
            opened = []
        elif opened:
            opened.append(line)
        else:
            solution.append(line)
    if opened or not found:
        raise refused(cell, f"turn {name!r}: what the learner types stands between '#>' and '#<'")
    typed = Turn(name, "\n".join(solution), blank(cell.source, found), tuple(found), section)
    _refuse_stub(cell, typed)
    return typed


def _stub(opened: list[str], name: str) -> str:
    """The words of the marker as a comment, and `...`: `NAME = ...` where the learner is to give that name a value."""
    indent, words = _indent(opened[0]), opened[0].strip().removeprefix("#>").strip()
    gives = any(re.match(rf"{name}\s*(:[^=]*)?=[^=]", line) for line in opened[1:])
    lines = [f"{indent}# {words}"] * bool(words) + [f"{name} = ..." if gives else f"{indent}..."]
    return "\n".join(lines)


def _refuse_stub(cell: Cell, turn: Turn) -> None:
    """The cell with its stub is Python that gives the name a meaning and does not use it yet."""
    for what, text in (("its solution", turn.solution), ("its stub", turn.stub)):
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise refused(cell, f"turn {turn.name!r}: with {what} the cell is no Python: {error.msg}") from None
    if fill(turn.stub, turn.gaps) != cell.source:
        raise refused(cell, f"turn {turn.name!r}: a line like its stub stands above '#>': give the marker words")
    given = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.ClassDef)}
    statements = [each for each in tree.body if not isinstance(each, ast.FunctionDef | ast.ClassDef)]
    inner = [node for statement in statements for node in ast.walk(statement)]
    given |= {node.id for node in inner if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    if turn.name not in given:
        raise refused(cell, f"turn {turn.name!r}: its cell defines no {turn.name!r}")
    if any(isinstance(node, ast.Call) and getattr(node.func, "id", "") == turn.name for node in inner):
        raise refused(cell, f"turn {turn.name!r} is called in its own cell: call it after the check")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
