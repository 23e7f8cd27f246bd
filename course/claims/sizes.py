"""Claims about what is counted: parameters, bytes and time."""

import torch
from torch import nn

from lora_lab import memory, quant, records
from lora_lab.units import GB

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


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


def a_terabit() -> tuple[str, str]:
    """A model of a trillion parameters is a terabit (exercise)"""
    return f"{10**12 * torch.bfloat16.itemsize * 8 / 1e12:.0f} Tbit in bf16", "arithmetic"


def _activations(estimate: memory.MemoryEstimate) -> int:
    """Bytes, where they are most."""
    return max(moment.bytes[memory.COMPONENTS.index("activations")] for moment in estimate.timeline)
