"""An end for a check that itself hangs, on a huge value, say: no deadline of the pipe ends the judge's own code.

Twice: an exception in the thread that checks, which ends whatever is written in Python; and, where that is stuck in C
with the interpreter's lock, the end of the process, by a thread that needs no lock. Only who has processes to spare
asks for the second: a pool starts another, and goes on with the next submission.
"""

import contextlib
import ctypes
import faulthandler
import os
import threading
from collections.abc import Iterator


class Hangs(BaseException):
    """A check has not come to an end; no Exception, so that no check takes it for one of the answer's."""


@contextlib.contextmanager
def within(seconds: float, end_process: float | None = None) -> Iterator[None]:
    """Around what must end.

    Args:
        seconds: after which `Hangs` is raised in this thread, at the next step of its Python code.
        end_process: seconds after which the process ends; never if None.

    Raises:
        Hangs: it did not end.
    """
    thread, lock = ctypes.c_ulong(threading.get_ident()), threading.Lock()
    over = False

    def interrupt() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Hangs))

    alarm = threading.Timer(seconds, interrupt)
    alarm.daemon = True
    with contextlib.ExitStack() as stack:
        if end_process is not None:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            faulthandler.dump_traceback_later(end_process, exit=True, file=nowhere)
            stack.callback(faulthandler.cancel_dump_traceback_later)
        alarm.start()
        try:
            yield
        finally:
            with lock:
                over = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # one that is raised, and not yet here
            alarm.cancel()
