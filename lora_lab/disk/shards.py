"""Checkpoints on disk, read one tensor at a time.

    model.safetensors                                          one file, or
    model.safetensors.index.json, model-00001-of-00003.safetensors, …     shards, and which of them holds what

The headers tell the name, shape and dtype of every tensor. They are read first, so that a checkpoint that does not fit
is refused before any weight is read. Nothing on disk is executed: only JSON and safetensors are read.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lora_lab.disk.documents import read_json
from lora_lab.ranges import first

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
AGAIN = "download or write the checkpoint again"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U8": torch.uint8,
    "I8": torch.int8,
}
"""safetensors' names of the dtypes that are of interest here; other tensors can be read all the same."""


@dataclass(frozen=True)
class Header:
    """What a file tells of a tensor before it is read: its file, its shape, and its dtype as safetensors names it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int | None:
        """Bytes of the tensor, where `DTYPES` has its dtype."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize if self.dtype in DTYPES else None


class Checkpoint:
    """The tensors of a folder by name.

    Attributes:
        folder: where they are.
        headers: of every tensor, shard after shard.

    Raises:
        FileNotFoundError: if the folder has neither `model.safetensors` nor an index.
        ValueError: if a file is damaged, a shard is absent, or a shard holds other tensors than the index says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.headers: dict[str, Header] = {}
        for file, names in shards(self.folder).items():
            headers = _headers(file)
            if names is not None and (differing := names ^ headers.keys()):
                raise ValueError(
                    f"{file} and {INDEX} do not belong together, they differ in {first(sorted(differing))}: {AGAIN}"
                )
            self.headers |= headers

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, in memory of its own; nothing here keeps it.

        What safetensors hands out is a view of the file: it would change when somebody writes over the file, and as
        long as the file is open, all that was read of it counts as memory in use.

        Raises:
            ValueError: if its file is damaged.
        """
        file = self.headers[name].file
        try:
            with safe_open(file, framework="pt") as opened:
                return opened.get_tensor(name).clone()
        except SafetensorError as error:
            raise damaged(file, error) from error


def damaged(path: Path, reason: object) -> ValueError:
    """The error for a file that cannot be what it says."""
    return ValueError(f"{path} is damaged ({reason}): {AGAIN}")


def shards(folder: Path) -> dict[Path, set[str] | None]:
    """Each file, with the names that it must hold where an index says so.

    Raises:
        FileNotFoundError, ValueError: as `Checkpoint`; no file of weights is opened.
    """
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: None}
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"no {WEIGHTS} and no {INDEX} in {folder}: give the folder of a safetensors checkpoint "
            "(pickled .bin files are not read, because reading them can run code)"
        )
    weight_map = read_json(folder / INDEX, AGAIN).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise damaged(folder / INDEX, "it has no weight_map")
    for shard in weight_map.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise damaged(folder / INDEX, f"{shard!r} is not the name of a file beside it")
        if not (folder / shard).is_file():
            raise ValueError(f"{folder} lacks the shard {shard} that {INDEX} names: download it, or write it again")
    held: dict[Path, set[str] | None] = {}
    for shard in dict.fromkeys(weight_map.values()):
        held[folder / shard] = {name for name, file in weight_map.items() if file == shard}
    return held


def _headers(file: Path) -> dict[str, Header]:
    try:
        with safe_open(file, framework="pt") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}
            return {name: Header(file, tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except SafetensorError as error:
        raise damaged(file, error) from error
