"""All tensors of a safetensors file at once; one at a time they are read by `shards`."""

from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.disk.names import require_file

if TYPE_CHECKING:
    from torch import Tensor


def read_safetensors(path: Path, way_out: str) -> dict[str, "Tensor"]:
    """All tensors of a file, on the CPU.

    Args:
        path: the file.
        way_out: what to do about a file that is missing or damaged; it ends the error's sentence.

    Raises:
        FileNotFoundError, OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged.
    """
    from safetensors.torch import load_file

    require_file(path, way_out)
    try:
        return load_file(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror or error}): {way_out}") from error
    except Exception as error:  # SafetensorError, and a KeyError for a dtype that torch does not know
        raise ValueError(f"{path} is damaged ({error}): {way_out}") from error
