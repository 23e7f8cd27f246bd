"""The process in the sandbox that has imported torch, and forks one process for each submission.

It never runs a student's code, and what it forks cannot reach it: not its pipe, which is closed there, not its memory,
and, where the kernel allows namespaces within the sandbox, not even its number.
"""

import dataclasses
import gc
import importlib
import json
import os
import select
import signal
import socket
from typing import Any

from lora_lab.grading import isolation, syscalls
from lora_lab.grading.isolation import Limits

_LOOK = 0.2  # seconds between two looks at the memory


def main(descriptor: int, options: str) -> None:
    """Serve until the judge hangs up.

    Args:
        descriptor: of the pipe to the judge.
        options: JSON: `allow`, rooms of the library; `sandboxed`, whether there is a sandbox around; `nest`, whether
            to try for namespaces within it.
    """
    isolation.hide()
    control = socket.socket(fileno=descriptor)
    settings = json.loads(options)
    import torch

    torch.set_num_threads(1)
    torch.ones(8).half()  # looks once at what the processor can, in places that a submission does not see
    rooms = [f"lora_lab.{room}" for room in settings["allow"]]
    for module in ("torch.fx.experimental.symbolic_shapes", "numpy.ctypeslib", "lora_lab.grading.worker", *rooms):
        importlib.import_module(module)  # once, not in each submission: the first is what a first backward imports
    gc.collect()
    gc.freeze()  # else each child copies every page that its collector touches
    nested = settings["nest"] and _nested()
    control.sendall(b"nested\n" if nested else b"plain.\n")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        told, tell = os.pipe()
        supervisor = os.fork()
        if not supervisor:
            try:
                control.close()
                os.close(tell)
                _supervise(descriptors[0], told, Limits(**json.loads(message)), settings, nested)
            finally:
                os._exit(0)
        os.close(descriptors[0])
        os.close(told)
        control.recv(1)  # the judge has done with this submission, or is gone itself
        os.close(tell)
        _, status = os.waitpid(supervisor, 0)
        control.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))


def _nested() -> bool:
    """Whether each submission can have its own namespaces: the whole way, once, with nobody in them."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    status = 1
    try:
        isolation.enter_namespaces()
        first = os.fork()
        if not first:
            isolation.furnish(Limits())
            os._exit(0)
        status = os.waitpid(first, 0)[1]
    finally:
        os._exit(int(status != 0))


def _supervise(pipe: int, told: int, limits: Limits, settings: dict[str, Any], nested: bool) -> None:
    """Start the submission's process; end it when it takes too much memory, or the server says so or is gone."""
    if nested:
        isolation.enter_namespaces()
    processes = os.open("/proc", os.O_RDONLY) if settings["sandboxed"] else -1
    own = set(os.listdir(processes)) if settings["sandboxed"] else set()
    child = os.fork()
    if not child:
        try:
            _run(pipe, limits, settings, nested)
        finally:
            os._exit(0)
    os.close(pipe)
    while not select.select([told], [], [], _LOOK)[0]:
        if settings["sandboxed"]:
            seconds, memory = isolation.used(processes, own)
            if seconds > 2 * limits.cpu or memory > limits.memory:
                break
    found, status = os.waitpid(child, os.WNOHANG)
    if not found:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)  # returns when all that it left is gone
    os._exit(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)


def _run(pipe: int, limits: Limits, settings: dict[str, Any], nested: bool) -> None:
    """All walls, then the student's code."""
    os.setsid()
    isolation.silence()
    os.dup2(pipe, 3)
    os.closerange(4, 65536)
    if nested:
        isolation.furnish(limits)
    isolation.forget_keys()
    os.chdir("/tmp")
    isolation.limit(limits)
    if settings["sandboxed"]:
        syscalls.forbid()
    from lora_lab.grading.worker import Worker

    Worker(socket.socket(fileno=3), settings["allow"]).serve()


def message(limits: Limits) -> bytes:
    """What the judge sends beside the pipe of a submission."""
    return json.dumps(dataclasses.asdict(limits)).encode()
