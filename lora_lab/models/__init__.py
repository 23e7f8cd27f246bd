"""The base models of the course, one for each size of machine."""

from lora_lab.models.base import EMBEDDED_FOLDER, load_base, load_embedded
from lora_lab.models.tiers import TIERS, Tier, choose_dtype, detect_tier, get_tier

__all__ = ["EMBEDDED_FOLDER", "TIERS", "Tier", "choose_dtype", "detect_tier", "get_tier", "load_base", "load_embedded"]
