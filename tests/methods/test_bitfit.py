"""BitFit against training the plain model with nothing but its biases, and against its equation in float64."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lora_lab import lora, quant
from lora_lab.methods import BitFitConfig
from tests.helpers.families import IDS, tiny_bert, tiny_classifier, tiny_gpt2
from tests.helpers.models import assert_same, snapshot, tiny_llama

LABELS = torch.tensor([2, 0])


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained(model: nn.Module, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for bias in trainable(model).values():
        bias.data += 0.3 * torch.randn(bias.shape, generator=generator).to(bias.dtype)
    return model


def steps(model: nn.Module, labels: torch.Tensor) -> nn.Module:
    """Three of AdamW, on whatever trains."""
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(IDS, labels=labels).loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("make", (tiny_gpt2, tiny_bert, tiny_classifier))
def test_three_steps_equal_those_of_the_plain_model_with_its_biases_alone_bit_for_bit(make):
    labels = LABELS if make is tiny_classifier else IDS
    plain = make()
    for name, parameter in plain.named_parameters():
        parameter.requires_grad = name.endswith("bias") or name.startswith("classifier.")
    before, model = snapshot(make()), lora.inject(make(), BitFitConfig())
    assert trainable(model).keys() == trainable(plain).keys()
    steps(plain, labels), steps(model, labels)
    assert_same(model, snapshot(plain))
    assert not torch.equal(model(IDS).logits, make()(IDS).logits)
    assert_same(lora.remove(model), before)


def test_a_bias_s_gradient_is_that_of_the_equation_in_float64():
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3)).double()
    W1, b1, W2, b2 = (parameter.detach().clone() for parameter in mlp.parameters())
    b1.requires_grad_(), b2.requires_grad_()
    x, up = torch.randn(4, 6, 5).double(), torch.randn(4, 6, 3).double()
    h = torch.einsum("oi,...i->...o", W1, x) + b1
    y = torch.einsum("oi,...i->...o", W2, h * (1 + torch.erf(h / 2**0.5)) / 2) + b2
    y.backward(up)
    model = lora.inject(mlp, BitFitConfig())
    out = model(x)
    out.backward(up)
    torch.testing.assert_close(out, y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[0].bias.grad, b1.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[2].bias.grad, up.sum((0, 1)), rtol=1e-12, atol=1e-12)
    assert model[0].weight.grad is None and list(trainable(model)) == ["0.bias", "2.bias"]


def test_the_paper_s_subset_is_the_query_s_and_the_middle_of_the_mlp_s_biases():
    model = lora.inject(tiny_bert(), BitFitConfig(("query", "intermediate.dense")))
    wanted = {
        f"bert.encoder.layer.{n}.{part}.bias" for n in (0, 1) for part in ("attention.self.query", "intermediate.dense")
    }
    assert set(trainable(model)) == wanted
    assert lora.count_parameters(model).trainable == 2 * (24 + 40)


@settings(max_examples=20)
@given(
    st.sets(st.sampled_from([name for name, m in tiny_bert().named_modules() if getattr(m, "bias", None) is not None]))
)
def test_any_choice_of_modules_trains_their_biases_and_no_other_tensor(chosen):
    chosen.discard("cls.predictions.decoder")  # tied to that of cls.predictions, which then trains too
    if not chosen:
        return
    model = lora.inject(tiny_bert(), BitFitConfig(tuple(chosen)))
    assert set(trainable(model)) == {f"{name}.bias" for name in chosen}


def test_tied_biases_stay_tied_and_stand_in_a_folder_once(tmp_path):
    model = trained(lora.inject(tiny_bert(), BitFitConfig("cls.predictions")))
    head = model.cls.predictions
    assert head.bias is head.decoder.bias
    from safetensors.torch import load_file

    stored = load_file(lora.save_adapter(model, tmp_path) / "adapter_model.safetensors")
    assert list(stored) == ["base_model.model.cls.predictions.bias"]
    loaded = lora.load_adapter(tiny_bert(), tmp_path)
    assert loaded.cls.predictions.bias is loaded.cls.predictions.decoder.bias
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_biases_of_4_bit_layers_train_too():
    model = quant.quantize_model(tiny_bert())
    before = model(IDS).logits
    lora.inject(model, BitFitConfig())
    assert torch.equal(model(IDS).logits, before)
    assert isinstance(model.bert.encoder.layer[0].intermediate.dense, quant.Linear4bit)
    model(IDS, labels=IDS).loss.backward()
    grads = [bias.grad.abs().max() for name, bias in trainable(model).items() if "key" not in name]
    assert len(grads) > 10 and all(grads)  # a key's bias moves all scores of a query alike, so it has none


def test_copies_are_in_the_dtype_of_the_places():
    model = lora.inject(tiny_gpt2().bfloat16(), BitFitConfig())
    assert {bias.dtype for bias in trainable(model).values()} == {torch.bfloat16}
    assert {bias.dtype for bias in trainable(model.float()).values()} == {torch.float32}


def test_a_model_without_biases_is_refused_in_a_sentence_that_says_so_and_stays():
    model, before = tiny_llama(), snapshot(tiny_llama())
    with pytest.raises(ValueError, match="^BitFit trains biases, and this model has none, like every Llama: choose"):
        lora.inject(model, BitFitConfig())
    assert_same(model, before)
    assert lora.names(model) == [] and len(trainable(model)) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("biases", "error", "said"),
    (
        ("quary", ValueError, "biases names 'quary', which matches no module with a bias: .*LayerNorm"),
        (
            ("query", "word_embeddings"),
            ValueError,
            "biases names 'word_embeddings', which matches no module with a bias",
        ),
        ((), ValueError, r"biases=\(\) names nothing"),
        ("", ValueError, "holds an empty name"),
        (3, TypeError, "biases must be a name or a sequence of names"),
    ),
)
def test_wrong_names_are_refused(biases, error, said):
    model = tiny_bert()
    with pytest.raises(error, match=said):
        lora.inject(model, BitFitConfig(biases))
    assert lora.names(model) == []


def test_merging_has_nothing_to_fold_and_keeps_the_trained_biases():
    model = trained(lora.inject(tiny_bert(), BitFitConfig()))
    trained_state, logits = snapshot(model), model(IDS).logits
    lora.merge(model)
    assert_same(model, trained_state)
    lora.unmerge(model)
    assert_same(model, trained_state)
    lora.merge_and_remove(model)
    assert_same(model, trained_state)
    assert torch.equal(model(IDS).logits, logits)
    assert lora.names(model) == [] and not trainable(model)


def test_a_folder_says_bitfit_and_which_biases(tmp_path):
    model = trained(lora.inject(tiny_bert(), BitFitConfig(("query",))))
    lora.save_adapter(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["biases"], config["target_modules"]) == ("BITFIT", ["query"], [])
    loaded = lora.load_adapter(tiny_bert(), tmp_path)
    assert set(trainable(loaded)) == set(trainable(model))
    with pytest.raises(ValueError, match="the model has no place for base_model.model.bert"):
        lora.load_adapter(tiny_llama(), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    (
        ({"weights": "too"}, "asks for weights='too', which lora_lab does not implement"),
        ({"biases": None}, "lacks biases"),
        ({"biases": ["nowhere"]}, "biases names 'nowhere', which matches no module with a bias"),
    ),
)
def test_a_folder_that_asks_for_something_else_is_refused(change, said, tmp_path):
    lora.save_adapter(lora.inject(tiny_bert(), BitFitConfig()), tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=said):
        lora.load_adapter(tiny_bert(), tmp_path)


def test_what_a_folder_left_equal_to_the_model_s_own_trains_all_the_same(tmp_path):
    lora.save_adapter(lora.inject(tiny_gpt2(), BitFitConfig("ln_f")), tmp_path)
    loaded = lora.load_adapter(tiny_gpt2(), tmp_path)
    assert list(trainable(loaded)) == ["transformer.ln_f.bias"]
    F.mse_loss(loaded(IDS).logits, torch.zeros(2, 6, 50)).backward()
    assert loaded.transformer.ln_f.bias.grad.abs().max() > 0
