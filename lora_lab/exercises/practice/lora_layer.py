"""Exercises 03: the whole layer, and a merge that can be undone bit for bit."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.exercises import quantities, required
from lora_lab.exercises.tasks import Wrong, task


class _LoRALayer(nn.Module):
    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scaling = base.requires_grad_(False), alpha / r
        bound = 1 / math.sqrt(base.in_features)
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features).uniform_(-bound, bound))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)


class _MergeableLayer:
    def __init__(self, weight: Tensor, B: Tensor, A: Tensor, scaling: float) -> None:
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight

    def forward(self, x: Tensor) -> Tensor:
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self) -> None:
        total = self.original + self.scaling * (self.B @ self.A)
        self.weight, self.merged = total.to(self.original.dtype), True

    def unmerge(self) -> None:
        self.weight, self.merged = self.original, False


@task(reference=lambda: _LoRALayer)
def LoRALayer(kind: Any) -> None:
    """A module around a frozen linear layer: W₀ x + b + (α/r) B A x; it starts at its base, and trains A and "
    "B alone."""
    if not callable(kind):
        raise Wrong(f"LoRALayer is a {type(kind).__name__}, wanted a class")
    first_A = []
    for d_out, d_in, r, bias, before in ((4, 4, 2, True, (3,)), (4, 4, 2, True, (3,)), (6, 9, 3, False, (2, 5))):
        base = nn.Linear(d_in, d_out, bias=bias)
        weight = base.weight.detach().clone()
        b = base.bias.detach().clone() if bias else torch.zeros(d_out)
        alpha = 0.5 + 4 * float(torch.rand(()))
        layer = kind(base, r, alpha)
        _require_parts(layer, d_out, d_in, r, alpha)
        x = torch.randn(*before, d_in)
        out = required.tensor(layer(x), f"the output for x {list(x.shape)}", (*before, d_out))
        if not torch.allclose(out.detach(), x @ weight.T + b, atol=1e-5):
            slips = {"it is zero, so base(x) is missing": torch.zeros_like(out), "the bias is missing": x @ weight.T,
                     "α/r multiplies the base's output": alpha / r * (x @ weight.T + b)}  # fmt: skip
            why = required.slip(out.detach(), slips) or "is it the layer that you were given?"
            raise Wrong(f"before training B is zero, and the output is not that of the base: {why}", yours=out.detach(),
                        wanted=x @ weight.T + b)  # fmt: skip
        A, B = torch.randn(r, d_in), torch.randn(d_out, r)
        first_A.append(dict(layer.named_parameters())["lora_A"].detach().clone())
        layer.load_state_dict({**layer.state_dict(), "lora_A": A, "lora_B": B})
        _require_update(layer, x.requires_grad_(), weight, b, A, B, alpha, r)
    if torch.equal(first_A[0], first_A[1]):
        raise Wrong("A is the same in two layers: draw it at random, without a seed")


def _require_parts(layer: Any, d_out: int, d_in: int, r: int, alpha: float) -> None:
    if not callable(getattr(layer, "named_parameters", None)) or not callable(layer):
        raise Wrong("your layer is no module: class LoRALayer(nn.Module), and super().__init__() first")
    named = dict(layer.named_parameters())
    for name, size in (("lora_A", (r, d_in)), ("lora_B", (d_out, r))):
        if f"{name}.weight" in named:
            raise Wrong(
                f"your {name} is a layer with a weight in it, as in PEFT; here it is the matrix: nn.Parameter(…)"
            )
        if name not in named:
            raise Wrong(
                f"{name} is not among the parameters, so no optimizer would find it: self.{name} = nn.Parameter(…)"
            )
        what = f"{name}, for d_in = {d_in}, d_out = {d_out} and r = {r},"
        if list(named[name].shape) == [*reversed(size)] != [*size]:
            raise Wrong(f"{what} has the shape {list(named[name].shape)}: it lies on its side")
        required.tensor(named[name], what, size)
        if not named[name].requires_grad:
            raise Wrong(f"{name} does not train: its requires_grad is False; freeze the base alone")
    if trains := [name for name, each in named.items() if each.requires_grad and name not in ("lora_A", "lora_B")]:
        frozen = (
            "it is a plain number, no parameter"
            if trains[0] == "scaling"
            else "the base is frozen, with base.requires_grad_(False)"
        )
        raise Wrong(f"{trains[0]} still trains: {frozen}")
    if bool(named["lora_B"].any()):
        raise Wrong("B is not zero, so the layer would not start at its base")
    if not bool(named["lora_A"].any()):
        raise Wrong("A is zero, as B is: each waits for the other, and nothing would ever move")
    scaling = getattr(layer, "scaling", None)
    if scaling is None:
        raise Wrong("your layer has no scaling: set self.scaling")
    found = quantities.number(scaling, "as the scaling")
    if not math.isclose(found, alpha / r, rel_tol=1e-6):
        slips = {alpha: "that is α: divide by r", r / alpha: "that is upside down", 1 / r: "α is missing",
                 alpha // r: "you cut the decimals off",
                 alpha / math.sqrt(r): "that is rsLoRA's α/√r", alpha / d_in: "you divide by d_in"}  # fmt: skip
        why = next((words for slip, words in slips.items() if math.isclose(found, slip, rel_tol=1e-6)), "it is α/r")
        raise Wrong(f"your scaling is not α/r: {why}", yours=found, wanted=alpha / r)


