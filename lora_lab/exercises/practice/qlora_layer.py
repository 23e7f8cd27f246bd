"""Exercises 11, the second and third: the gradients around a frozen weight, and the layer that stores its codes."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab import units
from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.practice.packed_product import Stored, restored_product, why_product
from lora_lab.exercises.tasks import Wrong, task


def _qlora_gradients(x: Tensor, g: Tensor, W: Tensor, A: Tensor, B: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
    of_x = g @ W + s * g @ B @ A
    rows, above = x.flatten(0, -2), g.flatten(0, -2)
    return of_x, s * (above @ B).T @ rows, s * above.T @ (rows @ A.T)


class _QLoRALayer(nn.Module):
    packed: Tensor
    absmax: Tensor
    levels: Tensor

    def __init__(self, packed: Tensor, absmax: Tensor, levels: Tensor, shape: tuple[int, int],
                 block_size: int, r: int, alpha: float) -> None:  # fmt: skip
        super().__init__()
        for name, stored in (("packed", packed), ("absmax", absmax), ("levels", levels)):
            self.register_buffer(name, stored)
        self.shape, self.block_size, self.scaling = shape, block_size, alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, shape[1]) / math.sqrt(shape[1]))
        self.lora_B = nn.Parameter(torch.zeros(shape[0], r))

    def forward(self, x: Tensor) -> Tensor:
        frozen = restored_product(x, self.packed, self.absmax, self.levels, self.shape, self.block_size)
        return frozen + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)


@task(reference=lambda: _qlora_gradients)
def qlora_gradients(qlora_gradients: Any) -> None:
    """The gradients of x, A and B under y = x Ŵᵀ + s x Aᵀ Bᵀ; the weight gets none."""
    for d_out, d_in, r, before in ((4, 4, 2, (3,)), (9, 5, 3, (2, 3)), (6, 11, 4, (7,)), (3, 5, 2, (2, 1, 3))):
        shapes = ((*before, d_in), (*before, d_out), (d_out, d_in), (r, d_in), (d_out, r))
        x, g, W, A, B = (torch.randn(shape) for shape in shapes)
        s = 0.5 + 2 * float(torch.rand(()))
        handed = {"x": x.clone(), "g": g.clone(), "W": W.clone(), "A": A.clone(), "B": B.clone()}
        try:
            with untouched(**handed):
                found = qlora_gradients(*handed.values(), s)
        except Exception as error:
            if len(before) == 3 and not isinstance(error, Wrong):
                raise Wrong(
                    f"for x {list(x.shape)} your code stops: x may have any number of axes before the last one, "
                    f"and all of them are rows ({units.first_line(error)})"
                ) from error
            raise
        if isinstance(found, (tuple, list)) and len(found) > 3:
            raise Wrong(f"yours gives {len(found)} gradients, wanted three, of x, A and B: the weight is frozen")
        gradients = required.several(found, 3, "the gradients of x, A and B")
        wanted = _by_autograd(x, g, W, A, B, s)
        for name, each, right in zip(("x", "A", "B"), gradients, wanted):
            what = f"the gradient of {name}, for x {list(x.shape)} and r = {r},"
            if isinstance(each, Tensor) and name != "x" and each.shape == right.T.shape != right.shape:
                raise Wrong(
                    f"{what} has the shape {list(each.shape)}: that is its transpose, wanted the shape of {name}"
                )
            each = required.tensor(each, what, right.shape)
            if float((each.double() - right).norm() / right.norm()) > 1e-4:
                small = {"yours": each, "wanted": right.float()} if d_in == d_out else {}
                raise Wrong(_why_gradient(name, each, x, g, W, A, B, s), **small)


def _by_autograd(x: Tensor, g: Tensor, W: Tensor, A: Tensor, B: Tensor, s: float) -> tuple[Tensor, ...]:
    x, A, B = (each.double().requires_grad_() for each in (x, A, B))
    y = x @ W.double().T + s * (x @ A.T) @ B.T
    return torch.autograd.grad((y * g).sum(), (x, A, B))


def _why_gradient(name: str, found: Tensor, x: Tensor, g: Tensor, W: Tensor, A: Tensor, B: Tensor, s: float) -> str:
    rows, above = x.flatten(0, -2), g.flatten(0, -2)
    n = len(rows)
    of_A, of_B = (above @ B).T @ rows, above.T @ (rows @ A.T)
    beside = g @ B @ A
    slips = {
        "x": {
            "only the way through Ŵ is there: x goes through A and B as well": g @ W,
            "only the way through A and B is there: x goes through the frozen weight as well": s * beside,
            "s is missing in the way through A and B": g @ W + beside,
            "s multiplies both ways: the frozen weight has none": s * (g @ W + beside),
        },
        "A": {
            "s is missing": of_A,
            "it is the mean over the tokens: a gradient is their sum": s * of_A / n,
            "s comes in twice": s * s * of_A,
            "only the last token has its part in it: sum over all of them": s * torch.outer(above[-1] @ B, rows[-1]),
        },
        "B": {
            "s is missing": of_B,
            "it is the mean over the tokens: a gradient is their sum": s * of_B / n,
            "s comes in twice": s * s * of_B,
            "only the last token has its part in it: sum over all of them": s * torch.outer(above[-1], rows[-1] @ A.T),
        },
    }[name]
    if W.shape[0] == W.shape[1]:
        slips["Ŵ is transposed on the way back: y = x Ŵᵀ, so its derivative has Ŵ"] = g @ W.T + s * beside
        slips["x and g are exchanged"] = s * ((rows @ B).T @ above if name == "A" else rows.T @ (above @ A.T))
    way = {"x": "add what comes back on either way", "A": "A sees x on one side and g B on the other",
           "B": "B sees x Aᵀ on one side and g on the other"}[name]  # fmt: skip
    return f"the gradient of {name} is off: {required.slip(found, slips) or way}"


@task(reference=lambda: _QLoRALayer)
def QLoRALayer(kind: Any) -> None:
    """y = x Ŵᵀ + α/r · x Aᵀ Bᵀ from stored codes; A and B alone are parameters, the codes are in the state."""
    for d_out, d_in, block, r, alpha in ((6, 6, 16, 3, 12.0), (9, 14, 32, 4, 10.0)):
        stored, other = Stored(d_out, d_in, block), Stored(d_out, d_in, block)
        layer = kind(*stored.handed().values(), r, alpha)
        _require_parameters(layer, r, stored)
        state = _require_state(layer, stored)
        x = torch.randn(2, 3, d_in)
        start = required.tensor(layer(x), "y", (2, 3, d_out))
        if not torch.allclose(start, x @ stored.weight().T, atol=1e-3):
            raise Wrong(f"before any training y must be x Ŵᵀ: {why_product(start, x, stored)}")
        A, B = torch.randn(r, d_in), torch.randn(d_out, r)
        layer.load_state_dict({**state, "lora_A": A, "lora_B": B})
        _require_update(required.tensor(layer(x), "y", (2, 3, d_out)), x, A, B, stored, alpha)
        _require_gradients(layer, x, A, B, stored, alpha / r)
        layer.load_state_dict(kind(*other.handed().values(), r, alpha).state_dict())
        loaded = required.tensor(layer(x), "y", (2, 3, d_out))
        if not torch.allclose(loaded, x @ other.weight().T, atol=1e-3):
            raise Wrong(f"another layer's state was loaded, and {_why_loaded(loaded, x, stored, other)}")


def _why_loaded(y: Tensor, x: Tensor, stored: Stored, other: Stored) -> str:
    mixed = other.weight(levels=stored.levels), other.weight(absmax=stored.absmax)
    slips = {
        "y is still made with the old weight: something dense was kept when the layer was built. Keep the codes, and "
        "restore in forward": x @ stored.weight().T,
        "y is made with the old levels: they belong to what is stored, so they go into a buffer too": x @ mixed[0].T,
        "y is made with the old constants: forward must read them from their buffer": x @ mixed[1].T,
    }
    return required.slip(y, slips) or "y is not that layer's: does forward read its buffers, and nothing else?"


def _require_parameters(layer: Any, r: int, stored: Stored) -> None:
    d_out, d_in = stored.shape
    if not callable(getattr(layer, "named_parameters", None)):
        raise Wrong("what your class makes has no parameters: derive it from nn.Module, and call super().__init__()")
    found = dict(layer.named_parameters())
    for name, shape in (("lora_A", (r, d_in)), ("lora_B", (d_out, r))):
        if f"{name}.weight" in found:
            raise Wrong(f"{name} is a module of its own, and wanted is a parameter by that name: nn.Parameter(…)")
        if name not in found:
            raise Wrong(
                f"{name} is no parameter of the layer, so no optimizer will find it: self.{name} = nn.Parameter(…)"
            )
        required.tensor(found[name], name, shape)
        if not found[name].requires_grad:
            raise Wrong(f"{name} requires no gradient, and it is what learns")
    if extra := sorted(name for name in set(found) - {"lora_A", "lora_B"} if found[name].requires_grad):
        raise Wrong(
            f"{extra[0]} is a parameter that trains, and what is stored is frozen: put it into a buffer, "
            "register_buffer(name, tensor)"
        )
    if bool((found["lora_B"] != 0).any()):
        raise Wrong("lora_B does not start at zero, so the update moves the output before anything was learned")
    if not bool((found["lora_A"] != 0).any()):
        raise Wrong("lora_A and lora_B both start at zero: then neither ever gets a gradient. Draw A at random")
    if int(torch.linalg.matrix_rank(found["lora_A"].detach().float())) < r:
        raise Wrong(
            "the rows of lora_A depend on each other at the start, and equal rows stay equal: the update would never "
            "use its rank. Draw A at random"
        )


def _require_state(layer: Any, stored: Stored) -> dict[str, Tensor]:
    state = dict(layer.state_dict())
    for name, each in state.items():
        if isinstance(each, Tensor) and each.is_floating_point() and each.numel() == math.prod(stored.shape):
            raise Wrong(f"the state holds a dense weight, {name}: keep the codes, and restore the weight in forward")
    codes = [each for each in state.values() if isinstance(each, Tensor) and each.dtype == torch.uint8]
    if not any(
        each.numel() == stored.packed.numel() and bool((each.flatten() == stored.packed).all()) for each in codes
    ):
        raise Wrong(
            "the packed codes are not in state_dict(), so they would be lost in saving, and stay behind when the layer "
            "moves to a GPU: make them a buffer"
        )
    if not any(isinstance(each, Tensor) and each.shape == stored.absmax.shape and bool((each == stored.absmax).all())
               for each in state.values()):  # fmt: skip
        raise Wrong(
            "the codes are in state_dict(), and their constants, absmax, are not: register them as a buffer too"
        )
    return state


def _require_update(y: Tensor, x: Tensor, A: Tensor, B: Tensor, stored: Stored, alpha: float) -> None:
    base, update, r = x @ stored.weight().T, x @ A.T @ B.T, len(A)
    wanted = base + alpha / r * update
    if torch.allclose(y, wanted, rtol=1e-3, atol=1e-3):
        return
    slips = {
        "α/r is missing": base + update,
        "it is multiplied by α, and the division by r is missing": base + alpha * update,
        "it is multiplied by r/α: the other way round": base + r / alpha * update,
        "α/r is cut to a whole number: divide with /, not with //": base + alpha // r * update,
        "it comes in twice": base + 2 * alpha / r * update,
        "α/r multiplies the frozen product too": alpha / r * (base + update),
        "the frozen product is missing": alpha / r * update,
        "A and B have no part in it": base,
    }
    found = required.slip(y, slips)
    words = found or "is it x times A transposed, times B transposed?"
    small = {"yours": y[0], "wanted": wanted[0]} if len(A) == 3 else {}
    raise Wrong(f"with A and B not zero, the update α/r · x Aᵀ Bᵀ is off: {words}", **small)


def _require_gradients(layer: Any, x: Tensor, A: Tensor, B: Tensor, stored: Stored, s: float) -> None:
    given = x.clone().requires_grad_()
    y, g = layer(given), torch.randn(2, 3, stored.shape[0])
    if not y.requires_grad:
        raise Wrong("y has no way back to A and B: is forward under torch.no_grad(), or y detached?")
    (y * g).sum().backward()
    wanted = dict(zip(("x", "lora_A", "lora_B"), _by_autograd(x, g, stored.weight(), A, B, s)))
    parameters = dict(layer.named_parameters())
    for name, right in wanted.items():
        of = given.grad if name == "x" else parameters[name].grad
        if of is None:
            raise Wrong(f"after backward() {name} has no gradient: is it detached, or a part under torch.no_grad()?")
        if not torch.allclose(of.double(), right, rtol=1e-3, atol=1e-3):
            beside = s * (g @ B @ A).double()
            cut = name == "x" and torch.allclose(of.double(), beside, rtol=1e-3, atol=1e-3)
            why = (
                "nothing comes back through Ŵ, so the layers below would hardly learn. Only restoring may stand under "
                "no_grad(), not the product" if cut else "is every step of forward a plain operation of torch?"
            )  # fmt: skip
            raise Wrong(f"the gradient of {name} is off: {why}")
