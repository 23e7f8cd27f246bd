"""Write `folklore.md`: claims about LoRA and QLoRA, and what they are when somebody computes them.

    python course/folklore.py              # writes course/folklore.md, in seconds

Each row is a function below. Its docstring is the claim, with the page that makes it where we have opened one, or else
a statement to judge; it returns the truth in words, and every figure in those words is computed here with the library.
`tests/course/test_folklore.py` compares the file with what this script writes.
"""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lora_lab import lora, memory, quant
from lora_lab.units import GB

PATH = Path(__file__).with_name("folklore.md")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

Row = Callable[[], tuple[str, str]]


def lora_parameters() -> tuple[str, str]:
    """LoRA trains “2×d×r per module per layer”
    ([calculator](https://numbervibe.com/calculators/machine-learning/lora-parameter-calculator))
    """
    config = memory.load_config("llama-3.1-8b")
    modules = sum(shape.count for shape in memory.linears(config) if shape.group != "head")
    claimed = 2 * config.hidden_size * 16 * modules
    truth = memory.lora_parameters(config, 16)
    return (f"r · (d_in + d_out), summed over modules: k and v are narrower, the MLP is wider. Llama-3.1-8B, "
            f"r = 16, all linears: {truth:,}, not {claimed:,}", "lesson 07")  # fmt: skip


def llama_2_attention() -> tuple[str, str]:
    """Llama-2-7B with r = 16 on attention: about 10 million, 0.15 %"""
    config = memory.load_config("llama-2-7b")
    trained, total = memory.lora_parameters(config, 16, ATTENTION), memory.parameters(config).total
    return f"{trained:,}, which is {trained / total:.3%}", "lesson 07"


def total_with_adapters() -> tuple[str, str]:
    """Llama-3.1-8B with r = 16 on seven modules: 41,943,040 of 8,072,663,040"""
    config = memory.load_config("llama-3.1-8b")
    trained = memory.lora_parameters(config, 16)
    return f"{trained:,} of {memory.parameters(config).total + trained:,}", "`memory.parameters`"


def rank_256() -> tuple[str, str]:
    """r = 256 has four times the parameters of r = 32"""
    config = memory.load_config("llama-3.1-8b")
    ratio = memory.lora_parameters(config, 256) / memory.lora_parameters(config, 32)
    return f"{ratio:g} times: the count is linear in r", "`memory.lora_parameters`"


def double_quantization_at_70b() -> tuple[str, str]:
    """At 70B double quantization takes the constants from 4 GB to 0.5 GB"""
    n = 70 * 10**9
    plain, double = (memory.constant_bytes(n, 64, twice) for twice in (False, True))
    return f"from {plain / GB:.3f} GB to {double / GB:.3f} GB", "lesson 09"


def half_a_byte() -> tuple[str, str]:
    """4-bit QLoRA takes `x/2`GB for a model of x billion parameters, 6GB for 7B
    ([LLaMA-Factory](https://github.com/hiyouga/LLaMA-Factory#hardware-requirement), “estimated”)
    """
    names = ("llama-2-7b", "llama-3.1-8b", "llama-2-70b", "llama-3.1-70b")
    sizes = []
    for name in names:
        config = memory.load_config(name)
        nbytes = memory.quantized_weights(config).total
        sizes.append(f"{name} {nbytes / GB:.2f} GB ({nbytes / memory.parameters(config).total:.3f})")
    weight = torch.empty(1024, 1024).normal_(generator=torch.Generator().manual_seed(0))
    bits = quant.quantize(weight, double_quant=True).bits_per_param
    return (f"Half a byte: only the linear layers, at {bits:.3f} bits with the constants; embeddings and head stay in "
            f"16 bits. Whole models, weights alone (bytes per parameter): {', '.join(sizes)}", "lesson 07")  # fmt: skip


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
            f"{used.max():.1%} in use, at blocks of 64", "lesson 09")  # fmt: skip


def not_reproducible() -> tuple[str, str]:
    """“I am not fully sure how to reproduce the exact values” of NF4
    ([bitsandbytes #1772](https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1772))
    """
    import bitsandbytes.functional as bnb

    same = torch.equal(quant.normal_float(4).values, bnb.get_4bit_type("nf4", device="cpu"))
    assert same
    return ("Bit for bit, if p_max is rounded to seven decimals and each step is taken in the right precision",
            "lesson 09")  # fmt: skip


def as_many_negative() -> tuple[str, str]:
    """NF4 has as many negative levels as positive ones"""
    values = quant.NF4.values
    negative, positive = int((values < 0).sum()), int((values > 0).sum())
    return (f"{negative} negative, zero, {positive} positive; QLoRA and bitsandbytes count the zero on both sides: "
            f"{negative + 1} and {positive + 1}", "lesson 09")  # fmt: skip


