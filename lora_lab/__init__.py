"""LoRA, quantization and QLoRA, each idea implemented once and readable.

`import lora_lab` alone is light; the rooms are imported by name:

    from lora_lab import lowrank, lora, quant, memory, data, models, train, show
"""

__version__ = "0.1.0"  # the only place: pyproject.toml reads it from here
