"""Claims about numbers themselves: levels, rounding errors, and updates."""

import math

import torch
from torch import nn

from lora_lab import lora, quant

PEFT = "https://github.com/huggingface/peft/blob/5d602fdbff04c33c1c4de55cda9d4ae1d7cb7e40/src/peft/tuners/lora"


def zero_factor() -> tuple[str, str]:
    """B starts Gaussian and A at zero
    ([PEFT](https://github.com/huggingface/peft/blob/5d602fdbff04c33c1c4de55cda9d4ae1d7cb7e40/src/peft/tuners/lora/layer.py#L349),
    for adapters of an embedding)
    """
    layer = lora.LoRALinear(nn.Linear(64, 64), lora.LoRAConfig())
    assert not layer.lora_B.any() and layer.lora_A.abs().max() <= 1 / 8
    return ("In a linear layer A is random (PEFT: uniform in ±1/√d_in) and B zero, as in the paper. The mirrored start "
            "adds nothing either, and learns", "03_lora_from_scratch guess-good_starts")  # fmt: skip


def doubled_alpha() -> tuple[str, str]:
    """“Tuning α is roughly the same as tuning the learning rate”
    ([LoRA](https://arxiv.org/abs/2106.09685), section 4.1: with Adam, if the initialization is scaled too)
    """
    adam, sgd = _first_update(torch.optim.Adam), _first_update(torch.optim.SGD)
    return (f"With α doubled and the initialization kept, ΔW after the first step grows {adam:.1f} times under Adam, "
            f"as if only B's rate had doubled, and {sgd:.1f} times under SGD",
            "04_rank_alpha_rate guess-sgd_step")  # fmt: skip


def merge_into_four_bits() -> tuple[str, str]:
    """After merge_and_unload in a 4-bit base “merged models become dequantized: the result is float32/bfloat16, not
    quantized”
    ([course](https://theneuralbase.com/bitsandbytes/learn/intermediate/merging-into-quantized-base/))
    """
    kept = [f"{_kept(share):.0%} of an update of {share:.1%} of the weight's size" for share in (0.003, 0.03, 0.3)]
    return (f"PEFT [rounds back]({PEFT}/bnb.py#L402) to four bits. That keeps {', '.join(kept)}, and adds an "
            "error of its own", "14_save_merge_deploy turn-survives")  # fmt: skip


def not_reproducible() -> tuple[str, str]:
    """“I am not fully sure how to reproduce the exact values” of NF4
    ([bitsandbytes #1772](https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1772))
    """
    import bitsandbytes.functional as bnb

    same = torch.equal(quant.normal_float(4).values, bnb.get_4bit_type("nf4", device="cpu"))
    assert same
    return ("Bit for bit, if p_max is rounded to seven decimals and each step is taken in the right precision",
            "09_build_nf4 turn-normal_float4")  # fmt: skip


def as_many_negative() -> tuple[str, str]:
    """The levels of NF4 are “q_i = Q^{-1}((i + 0.5)/16)”
    ([notebook](https://github.com/B-cmd-alt/bert/blob/fe9c7c8401d1cce2581c7832f870c40defe7b565/advanced_bert_techniques/30_qlora_quantized.ipynb))
    """
    values = quant.NF4.values
    negative, positive = int((values < 0).sum()), int((values > 0).sum())
    theirs = torch.special.ndtri((torch.arange(16, dtype=torch.float64) + 0.5) / 16)
    assert not (theirs == 0).any()
    return (f"That gives {int((theirs < 0).sum())} negative levels, {int((theirs > 0).sum())} positive ones and no "
            f"zero. NF4 has {negative} negative, zero, {positive} positive; QLoRA and bitsandbytes count the zero on "
            f"both sides: {negative + 1} and {positive + 1}", "09_build_nf4 turn-normal_float4")  # fmt: skip


def equal_mass() -> tuple[str, str]:
    """NF4 has an “equal expected number of values in each quantization bin”
    ([QLoRA](https://arxiv.org/abs/2305.14314), section 3)
    """
    book = quant.NF4
    sigma = 1 / torch.special.ndtri(torch.tensor(0.9677083, dtype=torch.float64))  # the curve the table was made from
    cuts = torch.special.ndtr(book.midpoints.double() / sigma)
    mass = torch.cat([cuts[:1], cuts.diff(), 1 - cuts[-1:]])
    codes = quant.unpack(quant.quantize(_normal()).packed, len(_normal())).int()
    used = torch.bincount(codes, minlength=16) / len(codes)
    return (f"{mass.min():.1%} to {mass.max():.1%} even on the curve that it was made from, {used.min():.1%} to "
            f"{used.max():.1%} in use, at blocks of 64", "09_build_nf4 guess-least_used")  # fmt: skip


