"""Kernels of either kind give the numbers of the readable path, bit for bit, and what none serves is left to it.

Without a GPU, Triton's run in its interpreter.
"""

import sys
import warnings
from itertools import cycle

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_lab import quant
from lora_lab.commands import hardware
from lora_lab.quant.kernels import dispatch, trial
from tests.helpers.kernels import BLOCKS, BOOKS, DTYPES, NUMBA, TRITON, readable, same

TAILS = (1, 33, 1024, 1502)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of 1 / 0, in Triton's interpreter


@pytest.fixture(params=[NUMBA, TRITON], ids=lambda kind: kind.compiler, autouse=True)
def kind(request, monkeypatch):
    yield from request.param.serving(monkeypatch)


@pytest.fixture
def called(kind, monkeypatch):
    return kind.called(monkeypatch, "restore", "quantize")


# ── the numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("double", [False, True, quant.FP8_E4M3], ids=["plain", "dynamic8", "fp8"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_restoring_by_a_kernel_is_the_readable_path_bit_for_bit(dtype, double, kind, called):
    for (block, n), book in zip([(block, n) for block in BLOCKS for n in TAILS], cycle(BOOKS)):
        q = readable(lambda: quant.quantize(kind.normal(n, dtype=dtype), book, block, double))  # noqa: B023
        assert same(q.dequantize(), readable(q.dequantize)), f"{book.name}, {n} values in blocks of {block}"
    assert called == ["restore"] * len(BLOCKS) * len(TAILS)  # one each, whatever the constants


def test_a_package_that_is_missed_only_while_kernels_compile_is_said(kind, monkeypatch):
    def misses(*given):
        raise ModuleNotFoundError("No module named 'setuptools'")

    monkeypatch.setattr(kind.module, "restore", misses)
    with pytest.warns(UserWarning, match="cannot serve here .ModuleNotFoundError: No module named 'setuptools'"):
        quant.quantize(kind.normal(100))
    assert not trial.missing


