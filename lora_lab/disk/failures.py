"""The system's errors as sentences that say what cannot be written, why, and what to do."""

import errno
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def errors_named(path: str | Path, numbers: Collection[int] = errno.errorcode) -> Iterator[None]:
    """Errors of the system with these numbers, as a sentence; errors that are sentences already have no number."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _hidden_number(error)
        if number not in numbers:
            raise
        raise _cannot_write(path, number) from error


def _hidden_number(error: Exception) -> int | None:
    """The system's number in an error of safetensors, which is no OSError and has it in its text."""
    number = re.search(r"(?:os error|code:) (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(number[1]) if number else None


def _cannot_write(path: str | Path, number: int | None) -> OSError:
    way_out = "free some space, or" if number in FULL else "close what uses it, or"
    return OSError(f"cannot write '{path}' ({os.strerror(number or 0)}): {way_out} choose another place")
