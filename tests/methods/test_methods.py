"""What holds for every method: it is put in, used, switched off, taken out, saved and loaded as LoRA is."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import lora_lab
from lora_lab import lora, methods, train
from lora_lab.adapters.config import AdapterConfig
from lora_lab.lora import LoRAConfig
from lora_lab.methods import BitFitConfig, IA3Config
from tests.helpers.families import IDS, tiny_bert, tiny_classifier, tiny_gpt2
from tests.helpers.models import assert_same, snapshot

LIBRARY = Path(lora_lab.__file__).parent
FILES = sorted((LIBRARY / "methods").glob("*.py"))
IA3 = {
    tiny_bert: IA3Config(("key", "value", "output.dense"), ("output.dense",)),
    tiny_classifier: IA3Config(("key", "value", "output.dense"), ("output.dense",)),
    tiny_gpt2: IA3Config(("c_attn", "mlp.c_proj"), ("mlp.c_proj",)),
}
CASES = [(make, name, dtype) for make in IA3 for name in ("ia3", "bitfit") for dtype in (torch.float32, torch.bfloat16)]


def config_of(make, name: str) -> AdapterConfig:
    return IA3[make] if name == "ia3" else BitFitConfig()


def trained(model: nn.Module, seed: int = 1) -> nn.Module:
    """Whatever trains is moved."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1]}-{str(case[2])[6:]}")
def case(request):
    make, name, dtype = request.param
    return lambda: make().to(dtype), config_of(make, name)


def test_the_output_does_not_move_by_a_bit_at_the_start_nor_when_switched_off_or_taken_out(case):
    make, config = case
    model, before, logits = make(), snapshot(make()), make()(IDS).logits
    lora.inject(model, config)
    assert torch.equal(model(IDS).logits, logits)
    trained(model)
    assert not torch.equal(model(IDS).logits, logits)
    with lora.disabled(model):
        assert torch.equal(model(IDS).logits, logits)
    assert_same(lora.remove(model), before)
    assert torch.equal(model(IDS).logits, logits)


def test_what_is_loaded_is_what_was_saved(case, tmp_path):
    make, config = case
    model = trained(lora.inject(make(), config))
    loaded = lora.load_adapter(make(), lora.save_adapter(model, tmp_path))
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert lora.count_parameters(loaded) == lora.count_parameters(model)
    assert_same(loaded, snapshot(model))


def test_beside_a_lora_each_computes_and_trains_as_if_it_were_alone(case):
    make, config = case
    low_rank = LoRAConfig(r=2, target_modules="all-linear", bias="lora_only")
    alone = {"one": trained(lora.inject(make(), config, "one")), "two": trained(lora.inject(make(), low_rank, "two"))}
    both = trained(lora.inject(make(), config, "one"))
    torch.manual_seed(1)  # as `alone`
    lora.inject(both, low_rank, "two")
    for mine, theirs in zip(lora.adapters(both, "two").values(), lora.adapters(alone["two"]).values()):
        mine.load_state_dict(theirs.state_dict(), strict=False)
    with torch.no_grad():
        copies = dict(alone["two"].named_parameters())
        for name, parameter in both.named_parameters():
            if parameter.requires_grad and "lora_" not in name:
                parameter.copy_(copies[name.replace(".base.base.", ".base.")])
    assert lora.names(both) == ["one", "two"]
    for name in ("two", "one", "two", "one"):
        lora.use(both, name)
        assert lora.active(both) == name
        assert torch.equal(both(IDS).logits, alone[name](IDS).logits)
        assert lora.count_parameters(both).trainable == lora.count_parameters(alone[name]).trainable
    lora.remove(both, "two")
    assert torch.equal(lora.use(both, "one")(IDS).logits, alone["one"](IDS).logits)
    assert_same(both, snapshot(alone["one"]))


