"""What a stack's record says, against the peer's own code: its layers run on fake tensors, its sources read."""

import copy
import importlib.metadata
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.tuners.lora.bnb import Linear4bit as PeftLinear4bit
from torch import Tensor, nn
from transformers import AutoConfig

from lora_lab import memory, quant
from lora_lab.memory import step
from lora_lab.memory.simulation import simulate_model
from lora_lab.memory.stacks import STACKS, with_defaults
from lora_lab.memory.widths import Widths

pytestmark = pytest.mark.usefixtures("one_thread")

WIDE = AutoConfig.for_model(
    "llama", vocab_size=700, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512,
)  # fmt: skip
STEP: dict[str, Any] = {"batch_size": 2, "seq_len": 256, "r": 8, "device": "cpu"}


class Restoring(quant.Linear4bit):
    """As the 4-bit layer of bitsandbytes: products in 16 bits, and the output in the dtype of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.compute_dtype)).to(x.dtype)


def with_peft(setup: memory.Setup) -> nn.Module:
    """The model of `setup` on "meta", with PEFT's layers."""
    with torch.device("meta"):
        model = step._from_config(setup)
        if setup.method == "lora":
            config = peft.LoraConfig(r=setup.r, target_modules="all-linear")
            model = peft.get_peft_model(model, config).get_base_model()
        else:
            _quantize(model, setup)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()
    if setup.checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return model.train()


def _quantize(model: nn.Module, setup: memory.Setup) -> None:
    config = peft.LoraConfig(r=setup.r)
    for name, linear in list(model.named_modules()):
        if type(linear) is nn.Linear and name != "lm_head":
            packed = step._quantized_shapes(linear.weight, setup.block_size, setup.double_quant)
            four_bit = Restoring(packed, None, torch.bfloat16)
            model.set_submodule(name, PeftLinear4bit(four_bit, "default", config=config, r=setup.r))


@pytest.mark.parametrize("stack", ["peft", "peft-loop"])
@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize(
    ("attention", "checkpointing", "layers"),
    [
        ("sdpa", False, 4),
        ("sdpa", True, 2),
        pytest.param("sdpa", True, 4, marks=pytest.mark.slow),
        pytest.param("eager", False, 4, marks=pytest.mark.slow),
        pytest.param("eager", True, 2, marks=pytest.mark.slow),
        pytest.param("eager", True, 4, marks=pytest.mark.slow),
    ],
)
def test_pefts_own_layers_keep_what_their_stack_says(stack, method, attention, checkpointing, layers):
    options = STEP | {"stack": stack, "attention": attention, "checkpointing": checkpointing}
    config = copy.deepcopy(WIDE)
    config.num_hidden_layers = layers
    setup = memory.Setup(config, method, **with_defaults(method, options))
    predicted, counted = memory.estimate(config, method, **options), simulate_model(setup, with_peft(setup))
    assert predicted.trainable_params == counted.trainable_params
    assert predicted.phases["at rest"] == pytest.approx(counted.phases["at rest"], rel=1e-3)
    assert predicted.peak_bytes == pytest.approx(counted.peak_bytes, rel=0.05 if checkpointing else 0.03)
    for phase, count in counted.phases.items():
        within = 0.2 if checkpointing and phase == "forward" else 0.08  # where layers are repeated it is no peak
        assert predicted.phases[phase] == pytest.approx(count, rel=within), phase


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("full", {"precision": "bf16"}),
        ("full", {"precision": "fp32"}),
        ("lora", {"adapter_dtype": "bf16"}),
        ("lora", {"precision": "bf16"}),
        ("lora", {"precision": "fp32"}),
        ("qlora", {"upcast_frozen": False}),
        ("qlora", {"upcast_frozen": False, "dropout": 0.1}),
        ("qlora", {"upcast_frozen": False, "base": "int8"}),
    ],
)
def test_where_nothing_has_to_be_cast_pefts_layers_keep_what_ours_keep(method, options):
    shared = {"checkpointing": False, "double_quant": True, **options}
    theirs, ours = (memory.estimate("llama-3.1-8b", method, stack=stack, **shared) for stack in ("peft", "lora_lab"))
    assert theirs.timeline == ours.timeline


@pytest.mark.parametrize(
    ("stack", "method", "options", "casts"),
    [
        ("peft", "lora", {}, True),  # bf16 to the adapters' fp32, and under autocast back
        ("peft", "lora", {"precision": "fp16", "adapter_dtype": "bf16"}, True),  # as wide, and yet another dtype
        ("peft", "qlora", {"device": "cpu"}, True),  # whose autocast PEFT's 4-bit layers do not ask for
        ("peft-loop", "lora", {"adapter_dtype": "bf16"}, False),
        ("peft-loop", "qlora", {"upcast_frozen": False}, True),  # without autocast, 4-bit layers cast too
        ("peft-loop", "qlora", {"upcast_frozen": True}, False),  # all is fp32
        ("peft", "qlora", {"upcast_frozen": True}, False),  # autocast's own copies are another matter
        ("lora_lab", "lora", {}, False),
        ("peft-loop", "full", {"precision": "bf16"}, False),
    ],
)
def test_an_adapter_copies_its_input_only_where_peft_finds_another_dtype(stack, method, options, casts):
    assert Widths(memory.Setup("llama-3.1-8b", method, stack=stack, **options)).adapters_cast is casts


WORDS = {  # that stand in the line which a source names
    "peft 0.21.2, utils/other.py:204": "cast all non INT8 parameters to fp32",
    "peft 0.21.2, utils/other.py:258": "model.gradient_checkpointing_enable(",
    "transformers 5.23.0, utils/quantization_config.py:450": "bnb_4bit_use_double_quant=False",
    "transformers 5.23.0, utils/quantization_config.py:469": "bnb_4bit_compute_dtype = torch.float32",
    "transformers 5.23.0, training_args.py:957": "use_liger_kernel",
    "peft 0.21.2, tuners/tuners_utils.py:2719": "autocast_adapter_dtype",
    "peft 0.21.2, tuners/lora/layer.py:1100": "_cast_input_dtype(x, lora_A.weight.dtype)",
    "tuners/lora/bnb.py:543": "requires_conversion = not torch.is_autocast_enabled()",
    "bitsandbytes 0.50.2, nn/modules.py:637": ".to(inp_dtype)",
    "transformers 5.23.0, modeling_utils.py:4178": 'dtype = "auto"',
    "accelerate 1.15.0, utils/fsdp_utils.py:815": 'mixed_precision != "no" and not model_has_params4bit',
    "accelerate 1.15.0, accelerator.py:1830": "autocast_context(model_forward_func)",
    "transformers 5.23.0, trainer.py:2082": "loss = self.compute_loss(model, inputs,",
    "transformers 5.23.0, training_args.py:811": "adamw_torch_fused",
}


def cited() -> list[tuple[str, str, str]]:
    """(package, version, file:line) of every source that is a file of an installed package."""
    found = []
    for stack in STACKS.values():
        for _, where in (*stack.sources, *stack.can.items()):
            package, version = "", ""
            for part in where.split(", "):
                if " " in part and part.rpartition(":")[2].isdigit() is False:
                    package, _, version = part.partition(" ")
                elif ":" in part:
                    found.append((package, version, part))
    return sorted(set(found))


@pytest.mark.parametrize(("package", "version", "where"), cited(), ids=lambda part: part)
def test_the_line_that_a_stack_names_still_says_so(package, version, where):
    try:
        installed = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if installed != version:
        pytest.skip(f"the source is {package} {version}, and {installed} is installed")
    words = next(words for source, words in WORDS.items() if source.endswith(where))
    file, _, line = where.rpartition(":")
    path = Path(str(importlib.metadata.distribution(package).locate_file(package))) / file
    assert words in path.read_text().splitlines()[int(line) - 1]
