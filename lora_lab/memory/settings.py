"""What is asked: one model, one way to train it. Every way of counting takes these arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypedDict, get_args

from lora_lab import ranges
from lora_lab.matching import target_names
from lora_lab.memory.dtypes import BFLOAT16, FLOAT16, FLOAT32, Dtype
from lora_lab.memory.contradictions import refuse_contradictions
from lora_lab.memory.presets import Preset, find_preset, load_config
from lora_lab.memory.sizes import FAMILIES, Sizes, sizes
from lora_lab.memory.stacks import STACK_NAMES, STACKS, Stack, StackName
from lora_lab.units import BLOCK_SIZES, METHODS, Method

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Optimizer = Literal["adamw", "adamw8bit", "paged_adamw8bit", "paged_adamw", "adafactor", "sgd"]
Precision = Literal["mixed", "bf16", "fp16", "fp32"]
Attention = Literal["sdpa", "eager"]
Device = Literal["cuda", "cpu"]
AdapterDtype = Literal["fp32", "bf16"]
Offload = Literal["optimizer", "weights", "activations"]
Base = Literal["nf4", "int8"]
QuantStorage = Literal["uint8", "bf16"]

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
DEVICES: tuple[Device, ...] = get_args(Device)
OFFLOADS: tuple[Offload, ...] = get_args(Offload)
BASES: tuple[Base, ...] = get_args(Base)
QUANT_STORAGES: tuple[QuantStorage, ...] = get_args(QuantStorage)
SAVED = ("embed_tokens", "lm_head")
DTYPES: dict[AdapterDtype, Dtype] = {"fp32": FLOAT32, "bf16": BFLOAT16}
MOST = 10**9  # of tokens, sequences, ranks: no machine is so large
MOST_BYTES = 10**18  # beyond it floats would overflow


@dataclass(frozen=True)
class Setup:
    """One training step of one model.

    Precision and method decide where 16 bits are enough:

        precision   full                              lora, qlora
        mixed       fp32 weights, gradients, states;  frozen weights, embeddings included, in bf16 (4 bits);
                    computes in bf16 (autocast)       adapters, their gradients and states fp32; computes in bf16
        bf16        everything bf16                   everything bf16 (4 bits)
        fp16        as mixed, with float16 in bf16's place: what alone would not train in float16
        fp32        everything fp32                   everything fp32 (4 bits)

    so that a trainable parameter costs 16 bytes at rest plus gradient under AdamW, and 8 under pure bf16.

    Attributes:
        config: a preset, or a `transformers` config; a preset's name, a config.json or its folder becomes one.
        method: "full", "lora" or "qlora" (NF4 for every linear layer but the output head).
        r: rank of the adapters; "full" has none.
        target_modules: where they go, as for `lora.LoRAConfig`.
        batch_size: sequences per forward pass.
        seq_len: tokens per sequence, none of them padding.
        optimizer: one of `OPTIMIZERS`; "sgd" is without momentum.
        precision: "mixed", "bf16", "fp16" or "fp32", see above.
        checkpointing: keep one hidden state per layer and repeat each layer's forward pass in the backward pass.
        accumulation: forward and backward passes per optimizer step.
        attention: "sdpa" never stores the scores, "eager" does.
        double_quant: also quantize the constants of the 4-bit weights.
        block_size: weights per constant.
        upcast_frozen: what is not 4-bit is stored in fp32, as PEFT's `prepare_model_for_kbit_training` leaves it, and
            autocast computes in bf16.
        adapter_dtype: "fp32" or "bf16", against the rule of `precision`.
        keep_outputs: the training loop holds on to the model's outputs, logits among them, while it goes backward.
        chunked_loss: tokens whose logits are made at a time, and made again in the backward pass; None makes all at
            once.
        offload: "optimizer", "weights", or with checkpointing "activations", the checkpoints, live in the memory of the
            host.
        dropout: probability that an adapter drops a value of its input; how likely costs nothing, whether does.
        optimizer_in_backward: each weight is updated as soon as its gradient is there, which then goes.
        modules_to_save: of `SAVED`, what trains in full beside adapters, as PEFT's field of that name does it: the
            original stays, and a copy in its dtype has gradients and states.
        base: how "qlora" stores its linear layers: "nf4", or "int8" as LLM.int8 (arXiv 2208.07339) does.
        quantize_experts: "qlora" also stores a mixture's experts in four bits, which transformers 5 leaves dense.
        fused_loss: the loss is made without logits, as Cut Cross-Entropy does (arXiv 2411.09009).
        quant_storage: as what numbers 4-bit weights lie in memory, bitsandbytes' `bnb_4bit_quant_storage`: "uint8", or
            "bf16", without which FSDP2 keeps them whole on every card.
        stack: whose layers and loop, see `stacks.STACKS`; `estimate` also takes its settings, where none are given.
        device: whose kernels: on "cuda" the backward pass of eager attention's softmax makes one tensor more.

    Raises:
        TypeError, ValueError: for what cannot be trained; one sentence says why.
    """

    config: "Preset | PreTrainedConfig"
    method: Method = "lora"
    r: int = 16
    target_modules: str | Sequence[str] = "all-linear"
    batch_size: int = 1
    seq_len: int = 2048
    optimizer: Optimizer = "adamw"
    precision: Precision = "mixed"
    checkpointing: bool = False
    accumulation: int = 1
    attention: Attention = "sdpa"
    double_quant: bool = True
    block_size: int = 64
    upcast_frozen: bool = False
    adapter_dtype: AdapterDtype | None = None
    keep_outputs: bool = False
    chunked_loss: int | None = None
    offload: Offload | None = None
    dropout: float = 0.0
    optimizer_in_backward: bool = False
    stack: StackName = "lora_lab"
    device: Device = "cuda"
    modules_to_save: Sequence[str] = ()
    base: Base = "nf4"
    quantize_experts: bool = False
    fused_loss: bool = False
    quant_storage: QuantStorage = "uint8"

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", find_preset(self.config) or load_config(self.config))
        for name, known in (
            ("method", METHODS),
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("attention", ATTENTIONS),
            ("adapter_dtype", (*DTYPES, None)),
            ("offload", (*OFFLOADS, None)),
            ("block_size", BLOCK_SIZES),
            ("stack", STACK_NAMES),
            ("device", DEVICES),
            ("base", BASES),
            ("quant_storage", QUANT_STORAGES),
        ):
            ranges.choice(name, getattr(self, name), known)
        for name in ("batch_size", "seq_len", "accumulation"):
            self._keep_whole(name)
        if self.chunked_loss is not None:
            self._keep_whole("chunked_loss")
        for name in (
            "checkpointing",
            "double_quant",
            "upcast_frozen",
            "keep_outputs",
            "optimizer_in_backward",
            "quantize_experts",
            "fused_loss",
        ):
            ranges.switch(name, getattr(self, name))
        self._keep_whole("r")
        ranges.real("dropout", self.dropout, least=0, below=1)
        target_names(self.target_modules)  # refuses an empty one
        self._keep_saved()
        if self.config.model_type in FAMILIES:
            _refuse_too_few_experts(self.sizes)  # numbers that make no model are refused by either way of counting
        refuse_contradictions(self)

    @cached_property
    def sizes(self) -> Sizes:
        """The model's.

        Raises:
            ValueError: for an architecture without closed forms.
        """
        return sizes(self.config)

    @property
    def adapted(self) -> bool:
        """Whether adapters train over frozen weights."""
        return self.method != "full"

    @property
    def mixed(self) -> bool:
        """Whether what trains is fp32 and products are made in 16 bits."""
        return self.precision in ("mixed", "fp16")

    @property
    def narrow_dtype(self) -> Dtype:
        """Where 16 bits are enough."""
        return FLOAT16 if self.precision == "fp16" else BFLOAT16

    @property
    def weight_dtype(self) -> Dtype:
        """Of the model's weights, as far as they are not 4-bit."""
        wide = self.precision == "fp32" or self.upcast_frozen or (self.mixed and not self.adapted)
        return FLOAT32 if wide else self.narrow_dtype

    @property
    def compute_dtype(self) -> Dtype:
        """Of the matrix products."""
        if self.precision == "fp32" or not self.software.autocast:
            return self.weight_dtype
        return self.narrow_dtype

    @property
    def unpacked_dtype(self) -> Dtype:
        """Of a 4-bit weight for its product."""
        return FLOAT32 if self.precision == "fp32" else self.narrow_dtype

    @property
    def under_autocast(self) -> bool:
        """Whether the loop runs its forward pass under autocast, needed or not."""
        return self.autocast or (self.software.copies_inputs and self.software.autocast and self.mixed)

    @property
    def software(self) -> Stack:
        """The stack's record."""
        return STACKS[self.stack]

    @property
    def trainable_dtype(self) -> Dtype:
        """Of adapters, or of all weights in full fine-tuning; gradients and optimizer states are in it too."""
        if not self.adapted:
            return self.weight_dtype
        return DTYPES[self.adapter_dtype or ("bf16" if self.precision == "bf16" else "fp32")]

    @property
    def autocast(self) -> bool:
        """Whether weights are cast for each product because they are stored wider than it computes."""
        return self.weight_dtype != self.compute_dtype

    def _keep_whole(self, name: str) -> None:
        """As a Python int, which counts without overflow and can be written as JSON."""
        object.__setattr__(self, name, ranges.whole(name, getattr(self, name), 1, MOST))

    def _keep_saved(self) -> None:
        """As a tuple without repeats, which can be hashed; a single name stands for itself."""
        names = (self.modules_to_save,) if isinstance(self.modules_to_save, str) else tuple(self.modules_to_save)
        for name in names:
            ranges.choice("modules_to_save", name, SAVED)
        object.__setattr__(self, "modules_to_save", tuple(dict.fromkeys(names)))

    def saves(self, name: str) -> bool:
        """Whether the embeddings or the head train, in full fine-tuning or as a copy beside adapters."""
        return not self.adapted or name in self.modules_to_save


class Fixed(TypedDict, total=False):
    """The options of a `Setup` but for method and checkpointing, as keyword arguments of other functions."""

    r: int
    target_modules: str | Sequence[str]
    batch_size: int
    seq_len: int
    optimizer: Optimizer
    precision: Precision
    accumulation: int
    attention: Attention
    double_quant: bool
    block_size: int
    upcast_frozen: bool
    adapter_dtype: AdapterDtype | None
    keep_outputs: bool
    chunked_loss: int | None
    offload: Offload | None
    dropout: float
    optimizer_in_backward: bool
    stack: StackName
    device: Device
    modules_to_save: Sequence[str]
    base: Base
    quantize_experts: bool
    fused_loss: bool
    quant_storage: QuantStorage


class Options(Fixed, total=False):
    """The same with checkpointing."""

    checkpointing: bool


def _refuse_too_few_experts(s: Sizes) -> None:
    if s.top_k > s.experts:
        raise ValueError(f"the config says num_experts_per_tok={s.top_k}, which is more than its {s.experts} experts")
