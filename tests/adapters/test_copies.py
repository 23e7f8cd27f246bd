"""What an adapter trains in the model's own places: heads, biases, embeddings, statistics; PEFT's format both ways."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig
from tests.helpers.families import IDS, LOSES_BIASES, tiny_bert, tiny_classifier, tiny_gpt2
from tests.helpers.models import assert_same, moved, snapshot, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SIZES = {"vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama_classifier() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, num_key_value_heads=1, pad_token_id=0, num_labels=3)
    return LlamaForSequenceClassification(config).eval()


def roberta_classifier() -> nn.Module:
    """Its head holds two layers and a dropout."""
    torch.manual_seed(0)
    config = RobertaConfig(**SIZES, num_labels=3, max_position_embeddings=20, pad_token_id=0)
    return RobertaForSequenceClassification(config).eval()


def tied() -> nn.Module:
    return tiny_llama()


def untied() -> nn.Module:
    return tiny_llama(tie_word_embeddings=False)


def trained_names(model: nn.Module) -> set[str]:
    """Of all that trains and is no factor, without PEFT's and our own additions to names."""
    return {plain(name) for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Of the same."""
    model(IDS).logits.square().sum().backward()
    trained = {plain(name): p for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    return {name: p.grad for name, p in trained.items()}


def plain(name: str) -> str:
    for part in ("base_model.model.", ".modules_to_save.default", ".base_layer", ".base"):
        name = name.replace(part, "")
    return name


def assert_equal_logits(one: nn.Module, other: nn.Module, ids: torch.Tensor = IDS) -> None:
    torch.testing.assert_close(one(ids).logits, other(ids).logits, rtol=1e-5, atol=1e-6)


def both_ways(make, config: LoRAConfig, options: dict, folder) -> tuple[nn.Module, nn.Module]:
    """Ours read by PEFT, and PEFT's by us, with the same outputs and the same that trains; returns (ours, PEFT's)."""
    ours = moved(lora.inject(make(), config))
    lora.save_adapter(ours, folder / "ours")
    theirs = peft.PeftModel.from_pretrained(make(), folder / "ours", is_trainable=True).eval()
    assert_equal_logits(ours, theirs)
    fresh = moved(
        peft.get_peft_model(make(), peft.LoraConfig(r=config.r, lora_alpha=config.alpha, **options)), 2
    ).eval()
    fresh.save_pretrained(folder / "theirs")
    read = lora.load_adapter(make(), folder / "theirs")
    assert_equal_logits(read, fresh)
    assert_equal_logits(lora.load_adapter(make(), folder / "ours"), ours)
    assert trained_names(read) == trained_names(fresh) == trained_names(ours) == trained_names(theirs)
    return ours, theirs


# ---- modules_to_save -----------------------------------------------------------------------------------------------

TARGETS = {
    tiny_bert: ("query", "output.dense"),
    tiny_gpt2: ("c_attn", "c_fc"),
    tiny_classifier: ("key",),
    roberta_classifier: ("query",),
    llama_classifier: ("q_proj",),
    untied: ("q_proj",),
}
SAVED = {
    "a head": (llama_classifier, ("score",)),
    "several": (tiny_classifier, ("classifier", "bert.pooler.dense")),
    "nested": (roberta_classifier, ("classifier",)),
    "a norm in every layer": (tiny_bert, ("attention.output.LayerNorm",)),
    "a part of a layer": (untied, ("layers.1.mlp",)),
    "both embeddings": (untied, ("embed_tokens", "lm_head")),
    "a head over words": (untied, ("lm_head",)),
    "an embedding": (untied, ("embed_tokens",)),
    "positions": (tiny_gpt2, ("wpe", "ln_f")),
}


@pytest.mark.parametrize("case", SAVED)
def test_modules_in_full_go_both_ways_and_train_what_peft_trains(case, tmp_path):
    make, names = SAVED[case]
    targets = TARGETS[make]
    config = LoRAConfig(r=3, alpha=6, target_modules=targets, modules_to_save=names)
    options = {"target_modules": list(targets), "modules_to_save": list(names)}
    ours, theirs = both_ways(make, config, options, tmp_path)
    one, other = (gradients(model) for model in (ours, theirs))
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6)
    assert_same(lora.remove(ours), snapshot(make()))


@pytest.mark.parametrize("names", [("embed_tokens",), ("lm_head",), ("embed_tokens", "lm_head")])
def test_tied_modules_stay_tied_train_as_one_and_peft_computes_the_same(names, tmp_path):
    """PEFT copies each module that it saves, so a folder names both and has the tensor twice."""
    model = lora.inject(tied(), LoRAConfig(r=3, target_modules="q_proj", modules_to_save=names))
    assert model.lm_head.weight is model.model.embed_tokens.weight and model.lm_head.weight.requires_grad
    plain = tied().requires_grad_(False)
    plain.lm_head.weight.requires_grad_(True)
    for each in (model, plain):
        each(IDS).logits.square().sum().backward()
    assert torch.equal(model.lm_head.weight.grad, plain.lm_head.weight.grad)
    lora.save_adapter(moved(model), tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == [
        "lm_head",
        "model.embed_tokens",
    ]
    assert_equal_logits(peft.PeftModel.from_pretrained(tied(), tmp_path).eval(), model)
    for make in (tied, untied):
        assert_equal_logits(lora.load_adapter(_like(tied(), make), tmp_path), model)
    back = lora.load_adapter(tied(), tmp_path)
    assert back.lm_head.weight is back.model.embed_tokens.weight
    lora.remove(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert_same(model, snapshot(tied()))


def _like(base: nn.Module, make) -> nn.Module:
    """The same weights, tied or not."""
    model = make()
    model.load_state_dict(base.state_dict())
    return model.eval()


@pytest.mark.parametrize("names", [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
def test_what_peft_trained_as_if_it_were_not_tied_is_refused_where_it_is_and_the_way_out_is_right(names, tmp_path):
    """PEFT's copies are of one module each, so a tied model would compute something else; loaded silently it was off
    by 7."""
    theirs = moved(peft.get_peft_model(tied(), peft.LoraConfig(r=3, target_modules=["q_proj"], modules_to_save=names)))
    theirs.eval().save_pretrained(tmp_path)
    model = tied()
    with pytest.raises(ValueError, match="lm_head.weight and|and lm_head.weight are one tensor here.*untie them first"):
        lora.load_adapter(model, tmp_path)
    assert_same(model, snapshot(tied()))
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    assert_equal_logits(lora.load_adapter(model, tmp_path), theirs)


def test_tied_modules_that_peft_left_as_they_were_are_read(tmp_path):
    options = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    theirs = peft.get_peft_model(tied(), peft.LoraConfig(r=3, **options)).eval()
    theirs.save_pretrained(tmp_path)
    assert_equal_logits(lora.load_adapter(tied(), tmp_path), theirs)


def test_a_folder_without_a_module_that_it_says_was_trained_is_refused(tmp_path):
    lora.save_adapter(moved(lora.inject(llama_classifier(), LoRAConfig(r=2))), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: t for key, t in load_file(path).items() if not key.endswith("score.weight")}, path)
    model = llama_classifier()
    with pytest.raises(ValueError, match="it lacks score.weight, which it says was trained.*write the adapter again"):
        lora.load_adapter(model, tmp_path)
    assert_same(model, snapshot(llama_classifier()))


# ---- classifiers ---------------------------------------------------------------------------------------------------

CLASSIFIERS = {
    llama_classifier: ("q_proj", {"score.weight"}),
    tiny_classifier: ("query", {"classifier.weight", "classifier.bias"}),
    roberta_classifier: (
        "query",
        {f"classifier.{layer}.{part}" for layer in ("dense", "out_proj") for part in ("weight", "bias")},
    ),
}


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_a_head_trains_in_full_unless_it_is_told_not_to(make):
    target, head = CLASSIFIERS[make]
    for targets in (target, "all-linear"):
        model = lora.inject(make(), LoRAConfig(r=2, target_modules=targets))
        assert trained_names(model) == head
        assert not [name for name in lora.adapters(model) if name.startswith(("score", "classifier"))]
        assert_same(lora.remove(moved(model)), snapshot(make()))
    assert trained_names(lora.inject(make(), LoRAConfig(r=2, target_modules=target, modules_to_save=()))) == set()
    top = sorted(head)[0].partition(".")[0]
    inner = top if make is not roberta_classifier else "classifier.dense"
    adapted = lora.inject(make(), LoRAConfig(r=2, target_modules=(target, inner)))
    assert inner in lora.adapters(adapted)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_peft_s_classifiers_go_both_ways(make, tmp_path):
    target, _ = CLASSIFIERS[make]
    config = LoRAConfig(r=3, alpha=9, target_modules=target)
    both_ways(make, config, {"target_modules": [target], "task_type": "SEQ_CLS"}, tmp_path)
    stored = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert stored["task_type"] == "SEQ_CLS" and stored["modules_to_save"] == [
        "score" if make is llama_classifier else "classifier"
    ]


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_a_head_stays_dense_and_trains_when_the_body_is_in_four_bits(make, tmp_path):
    target, head = CLASSIFIERS[make]
    model = quant.quantize_model(make(), block_size=64)
    before = snapshot(model)
    lora.inject(model, LoRAConfig(r=2, target_modules="all-linear"))
    assert trained_names(model) == head
    assert all(isinstance(layer.core, quant.Linear4bit) for layer in lora.adapters(model).values())
    lora.save_adapter(moved(model), tmp_path)
    again = lora.load_adapter(quant.quantize_model(make(), block_size=64), tmp_path)
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    dense = quant.dequantize_model(quant.quantize_model(make(), block_size=64))
    assert_equal_logits(peft.PeftModel.from_pretrained(dense, tmp_path).eval(), model)
    assert_same(lora.remove(model), before)


def test_a_head_in_four_bits_is_not_trained_in_full_but_named():
    model = quant.quantize_model(tiny_classifier(), skip=())
    before = snapshot(model)
    with pytest.raises(ValueError, match="classifier is a Linear4bit, and is to be trained in full: keep it dense"):
        lora.inject(model, LoRAConfig(target_modules="query"))
    assert_same(model, before)


# ---- biases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_bert, tiny_gpt2, tiny_classifier])
@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_are_peft_s_in_outputs_gradients_and_folders(make, bias, tmp_path):
    if bias == "lora_only" and LOSES_BIASES:
        pytest.skip("this PEFT loses them when it saves")
    targets = TARGETS[make]
    config = LoRAConfig(r=3, alpha=5, target_modules=targets, bias=bias, modules_to_save=())
    options = {"target_modules": list(targets), "bias": bias}
    ours, theirs = both_ways(make, config, options, tmp_path)
    one, other = (gradients(model) for model in (ours, theirs))
    assert one.keys() == other.keys() and len(one) > 1
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6)
    everywhere = {name for name in snapshot(make()) if name.endswith("bias")}
    assert one.keys() <= (everywhere if bias == "all" else {f"{name}.bias" for name in lora.adapters(ours)})
    stored = load_file(tmp_path / "ours" / "adapter_model.safetensors").keys()
    assert all("lora_" in key or key.endswith("bias") for key in stored)
    assert_same(lora.remove(ours), snapshot(make()))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_a_folder_that_lost_its_biases_as_peft_s_did_is_refused_and_the_way_out_loads(bias, tmp_path):
    lora.save_adapter(moved(lora.inject(tiny_bert(), LoRAConfig(r=2, target_modules="query", bias=bias))), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: t for key, t in load_file(path).items() if "lora_" in key}, path)
    model = tiny_bert()
    with pytest.raises(ValueError, match=r"it lacks bert.*bias, which it says was trained \(old versions of PEFT lost"):
        lora.load_adapter(model, tmp_path)
    assert_same(model, snapshot(tiny_bert()))
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace(f'"bias": "{bias}"', '"bias": "none"'))
    assert trained_names(lora.load_adapter(model, tmp_path)) == set()


def test_biases_of_four_bit_layers_train_and_are_saved(tmp_path):
    config = LoRAConfig(r=2, target_modules="all-linear", bias="lora_only")
    model = moved(lora.inject(quant.quantize_model(tiny_bert()), config))
    loaded = lora.load_adapter(quant.quantize_model(tiny_bert()), lora.save_adapter(model, tmp_path))
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert_same(lora.remove(model), snapshot(quant.quantize_model(tiny_bert())))


def test_merged_a_layer_has_the_trained_bias_and_unmerged_too():
    model = moved(lora.inject(tiny_bert(), LoRAConfig(r=2, target_modules="query", bias="lora_only")))
    logits = model(IDS).logits
    torch.testing.assert_close(lora.merge(model)(IDS).logits, logits)
    assert torch.equal(lora.unmerge(model)(IDS).logits, logits)
    torch.testing.assert_close(lora.merge_and_remove(model)(IDS).logits, logits)


def test_a_model_without_biases_has_none_to_train():
    for bias in ("all", "lora_only"):
        assert trained_names(lora.inject(tiny_llama(), LoRAConfig(r=2, bias=bias))) == set()


# ---- running statistics --------------------------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self, norm: type = nn.BatchNorm1d) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.norm, self.out = nn.Linear(7, 5), norm(5), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.norm(self.q(x)))


X = torch.randn(6, 7, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d,
        nn.SyncBatchNorm,
        lambda d: nn.BatchNorm1d(d, momentum=None),
        lambda d: nn.BatchNorm1d(d, affine=False),
    ],
    ids=["BatchNorm1d", "SyncBatchNorm", "cumulative", "no affine"],
)
def test_running_statistics_are_the_adapter_s_own_saved_loaded_and_taken_out(norm, tmp_path):
    model = lora.inject(Normed(norm), LoRAConfig(r=2, target_modules="q")).train()
    if norm is not nn.SyncBatchNorm:  # which trains on GPUs only
        model(X), model(2 * X)
        assert model.norm.num_batches_tracked == 2
    else:
        model.norm.running_mean += 1
        model.norm.num_batches_tracked += 1
    model.eval()
    lora.save_adapter(model, tmp_path)
    loaded = lora.load_adapter(Normed(norm), tmp_path).eval()
    assert torch.equal(loaded(X), model(X)) and loaded.norm.num_batches_tracked == model.norm.num_batches_tracked
    with lora.disabled(model):
        assert torch.equal(model(X), Normed(norm).eval()(X))
    for each in (model, loaded):
        assert_same(lora.remove(each), snapshot(Normed(norm)))


def test_a_norm_without_statistics_has_none():
    lora.inject(model := Normed(lambda d: nn.BatchNorm1d(d, track_running_stats=False)), LoRAConfig(target_modules="q"))
    assert_same(lora.remove(model), snapshot(Normed(lambda d: nn.BatchNorm1d(d, track_running_stats=False))))


# ---- resized embeddings --------------------------------------------------------------------------------------------

NEW = torch.tensor([[3, 258, 7, 259]])


def resized(make, size: int = 260) -> nn.Module:
    model = make()
    torch.manual_seed(3)
    model.resize_token_embeddings(size, mean_resizing=False)
    return model


@pytest.mark.parametrize("make", [tied, untied])
def test_an_embedding_that_was_resized_afterwards_is_saved_and_needs_the_size(make, tmp_path):
    model = moved(lora.inject(make(), LoRAConfig(r=2)))
    torch.manual_seed(9)
    model.resize_token_embeddings(260, mean_resizing=False)
    lora.save_adapter(model, tmp_path)
    small = make()
    with pytest.raises(
        ValueError, match=r"has shape \[256, 64\], and the folder's \[260, 64\]: resize the model's first"
    ):
        lora.load_adapter(small, tmp_path)
    assert_same(small, snapshot(make()))
    loaded = resized(make)
    before = snapshot(loaded)
    assert torch.equal(lora.load_adapter(loaded, tmp_path)(NEW).logits, model(NEW).logits)
    assert_equal_logits(peft.PeftModel.from_pretrained(resized(make), tmp_path).eval(), model, NEW)
    assert_same(lora.remove(loaded), before)


@pytest.mark.parametrize("make", [tied, untied])
def test_peft_s_folder_with_resized_embeddings_is_read(make, tmp_path):
    theirs = peft.get_peft_model(resized(make), peft.LoraConfig(r=2, target_modules=["q_proj"])).eval()
    with torch.no_grad():
        theirs.get_input_embeddings().weight[256:] += 1
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    loaded = resized(make)
    before = snapshot(loaded)
    assert_equal_logits(lora.load_adapter(loaded, tmp_path), theirs, NEW)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == (make is tied)
    assert_same(lora.remove(loaded), before)


@pytest.mark.parametrize("make", [tied, untied])
def test_a_resized_embedding_trains_in_full(make, tmp_path):
    config = LoRAConfig(r=2, modules_to_save=("embed_tokens", "lm_head"))
    model = moved(lora.inject(resized(make), config))
    lora.save_adapter(model, tmp_path)
    assert torch.equal(lora.load_adapter(resized(make), tmp_path)(NEW).logits, model(NEW).logits)
    assert_equal_logits(peft.PeftModel.from_pretrained(resized(make), tmp_path).eval(), model, NEW)
    assert_same(lora.remove(model), snapshot(resized(make)))


# ---- heads over words in PEFT's folders ----------------------------------------------------------------------------

WORDS = (["q_proj", "lm_head"], ["q_proj", "embed_tokens"], ["embed_tokens", "lm_head"])


@pytest.mark.parametrize("targets", WORDS)
def test_peft_adds_the_weight_below_an_adapter_which_must_be_the_model_s(targets, tmp_path):
    theirs = moved(peft.get_peft_model(untied(), peft.LoraConfig(r=3, target_modules=targets))).eval()
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    stored = {key: tensor.clone() for key, tensor in load_file(path).items()}  # not mapped: the file is written anew
    bases = [key for key in stored if "base_layer" in key]
    assert len(bases) == len(set(targets) & {"embed_tokens", "lm_head"})
    ours = lora.load_adapter(untied(), tmp_path)
    assert_equal_logits(ours, theirs)
    assert trained_names(ours) == set() and lora.count_parameters(ours).trainable == sum(
        parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad
    )
    for dtype in (torch.bfloat16, torch.float64):  # the base in another dtype is the same base
        save_file({k: t.to(dtype) if k in bases else t for k, t in stored.items()}, path)
        assert_equal_logits(lora.load_adapter(untied(), tmp_path), theirs)
    for key in bases:
        save_file({**stored, key: stored[key] + 0.01}, path)
        model = untied()
        with pytest.raises(
            ValueError, match="weight below the adapter, is not the model's: load the adapter on the base"
        ):
            lora.load_adapter(model, tmp_path)
        assert_same(model, snapshot(untied()))


def test_embeddings_that_peft_adds_unasked_load_when_equal_and_are_kept_when_different(tmp_path):
    theirs = moved(peft.get_peft_model(untied(), peft.LoraConfig(r=3, target_modules=["q_proj"]))).eval()
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    assert {key for key in load_file(tmp_path / "adapter_model.safetensors") if "lora_" not in key} == {
        "base_model.model.lm_head.weight",
        "base_model.model.model.embed_tokens.weight",
    }
    ours = lora.load_adapter(untied(), tmp_path)
    assert_equal_logits(ours, theirs)
    assert trained_names(ours) == set()
    other = tiny_llama(seed=5, tie_word_embeddings=False)
    lora.load_adapter(other, tmp_path)
    assert torch.equal(other.lm_head.weight, untied().lm_head.weight)
    assert_same(lora.remove(other), snapshot(tiny_llama(seed=5, tie_word_embeddings=False)))


@pytest.mark.parametrize("targets", WORDS)
def test_an_adapter_of_a_tied_layer_is_refused_by_name_until_it_is_untied(targets, tmp_path):
    theirs = moved(peft.get_peft_model(tied(), peft.LoraConfig(r=3, target_modules=targets))).eval()
    theirs.save_pretrained(tmp_path)
    model = tied()
    with pytest.raises(ValueError, match="(lm_head|embed_tokens).weight is tied: .* or untie it first"):
        lora.load_adapter(model, tmp_path)
    assert_same(model, snapshot(tied()))
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    assert_equal_logits(lora.load_adapter(model, tmp_path), theirs)
