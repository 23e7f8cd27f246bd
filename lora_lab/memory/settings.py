"""What is asked: one model, one way to train it. Every way of counting takes these arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig

from lora_lab.lora import LoRAConfig
from lora_lab.memory.presets import load_config
from lora_lab.quant import BLOCK_SIZES

METHODS = ("full", "lora", "qlora")
OPTIMIZERS = ("adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "sgd")
PRECISIONS = ("mixed", "bf16", "fp32")
ATTENTIONS = ("sdpa", "eager")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
OFFLOADS = ("optimizer", "weights")


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
    method: str = "lora"
    r: int = 16
    target_modules: str | Sequence[str] = "all-linear"
    batch_size: int = 1
    seq_len: int = 2048
    optimizer: str = "adamw"
    precision: str = "mixed"
    checkpointing: bool = False
    accumulation: int = 1
    attention: str = "sdpa"
    double_quant: bool = True
    block_size: int = 64
    upcast_frozen: bool = False
    adapter_dtype: str | None = None
    keep_outputs: bool = False
    chunked_loss: int | None = None
    offload: str | None = None

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
            _one_of(name, getattr(self, name), known)
        for name in ("batch_size", "seq_len", "accumulation"):
            _at_least_one(name, getattr(self, name))
        if self.chunked_loss is not None:
            _at_least_one("chunked_loss", self.chunked_loss)
        for name in ("checkpointing", "double_quant", "upcast_frozen", "keep_outputs"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        LoRAConfig(r=self.r, target_modules=self.target_modules)  # refuses a bad rank and an empty target
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

    def _refuse_impossible(self) -> None:
        positions = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if positions is not None and self.seq_len > positions:
            raise ValueError(
                f"seq_len={self.seq_len} is longer than the {positions} positions of this model: "
                f"choose at most {positions}"
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


def _one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(map(str, known))}")


def _at_least_one(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}={value}: choose at least 1")
