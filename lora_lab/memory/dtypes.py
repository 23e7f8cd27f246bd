"""Types of numbers by name and width: what counting bytes needs of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dtype:
    """One type.

    Attributes:
        name: in torch.
        itemsize: bytes of a value.
    """

    name: str
    itemsize: int


FLOAT32 = Dtype("float32", 4)
BFLOAT16 = Dtype("bfloat16", 2)
FLOAT16 = Dtype("float16", 2)
