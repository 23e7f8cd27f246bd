"""Write `folklore.md`: claims about LoRA and QLoRA, and what they are when somebody computes them.

    python course/folklore.py              # writes course/folklore.md, in seconds

Each row is a function below. Its docstring is the claim, quoted with the page that we have opened, or else a statement
to judge that ends with "(exercise)". It returns the truth in words, every figure in which is computed here with the
library, and where it is shown: the lesson's name with one of its cells or the number of a section, as in
"03_lora_from_scratch guess-good_starts" or "07_where_the_bytes_go 2", or a place in the library.
`tests/course/test_folklore.py` compares the file with what this script writes.
"""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lora_lab import lora, memory, quant, records
from lora_lab.units import GB

PATH = Path(__file__).with_name("folklore.md")
PEFT = "https://github.com/huggingface/peft/blob/5d602fdbff04c33c1c4de55cda9d4ae1d7cb7e40/src/peft/tuners/lora"
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
            f"r = 16, all linears: {truth:,}, not {claimed:,}",
            "05_places_and_starts turn-rank_for_budget")  # fmt: skip


def llama_2_attention() -> tuple[str, str]:
    """A 7B model with r = 16 on attention: “a 33.5M-parameter, 67 MB adapter”
    ([calculator](https://tooljolt.com/tools/lora-adapter-size-calculator)), “trainable params: 4,194,304”
    ([another](https://class.wize73.com/W17D2/lora-calculator.html))
    """
    config = memory.load_config("llama-2-7b")
    trained, total = memory.lora_parameters(config, 16, ATTENTION), memory.parameters(config).total
    return (f"Llama-2-7B: {trained:,}, which is {trained / total:.3%}, {2 * trained / 1e6:.1f} MB in 16 bits. The "
            f"first is {33.5e6 / trained:.1f} times that, the second {4_194_304 / trained:.2f} times",
            "14_save_merge_deploy turn-adapter_bytes")  # fmt: skip


def total_with_adapters() -> tuple[str, str]:
    """Llama-3.1-8B with r = 16 on seven modules: 41,943,040 of 8,072,663,040 (exercise)"""
    config = memory.load_config("llama-3.1-8b")
    trained = memory.lora_parameters(config, 16)
    return f"{trained:,} of {memory.parameters(config).total + trained:,}", "`memory.parameters`"


def rank_256() -> tuple[str, str]:
    """“r=32 adds ~8K per layer”, and “doubling r quadruples some compute”
    ([course](https://theneuralbase.com/lora-fundamentals/learn/intermediate/r-32-64-approaching-full-fine-tune-quality/))
    """
    config = memory.load_config("llama-3.1-8b")
    ratio = memory.lora_parameters(config, 256) / memory.lora_parameters(config, 32)
    return (f"{32 * (4096 + 4096):,} for a layer of 4,096 × 4,096. The count and the operations are linear in r: "
            f"r = 256 has {ratio:g} times the parameters of r = 32",
            "03_lora_from_scratch guess-break_even")  # fmt: skip


def double_quantization() -> tuple[str, str]:
    """Double quantization saves “~0.5 GB for a 7B model”
    ([documentation of a package](https://docs.rs/crate/aprender-train/latest/source/src/quant/double_quant.rs))
    """
    sizes = {}
    for billions in (7, 70):
        sizes[billions] = [memory.constant_bytes(billions * 10**9, 64, twice) / GB for twice in (False, True)]
    plain, double = sizes[7]
    return (f"{plain - double:.2f} GB for 7 billion weights: the constants shrink from {plain:.2f} GB, which is less "
            f"than that, to {double:.2f} GB. At 70 billion: from {sizes[70][0]:.3f} GB to {sizes[70][1]:.3f} GB",
            "10_double_quantization turn-bits_per_parameter")  # fmt: skip


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
            f"16 bits. Whole models, weights alone (bytes per parameter): {', '.join(sizes)}",
            "10_double_quantization turn-bits_per_parameter")  # fmt: skip


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
            "32-bit states, no 32-bit weights)", "06_will_it_fit turn-fixed_bytes")  # fmt: skip


