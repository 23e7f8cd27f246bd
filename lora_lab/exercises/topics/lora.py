"""What the answers of lesson 03 must do inside a layer: its forward pass and its start."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _forward(self: Any, x: Tensor) -> Tensor:
    """h = W₀ x + (α/r) · B A x, where x is [..., d_in]."""
    return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)


def _init(d_out: int, d_in: int, r: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A [r, d_in] uniform in ±1/√d_in, B [d_out, r] zero."""
    bound = 1 / math.sqrt(d_in)
    return nn.Parameter(torch.empty(r, d_in).uniform_(-bound, bound)), nn.Parameter(torch.zeros(d_out, r))


@task(reference=lambda: _forward)
def lora_forward(forward: Callable[[Any, Tensor], Tensor]) -> None:
    """The layer computes W₀ x + b + (α/r) · B A x, and gradients reach A, B and x."""
    # The square layer comes first: it lets factors through that stand the wrong way round, so that they can be named.
    for d_out, d_in, r, before in ((5, 5, 2, (9,)), (3, 5, 2, (4,)), (6, 4, 3, (2, 5)), (2, 7, 1, ())):
        layer = _layer(d_out, d_in, r)
        x = torch.randn(*before, d_in, requires_grad=True)
        weight = layer.base.weight.clone()
        h = _through(forward, layer, x)
        _require_output(h, (*before, d_out))
        if not torch.equal(layer.base.weight, weight):
            raise Wrong("your forward changes base.weight: W₀ is frozen. Add the two outputs instead")
        _compare(h, layer, x)
        _require_gradients(h, layer, x)


def _through(forward: Callable[[Any, Tensor], Tensor], layer: Any, x: Tensor) -> Tensor:
    given = x * 1  # not a leaf, so that writing into it is allowed, and seen
    try:
        with untouched(x=given):
            return forward(layer, given)
    except Wrong:
        raise
    except Exception:
        fits = [n for n in (2, 3) if n != x.dim() and _runs(forward, layer, torch.randn(*[4] * (n - 1), x.shape[-1]))]
        if not fits:
            raise
        raise Wrong(
            f"x of {fits[0]} dimensions goes through and x of {x.dim()} does not: whatever stands before d_in stays as "
            "it is; x @ A.T works for all of them, and x.T does not"
        ) from None


def _runs(forward: Callable[[Any, Tensor], Tensor], layer: Any, x: Tensor) -> bool:
    try:
        forward(layer, x)
    except Exception:  # whatever the learner's code does
        return False
    return True


def _layer(d_out: int, d_in: int, r: int) -> Any:
    """What forward finds on self: a base with a bias, factors that are not zero, and a scaling of its own."""
    base = nn.Linear(d_in, d_out).requires_grad_(False)
    nn.init.normal_(base.bias)
    A, B = nn.Parameter(torch.randn(r, d_in)), nn.Parameter(torch.randn(d_out, r))
    return SimpleNamespace(base=base, lora_A=A, lora_B=B, scaling=1.75, r=r, alpha=1.75 * r, training=True,
                           in_features=d_in, out_features=d_out)  # fmt: skip


def _require_output(h: object, wanted: tuple[int, ...]) -> None:
    if h is None:
        raise Wrong("your forward returns nothing: end it with return")
    if not isinstance(h, Tensor):
        raise Wrong(f"yours is a {type(h).__name__}, wanted a tensor: return the sum of the two paths")
    if tuple(h.shape) != wanted:
        raise Wrong(f"your output has the shape {list(h.shape)}, wanted {list(wanted)}: [..., d_out] for x [..., d_in]")


