"""Models without weights, and checkpoints of one file."""

from collections.abc import Callable
from pathlib import Path

import accelerate
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig


def empty(config: PreTrainedConfig | Path, kind: type | None = None) -> nn.Module:
    """A model built without weights, as accelerate does, from a config or the folder of one: buffers have values."""
    if isinstance(config, Path):
        config = AutoConfig.from_pretrained(config)
    with accelerate.init_empty_weights():
        return (kind(config) if kind else AutoModelForCausalLM.from_config(config)).eval()


def on_meta(config: PreTrainedConfig) -> nn.Module:
    """A model of which nothing has values."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def edit(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """Change the tensors of a checkpoint of one file."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder
