"""What people run: the same method costs different memory in different software.

A stack is a small record: with which settings its users train unless they say otherwise, and three ways in which its
layers differ from ours. Each entry names where the peer's source says so. No constant here was fitted to a measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lora_lab import ranges
from lora_lab.units import Method

StackName = Literal["lora_lab", "peft", "peft-loop", "torchtune"]
STACK_NAMES: tuple[StackName, ...] = get_args(StackName)


@dataclass(frozen=True)
class Stack:
    """One way to put the pieces together.

    Attributes:
        name: how to call it here.
        what: in a few words.
        settings: by method, the fields of a `Setup` that differ from its defaults.
        autocast: whether the loop runs the forward pass under autocast; without it, products are made in the dtypes of
            weights and hidden states, and only 4-bit weights are unpacked to 16 bits.
        copies_inputs: whether each adapter reads a copy of its input in its own dtype, where ours share one.
        restores_dtype: whether a 4-bit layer gives its output in the dtype of its input, where ours gives 16 bits.
        float16: whether it trains in float16.
        widens: under which shardings weights that came in 16 bits train in fp32, see `shardings`.
        can: which settings that save memory it has, of those that not every stack has, and where.
        sources: (what, file and line), each at the version that it names.
    """

    name: StackName
    what: str
    settings: Mapping[Method, Mapping[str, Any]] = field(default_factory=dict)
    autocast: bool = True
    copies_inputs: bool = False
    restores_dtype: bool = False
    float16: bool = True
    widens: tuple[str, ...] = ()
    can: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[tuple[str, str], ...] = ()


_KBIT = {"upcast_frozen": True, "checkpointing": True, "double_quant": False}
_PEFT_SOURCES = (
    ("what is not 4-bit is cast to float32", "peft 0.21.2, utils/other.py:204"),
    ("prepare_model_for_kbit_training turns checkpointing on", "peft 0.21.2, utils/other.py:258"),
    ("no double quantization unless asked", "transformers 5.23.0, utils/quantization_config.py:450"),
    ("4-bit products are float32 unless asked", "transformers 5.23.0, utils/quantization_config.py:469"),
    ("adapters are float32", "peft 0.21.2, tuners/tuners_utils.py:2719"),
    ("each adapter casts its input", "peft 0.21.2, tuners/lora/layer.py:1100, tuners/lora/bnb.py:543"),
    ("a 4-bit layer restores its input's dtype", "bitsandbytes 0.50.2, nn/modules.py:637"),
)

_ZERO = ("zero1", "zero2", "zero3")
_LIGER = {"fused_loss": "transformers 5.23.0, training_args.py:957"}

_RECIPE = {"precision": "bf16", "checkpointing": True, "chunked_loss": 512}
_TUNED = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_YAML = "torchtune 0.6.1, recipes/configs/llama3_1/8B_{}_single_device.yaml:{}"
_RECIPE_SOURCES = (
    ("all is bf16", _YAML.format("full", 78) + "; lora:89, qlora:88"),
    ("checkpointing is on", _YAML.format("full", 74) + "; lora:92, qlora:91"),
    ("adapters on all linear layers but keys, rank 8", _YAML.format("lora", "24-27") + "; qlora:23-26"),
    ("a full fine-tune's optimizer is paged and in 8 bits", _YAML.format("full", 60)),
    ("which updates within the backward pass", _YAML.format("full", 66) + "; torchtune/training/memory.py:219"),
    (
        "the loss in 8 chunks, here of 512 tokens",
        "torchtune 0.6.1, modules/loss/ce_chunked_output_loss.py:30",
    ),
    ("logits are let go before the backward pass", "torchtune 0.6.1, recipes/full_finetune_single_device.py:652"),
    ("no training in float16", "torchtune 0.6.1, recipes/full_finetune_single_device.py, __init__; lora likewise"),
    ("4-bit weights with double quantization", "torchtune 0.6.1, modules/peft/lora.py:78, torchao's NF4Tensor"),
)

STACKS: dict[str, Stack] = {
    stack.name: stack
    for stack in (
        Stack("lora_lab", "this package's layers, loop and defaults"),
        Stack(
            "peft",
            "PEFT over bitsandbytes under the Hugging Face Trainer, with bnb_4bit_compute_dtype in 16 bits",
            settings={"qlora": _KBIT, "full": {"precision": "bf16"}},
            copies_inputs=True,
            restores_dtype=True,
            widens=(*_ZERO, "fsdp2"),
            can=_LIGER,
            sources=(
                *_PEFT_SOURCES,
                ("weights come in the checkpoint's dtype, 16 bits", "transformers 5.23.0, modeling_utils.py:4178"),
                ("what trains is cast to float32 before FSDP2 shares it", "accelerate 1.15.0, utils/fsdp_utils.py:815"),
                ("the forward pass runs under autocast", "accelerate 1.15.0, accelerator.py:1830"),
                ("outputs are gone before the backward pass", "transformers 5.23.0, trainer.py:2082"),
                ("the update is fused", "transformers 5.23.0, training_args.py:811"),
            ),
        ),
        Stack(
            "peft-loop",
            "PEFT over bitsandbytes in a loop of one's own, without autocast",
            settings={
                "qlora": {**_KBIT, "keep_outputs": True},
                "lora": {"keep_outputs": True},
                "full": {"precision": "bf16", "keep_outputs": True},
            },
            autocast=False,
            copies_inputs=True,
            restores_dtype=True,
            widens=_ZERO,
            can={
                "chunked_loss": "the head is called on a part of the hidden states at a time",
                "optimizer_in_backward": "torch 2.13.0, Tensor.register_post_accumulate_grad_hook",
            },
            sources=(
                *_PEFT_SOURCES,
                ("outputs are kept while `loss = model(...).loss` goes backward", "any such loop"),
            ),
        ),
        Stack(
            "torchtune",
            "torchtune's single-device recipes",
            settings={
                "full": {**_RECIPE, "optimizer": "paged_adamw8bit", "optimizer_in_backward": True},
                "lora": {**_RECIPE, "r": 8, "target_modules": _TUNED},
                "qlora": {**_RECIPE, "r": 8, "target_modules": _TUNED},
            },
            float16=False,
            can={
                "chunked_loss": "torchtune 0.6.1, modules/loss/ce_chunked_output_loss.py:30",
                "optimizer_in_backward": "torchtune 0.6.1, training/memory.py:219",
            },
            sources=_RECIPE_SOURCES,
        ),
    )
}


def get_stack(name: str) -> Stack:
    """A stack by its name.

    Raises:
        ValueError: for an unknown one.
    """
    ranges.choice("stack", name, STACK_NAMES)
    return STACKS[name]


def own_settings(stack: Stack, method: Method, sharding: str | None = None) -> dict[str, Any]:
    """The fields of a `Setup` that a stack sets for a method, on one card or with a sharding of several."""
    own = (
        dict(stack.settings.get(method, {})) if isinstance(method, str) else {}
    )  # a bad one is refused where it is used
    if sharding in stack.widens and own.get("precision") == "bf16":
        own["precision"] = "mixed"
    return own


def with_defaults(method: Method, options: Mapping[str, Any], sharding: str | None = None) -> dict[str, Any]:
    """Options of a `Setup` with those that their stack sets, where they do not say otherwise."""
    stack = get_stack(options["stack"]) if options.get("stack") else STACKS["lora_lab"]
    return {**own_settings(stack, method, sharding), **options}
