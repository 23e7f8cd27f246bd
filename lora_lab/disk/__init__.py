"""Writing so that a half-written file never replaces a whole one, and reading so that a damaged one is named.

Importing it loads no torch, and `read_safetensors` does when it is called. `lora_lab.disk.shards`, which reads
checkpoints one tensor at a time, needs torch from the start, and so is imported by its own name.
"""

from lora_lab.disk.atomic import MODEL_FILES, atomic_folder, atomic_path, refuse_adapter, writable_folder
from lora_lab.disk.documents import parse_json, read_json, write_json
from lora_lab.disk.exchange import locked
from lora_lab.disk.names import leftovers
from lora_lab.disk.tensors import read_safetensors

__all__ = [
    "MODEL_FILES",
    "atomic_folder",
    "atomic_path",
    "leftovers",
    "locked",
    "parse_json",
    "read_json",
    "read_safetensors",
    "refuse_adapter",
    "writable_folder",
    "write_json",
]
