"""Is a model folder whole? Its `checksums.json` holds the SHA-256 of every file that loading reads."""

import hashlib
import json
from pathlib import Path

from lora_lab.files import atomic_path

NAME = "checksums.json"
REQUIRED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def write_checksums(folder: str | Path) -> dict[str, str]:
    """Record the folder's files as they are now; call it last, when all of them are written.

    The model card is left out: correcting its prose does not damage the model.

    Returns:
        What was written: file name → SHA-256, hexadecimal.

    Raises:
        FileNotFoundError: if a file that a model folder must have is not there.
    """
    folder = Path(folder)
    for name in REQUIRED:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"'{folder / name}' is missing: write the model and its tokenizer before the checksums"
            )
    names = sorted(
        file.name
        for file in folder.iterdir()
        if file.suffix in (".json", ".jinja", ".safetensors") and file.name != NAME
    )
    sums = {name: _sha256(folder / name) for name in names}
    with atomic_path(folder / NAME) as temporary:
        temporary.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8", newline="\n")
    return sums


def verify(folder: str | Path) -> int:
    """Compare every file of a model folder with its checksum.

    Returns:
        The bytes that were compared.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not the one that was recorded.
    """
    folder = Path(folder)
    sums = _read(folder)
    for name in dict.fromkeys((*REQUIRED, *sums)):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the model's file '{folder / name}' is missing: {remedy(folder)}")
        if _sha256(folder / name) != sums.get(name):
            raise ValueError(
                f"the model's file '{folder / name}' is damaged (its SHA-256 is not the one in {NAME}): "
                f"{remedy(folder)}"
            )
    return sum((folder / name).stat().st_size for name in sums)


def remedy(folder: Path) -> str:
    """What to do about a folder that is not whole."""
    return (
        "restore the folder from git, reinstall lora_lab, or remake the model with "
        f'`python -m lora_lab.train.pretrain --out "{folder}"`'
    )


def _read(folder: Path) -> dict[str, str]:
    try:
        sums = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"the model's file '{folder / NAME}' is missing: {remedy(folder)}") from None
    except ValueError as error:
        raise ValueError(f"the model's file '{folder / NAME}' is damaged (not JSON): {remedy(folder)}") from error
    if not isinstance(sums, dict):
        raise ValueError(f"the model's file '{folder / NAME}' is damaged (not a table): {remedy(folder)}")
    return sums


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
