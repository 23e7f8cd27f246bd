"""What is asked: one model, one way to train it. Every way of counting takes these arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

import torch
from transformers import PreTrainedConfig

from lora_lab import ranges
from lora_lab.lora import LoRAConfig
from lora_lab.memory.presets import load_config
from lora_lab.memory.sizes import FAMILIES, Sizes, sizes
from lora_lab.models.limits import positions
from lora_lab.quant import BLOCK_SIZES
from lora_lab.units import METHODS, Method

Optimizer = Literal["adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "sgd"]
Precision = Literal["mixed", "bf16", "fp32"]
Attention = Literal["sdpa", "eager"]
AdapterDtype = Literal["fp32", "bf16"]
Offload = Literal["optimizer", "weights"]

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
OFFLOADS: tuple[Offload, ...] = get_args(Offload)
DTYPES: dict[AdapterDtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
MOST = 10**18  # of tokens, sequences or bytes: beyond it floats would overflow, and no machine is so large


@dataclass(frozen=True)
class Setup:
    """One training step of one model.

    Precision and method decide where 16 bits are enough:

        precision   full                              lora, qlora
        mixed       fp32 weights, gradients, states;  frozen weights, embeddings included, in bf16 (4 bits);
                    computes in bf16 (autocast)       adapters, their gradients and states fp32; computes in bf16
        bf16        everything bf16                   everything bf16 (4 bits)
        fp32        everything fp32                   everything fp32 (4 bits)

    so that a trainable parameter costs 16 bytes at rest plus gradient under AdamW, and 8 under pure bf16.

    Attributes:
        config: a `transformers` config; a preset's name or a folder becomes one.
        method: "full", "lora" or "qlora" (NF4 for every linear layer but the output head).
        r: rank of the adapters; "full" has none.
        target_modules: where they go, as for `lora.LoRAConfig`.
        batch_size: sequences per forward pass.
        seq_len: tokens per sequence, none of them padding.
        optimizer: one of `OPTIMIZERS`; "sgd" is without momentum.
        precision: "mixed", "bf16" or "fp32", see above.
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
        offload: "optimizer" or "weights" live in the memory of the host.

    Raises:
        TypeError, ValueError: for what cannot be trained; one sentence says why.
    """

    config: PreTrainedConfig
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", load_config(self.config))
        for name, known in (
            ("method", METHODS),
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("attention", ATTENTIONS),
            ("adapter_dtype", (*DTYPES, None)),
            ("offload", (*OFFLOADS, None)),
            ("block_size", BLOCK_SIZES),
        ):
            ranges.choice(name, getattr(self, name), known)
        for name in ("batch_size", "seq_len", "accumulation"):
            self._keep_whole(name)
        if self.chunked_loss is not None:
            self._keep_whole("chunked_loss")
        for name in ("checkpointing", "double_quant", "upcast_frozen", "keep_outputs"):
            ranges.switch(name, getattr(self, name))
        LoRAConfig(r=self.r, target_modules=self.target_modules)  # refuses a bad rank and an empty target
        self._keep_whole("r")
        if self.config.model_type in FAMILIES:
            _refuse_too_few_experts(sizes(self.config))  # numbers that make no model are refused by either
        self._refuse_impossible()

    @property
    def adapted(self) -> bool:
        """Whether adapters train over frozen weights."""
        return self.method != "full"

    @property
    def weight_dtype(self) -> torch.dtype:
        """Of the model's weights, as far as they are not 4-bit."""
        wide = self.precision == "fp32" or self.upcast_frozen or (self.precision == "mixed" and not self.adapted)
        return torch.float32 if wide else torch.bfloat16

    @property
    def compute_dtype(self) -> torch.dtype:
        """Of the matrix products."""
        return torch.float32 if self.precision == "fp32" else torch.bfloat16

    @property
    def trainable_dtype(self) -> torch.dtype:
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

    def _refuse_impossible(self) -> None:
        limit = positions(self.config)
        if limit is not None and self.seq_len > limit:
            raise ValueError(
                f"seq_len={self.seq_len} is longer than the {limit} positions of this model: choose at most {limit}"
            )
        if self.upcast_frozen and (self.method, self.precision) != ("qlora", "mixed"):
            raise ValueError(
                "upcast_frozen=True models prepare_model_for_kbit_training, which needs a 4-bit model in mixed "
                f"precision: leave it out for method={self.method!r}, precision={self.precision!r}"
            )
        if self.adapter_dtype and not self.adapted:
            raise ValueError(
                f"adapter_dtype={self.adapter_dtype!r} with method='full', which has no adapters: "
                "choose precision instead, or method 'lora' or 'qlora'"
            )
        if self.keep_outputs and self.chunked_loss:
            raise ValueError(
                f"keep_outputs=True needs logits, which chunked_loss={self.chunked_loss} never makes as a whole: "
                "choose one of the two"
            )


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


class Options(Fixed, total=False):
    """The same with checkpointing."""

    checkpointing: bool


def _refuse_too_few_experts(s: Sizes) -> None:
    if s.top_k > s.experts:
        raise ValueError(f"the config says num_experts_per_tok={s.top_k}, which is more than its {s.experts} experts")
