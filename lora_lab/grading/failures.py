"""What the student's code raised, as the judge meets it: told by the worker, and so no more than words."""

import builtins
from collections.abc import Mapping
from typing import Any

_EXPECTED = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and name not in ("StopIteration", "StopAsyncIteration")
    and not name.startswith("Unicode") and not issubclass(kind, BaseExceptionGroup)
}  # fmt: skip


class Failed(Exception):
    """The student's code raised; also of the exception's own kind, if that is one of Python's."""

    def __init__(self, kind: str, message: str, line: int | None, source: str):
        super().__init__(message)
        self.kind, self.line, self.source = kind, line, source

    def __str__(self) -> str:
        return str(self.args[0])

    def in_words(self) -> str:
        what = f"{self.kind}: {self}"
        if self.line is None:
            return f"what your code gave could not be used ({what})"
        quoted = f" ({self.source})" if self.source else ""
        return f"your code stopped in line {self.line} of its cell{quoted}: {what}"


def failed_by(error: Mapping[str, Any]) -> Failed:
    """The exception that a worker's words describe; a check may expect it by its kind."""
    kind, message, line, source = (error[key] for key in ("type", "message", "line", "source"))
    kind = kind if isinstance(kind, str) and kind.isidentifier() and len(kind) < 60 else "Exception"
    base = next((_EXPECTED[name] for name in error.get("kinds", ()) if name in _EXPECTED), None)
    made = type(kind, (Failed, base), {}) if base else Failed
    return made(kind, _text(message), line if type(line) is int else None, _text(source or ""))


def _text(value: object) -> str:
    """One printable line of at most 300 characters."""
    text = value if isinstance(value, str) else ""
    return "".join(each if each.isprintable() else " " for each in text[:300]).strip()
