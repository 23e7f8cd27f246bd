"""The method that CONTRIBUTING.md shows is whole: as it stands there it trains, merges, and is saved and loaded."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lora_lab import lora, quant
from lora_lab.adapters import config as adapters_config
from lora_lab.lora import LoRAConfig
from tests.helpers import families
from tests.helpers.models import IDS, assert_same, snapshot, tiny_llama

TEXT = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## How to add a method\n(.*?)^## ", TEXT, re.DOTALL | re.MULTILINE)[1]
[CODE] = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
MODELS = {
    "linear": (tiny_llama, IDS),
    "bf16": (lambda: tiny_llama().bfloat16(), IDS),
    "four bits": (lambda: quant.quantize_model(tiny_llama()), IDS),
    "Conv1D": (families.tiny_gpt2, families.IDS),
}


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The block as a module, whose method is known for this test only."""
    before = dict(adapters_config.METHODS)
    file = tmp_path / "lora_fa.py"
    file.write_text(CODE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("lora_fa", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lora_fa", module)
    spec.loader.exec_module(module)
    yield module
    adapters_config.METHODS.clear()
    adapters_config.METHODS.update(before)


def steps(model: nn.Module, ids: torch.Tensor) -> nn.Module:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_the_example_trains_merges_and_is_saved_and_loaded_as_it_stands(example, kind, tmp_path):
    make, ids = MODELS[kind]
    model, before = make(), snapshot(make())
    plain = model(ids).logits
    torch.manual_seed(1)
    lora.inject(model, example.LoRAFAConfig(r=4))
    assert torch.equal(model(ids).logits, plain)
    start = {name: layer.A.clone() for name, layer in lora.adapters(model).items()}
    steps(model, ids)
    for name, layer in lora.adapters(model).items():
        assert torch.equal(layer.A, start[name]) and layer.B.abs().max() > 0

    trained = model(ids).logits
    assert not torch.equal(trained, plain)
    loaded = lora.load_adapter(make(), lora.save_adapter(model, tmp_path))
    assert torch.equal(loaded(ids).logits, trained)
    with lora.disabled(model):
        assert torch.equal(model(ids).logits, plain)
    close = {"rtol": 0.1, "atol": 0.05} if kind == "bf16" else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(lora.merge(model)(ids).logits, trained, **close)
    torch.testing.assert_close(lora.merge_and_remove(loaded)(ids).logits, trained, **close)
    assert_same(lora.remove(model), before)


def test_the_example_s_update_is_b_a_x_in_float64(example):
    torch.manual_seed(0)
    base = nn.Linear(7, 5).double()
    layer = example.LoRAFALinear(base, example.LoRAFAConfig(r=3))
    layer.B.data.normal_()
    x = torch.randn(2, 4, 7).double()
    update = torch.einsum("or,ri,...i->...o", layer.B, layer.A, x)
    torch.testing.assert_close(layer(x), base(x) + update, rtol=1e-12, atol=1e-12)


def test_the_example_stands_beside_a_lora(example):
    model = steps(lora.inject(tiny_llama(), example.LoRAFAConfig(), "fa"), IDS)
    alone = model(IDS).logits
    steps(lora.inject(model, LoRAConfig(), "low-rank"), IDS)
    assert not torch.equal(model(IDS).logits, alone)
    assert torch.equal(lora.use(model, "fa")(IDS).logits, alone)


@pytest.mark.parametrize(("r", "error"), [(0, ValueError), (-1, ValueError), ("8", TypeError), (2.0, TypeError)])
def test_a_wrong_rank_of_the_example_is_refused_in_a_sentence(example, r, error):
    with pytest.raises(error, match=f"^r={r!r}"):
        example.LoRAFAConfig(r=r)


def test_the_example_trains_a_head_and_what_it_is_asked_to_and_a_folder_brings_them_back(example, tmp_path):
    config = example.LoRAFAConfig(2, ("key",), ("classifier", "pooler"))
    model = lora.inject(families.tiny_classifier(), config)
    model.classifier.weight.data += 0.1
    for parameter in model.get_submodule("bert.pooler").parameters():
        assert parameter.requires_grad
        parameter.data += 0.1
    loaded = lora.load_adapter(families.tiny_classifier(), lora.save_adapter(model, tmp_path))
    assert torch.equal(loaded(families.IDS).logits, model(families.IDS).logits)
    assert loaded.classifier.weight.requires_grad


def test_the_example_is_about_forty_lines():
    assert 35 <= sum(bool(line.strip()) for line in CODE.splitlines()) <= 45
    assert max(map(len, CODE.splitlines())) <= 120
