"""Is a model folder whole? Its `checksums.json` holds the SHA-256 of every file that loading reads."""

import hashlib
from pathlib import Path

from lora_lab.disk import read_json, write_json

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
    sums = {name: _sha256(folder / name) for name in _files_that_loading_reads(folder)}
    write_json(folder / NAME, sums)
    return sums


def verify(folder: str | Path) -> int:
    """Compare every file of a model folder with its checksum.

    Returns:
        The bytes that were compared.

    Raises:
        FileNotFoundError: if a file is missing.
        OSError: if a file cannot be read.
        ValueError: if a file is not the one that was recorded, or one that loading would read was not recorded: what
            is left of another save would be taken for part of this one.
    """
    folder = Path(folder)
    sums = _read(folder)
    try:
        for name in dict.fromkeys((*REQUIRED, *sums)):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"the model's file '{folder / name}' is missing: {remedy(folder)}")
            if _sha256(folder / name) != sums.get(name):
                raise ValueError(
                    f"the model's file '{folder / name}' is damaged (its SHA-256 is not the one in {NAME}): "
                    f"{remedy(folder)}"
                )
        for name in _files_that_loading_reads(folder):
            if name not in sums:
                raise ValueError(
                    f"the file '{folder / name}' is not of this model ({NAME} does not know it): take it out of the "
                    f"folder, or {remedy(folder)}"
                )
        return sum((folder / name).stat().st_size for name in sums)
    except OSError as error:
        if error.errno is None:  # one of the sentences above
            raise
        raise OSError(f"the model in '{folder}' cannot be read ({error.strerror}): {remedy(folder)}") from error


def remedy(folder: Path) -> str:
    """What to do about a folder that is not whole."""
    return (
        "restore the folder from git, reinstall lora_lab, or remake the model with "
        f'`python -m lora_lab.train.pretrain --out "{folder}"`'
    )


def _read(folder: Path) -> dict[str, str]:
    try:
        return read_json(folder / NAME, remedy(folder))
    except FileNotFoundError:
        raise FileNotFoundError(f"the model's file '{folder / NAME}' is missing: {remedy(folder)}") from None


def _files_that_loading_reads(folder: Path) -> list[str]:
    return sorted(
        file.name
        for file in folder.iterdir()
        if file.suffix in (".json", ".jinja", ".safetensors") and file.name != NAME
    )


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
