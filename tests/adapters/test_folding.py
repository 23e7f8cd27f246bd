"""Merging over a 4-bit base: dense without loss, or back into four bits with a loss that is told."""

import math
import warnings

import pytest
import torch
from torch import nn

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig
from tests.helpers.models import IDS, assert_same, randomise, snapshot, tiny_llama


def qlora(init: str = "kaiming", **options) -> nn.Module:
    """A Llama whose MLPs are 4-bit and whose attention is dense, all of it adapted."""
    model = quant.quantize_model(tiny_llama(), skip=("lm_head", "q_proj", "k_proj", "v_proj", "o_proj"), **options)
    return randomise(lora.inject(model, LoRAConfig(r=4, target_modules="all-linear", init=init)))


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.detach().double() * b.double()).sum())


@pytest.mark.parametrize("init", ["kaiming", "pissa"])
def test_the_dense_merge_over_four_bits_is_the_dequantized_weight_plus_the_update(init):
    model = qlora(init)
    wanted = {
        name: (layer.base.dequantize() if hasattr(layer.base, "dequantize") else layer.base.weight)
        + layer.delta_weight()
        for name, layer in lora.adapters(model).items()
    }
    logits = model(IDS).logits
    lora.merge_and_remove(model)
    assert all(type(model.get_submodule(name)) is nn.Linear for name in wanted)
    assert all(torch.equal(model.get_submodule(name).weight, weight) for name, weight in wanted.items())
    assert torch.allclose(model(IDS).logits, logits, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"codebook": quant.FP4_BNB, "block_size": 32, "double_quant": False}], ids=["NF4, DQ", "FP4"]
)
def test_requantizing_rounds_the_sum_as_the_base_was_rounded_and_leaves_dense_layers_dense(options):
    model = qlora(**options)
    merged = {name: layer.merged_linear().weight for name, layer in lora.adapters(model).items()}
    bases = {name: layer.base for name, layer in lora.adapters(model).items()}
    with pytest.warns(UserWarning, match="of the update"):
        lora.merge_and_remove(model.train(), requantize=True)
    for name, base in bases.items():
        layer = model.get_submodule(name)
        assert type(layer) is type(base) and layer.training
        if isinstance(base, quant.Linear4bit):
            again = quant.quantize(merged[name], base.codebook, base.block_size, base.double_quant)
            assert torch.equal(layer.packed, again.packed) and torch.equal(layer.dequantize(), again.dequantize())
            assert layer.weight_dtype == base.weight_dtype and layer.compute_dtype == base.compute_dtype
        else:
            assert torch.equal(layer.weight, merged[name])
    assert not lora.adapters(model) and not any(p.requires_grad for p in model.parameters())


def test_the_losses_are_those_of_the_merge_and_are_told_before_anything_changes():
    model = qlora()
    layers = lora.adapters(model)
    with torch.no_grad():
        layers["model.layers.0.mlp.up_proj"].lora_B *= 30  # a larger update counts for more in the overall figure
    before = snapshot(model)
    losses = lora.requantization_losses(model)
    assert_same(model, before)
    assert lora.adapters(model) == layers and losses.keys() == {name for name in layers if "mlp" in name}
    old = {name: (layers[name].base.dequantize(), layers[name].delta_weight()) for name in losses}
    with pytest.warns(UserWarning) as caught:
        lora.merge_and_remove(model, requantize=True)
    error = kept = energy = 0.0
    for name, loss in losses.items():
        weight, delta = old[name]
        moved = model.get_submodule(name).dequantize() - weight
        assert loss.update == pytest.approx(math.sqrt(inner(delta, delta)), rel=1e-5)
        assert loss.kept == pytest.approx(inner(moved, delta) / inner(delta, delta), rel=1e-4)
        assert loss.error == pytest.approx(
            math.sqrt(inner(moved - delta, moved - delta) / inner(delta, delta)), rel=1e-4
        )
        error += inner(moved - delta, moved - delta)
        kept += inner(moved, delta)
        energy += inner(delta, delta)
    (warning,) = caught
    assert f"{kept / energy:.0%} of the update" in str(warning.message)
    assert f"error of {math.sqrt(error / energy):.1f} times" in str(warning.message)
    assert warning.filename == __file__


