"""Notebooks under nbval: what must fail fails, and soon; what may differ between machines may differ."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lora_lab.authoring.execution import PINNED

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds after which something hangs

Finished = subprocess.CompletedProcess[str]

pytestmark = pytest.mark.slow


def run_nbval(folder: Path, *cells: nbformat.NotebookNode, options: tuple[str, ...] = ()) -> Finished:
    """Store the cells as a notebook and run it with the repository's own settings."""
    for number, cell in enumerate(cells, 1):
        cell.execution_count = number
    nbformat.write(new_notebook(cells=list(cells)), folder / "tiny.ipynb")
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "conftest", "-p", "no:cacheprovider", "-q",
               "--nbval", *options, str(folder / "tiny.ipynb")]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)


def printed(text: str) -> nbformat.NotebookNode:
    return new_output("stream", name="stdout", text=text)


def figure(pixels: str, alt: str) -> tuple[str, nbformat.NotebookNode]:
    """A cell that shows other pixels than those stored, and the stored output."""
    html = '<figure><img alt="{}" src="data:image/png;base64,{}"></figure>'
    code = f"from IPython.display import HTML, display\ndisplay(HTML({html.format('A line', 'BBBB/+w==')!r}))"
    output = new_output("display_data", {"text/html": html.format(alt, pixels), "text/plain": ""})
    output.data["text/plain"] = "<IPython.core.display.HTML object>"
    return code, output


def test_a_dead_kernel_fails_its_cell_without_waiting_for_the_cell_timeout(tmp_path: Path) -> None:
    cells = new_code_cell("import os; os._exit(1)"), new_code_cell("1")
    result = run_nbval(tmp_path, *cells, options=(f"--nbval-cell-timeout={10 * PATIENCE}",))
    assert result.returncode == 1
    assert "the kernel died while it ran this cell" in result.stdout


def test_a_cell_past_its_time_is_interrupted(tmp_path: Path) -> None:
    result = run_nbval(tmp_path, new_code_cell("import time; time.sleep(600)"), options=("--nbval-cell-timeout=2",))
    assert result.returncode == 1 and "Timeout" in result.stdout


def test_an_output_that_differs_fails(tmp_path: Path) -> None:
    result = run_nbval(tmp_path, new_code_cell("print(2)", outputs=[printed("3\n")]))
    assert result.returncode == 1 and "mismatch 'stdout'" in result.stdout


@pytest.mark.skipif(
    not PINNED or "AVX" not in torch.backends.cpu.get_cpu_capability(), reason="no AVX2 to be pinned to"
)
def test_sums_are_those_of_one_kind_of_processor(tmp_path: Path) -> None:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    result = run_nbval(tmp_path, new_code_cell(code, outputs=[printed("AVX2\n")]))
    assert result.returncode == 0, result.stdout


def test_pixels_may_differ_alt_text_may_not(tmp_path: Path) -> None:
    code, output = figure(pixels="AAAA", alt="A line")
    assert run_nbval(tmp_path, new_code_cell(code, outputs=[output])).returncode == 0
    code, output = figure(pixels="AAAA", alt="A circle")
    assert run_nbval(tmp_path, new_code_cell(code, outputs=[output])).returncode == 1


def test_two_at_a_time_each_kernel_computes_on_one_thread_in_its_own_folder(tmp_path: Path) -> None:
    code = f"import os, torch\nprint(torch.get_num_threads(), os.getcwd() == {str(tmp_path)!r})"
    cell = new_code_cell(code, outputs=[printed("1 True\n")])
    result = run_nbval(tmp_path, cell, options=("-n", "2", "--dist", "loadfile"))
    assert result.returncode == 0, result.stdout