def activation_rule() -> tuple[str, str]:
    """Activations take “batch_size * sequence_length * hidden_size * num_layers * 2”, for Mistral-7B at 1,024
    tokens “268 MB”
    ([article](https://adhdecode-articles-1.pages.dev/articles/fine-tuning/fine-tuning-compute-budget-estimation/))
    """
    config = memory.load_config("mistral-7b")
    kept = 1024 * config.hidden_size * config.num_hidden_layers * 2
    parts = []
    for checkpointing in (False, True):
        e = memory.estimate(config, method="full", precision="bf16", seq_len=1024, checkpointing=checkpointing)
        word = "with" if checkpointing else "without"
        parts.append(f"{_activations(e) / GB:.2f} GB {word} checkpointing")
    return (f"{' and '.join(parts)}, in bf16: a block keeps far more than its input. {kept / 1e6:.0f} MB are the "
            "inputs of the blocks alone, which is what checkpointing keeps between them",
            "07_where_the_bytes_go turn-kept_per_token")  # fmt: skip


def less_activation_memory() -> tuple[str, str]:
    """LoRA takes “10-100× less memory (only train B, A)”
    ([question list](https://github.com/wicai/ml_fundamentals/blob/45a6642b47e030f2cd8a5b9dbcdcb7e4c15f60b6/concepts/c051_lora_peft.md))
    """
    full = _activations(memory.estimate("llama-2-7b", method="full", precision="bf16"))
    targets = {"on all linears": "all-linear", "on queries and values": ("q_proj", "v_proj")}
    shares = [f"{_activations(memory.estimate('llama-2-7b', target_modules=names)) / full:.0%} with adapters {where}"
              for where, names in targets.items()]  # fmt: skip
    peaks = [memory.estimate("llama-3.1-8b", method, r=16).peak_bytes for method in ("full", "lora")]
    return (f"{peaks[0] / peaks[1]:.1f} times less for Llama-3.1-8B ({peaks[0] / GB:.0f} and {peaks[1] / GB:.0f} GB, "
            "r = 16). The weights stay, and so do most activations: Llama-2-7B in bf16 keeps "
            f"{' and '.join(shares)} of what full fine-tuning keeps, as the gradient still passes through every layer",
            "00_start_here guess-full_gb")  # fmt: skip


def prepare_for_kbit() -> tuple[str, str]:
    """prepare_model_for_kbit_training “enables requires_grad=True only on modules that can compute gradients”
    ([course](https://theneuralbase.com/bitsandbytes/learn/intermediate/prepare-model-for-kbit-training/))
    """
    import peft

    model = peft.prepare_model_for_kbit_training(nn.Sequential(nn.Linear(4, 4)), use_gradient_checkpointing=False)
    train = sum(parameter.requires_grad for parameter in model.parameters())
    dense = memory.quantized_weights(memory.load_config("llama-3.1-8b")).dense
    return (f"{train} parameters can train after it: it freezes all, and turns what is not in 4 bits from 16 to 32, "
            f"{dense / GB:.1f} GB more for Llama-3.1-8B. get_peft_model adds what trains",
            "13_peft_and_bitsandbytes guess-cast_gb")  # fmt: skip


def speed() -> tuple[str, str]:
    """QLoRA is “2-3x faster than full fine-tuning”
    ([notebook](https://github.com/B-cmd-alt/bert/blob/fe9c7c8401d1cce2581c7832f870c40defe7b565/advanced_bert_techniques/30_qlora_quantized.ipynb)),
    LoRA “reduces fine-tuning cost by 10-100x” ([glossary](https://nexchron.com/glossary/lora))
    """
    flops = {m: memory.flops_per_token("llama-3.1-8b", m) for m in ("full", "lora")}
    share = flops["lora"] / flops["full"]
    return (f"LoRA needs {share:.0%} of the operations of full fine-tuning: {1 / share:.2f} times as fast per token if "
            "operations were all, and QLoRA restores each weight on top. That is no bound: the optimizer's traffic and "
            "the batch that fits count too", "06_will_it_fit 5")  # fmt: skip


