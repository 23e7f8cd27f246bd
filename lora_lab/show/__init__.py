"""Figures and tables as the course shows them: with alt text, in colours that everybody can tell apart."""

from lora_lab.show.figures import (
    BLUE,
    CONTEXT,
    GREEN,
    ORANGE,
    PALETTE,
    POINT,
    PURPLE,
    SKY,
    VERMILLION,
    figure,
    picture,
    style,
)
from lora_lab.show.rich import Rich
from lora_lab.show.tables import table, tabulate

__all__ = ["BLUE", "CONTEXT", "GREEN", "ORANGE", "PALETTE", "POINT", "PURPLE", "SKY", "VERMILLION", "Rich",
           "figure", "picture", "style", "table", "tabulate"]
