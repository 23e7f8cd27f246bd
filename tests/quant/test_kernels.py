"""The kernels give the numbers of the readable path, bit for bit; without a GPU they run in Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys
import warnings
from itertools import cycle

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_lab import quant
from lora_lab.commands import hardware
from lora_lab.quant.kernels import choice

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed, so there are no kernels to test", allow_module_level=True)
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("there is no GPU, and TRITON_INTERPRET=1 is not set", allow_module_level=True)

from lora_lab.quant.kernels import cuda  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BOOKS = (quant.NF4, quant.FP4_E2M1, quant.FP4_BNB, quant.FP4_E3M0, quant.INT4, quant.normal_float(2))
BLOCKS = (16, 64, 256, 4096)
TAILS = (1, 33, 1024, 1502)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of 1 / 0, in the interpreter


@pytest.fixture(autouse=True)
def in_use(monkeypatch):
    """Kernels for the device at hand, and everything as it was afterwards."""
    monkeypatch.setattr(choice, "_MODULES", {DEVICE: "lora_lab.quant.kernels.cuda"})
    monkeypatch.setattr(choice, "_LEAST", {})
    monkeypatch.setattr(choice, "_on", True)
    if INTERPRETED:
        _convert_as_a_gpu_does(monkeypatch)
    choice._forget()
    yield
    choice._forget()


def _convert_as_a_gpu_does(monkeypatch):
    """The interpreter cuts bits off where the language rounds to nearest even, and loses the smallest bf16 numbers."""
    from triton import language as tl
    from triton.runtime import interpreter

    others = interpreter._convert_float

    def convert(data, source, target, rounding):
        if (source, target) == (tl.float32, tl.bfloat16):
            return torch.tensor(data).bfloat16().view(torch.int16).numpy().view(np.uint16)
        if (source, target) == (tl.bfloat16, tl.float32):
            return data.astype(np.uint32) << 16
        return others(data, source, target, rounding)

    monkeypatch.setattr(interpreter, "_convert_float", convert)


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that are launched, in order, after those by which they are tried."""
    names = []
    for dtype in DTYPES:
        choice._tried(torch.empty(0, device=DEVICE).device, dtype, choice._restores)
    for name in ("restore", "quantize"):
        kernel = getattr(cuda, name)
        monkeypatch.setattr(cuda, name, lambda *args, n=name, k=kernel: names.append(n) or k(*args))
    return names


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)


