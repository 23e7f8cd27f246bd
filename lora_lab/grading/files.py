"""A file that was handed in: what is read of it, and why something is not read.

What comes from a folder (`folders`) and from a zip (`archives`) is held to the same rules.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

MOST_BYTES = 20_000_000  # of one notebook
MOST_TOTAL = 2_000_000_000  # of all of them
MOST_FILES = 50_000
MOST_DEPTH = 40  # folders within folders
LEFT_OUT = ("__MACOSX", ".ipynb_checkpoints")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
NO_NOTEBOOK = "is no notebook (its name does not end in .ipynb)"


@dataclass(frozen=True)
class File:
    """A file that was handed in.

    Attributes:
        path: from the folder's or the zip's root, parts joined by "/".
        content: its bytes; None if it is no notebook that can be read.
        modified: when it was last changed, with its zone; None if that is not known.
        why: the reason why there is no content, as the rest of a sentence about the file.
        is_notebook: whether its name says that it is one, so that its loss would be a student's loss.
    """

    path: str
    content: bytes | None = None
    modified: datetime | None = None
    why: str = ""
    is_notebook: bool = False


def is_notebook(name: str) -> bool:
    """Whether a file's name says that it is a notebook."""
    return name.casefold().endswith(".ipynb")


def reason_by_name(path: str) -> str:
    """Why a file of this name is not read; empty for a notebook."""
    parts = PurePosixPath(path).parts
    for part in parts:
        if part in LEFT_OUT:
            return f"is left out: {part} holds what a system or an editor keeps for itself"
    if parts and parts[-1].startswith("._"):  # beside each file, where macOS has no __MACOSX for it
        return "is left out: macOS keeps it for itself"
    if path.casefold().endswith(ARCHIVES):
        return "is an archive within what was handed in: unpack it first"
    return "" if is_notebook(path) else NO_NOTEBOOK


def no_content(path: str, why: str, modified: datetime | None = None) -> File:
    """A file that is not read; a notebook by its name unless it is left out."""
    return File(path, None, modified, why, is_notebook(path) and not why.startswith("is left out"))


def shown(text: str) -> str:
    """A name as one line that no terminal, table or page obeys; a name of any script stays as it is."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))
    return line if len(line) <= 300 else f"{line[:297]}..."


def of_bytes(name: str, content: bytes, modified: datetime | None) -> File:
    """A notebook with its bytes; without them if they are none or too many."""
    if not content.strip():
        return no_content(name, "is empty", modified)
    if len(content) > MOST_BYTES:
        return no_content(name, f"is larger than {MOST_BYTES:,} bytes: clear its outputs", modified)
    return File(name, content, modified, "", True)
