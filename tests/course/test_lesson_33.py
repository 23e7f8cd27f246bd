"""Lesson 33: its loops give the library's numbers, whatever the shape, and the record holds what its prose says."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_lab import quant, records
from lora_lab.show.kernels import roofline
from tests.helpers import lessons

NAME = "33_kernels"
ROOT = Path(__file__).resolve().parents[2]
LOOP = lessons.function(NAME, "restore_loop")
PROGRAM = lessons.function(NAME, "restore_program", np=np)
DOT = lessons.function(NAME, "dot_codes", np=np)
SHAPES = [(2, 16, 16), (3, 96, 32), (5, 64, 64), (1, 256, 64)]


def drawn(d_out: int, d_in: int, block_size: int) -> tuple[quant.QuantizedTensor, tuple[np.ndarray, ...]]:
    torch.manual_seed(d_in)
    stored = quant.quantize(torch.randn(d_out, d_in), block_size=block_size)
    return stored, (stored.packed.numpy(), stored.absmax.numpy(), quant.NF4.values.numpy())


@pytest.mark.parametrize(("d_out", "d_in", "block_size"), SHAPES)
def test_the_loop_restores_what_the_library_restores_bit_for_bit(d_out: int, d_in: int, block_size: int) -> None:
    stored, arrays = drawn(d_out, d_in, block_size)
    found = LOOP(*arrays, block_size, np.empty(d_out * d_in, np.float32))
    assert np.array_equal(found, stored.dequantize().flatten().numpy())


@pytest.mark.parametrize(("d_out", "d_in", "block_size"), SHAPES)
def test_programs_in_any_order_write_what_the_loop_writes(d_out: int, d_in: int, block_size: int) -> None:
    _, arrays = drawn(d_out, d_in, block_size)
    out = np.empty(d_out * d_in, np.float32)
    for block in reversed(range(len(arrays[1]))):
        PROGRAM(block, *arrays, block_size, out)
    assert np.array_equal(out, LOOP(*arrays, block_size, np.empty_like(out)))


@pytest.mark.parametrize(("d_out", "d_in", "block_size"), SHAPES)
def test_a_product_from_codes_is_the_product_with_the_restored_weight(d_out: int, d_in: int, block_size: int) -> None:
    stored, arrays = drawn(d_out, d_in, block_size)
    x = torch.randn(d_in)
    wanted = stored.dequantize().double() @ x.double()
    found = [float(DOT(row, x.numpy(), *arrays, block_size)) for row in range(d_out)]
    assert np.allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["restore_loop", "dot_codes"])
def test_a_compiler_of_loops_takes_them_and_changes_no_number(name: str) -> None:
    numba = pytest.importorskip("numba", reason="numba is not installed: pip install numba")
    stored, arrays = drawn(3, 64, 64)
    if name == "restore_loop":
        made = numba.njit(LOOP)(*arrays, 64, np.empty(192, np.float32))
        assert np.array_equal(made, stored.dequantize().flatten().numpy())
    else:
        x = np.ones(64, np.float32)
        made = numba.njit(DOT)(1, x, *arrays, 64)
        assert made == pytest.approx(float(DOT(1, x, *arrays, 64)), rel=1e-5)


def test_the_bytes_that_the_lesson_counts_are_those_of_what_each_line_takes_and_gives() -> None:
    n = 4096
    packed, absmax, levels = torch.zeros(n // 2, dtype=torch.uint8), torch.zeros(n // 64), quant.NF4.values
    high, low = packed >> 4, packed & 15
    both = torch.stack([high, low], dim=1)
    codes = both.flatten().int()
    values = levels.index_select(0, codes)
    weight = values.view(-1, 64) * absmax[:, None]
    lines = {
        "high halves": ([packed], high),
        "low halves": ([packed], low),
        "side by side": ([high, low], both),
        "to 32 bits": ([both], codes),
        "look up": ([codes], values),
        "multiply": ([values, absmax], weight),
    }
    counted = {name: (sum(each.nbytes for each in taken) / n, made.nbytes / n) for name, (taken, made) in lines.items()}
    source = (lessons.MASTERS / f"{NAME}.py").read_text(encoding="utf-8")
    (moved,) = re.findall(r"^moved = (\{.*?\})", source, re.DOTALL | re.MULTILINE)
    (passed,) = re.findall(r"^one_pass, a_copy = (.*)$", source, re.MULTILINE)
    assert eval(moved) == counted
    read, written = (packed.nbytes + absmax.nbytes) / n, weight.nbytes / n
    assert eval(passed) == ((read, written), 2 * written)


def test_on_the_gpu_torchs_operations_take_many_times_a_copy_of_as_many_bytes_and_the_kernel_one() -> None:
    (plain,) = records.tried("kernels", what="restore", shape=[8192, 8192], dtype="bfloat16")
    ms, launches = plain["ms"], plain["launches"]
    assert f"**{ms['readable']:.2f} ms**" in _text() and f"copy of as many bytes took {ms['copy']:.2f}." in _text()
    assert 0.95 < ms["copy"] / ms["kernel"] < 1
    assert launches["readable"] > 1 and launches["kernel"] == 1


def test_the_times_of_one_token_on_the_gpu_are_those_that_were_recorded() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8"))
    rows = found["sections"]["one_token"]["rows"]
    (row,) = (row for row in rows if (row["shape"], row["dtype"]) == ([14336, 4096], "bfloat16"))
    ours, made, dense, theirs = (
        round(1e3 * row["ways"][way]["ms"]) for way in ("lora_lab", "lora_lab, weight made", "dense", "bitsandbytes")
    )
    assert (
        f"one token (14336 × 4096, bfloat16): dense {dense} µs, restoring first {made}, the library's fused kernel "
        f"{ours}, bitsandbytes' {theirs}."
    ) in _text()
    share = {way: times["of_copy"] for way, times in row["ways"].items()}
    assert share["dense"] > 0.9 and max(each for way, each in share.items() if way != "dense") < 0.4


def test_what_torch_compile_and_kernels_bring_is_what_was_measured() -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "kernels_cpu.json").read_text(encoding="utf-8"))
    lines, compiled, kernel = (round(record["restored_ms"][name]) for name in ("lines", "compiled", "kernel"))
    assert f"from {lines} ms to {compiled}; the library's kernel needs {kernel}," in _text()


def test_other_loops_that_the_lesson_names_took_what_was_measured() -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "kernels_cpu.json").read_text(encoding="utf-8"))
    there, fused = record["restored_there_ms"], record["fused_ms"]
    loops, lines, one = (round(there[name]) for name in ("six loops", "six lines", "one loop"))
    assert f"took {loops} ms, PyTorch's lines {lines} and your loop {one}:" in _text()
    assert (
        f"{fused['as it is']} ms as it is, {fused['no look-ups']} without look-ups, {fused['as it is, any order']} in "
        f"any order, and {fused['no look-ups, any order']} with both, where the dense product took {fused['dense']}."
    ) in _text()
    assert fused["no look-ups, any order"] < fused["dense"] < fused["as it is"] < fused["no look-ups"]
    assert f"the library's product takes {fused['the library']} ms" in _text() and fused["the library"] < fused["dense"]


def test_what_a_forward_pass_of_256_tokens_gains_on_the_gpu_is_what_was_recorded() -> None:
    (row,) = records.tried("kernels", what="Linear4bit forward, 256 tokens")
    ms = row["ms"]
    assert (row["shape"], row["dtype"]) == ([4096, 4096], "bfloat16")
    assert f"took {ms['kernel']:.2f} ms in place of {ms['readable']:.2f}" in _text()
    assert round(ms["readable"] / ms["kernel"]) == 8 and "a layer takes eight times as long as with ours" in _text()
    (whole,) = records.tried("kernels", what="restore", shape=[8192, 8192], dtype="bfloat16")
    starts = whole["launches"]["readable"], row["launches"]["readable"]
    assert "PyTorch's {} kernels ({} for 4096²)".format(*starts) in _text()


def test_what_four_bits_cost_a_step_on_the_gpu_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8"))
    slower = {row["tokens"]: row["slowdown"]["lora_lab"] for row in found["sections"]["amortise"]["rows"]}
    assert "For hundreds: no (a QLoRA step took 1.4 times LoRA's, H100). For thousands: hardly slower." in _text()
    assert {round(slower[tokens], 1) for tokens in (256, 1024)} == {1.4} and slower[4096] < 1.1 > slower[16384]


def _text() -> str:
    """The lesson's, in one line."""
    return " ".join((lessons.MASTERS / f"{NAME}.py").read_text(encoding="utf-8").replace("\n#", " ").split())


def test_the_roof_says_how_far_each_dot_is_below_it() -> None:
    _, alt = roofline(10e9, 40e9, {"half": (1, 5e9), "top": (100, 40e9)}, "half", "A title")
    assert alt.startswith("A title. ") and "up to 4.0 operations a byte" in alt
    assert "half: 1 operations a byte, 5 billion a second, 50% of it" in alt and "100% of it" in alt


TRITON = """
import torch
from lora_lab import quant

stored = quant.quantize(torch.randn(512, 64))
packed, absmax, levels = stored.packed, stored.absmax, quant.NF4.values
"""


def test_the_triton_listing_is_whole_and_restores_a_weight_where_python_plays_the_gpu(tmp_path: Path) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed, which is for Linux on x86-64 only")
    text = (lessons.MASTERS / f"{NAME}.py").read_text(encoding="utf-8")
    (fence,) = re.findall(r"# ```python\n(.*?)# ```", text, re.DOTALL)
    script = tmp_path / "cells.py"
    script.write_text(TRITON + re.sub(r"^# ?", "", fence, flags=re.MULTILINE), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, script], env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
