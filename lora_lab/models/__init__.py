"""The base models of the course, one for each size of machine.

What loads them loads transformers, and is imported when it is first asked for: `models.limits` stays light.
"""

import importlib

from lora_lab.models.tiers import (
    SMOLLM2,
    TIERS,
    BaseName,
    Tier,
    TierName,
    choose_dtype,
    detect_tier,
    get_tier,
    tier_in_words,
)

TYPE_CHECKING = False  # as editors and mypy know it
if TYPE_CHECKING:
    from lora_lab.models.base import EMBEDDED_FOLDER, load, load_base, load_embedded
else:

    def __getattr__(name):
        if name in ("EMBEDDED_FOLDER", "load", "load_base", "load_embedded"):
            return getattr(importlib.import_module("lora_lab.models.base"), name)
        if name in ("base", "checksums", "from_gguf", "hub", "limits", "real"):
            return importlib.import_module(f"lora_lab.models.{name}")
        raise AttributeError(f"module 'lora_lab.models' has no attribute {name!r}")


__all__ = [
    "EMBEDDED_FOLDER",
    "SMOLLM2",
    "TIERS",
    "BaseName",
    "Tier",
    "TierName",
    "choose_dtype",
    "detect_tier",
    "get_tier",
    "load",
    "load_base",
    "load_embedded",
    "tier_in_words",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
