"""Adapters beside each other, and copies beside the model's own tensors: one is in use, and the model stays whole."""

import peft
import pytest
import torch
from torch import nn

from lora_lab import lora
from lora_lab.lora import LoRAConfig
from tests.helpers.families import IDS as SHORT
from tests.helpers.families import tiny_classifier
from tests.helpers.models import IDS, assert_same, randomise, snapshot, tiny_llama

HEAD = LoRAConfig(r=2, target_modules=("query", "value"), modules_to_save=("classifier",))


ONE = LoRAConfig(r=3, init="gaussian")
TWO = LoRAConfig(r=4, target_modules=("v_proj", "up_proj"))


def two(model: nn.Module) -> nn.Module:
    """Adapters "one" and "two", which is in use; both are around the values' layers."""
    randomise(lora.inject(model, ONE, "one"), seed=1)
    return randomise(lora.inject(model, TWO, "two"), seed=2)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def step(model: nn.Module, ids: torch.Tensor) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model(ids).logits.square().sum().backward()
    torch.optim.SGD(parameters, lr=1e-2).step()
    model.zero_grad()


def test_only_the_adapter_in_use_trains():
    model = two(tiny_llama())
    owned = {
        name: {id(tensor) for layer in lora.adapters(model, name).values() for _, tensor in layer.own_tensors()}
        for name in lora.names(model)
    }
    for name in ("two", "one", "two"):
        lora.use(model, name)
        assert {id(p) for p in model.parameters() if p.requires_grad} == owned[name]
    lora.use(model, "one")
    other = {where: layer.lora_B.clone() for where, layer in lora.adapters(model, "two").items()}
    mine = {where: layer.lora_B.clone() for where, layer in lora.adapters(model, "one").items()}
    step(model, IDS)
    assert all(torch.equal(layer.lora_B, other[where]) for where, layer in lora.adapters(model, "two").items())
    assert not any(torch.equal(layer.lora_B, mine[where]) for where, layer in lora.adapters(model, "one").items())


def test_each_of_two_adapters_computes_as_if_it_were_alone(tmp_path):
    model = tiny_llama()
    first = randomise(lora.inject(model, ONE, "one"), seed=1)(IDS).logits
    second = randomise(lora.inject(model, TWO, "two"), seed=2)(IDS).logits
    lora.save_adapter(model, tmp_path, "two")
    assert torch.equal(lora.load_adapter(tiny_llama(), tmp_path, "two")(IDS).logits, second)
    assert torch.equal(lora.use(model, "one")(IDS).logits, first)
    assert torch.equal(lora.use(model, "two")(IDS).logits, second)
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_second_adapter_starts_from_the_model_s_own_weight():
    config = LoRAConfig(r=2, target_modules="all-linear", init="pissa")
    alone = lora.adapters(lora.inject(tiny_llama(), config))
    beside = lora.adapters(lora.inject(two(tiny_llama()), config, "pissa"))
    assert alone.keys() == beside.keys()
    for where, layer in alone.items():
        assert torch.equal(beside[where].lora_A, layer.lora_A) and torch.equal(beside[where].lora_B, layer.lora_B)


def test_merging_takes_the_adapter_in_use():
    model = two(tiny_llama())
    logits = model(IDS).logits
    lora.merge(model)
    assert torch.allclose(model(IDS).logits, logits, atol=1e-5)
    assert all(layer.merged_weight is not None for layer in lora.adapters(model, "two").values())
    assert all(layer.merged_weight is None for layer in lora.adapters(model, "one").values())


def test_a_trained_head_is_a_copy_that_can_be_switched_off_and_taken_out():
    model = tiny_classifier()
    before, logits = snapshot(model), model(SHORT).logits
    lora.inject(model, HEAD)
    assert {name for name in trainable(model) if "lora_" not in name} == {"classifier.weight", "classifier.bias"}
    step(model, SHORT)
    assert not torch.equal(model.classifier.weight, before["classifier.weight"])
    trained = model(SHORT).logits
    with lora.disabled(model):
        assert torch.equal(model(SHORT).logits, logits)
    assert torch.equal(model(SHORT).logits, trained)
    assert_same(lora.remove(model), before)


def test_a_head_in_modules_to_save_goes_to_peft_and_back(tmp_path):
    model = randomise(lora.inject(tiny_classifier(), HEAD))
    step(model, SHORT)
    lora.save_adapter(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(tiny_classifier(), tmp_path / "ours").eval()
    assert torch.allclose(theirs(SHORT).logits, model(SHORT).logits, atol=1e-6)
    theirs.save_pretrained(tmp_path / "theirs")
    again = lora.load_adapter(tiny_classifier(), tmp_path / "theirs")
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    assert torch.allclose(again(SHORT).logits, model(SHORT).logits, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_tied_stays_tied_while_it_trains_and_after():
    model = tiny_llama()
    before, own = snapshot(model), model.lm_head.weight
    lora.inject(model, LoRAConfig(r=2, modules_to_save=("lm_head",)))
    copy = model.lm_head.weight
    assert copy is model.model.embed_tokens.weight and copy is not own and copy.requires_grad
    step(model, IDS)
    assert copy is model.lm_head.weight is model.model.embed_tokens.weight
    assert not torch.equal(copy, own)
    lora.remove(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight is own
    assert_same(model, before)
