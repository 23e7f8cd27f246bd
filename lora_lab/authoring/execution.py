"""A notebook run from top to bottom in a kernel of its own."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

import lora_lab
from lora_lab.authoring import editions

CELL_SECONDS = 600  # a cell that takes longer is stuck
_X86 = platform.machine().lower() in ("x86_64", "amd64")
PINNED = {"ATEN_CPU_CAPABILITY": "avx2", "LORA_LAB_PINNED": "1"} if _X86 else {}
"""One order of sums on every processor that has AVX2: torch splits a sum along a row by the width of its registers.

Without, a training run of a minute can end elsewhere on a processor with AVX-512, by tens of points of what it answers.
"""
ENVIRONMENT = {"LORA_LAB_MODEL": "embedded", "LORA_LAB_PROGRESS": "off", "LORA_LAB_KERNELS": "quiet"} | PINNED
"""Outputs depend on no cache, of a model or of a compiler, on no learner, and on a processor as little as can be."""
LIBRARY = Path(lora_lab.__file__).resolve().parents[1]


def pin() -> None:
    """Let this process add up in that order, too, as what records a run does; before anything is computed."""
    os.environ.update(PINNED)


def execute(notebook: NotebookNode, folder: Path, more: Mapping[str, str] | None = None) -> None:
    """Run every cell in a fresh kernel that works in `folder`, and keep nothing but sources and outputs.

    Args:
        notebook: gets its outputs.
        folder: made if it is not there.
        more: further variables of the kernel's environment.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; DeadKernelError: the kernel died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    path = os.pathsep.join(filter(None, [str(LIBRARY), os.environ.get("PYTHONPATH")]))  # this library, wherever it lies
    client.execute(env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path, **(more or {})})
    notebook.metadata = nbformat.from_dict(editions.METADATA)  # drops the widgets' state and the kernel's version
