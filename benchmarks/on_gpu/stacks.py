"""Random models of any size, ready to train, ours and bitsandbytes + PEFT, without ever making a dense one.

A model is built without weights. Of each shape one random layer is quantized; all layers of that shape get copies of
its bytes. So a 70B model is there in seconds, and takes the memory that a real one would.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from lora_lab import lora, quant

OURS, PEFT, PEFT_LOOP = "lora_lab", "bitsandbytes + PEFT", "bitsandbytes + PEFT, without autocast"


def build(
    config: PreTrainedConfig,
    stack: str,
    method: str,
    device: str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    r: int = 16,
    checkpointing: bool = True,
    attention: str = "sdpa",
    upcast: bool = False,
) -> Any:
    """A causal LM in training mode with adapters on all linear layers, frozen weights in `dtype`.

    Args:
        method: "lora", or "qlora" for NF4 with double quantization.
        upcast: what is frozen and not 4-bit goes to float32, as PEFT's `prepare_model_for_kbit_training` does.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype, attn_implementation=attention)
    if method == "qlora":
        make = _ours if stack == OURS else _theirs
        first: dict[torch.Size, Any] = {}
        for name, linear in list(model.named_modules()):
            if type(linear) is nn.Linear and name.rpartition(".")[2] != "lm_head":
                model.set_submodule(name, make(linear.weight.shape, first, device, dtype))
        model.is_loaded_in_4bit = stack != OURS
    _materialise(model, device)
    if upcast:
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.float()
    if checkpointing:  # under its older name in older versions of transformers
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return adapted(model, stack, r).train()


def adapted(model: Any, stack: str, r: int = 16) -> Any:
    """Adapters of rank r on all linear layers, with alpha = r."""
    if stack == OURS:
        return lora.inject(model, lora.LoRAConfig(r=r, alpha=r, target_modules="all-linear"))
    import peft

    return peft.get_peft_model(model, peft.LoraConfig(r=r, lora_alpha=r, target_modules="all-linear"))


def stepper(model: Any, stack: str, ids: Tensor, keep_outputs: bool = False) -> Callable[[], Tensor]:
    """One training step on random tokens, int64 [batch, sequence]; under autocast where the stack's Trainer is."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def step() -> Tensor:
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=stack == PEFT):
            outputs = model(input_ids=ids, labels=ids, use_cache=False)
            loss = outputs.loss
            if not keep_outputs:
                del outputs
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def bitsandbytes_linear(weight: Tensor, bias: nn.Parameter | None = None) -> Any:
    """bitsandbytes' 4-bit layer around a weight [d_out, d_in], computing in the weight's dtype."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    return _around(packed, state, weight.shape, weight.dtype, bias)


def replace_linears(model: nn.Module) -> Any:
    """Every linear layer but the head becomes bitsandbytes', as its `from_pretrained` would make it."""
    for name, linear in list(model.named_modules()):
        if type(linear) is nn.Linear and name.rpartition(".")[2] != "lm_head":
            model.set_submodule(name, bitsandbytes_linear(linear.weight.data, linear.bias))
    model.is_loaded_in_4bit = True
    return model


def _ours(shape: torch.Size, first: dict[torch.Size, Any], device: str, dtype: torch.dtype) -> quant.Linear4bit:
    if shape not in first:
        first[shape] = quant.quantize(_random(shape, device, dtype), double_quant=True)
    q = first[shape]
    constants = replace(
        q.constants, **{part: getattr(q.constants, part).clone() for part in ("codes", "scale", "mean")}
    )
    return quant.Linear4bit(replace(q, packed=q.packed.clone(), constants=constants))


def _theirs(shape: torch.Size, first: dict[torch.Size, Any], device: str, dtype: torch.dtype) -> Any:
    from bitsandbytes import functional

    if shape not in first:
        first[shape] = functional.quantize_4bit(
            _random(shape, device, dtype), blocksize=64, compress_statistics=True, quant_type="nf4"
        )
    packed, state = first[shape]
    return _around(packed.clone(), copy.deepcopy(state), shape, dtype, None)


def _around(packed: Tensor, state: Any, shape: torch.Size, dtype: torch.dtype, bias: nn.Parameter | None) -> Any:
    import bitsandbytes

    d_out, d_in = shape
    layer = bitsandbytes.nn.Linear4bit(d_in, d_out, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta")
    layer.weight = bitsandbytes.nn.Params4bit(
        packed, requires_grad=False, quant_state=state, blocksize=64, compress_statistics=True, quant_type="nf4",
        module=layer, bnb_quantized=True,
    )  # fmt: skip
    layer.quant_state, layer.bias = state, bias
    return layer


def _random(shape: torch.Size, device: str, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, device=device, dtype=dtype) * 0.02


def _materialise(model: Any, device: str) -> None:
    """Random values for all parameters on "meta"; what was tied stays tied, and RoPE's frequencies are made anew."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                if id(parameter) not in made:
                    norm = parameter.ndim == 1
                    values = torch.ones if norm else torch.randn
                    tensor = values(parameter.shape, device=device, dtype=parameter.dtype)
                    made[id(parameter)] = nn.Parameter(tensor if norm else tensor.mul_(0.02))
                module._parameters[name] = made[id(parameter)]
    with torch.device(device):
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
