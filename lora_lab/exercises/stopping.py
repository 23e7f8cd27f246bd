"""A stop that a learner reads as one sentence, without a traceback."""

from collections.abc import Iterable

from lora_lab import ranges


class Stopped(ValueError):
    """Shown by Jupyter as its sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def unknown(kind: str, name: object, known: Iterable[str]) -> Stopped:
    """The stop for a name that there is not, with those that are spelled like it."""
    near = ranges.near(name, known, most=3)
    return Stopped(f"no {kind} is named {ranges.brief(name)}" + f": did you mean {' or '.join(near)}?" * bool(near))


def say(sentence: str) -> None:
    """Print, whatever characters the place where it is read can show."""
    try:
        print(sentence)
    except UnicodeEncodeError:
        print(sentence.encode("ascii", "backslashreplace").decode())
