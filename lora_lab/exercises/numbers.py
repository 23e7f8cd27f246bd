"""An answer that must be a number is one."""

from numbers import Real

from torch import Tensor

from lora_lab.exercises.tasks import Wrong


def plain_number(found: object, where: str) -> float:
    """What an answer gave, as a float.

    Args:
        found: the answer's value.
        where: for what it was asked, as the sentence goes on: "for r = 8".

    Raises:
        Wrong: it is nothing, a truth value, a tensor or anything else that is no number.
    """
    if found is None:
        raise Wrong(f"yours gives None {where}, wanted a number: does every case reach a return?")
    if isinstance(found, bool) or not isinstance(found, Real):
        way_out = ": float() makes one of it" if isinstance(found, Tensor) else ""
        raise Wrong(f"yours gives {found!r} {where}, wanted a plain number{way_out}")
    return float(found)
