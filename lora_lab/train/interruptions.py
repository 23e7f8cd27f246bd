"""Ctrl-C at a moment of one's own choosing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """A Ctrl-C within the block is raised behind it, so that the block is done whole; a second one is raised at once.

    Held back are the signals that would raise KeyboardInterrupt; a handler of somebody else is left alone. In another
    thread than the main one nothing is done, for there no signal is handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            signal.default_int_handler(number, frame)

    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.default_int_handler]
    try:
        for number in ours:
            signal.signal(number, note)
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt
