"""Keeps a server in its sandbox, and opens a pipe to a fresh process of it for each submission."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from lora_lab.grading import sandbox, server
from lora_lab.grading.isolation import Limits
from lora_lab.grading.remote import Session

START = 120  # seconds at most until torch is imported, on a busy machine
_ENDS = {6: "it aborted", 9: "its processor time or its memory is used up", 11: "it crashed"}
_SLOW = "The kernel allows no namespaces within the sandbox: each submission gets a sandbox of its own, and is slower."


class Host:
    """One server at a time, for one set of allowed rooms.

    Args:
        trusted: without a sandbox.
        nest: whether to try for one sandbox for all submissions, with walls within.
    """

    def __init__(self, trusted: bool, nest: bool = True):
        self.trusted, self.nest = trusted, nest
        self.allow: frozenset[str] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.nested = False
        self.told = False

    @contextlib.contextmanager
    def session(self, allow: frozenset[str], limits: Limits) -> Iterator[Session]:
        """A process for one submission; when this ends, it is gone, with all that it has started.

        Raises:
            NoSandbox: there is none on this machine, or it does not start.
        """
        mine, theirs = socket.socketpair()
        with mine:
            with theirs:  # the server's copy is the only one: none is left here, and each pipe serves one submission
                try:
                    control = self._server(allow)
                    socket.send_fds(control, [server.message(limits)], [theirs.fileno()])
                except OSError:  # it was killed since the last one, for lack of memory, say
                    self.close()
                    control = self._server(allow)
                    socket.send_fds(control, [server.message(limits)], [theirs.fileno()])
            session = Session(mine, limits)
            try:
                yield session
            finally:
                session.ended = self._end(control)

    def close(self) -> None:
        """End the server."""
        if self.control:
            self.control.close()
        if self.process:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.control = self.process = self.allow = None

    def _end(self, control: socket.socket) -> str | None:
        """End the submission's process; what it died of, if it did; None if the server is gone."""
        try:
            control.settimeout(START)
            control.sendall(b".")
            status = control.recv(1)
        except OSError:
            status = b""
        if not status or not (self.nested or self.trusted):  # what a submission leaves goes with its sandbox
            self.close()
        return _ENDS.get(status[0], "") if status else None

    def _server(self, allow: frozenset[str]) -> socket.socket:
        if self.control and self.allow == allow:
            return self.control
        self.close()
        mine, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        ends = allow, theirs.fileno()
        start = sandbox.without(*ends) if self.trusted else sandbox.command(*ends, self.nest)
        with theirs, tempfile.TemporaryFile() as errors:
            self.process = subprocess.Popen(
                start,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            self.control, self.allow = mine, allow
            theirs.close()
            mine.settimeout(START)
            try:
                said = mine.recv(7)
            except OSError:
                said = b""
            if said not in (b"nested\n", b"plain.\n"):
                self.close()
                errors.seek(0)
                raise sandbox.NoSandbox(sandbox.explained(errors.read(10_000).decode(errors="replace")))
        self.nested = said == b"nested\n"
        if not (self.nested or self.trusted or self.told):
            print(_SLOW, file=sys.stderr)
            self.told = True
        return mine