def test_a_small_update_vanishes_on_the_grid_and_a_large_one_arrives():
    model = qlora(double_quant=False)
    kept = []
    for factor in (1e-3, 1e3):
        with torch.no_grad():
            for layer in lora.adapters(model).values():
                layer.lora_B *= factor
        kept.append([loss.kept for loss in lora.requantization_losses(model).values()])
    assert max(kept[0]) < 0.05 and min(kept[1]) > 0.5


def test_an_adapter_that_does_nothing_has_no_share_to_lose_and_no_warning():
    model = lora.inject(quant.quantize_model(tiny_llama()), LoRAConfig())
    losses = lora.requantization_losses(model)
    assert all(loss.update == 0 and math.isnan(loss.kept) and math.isnan(loss.error) for loss in losses.values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lora.merge_and_remove(model, requantize=True)


def test_requantizing_where_nothing_is_4_bit_is_refused_and_changes_nothing():
    model = randomise(lora.inject(tiny_llama(), LoRAConfig()))
    before = snapshot(model)
    with pytest.raises(ValueError, match="requantize=True"):
        lora.merge_and_remove(model, requantize=True)
    with pytest.raises(ValueError, match="4-bit"):
        lora.requantization_losses(model)
    assert_same(model, before)


@pytest.mark.parametrize("requantize", [False, True])
def test_merge_and_remove_is_all_layers_or_none(requantize):
    model = qlora()
    with torch.no_grad():
        list(lora.adapters(model).values())[-1].lora_A[0, 0] = math.inf
    layers = lora.adapters(model)
    with pytest.raises(RuntimeError, match="damaged"):
        lora.merge_and_remove(model, requantize=requantize)
    assert lora.adapters(model) == layers


def test_a_partly_merged_model_is_not_merged_again_but_can_be_unmerged():
    model = lora.merge(randomise(lora.inject(tiny_llama(), LoRAConfig())))
    layers = list(lora.adapters(model).values())
    layers[-1].unmerge()
    with pytest.raises(RuntimeError, match="merged already, or some of them: call lora.unmerge"):
        lora.merge(model)
    lora.unmerge(model)
    assert all(layer.merged_weight is None for layer in layers)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("call", [lora.merge, lora.merge_and_remove])
def test_an_interrupted_merge_leaves_no_layer_merged(error, call, monkeypatch):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig()))
    layers, calls, real = lora.adapters(model), [], lora.LoRALinear.dense_sum

    def interrupted(layer):
        calls.append(layer)
        if len(calls) == 2:
            raise error
        return real(layer)

    monkeypatch.setattr(lora.LoRALinear, "dense_sum", interrupted)
    with pytest.raises(error):
        call(model)
    assert lora.adapters(model) == layers and all(layer.merged_weight is None for layer in layers.values())
    lora.unmerge(lora.merge(model))


def test_an_interruption_while_layers_are_replaced_puts_all_back():
    class Fickle(nn.ModuleDict):
        def __setattr__(self, name, module):
            if type(module) is nn.Linear and name == "b" and getattr(self, "armed", False):
                self.armed = False
                raise KeyboardInterrupt
            super().__setattr__(name, module)

    model = lora.inject(Fickle({"a": nn.Linear(6, 5), "b": nn.Linear(5, 4)}), LoRAConfig(target_modules=["a", "b"]))
    layers = lora.adapters(model)
    for call in (lora.remove, lora.merge_and_remove):
        model.armed = True
        with pytest.raises(KeyboardInterrupt):
            call(model)
        assert lora.adapters(model) == layers


def of_accelerate(layer: nn.Module) -> None:
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    add_hook_to_module(layer, AlignDevicesHook(execution_device="cpu"))


