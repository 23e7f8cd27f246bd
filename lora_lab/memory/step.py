"""The training step that is counted: model, loss and update, as a `Setup` describes them.

`simulate` runs it on fake tensors, `real_step` hands it out to be measured: the same lines of code.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM

from lora_lab import lora, quant
from lora_lab.memory.dtypes import Dtype
from lora_lab.memory.presets import load_config
from lora_lab.memory.settings import Setup
from lora_lab.quant.choice import HEAD, layers_to_quantize
from lora_lab.quant.double import BLOCK_SIZE as CONSTANTS_PER_SCALE
from lora_lab.quant.linears import dense_weight
from lora_lab.units import IGNORE, first_line

_WAY_OUT = "memory.estimate counts it in closed form"

# Fused updates need no workspace, and are what transformers' Trainer takes; torch's own default on CUDA, foreach,
# holds another tensor of the size of each parameter while it updates.
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-4, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-4, fused=True),
    "adafactor": lambda parameters: torch.optim.Adafactor(parameters, lr=1e-4, foreach=False),
}


def real_step(setup: Setup, seed: int = 0, device: str = "cpu") -> tuple[nn.Module, Callable[[], None]]:
    """What `simulate` predicts, to be measured: a model with random weights, and the step that trains it.

        setup = memory.Setup(config, "qlora", batch_size=2)
        memory.measure(*memory.real_step(setup))

    Args:
        setup: what is trained, and how.
        seed: of the weights and the batch.
        device: "cpu" or "cuda".

    Raises:
        ValueError: for what cannot run here, as `simulate`.
    """
    refuse_what_cannot_run(setup)
    torch.manual_seed(seed)
    model = build_model(setup, device)
    optimizer, batch = make_optimizer(setup, model), make_batch(setup, device)
    return model, lambda: training_step(setup, model, optimizer, batch)


def refuse_what_cannot_run(setup: Setup) -> None:
    """A step that runs is made of torch and this package alone; closed forms reach further.

    Raises:
        ValueError: naming what is missing.
    """
    if setup.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer {setup.optimizer!r} is not one of torch's, {', '.join(OPTIMIZERS)}: {_WAY_OUT}")
    for name, wanted in (("base", "nf4"), ("quantize_experts", False), ("fused_loss", False)):
        if getattr(setup, name) != wanted:
            raise ValueError(
                f"{name}={getattr(setup, name)!r} needs kernels that this package does not have: {_WAY_OUT}"
            )
    if setup.offload:
        raise ValueError(f"offload={setup.offload!r} needs a second device to run: {_WAY_OUT}")
    if setup.chunked_loss and getattr(load_config(setup.config).get_text_config(), "final_logit_softcapping", None):
        raise ValueError(f"chunked_loss={setup.chunked_loss} knows no soft cap on the logits: {_WAY_OUT}")


def build_model(setup: Setup, device: str) -> Any:
    """The model of `setup`, ready to train: with random weights, but on "meta" without any."""
    with torch.device(device):
        model = _from_config(setup)
        if setup.method == "qlora":
            _quantize(model, setup)
        if setup.adapted:
            _adapt(model, setup)
    _train_in_full(model, setup)
    for layer in lora.adapters(model).values():
        for factor in (layer.lora_A, layer.lora_B):
            factor.data = factor.data.to(_torch(setup.trainable_dtype))
    if setup.checkpointing:  # under its older name in older versions of transformers
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return model.train()


def make_optimizer(setup: Setup, model: nn.Module) -> torch.optim.Optimizer:
    """Over all that trains."""
    return OPTIMIZERS[setup.optimizer]([p for p in model.parameters() if p.requires_grad])


def make_batch(setup: Setup, device: str = "cpu") -> dict[str, Tensor]:
    """Random token ids and labels, int64 [batch, sequence]; nothing is padded, so there is no mask."""
    size = load_config(setup.config).get_text_config().vocab_size
    ids = torch.randint(size, (setup.batch_size, setup.seq_len), device=device)
    return {"input_ids": ids, "labels": ids.clone()}


def training_step(setup: Setup, model: Any, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> None:
    """`setup.accumulation` forward and backward passes, one update, and the gradients are gone."""
    device = batch["input_ids"].device.type
    for _ in range(setup.accumulation):
        with torch.autocast(device, dtype=_torch(setup.narrow_dtype), enabled=setup.under_autocast):
            if setup.chunked_loss:
                loss = _chunked_loss(model, batch, setup.chunked_loss)
            else:
                outputs = model(**batch, use_cache=False)  # kept keys and values are of no use in training
                loss = outputs.loss
                if not setup.keep_outputs:
                    del outputs
        with _updating(optimizer) if setup.optimizer_in_backward else nullcontext():
            (loss / setup.accumulation).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@contextmanager
def _updating(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Update each parameter as soon as its gradient is there, as torchtune's `register_optim_in_bwd_hooks` does; an
    optimizer passes over those that have none."""

    def update(parameter: nn.Parameter) -> None:
        optimizer.step()
        parameter.grad = None

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    handles = [parameter.register_post_accumulate_grad_hook(update) for parameter in parameters]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _torch(dtype: Dtype) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype.name)
    return found