def _compare(h: Tensor, layer: Any, x: Tensor) -> None:
    """The equation in float64 with the product B A formed, and what the usual slips would give instead."""
    W, b, A, B = (t.detach().double() for t in (layer.base.weight, layer.base.bias, layer.lora_A, layer.lora_B))
    x, s = x.detach().double(), layer.scaling
    base, update = x @ W.T, x @ (B @ A).T
    slips = {
        "this is the base's output alone: add the update B A x, times self.scaling": base + b,
        "without α/r: your update is not scaled; multiply it by self.scaling": base + b + update,
        "the base is missing: your output is the update alone; add self.base(x)": s * update,
        "your scaling multiplies the base's output too: scale the update only": s * (base + b + update),
        "your scaling multiplies the base's output, and not the update": s * (base + b) + update,
        "the bias is missing: self.base(x) has W₀ x and the bias in one": base + s * update,
        "your scaling comes in twice: multiply by self.scaling once": base + b + s * s * update,
        "you divide by self.scaling: multiply the update by it": base + b + update / s,
        "you divide by r once more: self.scaling is α/r already": base + b + s * update / layer.r,
        "you multiply by α: self.scaling is α/r already": base + b + layer.alpha * update,
        "your update is subtracted: add it": base + b - s * update,
    }
    if W.shape[0] == W.shape[1]:
        slips["B A is not transposed: x stands in rows, so it is x @ (B @ A).T"] = base + b + s * (x @ (B @ A))
        slips["A gets the base's output: both paths begin at x"] = base + b + s * ((base + b) @ (B @ A).T)
    wanted = base + b + s * update
    if _close(h, wanted):
        return
    for diagnosis, value in slips.items():
        if _close(h, value):
            raise Wrong(diagnosis)
    factor = float(((h.detach() - base - b) * update).sum() / update.square().sum())
    if _close(h, base + b + factor * update):
        raise Wrong(f"your update is multiplied by {factor:.3g}: use self.scaling, which is {s} in this layer")
    worst = int((h.detach() - wanted).abs().argmax())
    raise Wrong(
        f"yours has {float(h.detach().flatten()[worst]):.3f} where {float(wanted.flatten()[worst]):.3f} is wanted: "
        "self.base(x) plus self.scaling times x through A.T, then through B.T"
    )


