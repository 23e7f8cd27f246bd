"""What a command prints never costs its result: not for want of an encoding, of a reader, of a terminal or of a disk.

A command that trained for an hour must save what it trained although nobody reads what it prints. So, while it runs,
what an encoding lacks is replaced by "?", and what a stream does not take goes to the null device.
"""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Lasting:
    """A text stream whose `write`, `writelines` and `flush` cannot fail.

    Attributes:
        failure: the first error of the stream below, but that its reader went away, as `head` does; None if there was
            none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = _null() if stream is None or stream.closed else stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, as far as the stream allows."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self.write(text.encode(encoding, "replace").decode(encoding))
        except OSError as error:
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each, as far as the stream allows."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, as far as the stream allows."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # of a copy that is just being made, and has nothing yet
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        """From now on everything goes to the null device, what the stream still holds and flushes at the exit too."""
        if error.errno != errno.EPIPE:
            self.failure = self.failure or error
        try:
            number = self._stream.fileno()
        except (OSError, AttributeError):  # no file, but one of Python's objects
            self._stream = _null()
            return
        with _null() as null:
            os.dup2(null.fileno(), number)


@contextmanager
def lasting_output() -> Iterator[Lasting]:
    """Within the block stdout, which is yielded, and stderr are `Lasting`."""
    _occupy_standard_descriptors()
    before = sys.stdout, sys.stderr
    out, err = Lasting(sys.stdout), Lasting(sys.stderr)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _occupy_standard_descriptors() -> None:
    """Where a shell closed one (`>&-`), the next file that is opened would get its number, and what a library prints
    there would land in a model's file."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")
