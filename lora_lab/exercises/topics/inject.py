"""What an answer of lesson 03 must do with a model: put LoRA layers into it."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lora_lab.exercises.tasks import Wrong, task


def _inject(model: nn.Module, wrap: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    """`wrap(linear)` in place of every linear layer but `lm_head`; all else is frozen."""
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            model.set_submodule(name, wrap(module))
    return model


class _Wrapped(nn.Module):
    """A LoRA layer of rank 2 that has just been made."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.lora_A = nn.Parameter(torch.randn(2, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.lora_A.T @ self.lora_B.T


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)
        self.mlp = nn.Sequential(nn.Linear(6, 9), nn.SiLU(), nn.Linear(9, 6))
        self.head_proj = nn.Linear(6, 6)  # no lm_head, though "head" is in its name

    def forward(self, h: Tensor) -> Tensor:
        return self.head_proj(self.mlp(self.norm(h + self.q_proj(h))))


class _Small(nn.Module):
    """A model with linear layers at two depths, an embedding, a norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList(_Block() for _ in range(2))
        self.lm_head = nn.Linear(6, 11, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embed(ids)
        for block in self.blocks:
            h = block(h)
        return self.lm_head(h)


@task(reference=lambda: _inject)
def lora_inject(inject: Callable[[nn.Module, Callable[[nn.Linear], nn.Module]], object]) -> None:
    """Every linear layer but lm_head is wrapped once, only A and B train, and the output has not moved."""
    model, ids = _Small(), torch.arange(11)
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    before, weights = model(ids).detach(), copy.deepcopy(model.state_dict())
    found = inject(model, _Wrapped)
    if not isinstance(found, nn.Module):
        yours = "nothing" if found is None else f"a {type(found).__name__}"
        raise Wrong(f"yours returns {yours}, wanted the model: end with return model")
    if found is not model:
        raise Wrong("yours returns another module, wanted the same model: change it in place and return it")
    if model.lm_head is not linears.pop("lm_head"):
        raise Wrong("lm_head is adapted too: it shares its weight with the embeddings, so leave it as it is")
    for name, linear in linears.items():
        _require_wrapped(name, model, linear)
    _require_trainable(model)
    kept = all(torch.equal(linear.weight, weights[f"{name}.weight"]) for name, linear in linears.items())
    if not kept or not torch.equal(model(ids), before):
        raise Wrong("the model's output or its weights have changed: W₀ stays as it is, within its wrapper")


def _require_wrapped(name: str, model: nn.Module, linear: nn.Module) -> None:
    now = model.get_submodule(name)
    if now is linear and name.endswith("head_proj"):
        raise Wrong(f'{name} is left out: only the layer named "lm_head" stays as it is; compare the whole name')
    if now is linear:
        raise Wrong(f"{name} is not wrapped: replace every nn.Linear, at any depth, with model.set_submodule(...)")
    if sum(isinstance(module, _Wrapped) for module in now.modules()) > 1:
        raise Wrong(f"{name} is wrapped twice: one wrap(module) is enough")
    if not isinstance(now, _Wrapped):
        raise Wrong(f"{name} is a {type(now).__name__} now, wanted what wrap gives: put wrap(module) in its place")
    if now.base is not linear:
        raise Wrong(f"{name} has lost its weights: wrap the layer that was there, not a new one")


def _require_trainable(model: nn.Module) -> None:
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    own = {name for name in trains if name.endswith(("lora_A", "lora_B"))}
    if surplus := sorted(name for name in trains if trains[name] and name not in own):
        raise Wrong(f"{surplus[0]} still trains: freeze the model first, with model.requires_grad_(False)")
    if frozen := sorted(name for name in own if not trains[name]):
        raise Wrong(f"{frozen[0]} is frozen: freeze before you wrap, or the new A and B are frozen too")