def readable(call):
    """What `call` returns on the readable path."""
    quant.use_kernels(False)
    try:
        return call()
    finally:
        quant.use_kernels(True)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize("double", [False, True, quant.FP8_E4M3], ids=["plain", "dynamic8", "fp8"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_restoring_by_a_kernel_is_the_readable_path_bit_for_bit(dtype, double, launched):
    for (block, n), book in zip([(block, n) for block in BLOCKS for n in TAILS], cycle(BOOKS)):
        q = readable(lambda: quant.quantize(normal(n, dtype=dtype), book, block, double))  # noqa: B023
        assert same(q.dequantize(), readable(q.dequantize)), f"{book.name}, {n} values in blocks of {block}"
    assert launched == ["restore"] * len(BLOCKS) * len(TAILS)  # one launch each, whatever the constants


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_quantizing_by_a_kernel_is_the_readable_path_bit_for_bit(dtype, launched):
    for (block, n), book in zip([(block, n) for block in BLOCKS for n in TAILS], cycle(BOOKS)):
        tensor = normal(n, dtype=dtype)
        made, wanted = (way(lambda: quant.quantize(tensor, book, block)) for way in (lambda c: c(), readable))  # noqa: B023
        assert same(made.packed, wanted.packed), f"codes in {book.name}, {n} values in blocks of {block}"
        assert same(made.absmax, wanted.absmax), f"constants in {book.name}, {n} values in blocks of {block}"
    assert launched == ["quantize"] * len(BLOCKS) * len(TAILS)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
def test_a_value_on_a_midpoint_takes_the_lower_level_in_a_kernel_too(book, launched):
    middle = book.midpoints[book.midpoints.abs() < 1]
    around = [middle, middle.nextafter(torch.tensor(torch.inf)), middle.nextafter(torch.tensor(-torch.inf))]
    values = torch.cat([torch.ones(1), *around, -torch.ones(1)])
    q = quant.quantize(values.to(DEVICE), book, block_size=64)
    assert launched == ["quantize"]
    assert torch.equal(quant.unpack(q.packed, len(values)).cpu(), book.encode(values))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_and_the_smallest_and_largest_magnitudes_are_those_of_the_readable_path(dtype, launched):
    tensor = normal(32, 64) * torch.logspace(-45, 37, 32, device=DEVICE)[:, None]
    tensor[5:9] = 0
    tensor = tensor.to(dtype).nan_to_num()
    made, wanted = quant.quantize(tensor), readable(lambda: quant.quantize(tensor))
    assert launched == ["quantize"]
    assert same(made.packed, wanted.packed) and same(made.absmax, wanted.absmax)
    assert same(made.dequantize(), readable(made.dequantize))


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_kernel_refuses_what_is_not_finite_in_the_words_of_the_readable_path(bad, dtype, launched):
    tensor = normal(1000, dtype=dtype)
    tensor[777] = bad
    for way in (lambda call: call(), readable):
        with pytest.raises(ValueError, match="the tensor holds NaN or infinity, which would spoil its block: repair"):
            way(lambda: quant.quantize(tensor))
    assert launched == ["quantize"]


@pytest.mark.parametrize("tile", [cuda.Tile(128, 1), cuda.Tile(2048, 8)], ids=str)
def test_the_way_the_work_is_cut_changes_no_bit(tile):
    values = normal(1301)
    q = readable(lambda: quant.quantize(values, double_quant=True))
    plain = readable(lambda: quant.quantize(values))
    out = torch.empty_like(values)
    cuda.restore(q.packed, q.constants.parts, q.codebook, q.block_size, out, tile)
    assert same(out, readable(q.dequantize))
    packed, absmax = cuda.quantize(values, quant.NF4, 64, tile)
    assert same(packed, plain.packed) and same(absmax, plain.absmax)


@pytest.mark.parametrize("double", [False, True])
def test_a_layer_restores_its_weight_by_one_launch(double, launched):
    linear = torch.nn.Linear(48, 40).to(DEVICE)
    layer = quant.Linear4bit.from_linear(linear, double_quant=double)
    x, launched[:] = normal(3, 48).requires_grad_(), []
    y = layer(x)
    y.sum().backward()
    assert launched == ["restore", "restore"]
    wanted = readable(lambda: layer(x))
    assert same(y, wanted) and same(x.grad, readable(lambda: torch.autograd.grad(layer(x).sum(), x))[0])


def test_a_slice_of_memory_that_is_not_aligned_is_restored(launched):
    q = quant.quantize(normal(640))
    odd = torch.cat([q.packed[:1], q.packed])[1:]
    moved = quant.QuantizedTensor(odd, q.constants, q.codebook, q.block_size, q.shape, q.dtype)
    assert same(moved.dequantize(), q.dequantize())


def test_kernels_can_be_switched_off_and_on(launched):
    quant.use_kernels(False)
    quant.quantize(normal(100)).dequantize()
    assert launched == []
    quant.use_kernels(True)
    quant.quantize(normal(100)).dequantize()
    assert launched == ["quantize", "restore"]
    for bad in (None, 1, "off"):
        with pytest.raises(TypeError, match="say True or False"):
            quant.use_kernels(bad)


@pytest.mark.parametrize("book", [quant.INT4_ASYMMETRIC, quant.INT8], ids=lambda book: book.name)
def test_codebooks_that_no_kernel_serves_are_left_to_the_readable_path(book, launched):
    made = quant.quantize(normal(100), book)
    assert same(made.packed, readable(lambda: quant.quantize(normal(100), book)).packed)
    assert same(made.dequantize(), made._by_formula())
    assert launched == []


def test_tensors_that_no_kernel_serves_are_left_to_the_readable_path(launched):
    q = readable(lambda: quant.quantize(normal(100)))
    assert same(q.dequantize(torch.float64), q._by_formula().double())
    assert same(torch.vmap(lambda x: x + q.dequantize())(torch.zeros(2, 100, device=DEVICE))[0], q._by_formula())
    small = readable(lambda: quant.quantize(normal(8, 64)))
    fake = FakeTensorMode()
    packed, absmax = (fake.from_tensor(part) for part in (small.packed, small.absmax))
    with fake:
        assert quant.QuantizedTensor(packed, absmax, quant.NF4, 64, small.shape, small.dtype).dequantize().shape == (
            8,
            64,
        )
    assert launched == []


def _broken(*args):
    raise OSError("no space left in the cache")


def _wrong(packed, constants, codebook, block_size, out):
    out.zero_()


@pytest.mark.parametrize(("kernel", "reason"), [(_broken, "OSError: no space left in the cache"),
                                                (_wrong, "their numbers are not those of the formula")])  # fmt: skip
def test_a_kernel_that_fails_or_errs_costs_one_warning_and_no_number(monkeypatch, kernel, reason):
    q = readable(lambda: quant.quantize(normal(100)))
    monkeypatch.setattr(cuda, "restore", kernel)
    wanted = readable(q.dequantize)
    with pytest.warns(UserWarning, match=reason):
        restored = q.dequantize()
    assert same(restored, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(q.dequantize(), restored)


def test_a_compiler_that_flushes_the_smallest_numbers_to_zero_is_refused(monkeypatch):
    exact = cuda.quantize

    def flushing(values, codebook, block_size):
        packed, absmax = exact(values, codebook, block_size)
        flushed = 1 / absmax < torch.finfo(torch.float32).tiny
        packed.view(-1, block_size // 2)[flushed] = 0x77  # zeros
        return packed, absmax

    monkeypatch.setattr(cuda, "quantize", flushing)
    with pytest.warns(UserWarning, match="their numbers are not those of the formula"):
        assert choice._tried(torch.empty(0, device=DEVICE).device, torch.float32, choice._restores) is None


@pytest.mark.parametrize("part", [(..., slice(None, None, 2)), (slice(None), 0)], ids=["every second", "a column"])
def test_parts_of_a_tensor_that_do_not_lie_side_by_side_are_quantized_as_they_are(part, launched):
    tensor = normal(64, 48)[part]
    assert not tensor.is_contiguous()
    made = quant.quantize(tensor)
    assert launched == ["quantize"]
    wanted = readable(lambda: quant.quantize(tensor.clone()))
    assert torch.equal(made.packed, wanted.packed) and torch.equal(made.absmax, wanted.absmax)


def test_a_result_that_does_not_lie_side_by_side_is_not_left_to_a_kernel(launched):
    q = readable(lambda: quant.quantize(normal(64, 48)))
    strided = torch.empty(64, 96, device=q.packed.device)[:, ::2]
    assert not choice.restore(q.packed, q.constants, q.codebook, q.block_size, strided) and launched == []
    assert choice.quantize(normal(64, 96)[0, ::2], quant.NF4, 16) is None


def test_the_doctor_says_which_kernels_are_in_use(monkeypatch):
    assert hardware.kernels().detail == f"{cuda.NAME} on {DEVICE}"
    quant.use_kernels(False)
    assert "switched off by use_kernels(False)" in hardware.kernels().detail
    quant.use_kernels(True)
    choice._forget()
    monkeypatch.setattr(cuda, "restore", _broken)
    assert "cannot serve here (OSError: no space left in the cache)" in hardware.kernels().detail
    monkeypatch.setattr(choice, "_MODULES", {DEVICE: "lora_lab.quant.kernels.not_there"})
    choice._forget()
    assert "cannot be imported" in hardware.kernels().detail


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lora_lab.quant.kernels import cuda

def ptx(kernel, capability, constants, **types):
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()})
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]

counts = {"n": "i32", "n_bytes": "i32", "blocks": "i32"}
for capability in (80, 90):
    for kind in ("fp32", "bf16", "fp16"):
        text = ptx(cuda._restore, capability, {"SIZE": 64, "ROWS": 16, "DOUBLE": True}, packed="*u8", absmax="*u8",
                   scale="*fp32", mean="*fp32", table="*fp32", levels="*fp32", out="*" + kind, **counts)
        assert "fma" not in text and "ftz" not in text
        text = ptx(cuda._quantize, capability, {"SIZE": 64, "ROWS": 16}, values="*" + kind,
                   packed="*u8", absmax="*fp32", midpoints="*fp32", **counts)
        assert "div.rn.f32" in text and "fma" not in text and "ftz" not in text
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_that_are_not_there_and_fuse_no_product_with_a_sum(tmp_path):
    settings = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