def _require_update(layer: Any, x: Tensor, W: Tensor, b: Tensor, A: Tensor, B: Tensor, alpha: float, r: int) -> None:
    out = layer(x)
    h = required.tensor(out, "the output", (*x.shape[:-1], len(W))).detach().double()
    rows, s = x.detach().double(), alpha / r
    base, update = rows @ W.double().T + b, rows @ A.double().T @ B.double().T
    if not torch.allclose(h, base + s * update, atol=1e-4):
        slips = {
            "the update is missing: A and B are there, but forward does not use them": base,
            "α/r is missing: the update is not scaled": base + update,
            "α/r comes in twice": base + s * s * update,
            "α/r multiplies the base's output too": s * (base + update),
            "the update is subtracted": base - s * update,
            "the update is divided by α/r": base + update / s,
            "the update is multiplied by α, not by α/r": base + alpha * update,
            "the base's output goes through A, where x belongs: both paths begin at x": (
                base + s * (base @ A.double().T @ B.double().T) if W.shape[0] == W.shape[1] else base
            ),
        }
        factor = float(((h - base) * update).sum() / update.square().sum())
        right = torch.allclose(h, base + factor * update, atol=1e-3)
        general = (
            f"your update has the right direction, and is {factor / s:.3g} times what it should be"
            if right
            else (
                "what goes wrong shows once A and B are not zero: x through A, then through B, times α/r, plus the base"
            )
        )
        raise Wrong(f"with other A and B: {required.slip(h, slips) or general}", yours=h.float(),
                    wanted=(base + s * update).float())  # fmt: skip
    toward = torch.randn(out.shape)
    if not out.requires_grad:
        raise Wrong("no gradient comes back through your forward: leave out detach(), no_grad() and .data")
    (out * toward).sum().backward()  # not out.backward(toward), whose first call imports for two seconds
    grads = {name: each.grad for name, each in dict(layer.named_parameters()).items()}
    g, flat = toward.double().flatten(0, -2), rows.flatten(0, -2)
    for name, wanted in (("lora_A", s * (g @ B.double()).T @ flat), ("lora_B", s * g.T @ (flat @ A.double().T))):
        grad = grads.get(name)
        if grad is None or not torch.allclose(grad.double(), wanted, atol=1e-3):
            raise Wrong(
                f"the output is right, but the gradient of {name} is not: leave out detach(), no_grad() and .data"
            )
    wanted = toward.double() @ (W.double() + s * B.double() @ A.double())
    if x.grad is None or not torch.allclose(x.grad.double(), wanted, atol=1e-3):
        raise Wrong("the gradient that reaches x is not right, so the layers below would learn nothing from one of "
                    "the two paths: leave out no_grad() and detach()")  # fmt: skip