def optimal() -> tuple[str, str]:
    """NF4 is “information theoretically optimal for normally distributed weights”
    ([QLoRA](https://arxiv.org/abs/2305.14314), abstract)
    """
    error = _errors()
    lloyd, nf4, int4 = (error[book.name] for book in (quant.lloyd(), quant.NF4, quant.INT4))
    return (f"A fitted table has {1 - lloyd / nf4:.1%} less squared error at blocks of 64; NF4 has "
            f"{1 - nf4 / int4:.0%} less than symmetric INT4", "lesson 09")  # fmt: skip


def normal_float_8() -> tuple[str, str]:
    """Quantiles are the best levels at any number of bits"""
    error = _errors()
    ratio = error[quant.normal_float(8).name] / error[quant.INT8.name]
    return (f"At 8 bits NF8 has {ratio:.1f} times the squared error of plain INT8 on normal weights: equal use leaves "
            "the tails too few levels", "`quant.normal_float`")  # fmt: skip


def dynamic_map() -> tuple[str, str]:
    """The constants need a special 8-bit float"""
    absmax = quant.quantize(_normal()).absmax

    def error(book: quant.Codebook) -> float:
        return float((quant.quantize_constants(absmax, book).dequantize() - absmax).square().mean())

    base = error(quant.DYNAMIC8)
    return (f"Squared error against bitsandbytes' dynamic map: linear INT8 {error(quant.INT8) / base:.2f}, FP8 E4M3 "
            f"{error(quant.FP8_E4M3) / base:.2f} (QLoRA says “8-bit Floats”, not which)",
            "`tests/quant/test_blockwise.py`")  # fmt: skip


def eighty_four_gb() -> tuple[str, str]:
    """Full fine-tuning of 7B takes “a minimum memory requirement of 84 gigabytes”
    ([ApX](https://apxml.com/courses/fine-tuning-small-language-model/chapter-4-parameter-efficient-fine-tuning-peft/understanding-full-fine-tuning-limitations))
    """
    n = memory.parameters(memory.load_config("llama-2-7b")).total
    rows = []
    for precision in ("mixed", "bf16"):
        e = memory.estimate("llama-2-7b", method="full", precision=precision, seq_len=1)
        static = sum(e.components.get(part, 0) for part in ("trainable weights", "gradients", "optimizer states"))
        rows.append(f"{precision} {static / n:.0f} bytes per parameter, {static / GB:.1f} GB")
    return (f"Before activations, with AdamW: {'; '.join(rows)} (theirs is 12: 16-bit weights and gradients, "
            "32-bit states, no 32-bit weights)", "lesson 07")  # fmt: skip


def activations_13b() -> tuple[str, str]:
    """The activations of a 13B model take about 5 GB"""
    parts = []
    for checkpointing in (False, True):
        e = memory.estimate("llama-2-13b", method="full", precision="bf16", checkpointing=checkpointing)
        word = "with" if checkpointing else "without"
        parts.append(f"{_activations(e) / GB:.1f} GB {word} checkpointing")
    return f"2,048 tokens, batch 1, bf16: {' and '.join(parts)}", "lesson 07"


def less_activation_memory() -> tuple[str, str]:
    """LoRA saves most of the activation memory too"""
    full = _activations(memory.estimate("llama-2-7b", method="full", precision="bf16"))
    targets = {"on all linears": "all-linear", "on queries and values": ("q_proj", "v_proj")}
    shares = [f"{_activations(memory.estimate('llama-2-7b', target_modules=names)) / full:.0%} with adapters {where}"
              for where, names in targets.items()]  # fmt: skip
    return (f"Llama-2-7B in bf16 needs {' and '.join(shares)} of what full fine-tuning needs: the gradient still "
            "passes through every layer, and an adapter keeps its input for it", "lesson 07")  # fmt: skip


def speed() -> tuple[str, str]:
    """LoRA trains 100 to 1,000 times faster"""
    flops = {m: memory.flops_per_token("llama-3.1-8b", m) for m in ("full", "lora")}
    share = flops["lora"] / flops["full"]
    return (f"{share:.0%} of the operations of full fine-tuning: {1 / share:.2f} times as fast per token if operations "
            "were all. That is no bound: the optimizer's traffic and the batch that fits count too",
            "`memory.flops_per_token`")  # fmt: skip


