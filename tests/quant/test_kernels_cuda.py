"""What only the kernels for a GPU have: tiles, and machine code that keeps each rounding."""

import os
import subprocess
import sys

import pytest
import torch

from lora_lab import quant
from lora_lab.quant import products
from tests.helpers.kernels import INTERPRETED, TRITON, readable, same

if TRITON.missing:
    pytest.skip(TRITON.missing, allow_module_level=True)

from lora_lab.quant.kernels import cuda  # noqa: E402

FOUND = cuda.INTERPRETED  # which the tests set to False, to have any
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of 1 / 0, in the interpreter


@pytest.fixture(autouse=True)
def in_use(monkeypatch):
    yield from TRITON.serving(monkeypatch)


@pytest.mark.parametrize("tile", [cuda.Tile(128, 1), cuda.Tile(2048, 8)], ids=str)
def test_the_way_the_work_is_cut_changes_no_bit(tile):
    values = TRITON.normal(1301)
    plain, q = (readable(lambda: quant.quantize(values, double_quant=each)) for each in (False, True))  # noqa: B023
    out = torch.empty_like(values)
    cuda.restore(q.stored, out, tile)
    assert same(out, readable(q.dequantize))
    packed, absmax = cuda.quantize(values, quant.NF4, 64, tile)
    assert same(packed, plain.packed) and same(absmax, plain.absmax)


@pytest.mark.parametrize("cut", [cuda.Slices(1, 32, 1, 1), cuda.Slices(8, 256, 4, 3)], ids=str)
def test_the_way_a_product_is_cut_changes_no_more_than_the_order_of_its_sum(cut):
    q = readable(lambda: quant.quantize(TRITON.normal(33, 192), double_quant=True))
    weight = readable(q.dequantize).double()
    for transposed, x in ((False, TRITON.normal(1, 192)), (True, TRITON.normal(1, 33))):
        turned = weight if transposed else weight.T
        y = cuda.product(x, q.stored, (33, 192), transposed, cut)
        assert ((y.double() - x.double() @ turned).abs() <= 2**-21 * (x.double().abs() @ turned.abs())).all()


def test_a_gpu_multiplies_one_token_without_the_weight_and_more_with_it():
    """Each token reads all codes there: from the second on it is as fast to restore them."""
    assert products.FEW_TOKENS["cuda"] == 1


def test_whether_kernels_are_interpreted_is_what_triton_says():
    """With a GPU there, and TRITON_INTERPRET=1 for another kernel, Python would do the work."""
    assert FOUND is INTERPRETED


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lora_lab.quant.kernels import cuda

def ptx(kernel, capability, constants, **types):
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()})
    options = {"num_warps": 4, **cuda.UNFUSED}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]

weight = {"packed": "*u8", "absmax": "*u8"} | dict.fromkeys(("levels", "scale", "mean", "table"), "*fp32")
counts = {"n": "i32", "n_bytes": "i32", "blocks": "i32"}
for capability in (80, 90):
    for kind in ("fp32", "bf16", "fp16"):
        text = ptx(cuda._restore, capability, {"SIZE": 64, "ROWS": 16, "DOUBLE": True},
                   out="*" + kind, **weight, **counts)
        assert "fma" not in text and "ftz" not in text
        text = ptx(cuda._quantize, capability, {"SIZE": 64, "ROWS": 16}, values="*" + kind,
                   packed="*u8", absmax="*fp32", midpoints="*fp32", **counts)
        assert "div.rn.f32" in text and "fma" not in text and "ftz" not in text
        for turned, cut in ((False, cuda.ALONG), (True, cuda.ACROSS)):
            size = {"SIZE": 64, "ROWS": cut.rows, "COLUMNS": cut.columns, "DOUBLE": True, "TRANSPOSED": turned}
            text = ptx(cuda._product, capability, size, x="*" + kind, y="*fp32", d_out="i32", d_in="i32", **weight)
            assert "fma" not in text and "ftz" not in text
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_that_are_not_there_and_fuse_no_product_with_a_sum(tmp_path):
    settings = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
