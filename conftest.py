"""What every pytest run in this repository needs, for tests and for notebooks under nbval.

- Where two workers share the machine, each computes on one thread; kernels that they start inherit that.
- Where there is no GPU, Triton's kernels run in its interpreter, which it decides when it is imported.
- No progress is kept, and the real model's lessons run on the embedded base: no result depends on a user's files.
- No property has a deadline, which a busy neighbour would break.
- Ctrl-C is heard: a shell ignores it for what it starts in the background, and so would every process of a test.
- Notebooks compute as they did when they were built: sums in one order, whatever the processor could do besides.
- A notebook whose kernel dies fails within seconds. nbval alone would wait out the whole cell timeout.
- A kernel that dies as it starts is started again: two that start at once may have drawn the same port.
- What a system cannot even import is not collected there: the grader on Windows, the kernels where there is no Triton.
"""

import importlib.util
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

from hypothesis import settings
from nbval import kernel as nbval_kernel
from nbval.kernel import RunningKernel
from pytest import Config

collect_ignore = [] if importlib.util.find_spec("triton") else ["lora_lab/quant/kernels/cuda.py"]
collect_ignore_glob = [] if hasattr(os, "fork") else ["lora_lab/grading/*", "tests/grading/*", "tests/hostile/*"]

POLL_SECONDS = 1.0
STARTS = 3

settings.register_profile("lora_lab", deadline=None)
settings.load_profile("lora_lab")

# Kernels that are started inherit it.
os.environ.update(LORA_LAB_PROGRESS="off", LORA_LAB_MODEL="embedded", LORA_LAB_KERNELS="quiet")

if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # before torch is imported, which reads them once

if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not Path("/proc/driver/nvidia").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_configure(config: Config) -> None:
    """Kernels that nbval starts inherit it; tests of the library run as the processor can."""
    if config.getoption("nbval", default=False):
        from lora_lab.authoring.execution import pin

        pin()


def _await_reply(kernel: RunningKernel, message: str, timeout: float | None = None) -> None:
    """Wait for the reply to `message` in short steps, and look in between whether the kernel still lives.

    Raises:
        queue.Empty: no reply within `timeout` seconds; nbval then interrupts the cell.
        RuntimeError: the kernel died or refused the request.
    """
    deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
    while time.monotonic() < deadline:
        try:
            reply: dict[str, Any] = kernel.get_message(stream="shell", timeout=POLL_SECONDS)
        except Empty:
            if not kernel.is_alive():
                raise RuntimeError("the kernel died while it ran this cell") from None
            continue
        if reply["parent_header"].get("msg_id") == message:
            if reply["content"]["status"] == "aborted":
                raise RuntimeError("the kernel refused to run this cell")
            return
    raise Empty


def _start_new_kernel(*args: Any, **options: Any) -> Any:
    for _ in range(STARTS - 1):
        with suppress(RuntimeError):  # it died, or did not answer in time
            return _start_once(*args, **options)
    return _start_once(*args, **options)


_start_once = nbval_kernel.start_new_kernel
nbval_kernel.start_new_kernel = _start_new_kernel
RunningKernel.await_reply = _await_reply
