"""The verdict in one sentence: the command and the explorables say it in the same words."""

from collections.abc import Callable

from lora_lab.memory.gpus import GPU, answer, process_bytes
from lora_lab.units import GIB


def size(count: int) -> str:
    """Bytes in GiB, or in MiB below one."""
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def gib(count: int) -> str:
    """Bytes in GiB, however few: where every number stands in one unit."""
    return f"{count / GIB:.2f} GiB"


def verdict(
    tensor_bytes: int,
    room_bytes: int | None = None,
    room: str = "",
    gpu: GPU | None = None,
    amount: Callable[[int], str] = size,
) -> str:
    """Whether it fits, with the numbers, in one line.

    Args:
        tensor_bytes: the peak of all live tensors.
        room_bytes: what there is; None where nothing was asked, so that only the need is said.
        room: what that is, such as "usable on t4".
        gpu: whose, if it is a GPU's.
        amount: how bytes are written.
    """
    low, high = process_bytes(tensor_bytes, gpu)
    needs = f"{amount(tensor_bytes)} of tensors, {amount(low)} to {amount(high)} as a process"
    if room_bytes is None:
        return f"Needs {needs}."
    found = answer(tensor_bytes, room_bytes, gpu)
    unlikely = ", and unlikely" if found == "uncertain" and low > room_bytes else ""
    return f"{found.capitalize()}{unlikely}: {needs}, of {amount(room_bytes)} {room}."
