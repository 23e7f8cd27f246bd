"""Low-rank adapters: the layer, its place in a model, and its form on disk.

What every adapter shares is handed on from `lora_lab.adapters`, under the same names.
"""

from lora_lab import adapters as _shared
from lora_lab.adapters import *  # noqa: F403
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.embedding import LoRAEmbedding
from lora_lab.lora.layers import LoRALinear
from lora_lab.lora.pissa import PiSSALinear

__all__ = ["LoRAConfig", "LoRAEmbedding", "LoRALinear", "PiSSALinear"]
__all__ += _shared.__all__