def test_each_group_of_256_quantized_constants_has_its_scale(kind, called):
    """Scales far apart, in 313 blocks, so that no group's could stand for another's."""
    blocks = kind.normal(313, 16) * torch.linspace(1, 100, 313, device=kind.device)[:, None]
    q = readable(lambda: quant.quantize(blocks, block_size=16, double_quant=True))
    assert len(q.constants.scale) == 2
    assert same(q.dequantize(), readable(q.dequantize)) and called == ["restore"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_quantizing_by_a_kernel_is_the_readable_path_bit_for_bit(dtype, kind, called):
    for (block, n), book in zip([(block, n) for block in BLOCKS for n in TAILS], cycle(BOOKS)):
        tensor = kind.normal(n, dtype=dtype)
        made, wanted = (way(lambda: quant.quantize(tensor, book, block)) for way in (lambda c: c(), readable))  # noqa: B023
        assert same(made.packed, wanted.packed), f"codes in {book.name}, {n} values in blocks of {block}"
        assert same(made.absmax, wanted.absmax), f"constants in {book.name}, {n} values in blocks of {block}"
    assert called == ["quantize"] * len(BLOCKS) * len(TAILS)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
def test_a_value_on_a_midpoint_takes_the_lower_level_in_a_kernel_too(book, kind, called):
    middle = book.midpoints[book.midpoints.abs() < 1]
    around = [middle, middle.nextafter(torch.tensor(torch.inf)), middle.nextafter(torch.tensor(-torch.inf))]
    values = torch.cat([torch.ones(1), *around, -torch.ones(1)])
    q = quant.quantize(values.to(kind.device), book, block_size=64)
    assert called == ["quantize"]
    assert torch.equal(quant.unpack(q.packed, len(values)).cpu(), book.encode(values))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_and_extreme_magnitudes_are_those_of_the_readable_path(dtype, kind, called):
    tensor = kind.normal(32, 64) * torch.logspace(-45, 37, 32, device=kind.device)[:, None]
    tensor[5:9] = 0
    tensor = tensor.to(dtype).nan_to_num()
    made, wanted = quant.quantize(tensor), readable(lambda: quant.quantize(tensor))
    assert called == ["quantize"]
    assert same(made.packed, wanted.packed) and same(made.absmax, wanted.absmax)
    assert same(made.dequantize(), readable(made.dequantize))


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_finite_is_refused_in_the_words_of_the_readable_path(bad, dtype, kind, called):
    tensor = kind.normal(1000, dtype=dtype)
    tensor[777] = bad
    for way in (lambda call: call(), readable):
        with pytest.raises(ValueError, match="the tensor holds NaN or infinity, which would spoil its block: repair"):
            way(lambda: quant.quantize(tensor))
    assert called == ["quantize"]


def test_codes_that_are_not_aligned_in_memory_are_restored(kind, called):
    q = readable(lambda: quant.quantize(kind.normal(640)))
    odd = torch.cat([q.packed[:1], q.packed])[1:]
    moved = quant.QuantizedTensor(odd, q.constants, q.codebook, q.block_size, q.shape, q.dtype)
    assert same(moved.dequantize(), readable(q.dequantize)) and called == ["restore"]


@pytest.mark.parametrize("part", [(..., slice(None, None, 2)), (slice(None), 0)], ids=["every second", "a column"])
def test_parts_of_a_tensor_that_do_not_lie_side_by_side_are_quantized_as_they_are(part, kind, called):
    tensor = kind.normal(64, 48)[part]
    assert not tensor.is_contiguous()
    made = quant.quantize(tensor)
    assert called == ["quantize"]
    wanted = readable(lambda: quant.quantize(tensor.clone()))
    assert same(made.packed, wanted.packed) and same(made.absmax, wanted.absmax)


def test_a_negated_view_is_taken_for_its_values(kind, called):
    """As the imaginary part of a conjugate is, which lies in memory without its sign."""
    values = kind.normal(640)
    negated = torch._neg_view(values)
    assert negated.is_neg() and negated.is_contiguous()
    made, wanted = quant.quantize(negated), readable(lambda: quant.quantize(-values))
    assert same(made.packed, wanted.packed) and same(made.absmax, wanted.absmax)
    layer = quant.Linear4bit.from_linear(torch.nn.Linear(64, 48).to(kind.device))
    x = torch._neg_view(kind.normal(2, 64))
    assert same(layer(x), readable(lambda: layer(x)))


@pytest.mark.parametrize("double", [False, True])
def test_a_layer_restores_a_small_weight_in_one_pass_each_way(double, kind, called):
    layer = quant.Linear4bit.from_linear(torch.nn.Linear(48, 40).to(kind.device), double_quant=double)
    x, called[:] = kind.normal(3, 48).requires_grad_(), []  # a row is no whole number of blocks
    y = layer(x)
    y.sum().backward()
    assert called == ["restore", "restore"]
    assert same(y, readable(lambda: layer(x)))
    assert same(x.grad, readable(lambda: torch.autograd.grad(layer(x).sum(), x))[0])


# ── which kernels serve ─────────────────────────────────────────────────────────────────────────────────────────────


def test_kernels_can_be_switched_off_and_on(kind, called):
    quant.use_kernels(False)
    quant.quantize(kind.normal(100)).dequantize()
    assert called == []
    quant.use_kernels(True)
    quant.quantize(kind.normal(100)).dequantize()
    assert called == ["quantize", "restore"]
    for bad in (None, 1, "off"):
        with pytest.raises(TypeError, match="say True or False"):
            quant.use_kernels(bad)


def test_kernels_can_be_switched_off_for_a_while(kind, called):
    """After an error, too, and by an object that was kept; whatever they were before, they are again."""
    for before in (True, False):
        off = quant.use_kernels(before) and quant.use_kernels(False)
        quant.use_kernels(before)
        for _ in range(2):
            with pytest.raises(KeyError), quant.use_kernels(False):
                quant.use_kernels(True)
                raise KeyError
            assert dispatch._on is before
            with off:
                assert not dispatch._on and repr(off) == "kernels are off"
            quant.use_kernels(before)


def test_kernels_that_failed_are_not_tried_again_at_the_end_of_a_while_without(kind, monkeypatch):
    monkeypatch.setattr(kind.module, "restore", _broken)
    with pytest.warns(UserWarning, match="no space left"):
        quant.quantize(kind.normal(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quant.use_kernels(False):
            pass
        quant.quantize(kind.normal(100))


@pytest.mark.parametrize("book", [quant.INT4_ASYMMETRIC, quant.INT8], ids=lambda book: book.name)
def test_codebooks_that_no_kernel_serves_are_left_to_the_readable_path(book, kind, called):
    made, wanted = (way(lambda: quant.quantize(kind.normal(100), book)) for way in (lambda call: call(), readable))
    assert same(made.packed, wanted.packed) and same(made.dequantize(), wanted._by_formula())
    assert called == []


def test_tensors_that_no_kernel_serves_are_left_to_the_readable_path(kind, called):
    q = readable(lambda: quant.quantize(kind.normal(100)))
    assert same(q.dequantize(torch.float64), q._by_formula().double())
    assert same(torch.vmap(lambda x: x + q.dequantize())(torch.zeros(2, 100, device=kind.device))[0], q._by_formula())
    small = readable(lambda: quant.quantize(kind.normal(8, 64)))
    fake = FakeTensorMode()
    packed, absmax = (fake.from_tensor(part) for part in (small.packed, small.absmax))
    with fake:
        unseen = quant.QuantizedTensor(packed, absmax, quant.NF4, 64, small.shape, small.dtype)
        assert unseen.dequantize().shape == small.shape
    assert called == []


def test_what_does_not_lie_side_by_side_is_not_handed_to_a_kernel(kind, called):
    q = quant.quantize(kind.normal(64, 48))
    strided, called[:] = torch.empty(64, 96, device=kind.device)[:, ::2], []
    assert not dispatch.restore(q.stored, strided)
    assert dispatch.quantize(kind.normal(64, 96)[0, ::2], quant.NF4, 16) is None
    assert called == []


def _broken(*args):
    raise OSError("no space left in the cache")


def _wrong(stored, out):
    out.zero_()


@pytest.mark.parametrize(("kernel", "reason"), [(_broken, "OSError: no space left in the cache"),
                                                (_wrong, "float32 are not those of the formula")])  # fmt: skip
def test_a_kernel_that_fails_or_errs_costs_one_warning_and_no_number(kernel, reason, kind, monkeypatch):
    q = readable(lambda: quant.quantize(kind.normal(100)))
    monkeypatch.setattr(kind.module, "restore", kernel)
    wanted = readable(q.dequantize)
    with pytest.warns(UserWarning, match=reason):
        restored = q.dequantize()
    assert same(restored, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(q.dequantize(), restored)


def _fused(exact):
    """With table · scale + mean rounded once, as in one instruction."""

    def restore(stored, out):
        if isinstance(stored.constants, quant.QuantizedConstants):
            codes, scale, mean = (getattr(stored.constants, part).double() for part in ("codes", "scale", "mean"))
            levels = stored.constants.codebook.values.to(scale)[codes.long()]
            stored = stored._replace(constants=(levels * scale.repeat_interleave(256)[: len(codes)] + mean).float())
        exact(stored, out)

    return restore


def _times_when_double(exact):
    def restore(stored, out):
        exact(stored, out)
        if isinstance(stored.constants, quant.QuantizedConstants):
            out *= 1.5

    return restore


def _larger_absmax(exact):
    def quantize(values, codebook, block_size):
        packed, absmax = exact(values, codebook, block_size)
        return packed, absmax * 1.01

    return quantize


@pytest.mark.parametrize(
    ("name", "wrong"), [("restore", _fused), ("restore", _times_when_double), ("quantize", _larger_absmax)]
)
def test_a_kernel_is_tried_with_constants_of_either_kind_and_for_all_that_it_makes(name, wrong, kind, monkeypatch):
    q = readable(lambda: quant.quantize(kind.normal(100), double_quant=True))
    monkeypatch.setattr(kind.module, name, wrong(getattr(kind.module, name)))
    with pytest.warns(UserWarning, match="are not those of the formula"):
        restored = q.dequantize()
    assert same(restored, readable(q.dequantize))


def test_a_refusal_keeps_its_reason_and_can_be_tried_again(kind, monkeypatch):
    exact = kind.module.restore
    monkeypatch.setattr(kind.module, "restore", _broken)
    with pytest.warns(UserWarning, match=r"no space left.*_CACHE_DIR.*quant.use_kernels\(True\) tries again"):
        quant.quantize(kind.normal(100))
    for _ in range(2):
        assert "cannot serve here (OSError: no space left in the cache)" in dispatch.describe()
    monkeypatch.setattr(kind.module, "restore", exact)
    assert "cannot serve here" in dispatch.describe()
    quant.use_kernels(True)
    assert dispatch.describe() == f"{kind.module.NAME} on {kind.device}"


def test_a_package_that_is_installed_meanwhile_serves_after_use_kernels_true(kind, monkeypatch):
    monkeypatch.setattr(trial, "MODULES", {kind.device: "lora_lab.quant.kernels.not_there_yet"})
    assert dispatch.describe() == f"none, because {kind.compiler} cannot be imported: the readable path does the work"
    monkeypatch.setitem(sys.modules, "lora_lab.quant.kernels.not_there_yet", kind.module)
    assert "cannot be imported" in dispatch.describe()
    quant.use_kernels(True)
    assert dispatch.describe() == f"{kind.module.NAME} on {kind.device}"


def test_kernels_that_serve_are_not_tried_anew_each_time_that_they_are_switched_on(kind, monkeypatch):
    quant.quantize(kind.normal(100))
    with monkeypatch.context() as patch:
        patch.setattr(trial, "forget", None)
        quant.use_kernels(True)


def test_each_thing_that_is_wrong_is_said_once_and_named(kind, monkeypatch):
    exact, q = kind.module.restore, readable(lambda: quant.quantize(kind.normal(100)))

    def wrong_in_16_bits(stored, out):
        exact(stored, out)
        if out.dtype != torch.float32:
            out.zero_()

    monkeypatch.setattr(kind.module, "restore", wrong_in_16_bits)
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.warns(UserWarning, match=rf"{kind.compiler}'s kernels cannot serve here \(their.*{dtype}"):
            q.dequantize(dtype)
    in_use, *problems = dispatch.describe().split("; ")
    assert in_use == f"{kind.module.NAME} on {kind.device}"  # in float32
    assert [problem.split(" are not")[0] for problem in problems] == [
        f"{kind.compiler}'s kernels cannot serve here (their numbers in {dtype}"
        for dtype in (torch.bfloat16, torch.float16)
    ]
    assert all(problem.endswith(": the readable path does that work") for problem in problems)


def test_a_package_that_is_there_but_cannot_be_imported_says_why(kind, monkeypatch):
    """As Numba says where NumPy is too new for it: that is no package to install."""
    monkeypatch.setattr(trial, "MODULES", {kind.device: "lora_lab.quant.kernels.refuses"})

    def refuses(name):
        raise ImportError("Numba needs NumPy 2.3 or less")

    monkeypatch.setattr(trial.importlib, "import_module", refuses)
    with pytest.warns(UserWarning, match="ImportError: Numba needs NumPy 2.3 or less"):
        assert dispatch.quantize(kind.normal(100), quant.NF4, 64) is None
    assert "Numba needs NumPy" in dispatch.describe()


def test_nothing_is_said_of_a_gpu_that_is_not_there(kind, monkeypatch):
    monkeypatch.setattr(trial, "MODULES", {kind.device: kind.path, "cuda": "not_there_at_all"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted = "none, because" if kind.device == "cuda" else f"{kind.module.NAME} on {kind.device}"
    assert dispatch.describe().startswith(wanted) and not trial.missing


def test_a_gpu_without_its_compiler_is_named_beside_what_serves_the_cpu(kind, monkeypatch):
    monkeypatch.setattr(trial, "MODULES", {"cpu": kind.path, "cuda": "not_there_at_all"})
    monkeypatch.setattr(trial, "COMPILERS", {"cpu": kind.compiler, "cuda": "the GPU's"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert dispatch.describe() == f"{kind.module.NAME} on cpu; the GPU's cannot be imported"


def test_a_compiler_that_flushes_the_smallest_numbers_to_zero_is_refused(kind, monkeypatch):
    exact = kind.module.quantize

    def flushing(values, codebook, block_size):
        packed, absmax = exact(values, codebook, block_size)
        flushed = 1 / absmax < torch.finfo(torch.float32).tiny
        packed.view(-1, block_size // 2)[flushed] = 0x77  # zeros
        return packed, absmax

    monkeypatch.setattr(kind.module, "quantize", flushing)
    with pytest.warns(UserWarning, match="are not those of the formula"):
        assert dispatch.quantize(kind.normal(100), quant.NF4, 64) is None


def test_kernels_that_would_run_as_python_do_not_serve(kind, monkeypatch):
    monkeypatch.setattr(kind.module, "INTERPRETED", True)
    with pytest.warns(UserWarning, match=f"{kind.compiler} is told to leave them to Python"):
        assert dispatch.quantize(kind.normal(100), quant.NF4, 64) is None


def test_the_doctor_says_which_kernels_are_in_use(kind, monkeypatch):
    assert hardware.kernels().detail == f"{kind.module.NAME} on {kind.device}"
    quant.use_kernels(False)
    assert "switched off by use_kernels(False)" in hardware.kernels().detail
    quant.use_kernels(True)
    trial.forget()
    monkeypatch.setattr(kind.module, "restore", _broken)
    assert "cannot serve here (OSError: no space left in the cache)" in hardware.kernels().detail
    monkeypatch.setattr(trial, "MODULES", {kind.device: "not_there_at_all"})
    trial.forget()
    missing = f"none, because {kind.compiler} cannot be imported: the readable path does the work"
    assert hardware.kernels().detail == missing
