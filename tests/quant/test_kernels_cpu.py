"""What only the kernels for a CPU have: formats of 16 bits, parts of a weight, products without it, and threads."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab import quant
from lora_lab.quant import double, products, slabs
from lora_lab.quant.kernels import Part, dispatch, trial
from lora_lab.quant.lookup import byte_table
from lora_lab.quant.stored import Stored
from tests.helpers.kernels import BLOCKS, BOOKS, DTYPES, NUMBA, layer_of, normal, readable, same, step

if NUMBA.missing:
    pytest.skip(NUMBA.missing, allow_module_level=True)

import numba  # noqa: E402

from lora_lab.quant.kernels import cpu, registers  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def in_use(monkeypatch):
    yield from NUMBA.serving(monkeypatch)


@pytest.fixture
def called(monkeypatch):
    return NUMBA.called(monkeypatch, "restore", "restore_part", "quantize", "product")


# ── restore and quantize ────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(
    *(st.sampled_from(each) for each in (DTYPES, DTYPES, BOOKS, BLOCKS, [False, True, quant.FP8_E4M3, quant.INT8])),
    st.integers(1, 9000),
    st.integers(0, 99),
)
def test_any_number_of_values_is_quantized_and_restored_bit_for_bit(dtype, to, book, block, double, n, seed):
    """Also more than are looked up at a time, and than a cache holds."""
    tensor = normal(n, dtype=dtype, seed=seed)
    packed, absmax = cpu.quantize(tensor, book, block)
    plain, q = (readable(lambda: quant.quantize(tensor, book, block, each)) for each in (False, double))  # noqa: B023
    assert same(packed, plain.packed) and same(absmax, plain.absmax)
    out = torch.empty(n, dtype=to)
    cpu.restore(q.stored, out)
    assert same(out, readable(lambda: q.dequantize(to)))


@pytest.mark.parametrize("to", [torch.bfloat16, torch.float16], ids=str)
def test_a_tie_is_rounded_to_the_even_number(to):
    ties = 1 + torch.arange(8) * torch.finfo(to).eps / 2
    if to == torch.float16:
        ties = torch.cat([ties, torch.arange(8) * 2.0**-25])  # among subnormal numbers
    out = torch.empty(len(ties), 16, dtype=to)
    cpu.restore(Stored(torch.full((out.numel() // 2,), 0xFF, dtype=torch.uint8), ties, quant.NF4, 16), out)
    assert same(out[:, 0].contiguous(), ties.to(to))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_number_of_16_bits_is_quantized_as_the_readable_path_does(dtype):
    """Each finite one, in an order in which large and small ones share a block."""
    if dtype == torch.float32:
        bits = torch.arange(-(2**31), 2**31 - 1, 2**15 - 1, dtype=torch.int64).to(torch.int32).view(dtype)
    else:
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    values = bits[torch.isfinite(bits)]
    for order in (values, values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]):
        made, wanted = cpu.quantize(order, quant.NF4, 64), readable(lambda: quant.quantize(order))  # noqa: B023
        assert same(made[0], wanted.packed) and same(made[1], wanted.absmax)


@pytest.mark.parametrize("to", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_are_rounded_as_torch_does_also_ties_subnormals_overflow_and_nan(to):
    """A block's constant passes through where its level is 1, so any float32 can be asked for."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(to)
    every = every[torch.isfinite(every)].sort().values.float()
    halves = (every[1:].double() + every[:-1].double()).div(2).float()
    reach = torch.tensor([65519.996, 65520, 1e30, 3.4e38, 1e-45, torch.inf, -torch.inf, torch.nan])
    wanted = torch.cat([every, halves, halves.nextafter(torch.tensor(torch.inf)), halves.nextafter(-every[-1:]), reach])
    out = torch.empty(len(wanted), 16, dtype=to)
    packed = torch.full((out.numel() // 2,), 0xFF, dtype=torch.uint8)
    cpu.restore(Stored(packed, wanted, quant.NF4, 16), out)
    assert torch.equal(out.isnan(), wanted.isnan()[:, None].expand_as(out))
    assert same(out.nan_to_num(1.5), wanted.to(to)[:, None].expand_as(out).nan_to_num(1.5))


# ── a layer ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_more_tokens_and_broken_rows_are_multiplied_with_the_restored_weight_bit_for_bit(called):
    for d_in, tokens in ((256, products.FEW_TOKENS["cpu"] + 1), (100, 2)):
        layer = layer_of(d_in, 48, torch.float32, True)
        x, grad_y = normal(tokens, d_in), normal(tokens, 48)
        made, plain = step(layer, x, grad_y), readable(lambda: step(layer, x, grad_y))  # noqa: B023
        assert all(map(same, made, plain))
    assert "product" not in called


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [0, 1])
def test_slabs_are_restored_bit_for_bit(dtype, double, dim, monkeypatch, called):
    monkeypatch.setattr(slabs, "SIZE", 70 * 64)
    layer = readable(lambda: layer_of(320, 33, dtype, double))
    parts = [(part, slab.clone()) for part, slab in slabs.cut(layer.stored, (33, 320), dtype, dim)]
    assert called == ["restore_part"] * len(parts) and len(parts) > 1
    whole = readable(layer.dequantize)
    assert all(same(slab, whole[part] if dim == 0 else whole[:, part]) for part, slab in parts)


def test_gradients_through_the_product_are_exact_and_gradients_of_gradients_too(called):
    layer = layer_of(64, 48, torch.float32, True)
    x = normal(2, 64).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32: the product is linear, so a step of 1 is exact
        assert torch.autograd.gradcheck(layer, x, eps=1, atol=1e-3, rtol=1e-3, nondet_tol=0)
        assert torch.autograd.gradgradcheck(layer, x, eps=1, atol=1e-3, rtol=1e-3)
    assert "product" in called


def test_only_the_input_has_a_gradient_and_a_frozen_one_costs_no_product(called):
    layer = layer_of(64, 48, torch.float32, False)
    layer(normal(2, 64)).sum()
    assert called.count("product") == 1 and layer.packed.grad is None


def test_bad_input_is_refused_in_the_same_words():
    layer = layer_of(64, 48, torch.float32, True)
    for bad in (torch.ones(2, 63), torch.ones(2, 64, dtype=torch.int64)):
        said = []
        for way in (lambda call: call(), readable):
            with pytest.raises((ValueError, TypeError)) as caught:
                way(lambda: layer(bad))  # noqa: B023
            said.append((type(caught.value), str(caught.value)))
        assert said[0] == said[1]


@pytest.mark.parametrize("tokens", [2, 20])
def test_a_layer_whose_constants_were_replaced_by_others_is_no_matter_for_a_kernel(tokens, called):
    """A kernel would read past their end; the readable path says what does not fit."""
    layer = layer_of(64, 48, torch.float32, False)
    layer.absmax = layer.absmax[:-1]
    for way in (lambda call: call(), readable):
        with pytest.raises(RuntimeError):
            way(lambda: layer(normal(tokens, 64)))
    layer.absmax = torch.ones(48, dtype=torch.float64)
    assert same(layer(normal(tokens, 64)), readable(lambda: layer(normal(tokens, 64))))
    assert not called[1:]


WITHOUT_REGISTERS = """
import torch
from lora_lab import quant
from lora_lab.quant.kernels import cpu, registers
assert not registers.AVAILABLE
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for double in (False, True):
        q = quant.quantize(torch.randn(300, 64, dtype=dtype), double_quant=double)
        x, out = torch.ones(1, 64, dtype=dtype), torch.empty(300, 64, dtype=dtype)
        cpu.restore(q.stored, out)
        with quant.use_kernels(False):
            weight = q.dequantize()
        assert torch.equal(out, weight)
        torch.testing.assert_close(cpu.product(x, q.stored, (300, 64), False), x.float() @ weight.float().T)
"""


@pytest.mark.slow
def test_a_cpu_whose_registers_hold_fewer_levels_looks_up_bytes_to_the_same_bits():
    settings = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "LORA_LAB_KERNELS": "quiet"}
    done = subprocess.run([sys.executable, "-c", WITHOUT_REGISTERS], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", ["pairs", "sixteen"])
def test_codes_are_looked_up_from_any_byte_on_wherever_they_lie(way):
    if way == "sixteen" and not registers.AVAILABLE:
        pytest.skip("this CPU has no AVX-512, or Numba compiles for one without")
    codes = torch.randint(16, (64,), generator=torch.Generator().manual_seed(0))
    packed = torch.cat([torch.zeros(3), codes[0::2] * 16 + codes[1::2]]).byte()[3:]  # not aligned
    table = quant.NF4.values if way == "sixteen" else byte_table(quant.NF4, CPU).view(torch.int64)
    look_up, values = getattr(cpu.loops, f"_look_up_{way}"), torch.empty(49)[1:]
    look_up(packed.numpy(), table.numpy(), 8, values.numpy())
    assert same(values, quant.NF4.values[codes[16:]])


GUARD = """
import ctypes, mmap, sys
import numpy as np
import torch
from lora_lab import quant
from lora_lab.quant.kernels import cpu

PAGE = mmap.PAGESIZE
for block in (16, 64, 4096):
    for short in (0, 1, 2):
        q = quant.quantize(torch.randn(4 * 4096 + short), block_size=block)
        count = len(q.packed)
        pages = -(-count // PAGE)
        memory = mmap.mmap(-1, (pages + 1) * PAGE)
        end = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + pages * PAGE
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), PAGE, 0) == 0
        packed = torch.from_numpy(np.frombuffer(memory, np.uint8, count, pages * PAGE - count)).copy_(q.packed)
        for dtype in (torch.float32, torch.bfloat16):
            out = torch.empty(4 * 4096 + short, dtype=dtype)
            cpu.restore(q.stored._replace(packed=packed), out)
            assert torch.equal(out, q.dequantize(dtype)), (block, short)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no mprotect")
def test_no_byte_behind_the_codes_is_read():
    """They end at a page that may not be read, whatever is left of the last block."""
    done = subprocess.run([sys.executable, "-c", GUARD], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or done.returncode


def test_the_look_up_is_that_of_the_cpu_which_is_compiled_for():
    one, other = cpu.loops._look_up_sixteen, cpu.loops._look_up_pairs
    assert cpu.loops._look_up is (one if registers.AVAILABLE else other)
    if not numba.config.DISABLE_JIT:
        assert registers.AVAILABLE is ("+avx512f" in registers._FEATURES)


def test_sums_may_be_reordered_and_no_more():
    """NaN and infinity are numbers here: `fastmath=True` would let a compiler assume that there are none."""
    if not hasattr(cpu.loops._dot, "targetoptions"):
        pytest.skip("NUMBA_DISABLE_JIT=1 is set: nothing is compiled")
    for loop in (cpu.loops._dot, cpu.loops._add):
        assert loop.targetoptions["fastmath"] == {"reassoc", "contract"}


def test_every_float16_is_the_one_that_torch_rounds_to():
    bits = torch.arange(-(2**31), 2**31, 9973, dtype=torch.int64).int()
    edges = torch.tensor([0.0, 65504.0, 65519.99, 65520.0, 2**-14, 2**-24, 2**-25, 1.5 * 2**-24, torch.inf, torch.nan])
    values = torch.cat([bits.view(torch.float32), edges, -edges])
    rounded = values.clone()
    cpu.loops._round(rounded.numpy(), cpu.loops.FLOAT16)
    assert same(rounded.nan_to_num(1.5), values.half().float().nan_to_num(1.5))


@pytest.mark.parametrize("size", [2**10, slabs.SIZE], ids=["slabs", "whole"])
@pytest.mark.parametrize("tokens", [2, 20])
def test_a_tracer_sees_the_operators(tokens, size, called, monkeypatch):
    """`make_fx` runs with plain tensors and writes down what operators do: one product with all of W."""
    from torch.fx.experimental.proxy_tensor import make_fx

    monkeypatch.setattr(slabs, "SIZE", size)
    layer = readable(lambda: layer_of(64, 48, torch.float32, True))
    x, other = normal(tokens, 64), normal(tokens, 64, seed=1)
    traced = make_fx(layer)(x)
    assert called == []
    assert sum("mm" in node.name for node in traced.graph.nodes) == 1
    torch.testing.assert_close(traced(other), readable(lambda: layer(other)))


@pytest.mark.parametrize("tokens", [2, 20])
def test_a_compiler_sees_the_formula(tokens, called):
    layer = readable(lambda: layer_of(64, 48, torch.float32, True))
    torch.compile(layer, backend="eager", fullgraph=True)(normal(tokens, 64))
    assert called == []


def words(call):
    """How a call fails."""
    with pytest.raises((RuntimeError, TypeError)) as caught:
        call()
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("tokens", [2, 20])
def test_jit_s_tracer_fails_in_the_words_of_the_readable_path(tokens, called, monkeypatch):
    """It cannot write down a layer; no kernel is handed what it looks at, and adds a page of its own."""
    layer, exact, watched = readable(lambda: layer_of(64, 48, torch.float32, True)), cpu.restore, []
    monkeypatch.setattr(cpu, "restore", lambda *args: watched.append(torch._C._is_tracing()) or exact(*args))

    def trace():
        torch.jit.trace(layer, normal(tokens, 64))

    assert words(trace) == words(lambda: readable(trace)) and not any(watched)


@pytest.mark.parametrize("tokens", [2, 20])
def test_a_layout_of_its_own_is_refused_in_the_words_of_the_readable_path(tokens, called):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no layout of oneDNN")
    layer = readable(lambda: layer_of(64, 48, torch.float32, True))
    x = normal(tokens, 64).to_mkldnn()
    assert words(lambda: layer(x)) == words(lambda: readable(lambda: layer(x)))
    assert "product" not in called


@pytest.mark.parametrize("part", ["packed", "constants"])
def test_parts_in_another_shape_are_left_to_the_readable_path(part, called):
    """As bitsandbytes' codes are, [n, 1]."""
    stored = readable(lambda: layer_of(64, 48, torch.float32, False)).stored
    given = stored._replace(**{part: getattr(stored, part)[:, None]})
    assert dispatch.product(normal(2, 64), given, (48, 64), False) is None
    assert called == []


def test_no_part_of_a_weight_is_restored_whose_parts_do_not_belong_together_or_to_what_is_strided(called):
    stored, out = readable(lambda: layer_of(64, 48, torch.float32, False)).stored, torch.empty(4, 64)
    assert dispatch.restore_part(stored, out, Part(0, 1, 0))
    called.clear()
    assert not dispatch.restore_part(stored._replace(constants=stored.constants[:-1]), out, Part(0, 1, 0))
    assert not dispatch.restore_part(stored, torch.empty(4, 128)[:, ::2], Part(0, 1, 0))
    assert called == []


@pytest.mark.parametrize(
    ("part", "change"),
    [("codes", lambda t: t[:256]), ("codes", lambda t: t[:, None]), ("scale", lambda t: t[:1]),
     ("scale", lambda t: t[:, None])],
    ids=["few codes", "codes in another shape", "few scales", "scales in another shape"],
)  # fmt: skip
def test_quantized_constants_that_do_not_belong_together_are_refused_where_they_are_made(part, change, called):
    """By the layer that was handed them, and no kernel reads past their end."""
    layer = readable(lambda: layer_of(64, 320, torch.float32, True))
    setattr(layer, f"absmax_{part}", change(getattr(layer, f"absmax_{part}")))
    for tokens in (2, 20):
        with pytest.raises(ValueError, match="need one scale for each 256 of them and one mean"):
            layer(normal(tokens, 64))
    assert called == []


def test_constants_that_do_not_lie_side_by_side_are_left_to_the_readable_path(called):
    q = readable(lambda: quant.quantize(normal(640)))
    strided = q.constants.repeat_interleave(2)[::2]
    assert not dispatch.restore(q.stored._replace(constants=strided), torch.empty(640)) and called == []


def test_a_code_that_is_no_level_reads_no_memory_behind_the_table():
    second = quant.FP8_E4M3
    damaged = quant.QuantizedConstants(
        torch.full((4,), 255, dtype=torch.uint8), torch.ones(1), torch.tensor(2.0), second
    )
    assert len(second) < 256 and len(cpu._constants(damaged)[-1]) == 256


def test_quantized_constants_of_fewer_blocks_are_left_to_the_readable_path(called):
    stored = readable(lambda: layer_of(64, 48, torch.float32, True)).stored
    few = replace(stored.constants, codes=stored.constants.codes[:-1])
    assert not dispatch.restore(stored._replace(constants=few), torch.empty(48, 64)) and called == []


def test_an_input_on_another_device_than_the_weight_is_no_matter_for_a_kernel(called):
    layer = readable(lambda: layer_of(64, 48, torch.float32, True)).to("meta")
    with pytest.raises((RuntimeError, NotImplementedError), match="device"):
        layer(normal(2, 64))
    assert called == []


# ── threads and processes ───────────────────────────────────────────────────────────────────────────────────────────


def everything():
    """Results of each kernel."""
    q = quant.quantize(normal(1101), double_quant=True)
    layer = layer_of(256, 12, torch.float32, True)
    products = step(layer, normal(2, 256), normal(2, 12))
    return [q.packed, q.absmax, q.dequantize(), q.dequantize(torch.bfloat16), *products]


def test_no_bit_depends_on_the_number_of_threads(monkeypatch):
    before = torch.get_num_threads()
    alone = everything()
    monkeypatch.setattr(cpu, "VALUES_A_THREAD", 64)
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            assert all(map(same, everything(), alone))
    finally:
        torch.set_num_threads(before)


def test_what_a_thread_raises_is_raised_by_the_call(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    def loop(start, stop):
        if start:
            raise MemoryError("no room for a row")

    with pytest.raises(MemoryError, match="no room"):
        cpu._share(loop, 100, 10**7)


def test_kernels_use_as_many_threads_as_torch_and_none_afterwards(monkeypatch):
    before, alive = torch.get_num_threads(), threading.active_count()
    monkeypatch.setattr(cpu, "VALUES_A_THREAD", 64)
    try:
        for wanted in (1, 3):
            torch.set_num_threads(wanted)
            all_at_once, met = threading.Barrier(wanted, timeout=60), []
            cpu._share(lambda start, stop: met.append(all_at_once.wait()), 100, 10**6)  # noqa: B023
            assert sorted(met) == list(range(wanted)) and threading.active_count() == alive
    finally:
        torch.set_num_threads(before)


def test_where_no_thread_can_be_had_one_does_it_all(monkeypatch):
    """At the end of a process, or at a container's limit: not one, or only the first."""
    before, alone = torch.get_num_threads(), everything()
    monkeypatch.setattr(cpu, "VALUES_A_THREAD", 64)
    exact, allowed = cpu.ThreadPoolExecutor.submit, []

    def submit(pool, *work):
        if not allowed:
            raise RuntimeError("can't start new thread")
        allowed.pop()
        return exact(pool, *work)

    monkeypatch.setattr(cpu.ThreadPoolExecutor, "submit", submit)
    try:
        torch.set_num_threads(3)
        for many in (0, 1, 2):
            allowed[:] = [None] * many
            assert all(map(same, everything(), alone))
    finally:
        torch.set_num_threads(before)


def test_no_thread_is_without_a_part(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    seen = []
    cpu._share(lambda start, stop: seen.append((start, stop)), 3, 10**9)
    assert sorted(seen) == [(0, 1), (1, 2), (2, 3)]


def test_what_is_small_is_worth_no_thread():
    seen = set()
    cpu._share(lambda start, stop: seen.add((start, stop)), 100, cpu.VALUES_A_THREAD)
    assert seen == {(0, 100)}


def test_a_small_layer_starts_no_thread(called, monkeypatch):
    monkeypatch.setattr(cpu, "ThreadPoolExecutor", lambda threads: pytest.fail(f"{threads} threads are started"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    layer = layer_of(512, 512, torch.float32, True)
    called.clear()
    layer(normal(1, 512))
    layer.dequantize()
    assert called == ["product", "restore", "restore_part"]


def test_several_callers_at_once_each_get_their_numbers(monkeypatch):
    monkeypatch.setattr(cpu, "VALUES_A_THREAD", 256)
    wanted, wrong = everything(), []

    def call():
        for _ in range(10):
            if not all(map(same, everything(), wanted)):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


def run(code):
    """A process of its own."""
    settings = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    code = f"import os, sys, time\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_process_forked_after_kernels_have_run_can_run_them():
    """As a DataLoader's workers and the grader do."""
    done = run("""
import torch
from lora_lab import quant
from lora_lab.quant.kernels import cpu
torch.set_num_threads(2)
cpu.VALUES_A_THREAD = 2**12
layer = quant.Linear4bit.from_linear(torch.nn.Linear(256, 256))
x = torch.ones(2, 256)
wanted, ways = layer(x), []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(layer(x), wanted) and len(quant.quantize(torch.ones(2**15)).packed) else 1)
    end = time.monotonic() + 60
    while (way := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    ways.append(way[1] if way[0] else "hangs")
print(ways)
""")
    assert done.stdout.strip() == "[0, 0, 0]", done.stderr


def test_a_cache_that_cannot_be_written_costs_one_warning_and_no_number(monkeypatch):
    """The package lies in a read-only place, and so does the user's folder."""
    from numba.core import caching

    from lora_lab.quant import kernels

    layer, x = layer_of(64, 48, torch.float32, True), normal(2, 64)
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    for name in ("loops", "cpu"):  # to be imported anew
        monkeypatch.delitem(sys.modules, f"lora_lab.quant.kernels.{name}")
        monkeypatch.delattr(kernels, name)
    trial.forget()
    with pytest.warns(UserWarning, match="the readable path does that work") as said:
        y, again = layer(x), layer(x)
    assert len(said) == 1 and "cannot cache function" in str(said[0].message)
    assert same(y, again) and same(y, readable(lambda: layer(x)))


def test_the_library_is_imported_without_numba():
    done = run("""
import torch
from lora_lab import lora, quant
quant.quantize(torch.ones(1000)).dequantize()
assert "numba" not in sys.modules
""")
    assert done.returncode == 0, done.stderr


# ── which kernels serve ─────────────────────────────────────────────────────────────────────────────────────────────


def test_small_tensors_wake_no_compiler(called, monkeypatch):
    monkeypatch.setattr(dispatch, "_LEAST", {"cpu": 2**14})
    quant.quantize(normal(2**14 - 1)).dequantize()
    assert called == []
    quant.quantize(normal(2**14))
    assert called == ["quantize"]


def test_a_product_that_errs_with_constants_of_double_quantization_is_refused(monkeypatch):
    exact = cpu.product
    off = {torch.Tensor: 1.0, double.QuantizedConstants: 1.001}
    monkeypatch.setattr(cpu, "product", lambda *args: exact(*args) * off[type(args[1].constants)])
    with pytest.warns(UserWarning, match="Numba's products cannot serve here"):
        assert trial.passed(CPU, torch.float32, trial.multiplies) is None


@pytest.mark.parametrize("which", [False, True], ids=["forward", "transposed"])
def test_a_product_that_errs_is_refused_while_the_others_serve(which, monkeypatch):
    exact = cpu.product
    monkeypatch.setattr(cpu, "product", lambda *args: exact(*args) * (1.001 if args[-1] is which else 1))
    layer = readable(lambda: layer_of(64, 48, torch.float32, True))
    wanted = readable(lambda: layer(normal(2, 64)))
    refused = r"Numba's products cannot serve here \(their numbers in torch.float32 are not those of the formula\)"
    with pytest.warns(UserWarning, match=refused):
        y = layer(normal(2, 64))
    assert same(y, wanted)
    assert dispatch.describe().startswith(f"{cpu.NAME} on cpu; Numba's products cannot serve here")
    assert trial.passed(CPU, torch.float32, trial.restores) is cpu


@pytest.mark.parametrize("said", ["maybe", "OFF", " 0", "false", "No", "", "1", "yes", "true", "on", "Quiet"])
def test_the_setting_is_understood_as_people_write_it_and_one_that_is_none_is_named(said, monkeypatch):
    monkeypatch.setenv("LORA_LAB_KERNELS", said)
    monkeypatch.setattr(trial, "quiet", None)  # what the module sets is undone afterwards
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = importlib.util.find_spec(dispatch.__name__)
        fresh = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fresh)
    assert fresh._on is (said.strip().lower() not in ("off", "0", "false", "no"))
    assert trial.quiet is (said == "Quiet")
    assert [str(each.message) for each in caught if "LORA_LAB_KERNELS" in str(each.message)] == (
        ["LORA_LAB_KERNELS='maybe' is none of on, off, quiet: kernels are on"] if said == "maybe" else []
    )


def test_a_first_call_says_what_takes_its_time(monkeypatch, capsys):
    monkeypatch.setattr(trial, "PATIENCE", 0.01)
    monkeypatch.setattr(trial, "quiet", False)
    exact = cpu.quantize
    monkeypatch.setattr(cpu, "quantize", lambda *args: time.sleep(0.2) or exact(*args))
    quant.quantize(normal(100))
    assert capsys.readouterr().err == "Numba prepares kernels in torch.float32 for this CPU, once …\n"
    quant.quantize(normal(100))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_a_first_call_that_is_quick_or_told_to_be_quiet_says_nothing(quiet, monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE", 1000.0)
    monkeypatch.setattr(trial, "quiet", quiet)
    with trial._said_if_slow("Numba compiles"):
        timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
        assert len(timers) == (not quiet)
    for timer in timers:
        timer.join(60)  # it waits no longer
        assert not timer.is_alive()


def test_constants_that_are_a_negated_view_are_left_to_the_readable_path(called):
    stored, out = readable(lambda: layer_of(64, 48, torch.float32, False)).stored, torch.empty(48, 64)
    assert not dispatch.restore(stored._replace(constants=torch._neg_view(-stored.constants)), out) and called == []


def test_where_no_thread_can_be_had_for_the_message_the_kernel_serves(monkeypatch):
    def start(timer):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trial, "quiet", False)
    monkeypatch.setattr(threading.Timer, "start", start)
    assert trial.passed(CPU, torch.float32, trial.restores) is cpu


def test_whether_kernels_are_interpreted_is_what_numba_says():
    done = run("""
os.environ["NUMBA_DISABLE_JIT"] = "1"
from lora_lab.quant.kernels import cpu
assert cpu.INTERPRETED
""")
    assert done.returncode == 0, done.stderr


def test_threads_that_run_a_loop_do_not_wait_for_one_another():
    if not hasattr(cpu.loops.restore, "targetoptions"):
        pytest.skip("left to the interpreter, as in the run of mutants")
    loops = [
        cpu.loops.restore,
        cpu.loops.restore16,
        cpu.loops.quantize,
        cpu.loops.product,
        cpu.loops.product_transposed,
    ]
    assert all(loop.targetoptions["nogil"] for loop in loops)


def test_a_zero_without_memory_is_left_to_the_readable_path(called):
    """As autograd makes one for a derivative that is zero everywhere."""
    zeros = torch._efficientzerotensor(20_000)
    assert same(quant.quantize(zeros).packed, readable(lambda: quant.quantize(zeros)).packed) and called == []


def test_a_group_of_constants_is_as_large_for_a_loop_as_for_the_format():
    assert cpu.loops.GROUP == double.BLOCK_SIZE