def _adapt(model: nn.Module, setup: Setup) -> None:
    """Without the warning about what "all-linear" passes over: nobody's model is trained here, and the notes of an
    estimate say what adapters do not reach. Another warning is let through."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'all-linear' passed over", UserWarning)
        lora.inject(model, lora.LoRAConfig(r=setup.r, target_modules=setup.target_modules, dropout=setup.dropout))


def _train_in_full(model: Any, setup: Setup) -> None:
    """`modules_to_save`: a copy trains, and the frozen original stays beside it."""
    modules = {"embed_tokens": model.get_input_embeddings(), "lm_head": model.get_output_embeddings()}
    for name in setup.modules_to_save:
        module = modules[name]
        model.register_parameter(f"original_{name}", module.weight)
        module.weight = nn.Parameter(module.weight.detach().clone())


def _from_config(setup: Setup) -> Any:
    config = copy.deepcopy(load_config(setup.config))  # it is written to
    try:
        dtype = _torch(setup.weight_dtype)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=setup.attention)
    except ValueError as error:
        way_out = "attention='eager' may do" if setup.attention != "eager" else _WAY_OUT
        raise ValueError(
            f"transformers makes no causal LM of this {type(config).__name__} with attention={setup.attention!r} "
            f"({first_line(error)}): {way_out}"
        ) from error


def _chunked_loss(model: Any, batch: dict[str, Tensor], size: int) -> Tensor:
    """Mean cross-entropy of the next token, with the logits of `size` tokens at a time.

    Each chunk is checkpointed: its logits die at once, and are made again when their gradient is due.
    """
    hidden = model.base_model(batch["input_ids"], use_cache=False).last_hidden_state.flatten(0, 1)  # [tokens, h]
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE).flatten()  # a token's label is the next token

    def summed_loss(hidden: Tensor, labels: Tensor) -> Tensor:
        logits = model.get_output_embeddings()(hidden).float()  # [size, V]
        return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")

    chunks = zip(hidden.split(size), labels.split(size))
    losses = [checkpoint(summed_loss, *chunk, use_reentrant=False) for chunk in chunks]
    return torch.stack(losses).sum() / batch["labels"][:, 1:].numel()


def _quantize(model: nn.Module, setup: Setup) -> None:
    """Every linear layer but the head to NF4; of a model on "meta", the shapes of what `quant.quantize_model` makes."""
    compute_dtype = _torch(setup.compute_dtype) if setup.autocast else None
    if next(model.parameters()).device.type != "meta":
        quant.quantize_model(
            model, block_size=setup.block_size, double_quant=setup.double_quant, compute_dtype=compute_dtype
        )
        return
    for name, linear in layers_to_quantize(model, skip=(HEAD,)).items():
        weight = _quantized_shapes(dense_weight(linear), setup.block_size, setup.double_quant)
        model.set_submodule(name, quant.Linear4bit(weight, linear.bias, compute_dtype))


def _quantized_shapes(weight: Tensor, block_size: int, double_quant: bool) -> quant.QuantizedTensor:
    blocks = math.ceil(weight.numel() / block_size)
    constants: Tensor | quant.QuantizedConstants = torch.empty(blocks)
    if double_quant:
        constants = quant.QuantizedConstants(
            codes=torch.empty(blocks, dtype=torch.uint8),
            scale=torch.empty(math.ceil(blocks / CONSTANTS_PER_SCALE)),
            mean=torch.empty(()),
        )
    packed = torch.empty(math.ceil(weight.numel() / 2), dtype=torch.uint8)
    return quant.QuantizedTensor(packed, constants, quant.NF4, block_size, weight.shape, weight.dtype)
