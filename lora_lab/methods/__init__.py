"""Methods beside LoRA, a short file each; `lora_lab.adapters` puts them in, uses, merges, saves and loads them."""

from lora_lab.methods.bitfit import BitFitConfig
from lora_lab.methods.ia3 import IA3Config, IA3Linear

__all__ = ["BitFitConfig", "IA3Config", "IA3Linear"]