@task(reference=lambda: _MergeableLayer)
def MergeableLayer(kind: Any) -> None:
    """merge puts (α/r) B A into the weight, once; unmerge gives the weight back bit for bit."""
    for d_out, d_in, r, dtype in ((3, 4, 2, torch.float32), (24, 40, 3, torch.float32), (24, 40, 3, torch.bfloat16)):
        W, A, B = torch.randn(d_out, d_in).to(dtype), torch.randn(r, d_in), torch.randn(d_out, r)
        s, x = 0.3 + 2 * float(torch.rand(())), torch.randn(5, d_in)
        given = [each.clone() for each in (W, B, A)]
        total = W.double() + s * B.double() @ A.double()
        layer = kind(*given, s)
        layer.unmerge()
        _require_weight(layer, W, "unmerge without a merge before it changes the weight: then there is nothing to do")
        before = required.tensor(layer.forward(x), "the output", (5, d_out)).double()
        for times in ("once", "twice"):
            layer.merge()
            _require_merged(layer, W, A, B, s, total, times)
        after = required.tensor(layer.forward(x), "the output after merge", (5, d_out)).double()
        _require_same(after, before, x, W, A, B, s)
        merged = layer.weight.detach().clone()
        layer.unmerge()
        if torch.equal(required.tensor(layer.weight, "the weight", W.shape), merged) and not torch.equal(merged, W):
            raise Wrong("after unmerge the weight is still the merged one: if you kept the original, was it the same "
                        "tensor, and has merge written into it? Make a new one")  # fmt: skip
        _require_weight(layer, W, "")
        again = required.tensor(layer.forward(x), "the output after unmerge", (5, d_out)).double()
        if not torch.equal(again, before):
            raise Wrong("after unmerge the output is not what it was before merge: the weight is back, so forward "
                        "must add the update again; is merged False?")  # fmt: skip
        for _ in range(20):
            layer.merge()
            layer.unmerge()
        _require_weight(
            layer, W, "after twenty more rounds the weight has drifted: keep the original, and go back to it"
        )
        at_once = W.clone()
        kind(at_once, *given[1:], s).merge()
        if not torch.equal(at_once, W):
            raise Wrong("merge writes into the tensor that you were given, which others use too: make a new one")


def _require_merged(layer: Any, W: Tensor, A: Tensor, B: Tensor, s: float, total: Tensor, times: str) -> None:
    weight = required.tensor(layer.weight, "the merged weight", W.shape)
    update = s * B.double() @ A.double()
    close = 1e-5 if W.dtype == torch.float32 else 2.0**-7
    if not bool(((weight.double() - total).abs() <= close * (1 + total.abs() + update.abs())).all()):
        W64 = W.double()
        slips = {
            "the weight has not changed": W64,
            "α/r is missing": W64 + B.double() @ A.double(),
            "this is the update alone: add it to the weight": update,
            "the update is subtracted": W64 - update,
            "a second merge adds the update a second time: a layer that is merged stays as it is": W64 + 2 * update,
        }
        why = required.slip(weight.detach().double(), slips, 2e-2) or "it is W + scaling · B A"
        raise Wrong(f"after merge, called {times}, the weight is not W + scaling · B A: {why}",
                    **({"yours": weight.detach(), "wanted": total.to(W.dtype)} if W.numel() < 20 else {}))  # fmt: skip
    if weight.dtype != W.dtype:
        raise Wrong(f"the weight was {required.word(W.dtype)} and is {required.word(weight.dtype)} after merge: bring "
                    "the sum back to the dtype of the weight")  # fmt: skip


def _require_same(after: Tensor, before: Tensor, x: Tensor, W: Tensor, A: Tensor, B: Tensor, s: float) -> None:
    update = s * x.double() @ A.double().T @ B.double().T
    close = 1e-4 if W.dtype == torch.float32 else 0.05
    if float((after - before).norm()) > close * float(before.norm() + update.norm()):
        twice = float((after - before - update).norm()) < 0.1 * float(update.norm())
        why = (
            "the update counts twice, in the weight and beside it: say that you have merged"
            if twice
            else ("forward should give what it gave before")
        )
        raise Wrong(f"after merge the output has moved: {why}")


def _require_weight(layer: Any, W: Tensor, otherwise: str) -> None:
    weight = required.tensor(layer.weight, "the weight", W.shape, W.dtype)
    different = int((weight.detach() != W).sum())
    if not different:
        return
    off = float((weight.detach().double() - W.double()).abs().max())
    if otherwise:
        raise Wrong(otherwise)
    if off > 0.05 * float(W.double().abs().max()):
        raise Wrong("after merge and unmerge the weight is far from what it was: was the update taken out, all of it "
                    "and once?")  # fmt: skip
    raise Wrong(f"after merge and unmerge {different} of {W.numel()} numbers of the weight are another, by up to "
                f"{off:.1g}: adding rounds, and subtracting does not undo that; keep the original")  # fmt: skip
