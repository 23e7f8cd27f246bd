"""Messages over the pipe between judge and worker: a length, JSON, safetensors. Nothing that could run code.

Both ends use this file, but only the judge depends on it being followed: it caps what it reads before it reads it, and
whatever does not decode is a `Refused`, with a sentence.
"""

import json
import socket
import struct
import time
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

FRAME = 64 * 2**20  # bytes of one message
TEXT = 8 * 2**20  # of which JSON: small numbers and brackets take ten times as much once decoded
_LENGTHS = struct.Struct("<II")

Header = dict[str, Any]


class Refused(Exception):
    """What came over the pipe breaks its rules; the sentence says which."""


class Ended(Exception):
    """The other end is gone."""


class TooLate(Exception):
    """The other end has not answered in time."""


def send(pipe: socket.socket, header: Header, tensors: dict[str, Tensor], deadline: float | None = None) -> None:
    """Send one message.

    Raises:
        Refused: it is larger than `FRAME`.
        Ended, TooLate: nobody takes it.
    """
    text = json.dumps(header).encode()  # ASCII: what is no Unicode, such as half a surrogate pair, is escaped
    blob = safetensors.torch.save(tensors) if tensors else b""
    if len(text) > TEXT or len(text) + len(blob) > FRAME:
        raise Refused(f"a value of {len(text) + len(blob):,} bytes: at most {FRAME:,} fit, {TEXT:,} without tensors")
    try:
        pipe.settimeout(_left(deadline))
        pipe.sendall(_LENGTHS.pack(len(text), len(blob)) + text + blob)
    except TimeoutError:
        raise TooLate from None
    except OSError:
        raise Ended from None


def receive(pipe: socket.socket, deadline: float | None = None) -> tuple[Header, dict[str, Tensor]]:
    """The next message.

    Args:
        pipe: a connected stream.
        deadline: of `time.monotonic`, for the whole message: one byte a second does not prolong it.

    Raises:
        Refused: it is larger than `FRAME`, or no JSON object and safetensors.
        Ended, TooLate: it does not come.
    """
    of_text, of_blob = _LENGTHS.unpack(_read(pipe, _LENGTHS.size, deadline))
    if of_text > TEXT or of_text + of_blob > FRAME:  # before a byte of it is read
        raise Refused(f"a message of {of_text + of_blob:,} bytes: at most {FRAME:,} are read")
    text, blob = _read(pipe, of_text, deadline), _read(pipe, of_blob, deadline)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):  # RecursionError: a million brackets
        raise Refused("a message that is no JSON") from None
    if not isinstance(header, dict):
        raise Refused("a message that is no JSON object")
    try:
        return header, safetensors.torch.load(bytes(blob)) if blob else {}
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("a message whose tensors are no safetensors") from None


def _read(pipe: socket.socket, count: int, deadline: float | None) -> bytearray:
    found = bytearray()
    try:
        while len(found) < count:
            pipe.settimeout(_left(deadline))
            part = pipe.recv(min(count - len(found), 2**20))
            if not part:
                raise Ended
            found += part
    except TimeoutError:
        raise TooLate from None
    except OSError:
        raise Ended from None
    return found


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
