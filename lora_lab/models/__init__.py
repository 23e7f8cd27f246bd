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
    from lora_lab.models.export import save_merged
    from lora_lab.models.room import free
    from lora_lab.models.to_gguf import save_gguf
else:
    _MODULES = {
        "EMBEDDED_FOLDER": "base",
        "free": "room",
        "load": "base",
        "load_base": "base",
        "load_embedded": "base",
        "save_gguf": "to_gguf",
        "save_merged": "export",
    }

    def __getattr__(name):
        if name in _MODULES:
            return getattr(importlib.import_module(f"lora_lab.models.{_MODULES[name]}"), name)
        if name in (
            "answers",
            "base",
            "checksums",
            "export",
            "from_gguf",
            "hub",
            "limits",
            "real",
            "refusals",
            "room",
            "to_gguf",
        ):
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
    "free",
    "get_tier",
    "load",
    "load_base",
    "load_embedded",
    "save_gguf",
    "save_merged",
    "tier_in_words",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
