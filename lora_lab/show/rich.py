"""What a cell shows: HTML for the eye, and the same as text for screen readers, terminals and comparisons."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Rich:
    """Something shown as `html` in a notebook and as `text` everywhere else."""

    html: str
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text

    def display(self) -> None:
        """Show it now: as a cell's output in Jupyter, as plain text in a terminal."""
        if sys.modules.get("IPython"):  # always so inside a kernel; IPython itself is no requirement
            from IPython.display import display

            display(self)
        else:
            print(self.text)
