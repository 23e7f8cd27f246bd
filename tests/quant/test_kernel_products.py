"""Products by kernels of either kind, which never make the weight: few tokens, both ways round.

Without a GPU, Triton's run in its interpreter.
"""

import pytest
import torch

from lora_lab import quant
from lora_lab.quant import products
from lora_lab.quant.double import QuantizedConstants
from lora_lab.quant.kernels import dispatch, trial
from lora_lab.quant.stored import Stored
from tests.helpers.kernels import DTYPES, NUMBA, TRITON, layer_of, readable, same, step

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of 0 · ∞, in Triton's interpreter


@pytest.fixture(params=[NUMBA, TRITON], ids=lambda kind: kind.compiler, autouse=True)
def kind(request, monkeypatch):
    monkeypatch.setattr(products, "FEW_TOKENS", {request.param.device: 16})
    yield from request.param.serving(monkeypatch)


@pytest.fixture
def called(kind, monkeypatch):
    return kind.called(monkeypatch, "restore", "quantize", "product")


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 3, 16])
def test_the_product_that_makes_no_weight_errs_no_more_than_a_product_with_it(tokens, dtype, double, kind, called):
    """Against float64 with the same weight, in units of the sum of magnitudes; both ways round, bias included."""
    tokens = min(tokens, 4) if kind is TRITON else tokens  # each is a program of its own there, and takes its time here
    layer = layer_of(256, 200, dtype, double, kind.device)
    x, grad_y = kind.normal(tokens, 256, dtype=dtype), kind.normal(tokens, 200, dtype=dtype, seed=1)
    called.clear()
    made, plain = step(layer, x, grad_y), readable(lambda: step(layer, x, grad_y))
    assert called == ["product", "product"]
    weight, bias = readable(layer.dequantize).double(), layer.bias.detach().double()
    exact = x.double() @ weight.T + bias, grad_y.double() @ weight
    reach = x.double().abs() @ weight.T.abs() + bias.abs(), grad_y.double().abs() @ weight.abs()
    for ours, theirs, right, scale in zip(made, plain, exact, reach):
        assert ours.dtype == dtype
        error, other = (((each.double() - right).abs() / scale).max() for each in (ours, theirs))
        one_rounding = (
            0.0 if dtype == torch.float32 else float(((right.to(dtype).double() - right).abs() / scale).max())
        )
        assert error <= max(1.5 * other, one_rounding, 2**-22)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("block", "shape"), [(16, (70, 48)), (64, (5, 1088)), (4096, (3, 4096))])
def test_rows_of_any_number_of_blocks_of_any_size_are_multiplied(block, shape, dtype, double, kind):
    """Slices of a weight, rounded to the dtype of x, reach past its last row and column, or are parts of a block."""
    q = readable(lambda: quant.quantize(kind.normal(*shape), block_size=block, double_quant=double))
    weight = readable(lambda: q.dequantize(dtype)).double()
    inputs = (kind.normal(1, size, dtype=dtype) for size in reversed(shape))
    for transposed, x in zip((False, True), inputs):
        y = kind.module.product(x, q.stored, shape, transposed)
        turned = weight if transposed else weight.T
        reach = x.double().abs() @ turned.abs()
        assert ((y.double() - x.double() @ turned).abs() <= 2**-21 * reach).all()


@pytest.mark.parametrize("transposed", [False, True])
def test_what_lies_outside_of_a_weight_is_no_part_of_a_sum(transposed, kind):
    """Where constants are 1 and their mean is 70000, a constant that is not there would be infinite in float16."""
    q = readable(lambda: quant.quantize(kind.normal(33, 192), double_quant=True))
    lowest = q.constants.codebook.values.min()
    codes = torch.full_like(q.constants.codes, int(q.constants.codebook.values.argmin()))
    scale, mean = (torch.full_like(each, 7e4) for each in (q.constants.scale, q.constants.mean))
    constants = QuantizedConstants(codes, (scale - 1) / -lowest.item(), mean, q.constants.codebook)
    stored = Stored(q.packed, constants, quant.NF4, 64)
    x = kind.normal(1, 33 if transposed else 192, dtype=torch.float16)
    y, levels = kind.module.product(x, stored, (33, 192), transposed), quant.unpack(q.packed, 33 * 192)
    weight = quant.NF4.values.to(kind.device)[levels.long()].view(33, 192)
    right = x.float() @ (weight if transposed else weight.T)
    assert (y - right).abs().max() < 0.01 * right.abs().max()


def test_a_product_takes_nothing_from_what_lay_in_its_memory(kind, called, monkeypatch):
    layer = layer_of(64, 48, torch.float32, True, kind.device)
    x, grad_y = kind.normal(2, 64), kind.normal(2, 48)
    wanted, exact = step(layer, x, grad_y), torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **how: exact(*size, **how).fill_(7))
    assert all(map(same, step(layer, x, grad_y), wanted)) and "product" in called


