"""Record how the weights of a real model lie in their blocks: counts, never the weights themselves.

    python course/records/histogram.py FOLDER    # of SmolLM2-135M-Instruct; writes lora_lab/records/histogram.json

Each weight of a linear layer is divided by the largest magnitude of its block of 64, as block-wise quantization does,
and counted in 101 cells from -1 to 1. These weights came through Q4_1, a 4-bit format with blocks of 32: the record
shows their shape, and must not be used to compare 4-bit formats, one of which they have been through already.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from lora_lab import records
from lora_lab.commands import machine
from lora_lab.disk import write_json

BLOCK, CELLS = 64, 101
PLACES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def counts(weight: Tensor) -> Tensor:
    """Weights in each of the cells from -1 to 1, int64 [CELLS], after division by their block's absmax."""
    blocks = weight.float().reshape(-1, BLOCK)
    scaled = blocks / blocks.abs().amax(dim=1, keepdim=True).clamp_min(1e-30)
    cells = ((scaled + 1) / 2 * CELLS).long().clamp(0, CELLS - 1)
    return torch.bincount(cells.flatten(), minlength=CELLS)


def measure(folder: Path) -> dict[str, Any]:
    """The counts over all linear layers, and how far the weights reach in standard deviations of their matrix."""
    total, weights, farthest = torch.zeros(CELLS, dtype=torch.int64), 0, 0.0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if name.endswith(".weight") and name.split(".")[-2] in PLACES:
                    weight = file.get_tensor(name).float()
                    total += counts(weight)
                    weights += weight.numel()
                    farthest = max(farthest, float(weight.abs().max() / weight.std()))
    return {"weights": weights, "farthest": round(farthest, 1), "counts": total.tolist()}


def main() -> None:
    """Count, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the model's safetensors")
    found = measure(parser.parse_args().folder)
    if not found["weights"]:
        parser.error("no linear layers of a Llama in *.safetensors there")
    header = {"model": "SmolLM2-135M-Instruct", "origin": "Q4_1", "block": BLOCK, "machine": machine.describe()}
    write_json(records.FOLDER / "histogram.json", {**header, "rows": [found]})


if __name__ == "__main__":
    main()