def qlora_speed() -> tuple[str, str]:
    """QLoRA: “Faster and less memory than LoRA”
    ([comparison](https://theneuralbase.pages.dev/lora-qlora/qna/lora-vs-full-fine-tuning-comparison))
    """
    rows = [row for row in records.load("gpu")["rows"] if row["section"] == "amortise" and row["layers"] == 2]
    slower = {row["tokens"]: row["slowdown"]["lora_lab"] - 1 for row in rows}
    few, many = min(slower), max(slower)
    return (f"Less memory, and slower for each pass, as weights are restored: {slower[few]:.0%} at {few} tokens, "
            f"{slower[many]:.0%} at {many:,} (two layers of an 8B model on an H100). Only a batch that fits with it "
            "alone can win that back", "11_qlora_layer 5")  # fmt: skip


def latency() -> tuple[str, str]:
    """LoRA has “no additional inference latency”
    ([Hugging Face's blog](https://github.com/huggingface/blog/pull/1032), after the paper's abstract)
    """
    config = memory.load_config("llama-3.1-8b")
    layers = [s for s in memory.linears(config) if s.group != "head"]
    more = memory.lora_parameters(config, 16) / sum(s.numel * s.count for s in layers)
    products = sum(s.count for s in layers)
    return (f"Only merged. Unmerged, r = 16 adds {more:.1%} operations, in {2 * products} small products besides the "
            f"{products} large ones", "14_save_merge_deploy guess-beside")  # fmt: skip


def doubled_alpha() -> tuple[str, str]:
    """“Tuning α is roughly the same as tuning the learning rate”
    ([LoRA](https://arxiv.org/abs/2106.09685), section 4.1: with Adam, if the initialization is scaled too)
    """
    adam, sgd = _first_update(torch.optim.Adam), _first_update(torch.optim.SGD)
    return (f"With α doubled and the initialization kept, ΔW after the first step grows {adam:.1f} times under Adam, "
            f"as if only B's rate had doubled, and {sgd:.1f} times under SGD",
            "04_rank_alpha_rate guess-sgd_step")  # fmt: skip


def zero_factor() -> tuple[str, str]:
    """B starts Gaussian and A at zero
    ([PEFT](https://github.com/huggingface/peft/blob/5d602fdbff04c33c1c4de55cda9d4ae1d7cb7e40/src/peft/tuners/lora/layer.py#L349),
    for adapters of an embedding)
    """
    layer = lora.LoRALinear(nn.Linear(64, 64), lora.LoRAConfig())
    assert not layer.lora_B.any() and layer.lora_A.abs().max() <= 1 / 8
    return ("In a linear layer A is random (PEFT: uniform in ±1/√d_in) and B zero, as in the paper. The mirrored start "
            "adds nothing either, and learns", "03_lora_from_scratch guess-good_starts")  # fmt: skip


def merge_into_four_bits() -> tuple[str, str]:
    """After merge_and_unload in a 4-bit base “merged models become dequantized: the result is float32/bfloat16, not
    quantized”
    ([course](https://theneuralbase.com/bitsandbytes/learn/intermediate/merging-into-quantized-base/))
    """
    kept = [f"{_kept(share):.0%} of an update of {share:.1%} of the weight's size" for share in (0.003, 0.03, 0.3)]
    return (f"PEFT [rounds back]({PEFT}/bnb.py#L402) to four bits. That keeps {', '.join(kept)}, and adds an "
            "error of its own", "14_save_merge_deploy turn-survives")  # fmt: skip


