"""The course for a room without a network: which wheels it needs for which Pythons and platforms, and one zip of them.

targets -> selection (by shelf, which knows the indexes) -> packing -> contents -> writing; `install.py` goes into the
zip as it is, and installs it there.
"""

from lora_lab.classroom.contents import Pack
from lora_lab.classroom.targets import Target

__all__ = ["Pack", "Target"]