def test_each_token_of_an_input_in_strides_meets_the_weight(kind, called):
    layer = layer_of(64, 48, torch.float32, True, kind.device)
    wide = kind.normal(4, 128)
    assert same(layer(wide[::2, ::2]), layer(wide[::2, ::2].clone()))
    assert same(layer(wide[:1, ::2]), layer(wide[::2, ::2])[:1])
    assert called.count("product") == 4


def test_one_rounding_per_product_in_16_bits_too(kind, called):
    layer = layer_of(128, 64, torch.bfloat16, False, kind.device)
    x = kind.normal(2, 128, dtype=torch.bfloat16)
    exact = x.double() @ readable(layer.dequantize).double().T + layer.bias.detach().double()
    y = layer(x).detach()
    assert "product" in called
    assert (y == exact.bfloat16()).float().mean() > 0.98  # but where the exact sum lies on the edge between two numbers
    assert (y.double() - exact).abs().max() <= 1.01 * (exact.bfloat16().double() - exact).abs().max()


def test_what_is_not_finite_goes_through_a_product_as_through_any_other(kind, called):
    """NaN and infinity, of the input and of a constant: no shortcut of a compiler takes them for numbers."""
    layer = layer_of(128, 48, torch.float32, False, kind.device)
    layer.absmax[3], layer.absmax[9] = torch.nan, torch.inf
    x, grad_y = kind.normal(3, 128), kind.normal(3, 48)
    x[0, 5], grad_y[1, 7] = torch.inf, -torch.inf
    made = step(layer, x, grad_y)
    assert "product" in called
    for ours, plain in zip(made, readable(lambda: step(layer, x, grad_y))):
        assert torch.equal(torch.isnan(ours), torch.isnan(plain))
        finite = torch.isfinite(plain)
        assert torch.equal(finite, torch.isfinite(ours)) and torch.equal(
            ours[~finite & ~plain.isnan()], plain[plain.isinf()]
        )


def test_a_sum_over_many_rows_errs_no_more_than_that_of_a_blas(kind, called):
    layer = layer_of(64, 4096, torch.float32, False, kind.device)
    g = torch.ones(1, 4096, device=kind.device) + kind.normal(1, 4096) / 100
    ours = dispatch.product(g, layer.stored, (4096, 64), True)
    weight = readable(layer.dequantize)
    exact, scale = g.double() @ weight.double(), g.double().abs() @ weight.double().abs()
    blas = ((g @ weight).double() - exact).abs() / scale
    assert ((ours.double() - exact).abs() / scale).max() <= 1.5 * blas.max() + 2**-25


def test_a_sum_over_many_rows_is_rounded_in_groups(kind, called):
    """Ones times a tenth, 16384 times: added one by one, they err by 1e-4 of the sum."""
    rows = 2**14
    ones = torch.full((rows * 16 // 2,), 0xFF, dtype=torch.uint8, device=kind.device)
    stored = Stored(ones, torch.full((rows,), 0.1, device=kind.device), quant.NF4, 16)
    y = dispatch.product(torch.ones(1, rows, device=kind.device), stored, (rows, 16), True)
    exact = rows * torch.tensor(0.1).double()
    assert ((y.double().cpu() / exact - 1).abs() < 4e-6).all()


@pytest.mark.parametrize(
    ("shape", "width", "transposed"),
    [((200, 256), 128, False), ((200, 256), 200, False), ((200, 256), 256, True), ((256, 200), 200, False)],
    ids=["too narrow", "as for the other way", "as for the other way, transposed", "broken rows"],
)
def test_an_input_that_does_not_fit_is_no_matter_for_a_kernel(shape, width, transposed, kind, called):
    """It would read another row's numbers, or past the end."""
    stored = readable(lambda: quant.quantize(kind.normal(*shape), double_quant=True)).stored
    assert dispatch.product(kind.normal(2, width), stored, shape, transposed) is None and called == []


def test_no_token_at_all_is_a_product_without_rows(kind):
    layer = layer_of(64, 48, torch.float32, True, kind.device)
    assert layer(kind.normal(0, 64)).shape == (0, 48)


def test_a_first_call_while_a_graph_is_captured_says_what_to_do_and_the_next_is_free(monkeypatch):
    """What is captured runs later, so a trial would compare nothing; nor is it a failure that is remembered."""
    for state in ("is_initialized", "is_current_stream_capturing"):
        monkeypatch.setattr(torch.cuda, state, lambda: True)
    for each in (trial.restores, trial.multiplies):
        with pytest.raises(
            RuntimeError, match="a CUDA graph is being captured, and kernels in torch.bfloat16 have not"
        ):
            trial.passed(torch.device("cuda"), torch.bfloat16, each)
    assert not trial.problems