def _close(yours: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(yours.detach().double(), wanted, rtol=1e-4, atol=1e-4)


def _require_gradients(h: Tensor, layer: Any, x: Tensor) -> None:
    toward = torch.randn(h.shape)
    if h.requires_grad:
        (h * toward.to(h.dtype)).sum().backward()  # with an argument, torch imports a second longer
    for name in ("lora_A", "lora_B"):
        if getattr(layer, name).grad is None:
            raise Wrong(f"no gradient reaches {name}: leave out detach(), no_grad() and .data, or nothing can train")
    by_base = (toward @ layer.base.weight).double()
    by_update = (layer.scaling * toward @ layer.lora_B @ layer.lora_A).detach().double()
    grad = torch.zeros_like(x) if x.grad is None else x.grad
    if _close(grad, by_base + by_update):
        return
    path = "the base" if _close(grad, by_update) else "the update" if _close(grad, by_base) else "both paths"
    raise Wrong(
        f"no gradient reaches x through {path}, so the layers below this one would not learn from it: leave out "
        "no_grad() and detach()"
    )


@task(reference=lambda: _init)
def lora_init(init: Callable[[int, int, int], tuple[nn.Parameter, nn.Parameter]]) -> None:
    """A is random and of a size that keeps A x small, B is zero, and both are trainable parameters."""
    for d_out, d_in, r in ((7, 400, 3), (300, 192, 8)):
        A, B = _two_factors(init(d_out, d_in, r))
        _require_shapes(A, B, d_out, d_in, r)
        for name, factor in (("A", A), ("B", B)):
            if not isinstance(factor, nn.Parameter) or not factor.requires_grad:
                raise Wrong(f"{name} would not train: wrap it in nn.Parameter(...), whose requires_grad is True")
        _require_start(A.detach(), B.detach())
        _require_uniform(A.detach(), d_out, d_in, r)
        again, _ = _two_factors(init(d_out, d_in, r))
        if torch.equal(again, A):
            raise Wrong("A is the same in two layers: draw it at random, without setting a seed in here")


def _two_factors(value: object) -> tuple[Tensor, Tensor]:
    if value is None:
        raise Wrong("yours returns nothing, wanted A and B: end with return A, B")
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(isinstance(v, Tensor) for v in value):
        many = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise Wrong(f"yours returns a {type(value).__name__}{many}, wanted two tensors: return A, B")
    return value[0], value[1]


def _require_shapes(A: Tensor, B: Tensor, d_out: int, d_in: int, r: int) -> None:
    yours, wanted = (list(A.shape), list(B.shape)), ([r, d_in], [d_out, r])
    if yours == wanted:
        return
    sizes = f"for d_out={d_out}, d_in={d_in}, r={r}"
    said = f"{sizes} your A is {yours[0]} and B {yours[1]}, wanted {wanted[0]} and {wanted[1]}"
    if yours == (wanted[1], wanted[0]):
        raise Wrong(f"{said}: they are returned in the wrong order; return A, B")
    if yours == (wanted[0][::-1], wanted[1][::-1]):
        raise Wrong(f"{said}: both are transposed; as in nn.Linear, rows are outputs")
    raise Wrong(f"{said}: A squeezes d_in to r, B spreads r to d_out, and rows are outputs")


def _require_start(A: Tensor, B: Tensor) -> None:
    if not torch.isfinite(A).all():
        raise Wrong("A holds NaN or infinity: torch.empty is not filled yet; draw its entries at random")
    a, b = bool(A.any()), bool(B.any())
    if not a and not b:
        raise Wrong("both are zero: each factor's gradient is multiplied by the other one, so nothing would ever move")
    if a and b:
        raise Wrong("B is not zero: with both random, the layer's output moves before anything was trained")
    if b:
        raise Wrong("A is zero and B random: that would start too, but the paper and PEFT do it the other way round")
    if (A == A[0, 0]).all():
        raise Wrong("A is one number everywhere: all r rows would stay alike, which is rank 1; draw it at random")
    if (rank := int(torch.linalg.matrix_rank(A))) < len(A):
        raise Wrong(f"your A has {len(A)} rows and rank {rank}: draw every row by itself, or the update has no rank r")


def _require_uniform(A: Tensor, d_out: int, d_in: int, r: int) -> None:
    """Entries uniform in ±1/√d_in: their mean, their shape, their largest. Six standard errors are allowed."""
    bound, largest, spread = 1 / math.sqrt(d_in), float(A.abs().max()), float(A.std())
    if abs(float(A.mean())) > 6 * spread / math.sqrt(A.numel()):
        raise Wrong(
            f"the mean of your A is {float(A.mean()):.2g}, wanted about 0: uniform_(-bound, bound) has both signs"
        )
    if largest < 1.2 * spread:
        raise Wrong("your A has two values, the bound and minus it: ±1/√d_in means anything between them")
    near = 0.9 < largest / bound < 6
    if largest > 2.2 * spread and near:
        raise Wrong(
            f"your A is drawn from a bell, up to {largest:.2g}: it would train too, but this cell asks for "
            f"PEFT's start, uniform in ±1/√d_in = ±{bound:.2g}"
        )
    if 0.97 < largest / bound < 1.001:
        return
    sources = {1 / math.sqrt(r): "1/√r", 1 / math.sqrt(d_out): "1/√d_out", 1 / d_in: "1/d_in, without the root"}
    sources[math.sqrt(6 / d_in)] = "√6/√d_in, which kaiming_uniform_ takes without a=√5, and xavier_uniform_ nearly"
    why = [f" (yours is {words})" for size, words in sources.items() if 0.97 < largest / size < 1.001]
    raise Wrong(
        f"the entries of your A go up to {largest:.2g}, wanted 1/√d_in = {bound:.2g}: "
        f"too {'large' if largest > bound else 'small'}; scale them by 1/√d_in{''.join(why[:1])}"
    )