HOOKS = {
    "forward hook": lambda layer: layer.register_forward_hook(lambda m, x, y: y + 1.1),
    "pre-hook": lambda layer: layer.register_forward_pre_hook(lambda m, x: (2 * x[0],)),
    "backward hook": lambda layer: layer.register_full_backward_hook(lambda m, x, y: None),
    "own forward": lambda layer: setattr(layer, "forward", lambda x: x.new_zeros(*x.shape[:-1], layer.out_features)),
    "accelerate": of_accelerate,
}


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_what_hangs_on_a_base_is_called_and_never_merged_away(hook, quantized):
    model = nn.ModuleDict({"q": nn.Linear(16, 24), "v": nn.Linear(24, 16)})
    if quantized:
        quant.quantize_model(model)
    hook(model["v"])
    randomise(lora.inject(model, LoRAConfig(target_modules=["q", "v"])))
    x = torch.randn(3, 24)
    expected = model["v"].base(x) + x @ model["v"].delta_weight().T
    torch.testing.assert_close(model["v"](x), expected)
    layers = lora.adapters(model)
    for call in (lora.merge, lora.merge_and_remove):
        with pytest.raises(ValueError, match="^v.* base has .*(hooks|a forward of its own)|^v.base has"):
            call(model)
        assert lora.adapters(model) == layers and all(layer.merged_weight is None for layer in layers.values())
    lora.remove(model)
    with pytest.raises(ValueError, match="has .*(hooks|a forward of its own)"):  # still there
        quant.swap.refuse_hooked("v", model["v"])


@pytest.mark.parametrize("call", [lora.remove, lora.merge_and_remove])
def test_hooks_on_an_adapted_layer_are_not_dropped_in_silence(call):
    model = lora.inject(nn.ModuleDict({"q": nn.Linear(16, 24)}), LoRAConfig(target_modules=["q"]))
    handle = model["q"].register_forward_hook(lambda m, x, y: y + 1)
    with pytest.raises(ValueError, match="q has forward hooks"):
        call(model)
    assert lora.adapters(model)
    handle.remove()
    call(model)
    assert not lora.adapters(model)


def test_a_weight_that_is_made_anew_after_injection_is_not_merged():
    model = lora.inject(nn.ModuleDict({"q": nn.Linear(16, 24)}), LoRAConfig(target_modules=["q"]))
    nn.utils.parametrizations.weight_norm(model["q"].base)
    for call in (lora.merge, lora.merge_and_remove):
        with pytest.raises(ValueError, match="q.* base is parametrized|q.base is parametrized"):
            call(model)


@pytest.mark.parametrize("quantized", [False, True])
def test_merging_without_values_is_one_sentence_and_the_weight_can_still_be_looked_at(quantized):
    model = quant.quantize_model(tiny_llama()) if quantized else tiny_llama()
    lora.inject(model, LoRAConfig()).to("meta")
    for call in (lora.merge, lora.merge_and_remove):
        with pytest.raises(ValueError, match="layers.0.self_attn.q_proj: it has no values to merge.*meta device"):
            call(model)
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert weight.is_meta and weight.shape == (64, 64) and weight.dtype == torch.float32


def test_a_layer_on_its_own_is_not_replaced_in_itself():
    layer = lora.LoRALinear(nn.Linear(6, 5), LoRAConfig(r=2))
    for call in (lora.remove, lora.merge_and_remove):
        with pytest.raises(ValueError, match="a layer cannot be replaced in itself"):
            call(layer)
    assert list(dict(layer.named_children())) == ["base", "dropout"]


def test_a_merge_that_no_longer_holds_is_refused_not_used():
    model = lora.inject(nn.Sequential(nn.Linear(8, 8)), LoRAConfig(target_modules=["0"]))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    lora.merge(model)
    with pytest.raises(RuntimeError, match="unmerge"):
        model.load_state_dict(state)
    quant.quantize_model(model)
    with pytest.raises(RuntimeError, match="the base was replaced after the merge"), torch.no_grad():
        model(torch.ones(1, 8))
    lora.unmerge(model)
    model(torch.ones(1, 8))


def test_the_weight_that_can_be_looked_at_is_the_one_that_is_applied():
    layer = lora.LoRALinear(nn.Linear(6, 5), LoRAConfig(r=2))
    nn.init.normal_(layer.lora_B)
    x = torch.eye(6)
    for change in (lambda: None, layer.merge, lambda: setattr(layer, "enabled", False)):
        change()
        with torch.no_grad():
            torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.base.bias)
    assert "weight" not in dict(layer.named_parameters())