def latency() -> tuple[str, str]:
    """LoRA has “no additional inference latency”
    ([Hugging Face's blog](https://github.com/huggingface/blog/pull/1032), after the paper's abstract)
    """
    config = memory.load_config("llama-3.1-8b")
    layers = [s for s in memory.linears(config) if s.group != "head"]
    more = memory.lora_parameters(config, 16) / sum(s.numel * s.count for s in layers)
    products = sum(s.count for s in layers)
    return (f"Only merged. Unmerged, r = 16 adds {more:.1%} operations, in {2 * products} small products besides the "
            f"{products} large ones", "lesson 03")  # fmt: skip


def doubled_alpha() -> tuple[str, str]:
    """“Tuning α is roughly the same as tuning the learning rate”
    ([LoRA](https://arxiv.org/abs/2106.09685), section 4.1: with Adam, if the initialization is scaled too)
    """
    adam, sgd = _first_update(torch.optim.Adam), _first_update(torch.optim.SGD)
    return (f"With α doubled and the initialization kept, ΔW after the first step grows {adam:.1f} times under Adam, "
            f"as if only B's rate had doubled, and {sgd:.1f} times under SGD", "computed here")  # fmt: skip


def zero_factor() -> tuple[str, str]:
    """B starts Gaussian and A at zero"""
    layer = lora.LoRALinear(nn.Linear(64, 64), lora.LoRAConfig())
    assert not layer.lora_B.any() and layer.lora_A.abs().max() <= 1 / 8
    return "A random (PEFT: uniform in ±1/√d_in), B zero, as in the paper", "lesson 03"


def merge_into_four_bits() -> tuple[str, str]:
    """Load in 4 bits, train, merge_and_unload: nothing is lost"""
    kept = [f"{_kept(share):.0%} of an update of {share:.1%} of the weight's size" for share in (0.003, 0.03, 0.3)]
    return f"Rounding back to four bits keeps {', '.join(kept)}, and adds an error of its own", "lesson 11"


def adapter_size() -> tuple[str, str]:
    """Adapters of an 8B model are about 30 MB"""
    config = memory.load_config("llama-3.1-8b")
    attention, everything = memory.lora_parameters(config, 16, ATTENTION), memory.lora_parameters(config, 16)
    return (f"r = 16: {2 * attention / 1e6:.1f} MB for attention in bf16; all linears {2 * everything / 1e6:.1f} MB "
            f"in bf16, {4 * everything / 1e6:.1f} MB in fp32", "`memory.lora_parameters`")  # fmt: skip


def a_terabit() -> tuple[str, str]:
    """A model of a trillion parameters is a terabit"""
    return f"{10**12 * torch.bfloat16.itemsize * 8 / 1e12:.0f} Tbit in bf16", "arithmetic"


def identity() -> tuple[str, str]:
    """Down from D to d dimensions and up again can be the identity I_D"""
    d, D = 4, 16
    down = torch.linalg.qr(torch.randn(D, d, generator=torch.Generator().manual_seed(0)))[0].T
    assert torch.allclose(down @ down.T, torch.eye(d), atol=1e-5)
    rank = torch.linalg.matrix_rank(down.T @ down)
    return (f"Only up and down again, I_d: a product through d = {d} dimensions has rank {rank}, and I_D "
            f"needs D = {D}", "computed here")  # fmt: skip


ROWS: tuple[Row, ...] = (
    lora_parameters, llama_2_attention, total_with_adapters, rank_256, adapter_size, half_a_byte,
    double_quantization_at_70b, eighty_four_gb, activations_13b, less_activation_memory, speed, latency, zero_factor,
    doubled_alpha, merge_into_four_bits, not_reproducible, as_many_negative, equal_mass, optimal, normal_float_8,
    dynamic_map, a_terabit, identity,
)  # fmt: skip


def text() -> str:
    """The whole of `folklore.md`."""
    lines = [
        "# Folklore",
        "",
        "Claims about LoRA and QLoRA, and what they are when somebody computes them. Where a page is named, we have",
        "opened it. The other rows are exercises: true or false? Every figure in the second column is computed by a",
        "function in [folklore.py](folklore.py), in the same order, with the library of this course; GB means 10⁹",
        "bytes. The last column says where it is shown at length.",
        "",
        "| claim | computed | shown in |",
        "|---|---|---|",
    ]
    for row in ROWS:
        truth, where = row()
        spaced = re.sub(r"(?<=\d)%", " %", truth)
        lines.append(f"| {' '.join((row.__doc__ or '').split())} | {spaced} | {where} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    PATH.write_text(text(), encoding="utf-8")


def _activations(estimate: memory.MemoryEstimate) -> int:
    """Bytes, where they are most."""
    return max(moment.bytes[memory.COMPONENTS.index("activations")] for moment in estimate.timeline)


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


if __name__ == "__main__":
    main()