def optimal() -> tuple[str, str]:
    """NF4 is “information theoretically optimal for normally distributed weights”
    ([QLoRA](https://arxiv.org/abs/2305.14314), abstract)
    """
    error = _errors()
    lloyd, nf4, int4 = (error[book.name] for book in (quant.lloyd(), quant.NF4, quant.INT4))
    return (f"A fitted table has {1 - lloyd / nf4:.1%} less squared error at blocks of 64; NF4 has "
            f"{1 - nf4 / int4:.0%} less than symmetric INT4", "09_build_nf4 turn-lloyd_step")  # fmt: skip


def normal_float_8() -> tuple[str, str]:
    """Quantiles are the best levels at any number of bits (exercise)"""
    error = _errors()
    ratio = error[quant.normal_float(8).name] / error[quant.INT8.name]
    return (f"At 8 bits NF8 has {ratio:.1f} times the squared error of plain INT8 on normal weights: equal use leaves "
            "the tails too few levels", "`quant.normal_float`")  # fmt: skip


def dynamic_map() -> tuple[str, str]:
    """The constants need a special 8-bit float (exercise)"""
    absmax = quant.quantize(_normal()).absmax

    def error(book: quant.Codebook) -> float:
        return float((quant.quantize_constants(absmax, book).dequantize() - absmax).square().mean())

    base = error(quant.DYNAMIC8)
    return (f"Squared error against bitsandbytes' dynamic map: linear INT8 {error(quant.INT8) / base:.2f}, FP8 E4M3 "
            f"{error(quant.FP8_E4M3) / base:.2f} (QLoRA says “8-bit Floats”, not which)",
            "10_double_quantization 3")  # fmt: skip


def identity() -> tuple[str, str]:
    """Down from D to d dimensions and up again can be the identity I_D (exercise)"""
    d, D = 4, 16
    down = torch.linalg.qr(torch.randn(D, d, generator=torch.Generator().manual_seed(0)))[0].T
    assert torch.allclose(down @ down.T, torch.eye(d), atol=1e-5)
    rank = torch.linalg.matrix_rank(down.T @ down)
    return (f"Only up and down again, I_d: a product through d = {d} dimensions has rank {rank}, and I_D "
            f"needs D = {D}", "computed here")  # fmt: skip


def _normal() -> torch.Tensor:
    return torch.empty(2**20).normal_(generator=torch.Generator().manual_seed(0))


def _errors() -> dict[str, float]:
    """Mean squared error over variance, on normal weights in blocks of 64, by codebook."""
    x = _normal()
    books = (quant.NF4, quant.INT4, quant.lloyd(), quant.normal_float(8), quant.INT8)
    return {book.name: float((quant.quantize(x, book).dequantize() - x).square().mean()) for book in books}


def _first_update(optimizer: type[torch.optim.Optimizer]) -> float:
    """By what factor ‖ΔW‖ after one step grows when α doubles."""
    sizes = []
    for alpha in (8, 16):
        torch.manual_seed(0)
        layer = lora.LoRALinear(nn.Linear(32, 32), lora.LoRAConfig(r=8, alpha=alpha))
        layer(torch.randn(16, 32)).square().sum().backward()
        optimizer([layer.lora_B, layer.lora_A], lr=1e-4).step()  # type: ignore[call-arg]
        sizes.append(float(layer.delta_weight().detach().norm()))
    return sizes[1] / sizes[0]


def _kept(share: float) -> float:
    """Of an update with ‖ΔW‖ = share · ‖W‖, what survives rounding back to four bits."""
    torch.manual_seed(0)
    base = quant.Linear4bit.from_linear(nn.Linear(512, 512, bias=False))
    layer = lora.LoRALinear(base, lora.LoRAConfig(r=16, alpha=16))
    with torch.no_grad():
        layer.lora_B.normal_()
        layer.lora_B.mul_(share * base.dequantize().norm() / layer.delta_weight().norm())
    (loss,) = lora.requantization_losses(nn.ModuleDict({"layer": layer})).values()
    assert math.isfinite(loss.kept)
    return loss.kept
