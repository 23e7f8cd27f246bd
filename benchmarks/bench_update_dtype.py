"""What B A x is computed in over a 16-bit base: the input's dtype, or the factors' float32, as in PEFT.

python benchmarks/bench_update_dtype.py      # about a minute; writes results/update_dtype.json and README.md

Three figures for each way: how far the output and the gradients of A and B are from float64 (relative, Frobenius), how
many bytes a token makes the layer keep for its backward pass, and the time of a forward and backward pass.
"""

import json
import sys
from typing import Any

import peft
import torch
from side_by_side import RESULTS, Pair, compare
from torch import Tensor, nn

from lora_lab import lora
from lora_lab.commands import machine
from lora_lab.disk import write_json

D, R, TOKENS = 1024, 16, 256
Outcome = tuple[Tensor, Tensor, Tensor]  # output, gradient of A, gradient of B


def ours(way: str, dense: nn.Linear) -> lora.LoRALinear:
    """A layer with this way over `dense`."""
    return lora.LoRALinear(dense, lora.LoRAConfig(r=R, alpha=24, update_dtype=way))


def theirs(dense: nn.Linear) -> Any:
    """PEFT's layer in its defaults."""
    config = peft.LoraConfig(r=R, lora_alpha=24, target_modules=["layer"])
    return peft.get_peft_model(nn.ModuleDict({"layer": dense}), config).base_model.model["layer"]


def factors(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """A and B of either layer."""
    if isinstance(layer, lora.LoRALinear):
        return layer.lora_A, layer.lora_B
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


def step(layer: nn.Module, x: Tensor, grad: Tensor) -> Outcome:
    """One forward and one backward pass."""
    h = layer(x.detach().requires_grad_())
    h.backward(grad)
    A, B = factors(layer)
    outcome = h.detach(), A.grad, B.grad
    layer.zero_grad(set_to_none=True)
    return outcome


def kept(layer: nn.Module, x: Tensor) -> int:
    """Bytes that the backward pass keeps, beside parameters, and beside x, which is there once for all its readers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(nbytes for pointer, nbytes in storages.items() if pointer not in own)


def rows() -> list[dict[str, Any]]:
    """One row for each way over a bfloat16 base; times are compared with those of "input" beside it."""
    torch.manual_seed(0)
    dense = nn.Linear(D, D).bfloat16()
    x, grad = torch.randn(2, TOKENS, D).bfloat16()
    layers = {"input": ours("input", dense), "factors": ours("factors", dense), "PEFT": theirs(dense)}
    A, B = torch.randn(R, D) / D**0.5, torch.randn(D, R) / D**0.5
    with torch.no_grad():
        for layer in layers.values():
            for parameter, value in zip(factors(layer), (A, B)):
                parameter.copy_(value)
    exact = ours("input", nn.Linear(D, D).double())
    exact.base.load_state_dict({key: value.double() for key, value in dense.state_dict().items()})
    exact.load_state_dict({"lora_A": A, "lora_B": B}, strict=False)
    wanted = step(exact, x.double(), grad.double())
    return [row(way, layer, layers["input"], x, grad, wanted) for way, layer in layers.items()]


def row(way: str, layer: nn.Module, first: nn.Module, x: Tensor, grad: Tensor, wanted: Outcome) -> dict[str, Any]:
    """The three figures of one way; `first` is the one that its time is compared with."""
    errors = [float((found.double() - w).norm() / w.norm()) for found, w in zip(step(layer, x, grad), wanted)]
    pair = Pair(way, "bfloat16", "input", {}, lambda: step(layer, x, grad), lambda: step(first, x, grad))
    times = compare(pair, seconds=10, at_least=15)
    found = {
        "dtype": "bfloat16", "way": way,
        "error": dict(zip(("output", "grad_A", "grad_B"), (float(f"{error:.3g}") for error in errors))),
        "kept_per_token": (kept(layer, torch.cat([x, x])) - kept(layer, x)) // TOKENS,
        "speed": {key: times[key] for key in ("ratio", "low", "high", "runs")},
    }  # fmt: skip
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure on one thread, write the record and refresh the README."""
    torch.set_num_threads(1)
    record = {"machine": machine.describe() | {"threads": 1, "peft": peft.__version__}, "rows": rows()}
    write_json(RESULTS / "update_dtype.json", record)
    import report

    report.write()


if __name__ == "__main__":
    sys.exit(main())