def adapter_size() -> tuple[str, str]:
    """An adapter holds “(rank × hidden_dim × num_layers) × 2” numbers, for a 7B model with r = 16 “roughly 20–40MB”
    ([course](https://theneuralbase.com/lora-fundamentals/learn/beginner/adapter-file-size-typically-under-100mb/))
    """
    config = memory.load_config("llama-3.1-8b")
    attention, everything = memory.lora_parameters(config, 16, ATTENTION), memory.lora_parameters(config, 16)
    formula = 2 * 16 * config.hidden_size * config.num_hidden_layers
    return (f"The formula has one square layer in each block: {formula:,}. Llama-3.1-8B, r = 16: "
            f"{2 * attention / 1e6:.1f} MB for attention in bf16; all linears {2 * everything / 1e6:.1f} MB in bf16, "
            f"{4 * everything / 1e6:.1f} MB in fp32", "14_save_merge_deploy guess-llama_mb")  # fmt: skip


def a_terabit() -> tuple[str, str]:
    """A model of a trillion parameters is a terabit (exercise)"""
    return f"{10**12 * torch.bfloat16.itemsize * 8 / 1e12:.0f} Tbit in bf16", "arithmetic"


def identity() -> tuple[str, str]:
    """Down from D to d dimensions and up again can be the identity I_D (exercise)"""
    d, D = 4, 16
    down = torch.linalg.qr(torch.randn(D, d, generator=torch.Generator().manual_seed(0)))[0].T
    assert torch.allclose(down @ down.T, torch.eye(d), atol=1e-5)
    rank = torch.linalg.matrix_rank(down.T @ down)
    return (f"Only up and down again, I_d: a product through d = {d} dimensions has rank {rank}, and I_D "
            f"needs D = {D}", "computed here")  # fmt: skip


ROWS: tuple[Row, ...] = (
    lora_parameters, llama_2_attention, total_with_adapters, rank_256, adapter_size, half_a_byte,
    double_quantization, eighty_four_gb, activation_rule, less_activation_memory, prepare_for_kbit, speed,
    qlora_speed, latency, zero_factor, doubled_alpha, merge_into_four_bits, not_reproducible, as_many_negative,
    equal_mass, optimal, normal_float_8, dynamic_map, a_terabit, identity,
)  # fmt: skip


def text() -> str:
    """The whole of `folklore.md`."""
    lines = [
        "# Folklore",
        "",
        "Claims about LoRA and QLoRA, and what they are when somebody computes them. Each names a page that we have",
        "opened; what stands in “ ” stands there. An *exercise* names none: true or false? Every figure in the second",
        "column is computed by a function in [folklore.py](folklore.py), in the same order, with the library of this",
        "course; GB means 10⁹ bytes. The last column says where it is shown at length: the lesson, and its cell or",
        "section.",
        "",
        "| claim | computed | shown in |",
        "|---|---|---|",
    ]
    for row in ROWS:
        truth, where = row()
        spaced = re.sub(r"(?<=\d)%", " %", truth)
        claim = " ".join((row.__doc__ or "").split()).replace("(exercise)", "*(exercise)*")
        lines.append(f"| {claim} | {spaced} | {_place(where)} |")
    return "\n".join(lines) + "\n"


def lesson_and_cell(where: str) -> tuple[str, str] | None:
    """The lesson's name and what of it, if a lesson shows it."""
    match = re.fullmatch(r"(\d\d_\w+) (\S+)", where)
    return (match[1], match[2]) if match else None


def main() -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    PATH.write_text(text(), encoding="utf-8")


def _place(where: str) -> str:
    """The last column: a link to the lesson, with its cell or section."""
    if (found := lesson_and_cell(where)) is None:
        return where
    name, part = found
    return f"[{name[:2]}](workbook/{name}.ipynb), {f'section {part}' if part.isdecimal() else f'`{part}`'}"


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
