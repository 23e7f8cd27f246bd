"""Exercises 11, the first: a product with a weight that lies there in packed codes."""

from typing import Any

import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def restored_product(
    x: Tensor, packed: Tensor, absmax: Tensor, levels: Tensor, shape: tuple[int, int], block_size: int
) -> Tensor:
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[: shape[0] * shape[1]]
    scales = absmax.repeat_interleave(block_size)[: len(codes)]
    weight = (levels[codes.long()] * scales).view(shape)
    return x @ weight.to(x.dtype).T


class Stored:
    """A drawn weight as codes.

    Attributes:
        shape, block_size: of the weight [d_out, d_in], in whole numbers.
        codes: places in `levels`, int64; one more than weights where their number is odd.
        packed: two codes a byte, uint8, the high nibble first.
        absmax: a constant for each block, float32; its last block may be short.
        levels: [16], float32, ascending from -1 to 1.
    """

    def __init__(self, d_out: int, d_in: int, block_size: int) -> None:
        n = d_out * d_in
        self.shape, self.block_size = (d_out, d_in), block_size
        self.codes = torch.randint(16, (n + n % 2,))
        self.packed = (16 * self.codes[0::2] + self.codes[1::2]).to(torch.uint8)
        blocks = -(-n // block_size)
        self.absmax = 0.3 + (torch.randperm(blocks) + 0.5 * torch.rand(blocks)) / blocks  # no two alike
        inner = (torch.rand(14) * 1.8 - 0.9).sort().values
        self.levels = torch.cat([torch.tensor([-1.0]), inner, torch.tensor([1.0])])

    def handed(self) -> dict[str, Any]:
        """Copies of all that a learner gets, in the order of the arguments."""
        tensors = {"packed": self.packed, "absmax": self.absmax, "levels": self.levels}
        return {name: each.clone() for name, each in tensors.items()} | {
            "shape": self.shape, "block_size": self.block_size}  # fmt: skip

    def weight(self, codes: Tensor | None = None, levels: Tensor | None = None, absmax: Tensor | None = None) -> Tensor:
        """The weight [d_out, d_in], float32, one number after the other; with other codes, levels or constants."""
        d_out, d_in = self.shape
        codes = self.codes if codes is None else codes
        levels = self.levels if levels is None else levels
        absmax = self.absmax if absmax is None else absmax
        numbers = [float(levels[codes[i]]) * float(absmax[i // self.block_size]) for i in range(d_out * d_in)]
        return torch.tensor(numbers).view(d_out, d_in)


@task(reference=lambda: restored_product)
def product_from_codes(product_from_codes: Any) -> None:
    """x Ŵᵀ in the dtype of x, with Ŵ read from packed codes, levels and one constant per block."""
    for d_out, d_in, block, of_x, dtype in (
        (5, 5, 3, (2, 5), torch.float32),  # an odd number of weights; the last block is short; square
        (7, 18, 16, (2, 3, 18), torch.float32),
        (6, 30, 32, (4, 30), torch.bfloat16),
    ):
        stored, x = Stored(d_out, d_in, block), torch.randn(of_x).to(dtype)
        handed = {"x": x.clone(), **stored.handed()}
        try:
            with untouched(**handed):
                found = product_from_codes(*handed.values())
        except Exception as error:
            if f"out of bounds for dimension 0 with size {len(stored.absmax)}" in str(error):
                raise Wrong(
                    f"for {d_out} rows of {d_in} in blocks of {block} yours asks for more constants than there are: "
                    "blocks run on over the ends of rows, and no row begins a new one"
                ) from error
            if "dtype" in str(error) and dtype == torch.bfloat16:
                raise Wrong(
                    "for x in bfloat16 the product meets two dtypes: bring the weight to x's, after it is restored"
                ) from error
            raise
        y = required.tensor(found, f"y, for x {list(of_x)} and a weight {[d_out, d_in]},", (*of_x[:-1], d_out))
        wanted = x.float() @ stored.weight().T
        off = float((y.float() - wanted).norm() / wanted.norm())
        if off > (2e-2 if dtype == torch.bfloat16 else 1e-4):
            small = {"yours": y.float(), "wanted": wanted} if d_in == 5 else {}
            raise Wrong(why_product(y.float(), x.float(), stored, 1e-2 if dtype == torch.bfloat16 else 1e-4), **small)
        if y.dtype != dtype:
            raise Wrong(
                f"for x in {required.word(dtype)} your y is {required.word(y.dtype)}: restore in float32, then bring "
                "the weight to x's dtype for the product"
            )


def why_product(y: Tensor, x: Tensor, stored: Stored, tolerance: float = 1e-4) -> str:
    """What is wrong with a product that is not x Ŵᵀ, in words: y [..., d_out], x [..., d_in], both float32."""
    d_out, d_in = stored.shape
    n, codes, weight = d_out * d_in, stored.codes, stored.weight()
    high, low = codes[0::2], codes[1::2]
    place = torch.arange(n)
    scales = stored.absmax[place // stored.block_size]
    others = stored.absmax[place % len(stored.absmax)]
    row, column = place // d_in, place % d_in
    a_row = -(-d_in // stored.block_size)
    plain = stored.levels[codes[:n]]
    slips = {
        "the nibbles are the wrong way round: the high one, packed >> 4, is the first weight": stored.weight(
            torch.stack([low, high], 1).flatten()
        ),
        "all high nibbles come before all low ones: they alternate, high, low, high, low": stored.weight(
            torch.cat([high, low])
        ),
        "the constants are missing: a level times its block's absmax is the weight": plain.view(d_out, d_in),
        "the codes themselves are multiplied: a code is a place in `levels`, levels[code]": (codes[:n] * scales).view(
            d_out, d_in
        ),
        "the constants come in another order: a block is `block_size` neighbours, which share one constant": (
            plain * others
        ).view(d_out, d_in),
        "every weight has the first block's constant: each block has its own": (plain * stored.absmax[0]).view(
            d_out, d_in
        ),
        "the levels are NF4's, whatever `levels` says: use the argument": (quant.NF4.values[codes[:n]] * scales).view(
            d_out, d_in
        ),
        "the level is divided by its constant: multiply": (plain / scales).view(d_out, d_in),
        "the weight is taken from the end of the codes: the code too many is the last": (
            stored.levels[codes[-n:]] * scales
        ).view(d_out, d_in),
    }
    results = {words: x @ slip.T for words, slip in slips.items()}
    beginnings = (row * a_row, row * d_in // stored.block_size, torch.zeros_like(row))
    anew = [(first + column // stored.block_size).clamp(max=len(stored.absmax) - 1) for first in beginnings]
    if d_out == d_in:
        results["that is x Ŵ: rows of Ŵ are outputs, so transpose it"] = x @ weight
    found = required.slip(y, results, tolerance)
    if found is None and any(
        required.slip(y, {"": x @ (plain * stored.absmax[each]).view(d_out, d_in).T}, tolerance) is not None
        for each in anew
    ):
        found = "blocks begin anew in each row in yours: they run on over the ends of rows"
    if found is None:
        off = float((y - x @ weight.T).norm() / (x @ weight.T).norm())
        found = f"y is {off:.0%} away: print your restored weight for a case that you can do by hand, "
        found += "with an odd number of weights and blocks that run on over the ends of rows"
    return f"y is not x Ŵᵀ: {found}"