def test_adapters_of_both_methods_are_saved_and_loaded_by_name_whichever_is_in_use(tmp_path):
    model = trained(lora.inject(tiny_bert(), BitFitConfig(), "biases"))
    trained(lora.inject(model, IA3[tiny_bert], "scales"), seed=2)
    trained(lora.inject(model, LoRAConfig(target_modules="all-linear", init="gaussian"), "low-rank"), seed=3)
    logits = {name: lora.use(model, name)(IDS).logits for name in lora.names(model)}
    for name in logits:
        lora.save_adapter(lora.use(model, name), tmp_path / name)
        loaded = tiny_bert()
        for each in reversed(logits):
            lora.load_adapter(loaded, tmp_path / name, each)
        for each, wanted in logits.items():
            assert torch.equal(lora.use(loaded, each)(IDS).logits, wanted)


@pytest.mark.parametrize("name", ("ia3", "bitfit"))
def test_a_copy_of_the_model_has_adapters_of_its_own(name):
    model = trained(lora.inject(tiny_gpt2(), config_of(tiny_gpt2, name)))
    logits, twin = model(IDS).logits, copy.deepcopy(model)
    assert torch.equal(twin(IDS).logits, logits)
    trained(twin, seed=2)
    assert_same(lora.remove(twin), snapshot(tiny_gpt2()))
    assert torch.equal(model(IDS).logits, logits)


@pytest.mark.parametrize("name", ("ia3", "bitfit"))
def test_fit_trains_what_a_method_added_and_nothing_else(name):
    model = lora.inject(tiny_gpt2(), config_of(tiny_gpt2, name))
    data = [{"input_ids": [1 + n, 2, 3 + n, 4], "labels": [1 + n, 2, 3 + n, 4]} for n in range(4)]
    history = train.fit(model, data, steps=6, warmup=1, lr=0.05, pad_id=0)
    assert history.losses[-1] < history.losses[0]
    assert_same(lora.remove(model), snapshot(tiny_gpt2()))


def test_merging_keeps_the_output_and_unmerging_restores_it(case):
    make, config = case
    model = trained(lora.inject(make(), config))
    logits = model(IDS).logits
    close = {"rtol": 1e-4, "atol": 1e-5} if logits.dtype == torch.float32 else {"rtol": 0.1, "atol": 0.05}
    torch.testing.assert_close(lora.merge(model)(IDS).logits, logits, **close)
    assert torch.equal(lora.unmerge(model)(IDS).logits, logits)
    merged = lora.merge_and_remove(model)
    torch.testing.assert_close(merged(IDS).logits, logits, **close)
    assert merged.state_dict().keys() == make().state_dict().keys()
    assert lora.count_parameters(merged) == lora.ParameterCount(0, make().num_parameters())


@pytest.mark.parametrize("name", ("ia3", "bitfit"))
def test_a_classifier_s_head_trains_in_full_and_is_saved(name, tmp_path):
    model = lora.inject(tiny_classifier(), config_of(tiny_classifier, name))
    assert model.classifier.weight.requires_grad and model.classifier.bias.requires_grad
    trained(model)
    loaded = lora.load_adapter(tiny_classifier(seed=0), lora.save_adapter(model, tmp_path))
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)
    without = lora.inject(
        tiny_classifier(),
        type(model_config := config_of(tiny_classifier, name))(
            modules_to_save=(),
            **(
                {"target_modules": model_config.target_modules, "feedforward_modules": model_config.feedforward_modules}
                if name == "ia3"
                else {}
            ),
        ),
    )
    assert not without.classifier.weight.requires_grad


def test_no_method_touches_the_seam():
    for file in (*(LIBRARY / "adapters").glob("*.py"), *(LIBRARY / "lora").glob("*.py")):
        text = file.read_text(encoding="utf-8").lower()
        assert not [word for word in ("ia3", "(ia)", "bitfit") if word in text], file.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_method_is_a_short_file(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) < 120


def test_every_method_is_handed_on():
    defined = {
        name for each in AdapterConfig.__subclasses__() if (name := each.__name__) and "methods" in each.__module__
    }
    assert defined <= set(methods.__all__)
