"""Heads stay dense and are passed over by "all-linear": output layers, and what stands beside a model's body."""

import pytest
import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig
from lora_lab.quant.heads import heads, output_layers, task_heads

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
CONFIGS = {
    "Llama": transformers.LlamaConfig(**SIZES, num_key_value_heads=1, pad_token_id=0, tie_word_embeddings=False),
    "Bert": transformers.BertConfig(**SIZES, max_position_embeddings=16),
    "Roberta": transformers.RobertaConfig(**SIZES, max_position_embeddings=16, pad_token_id=0),
    "T5": transformers.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2),
    "GPT2": transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=16, pad_token_id=0),
}


def model_of(kind: str) -> nn.Module:
    name, task = next(
        (name, kind[len(name) :]) for name in CONFIGS if kind.startswith(name) and kind[len(name)] in "FLD"
    )
    return getattr(transformers, name + task)(CONFIGS[name])


def names(model: nn.Module, kinds: tuple[type, ...] = (nn.Linear, Conv1D)) -> set[str]:
    return {name for name, module in model.named_modules() if type(module) in kinds}


TASKS = {
    "LlamaForSequenceClassification": {"score"},
    "LlamaForTokenClassification": {"score"},
    "LlamaForQuestionAnswering": {"qa_outputs"},
    "BertForSequenceClassification": {"classifier"},
    "BertForTokenClassification": {"classifier"},
    "BertForQuestionAnswering": {"qa_outputs"},
    "RobertaForSequenceClassification": {"classifier.dense", "classifier.out_proj"},
    "T5ForSequenceClassification": {"classification_head.dense", "classification_head.out_proj"},
    "T5ForTokenClassification": {"classifier"},
    "T5ForQuestionAnswering": {"qa_outputs"},
    "GPT2ForSequenceClassification": {"score"},
    "GPT2ForTokenClassification": {"classifier"},
    "GPT2ForQuestionAnswering": {"qa_outputs"},
}
OUTPUTS = {
    "LlamaForCausalLM": {"lm_head"},
    "BertForMaskedLM": {"cls.predictions.decoder"},
    "T5ForConditionalGeneration": {"lm_head"},
    "GPT2LMHeadModel": {"lm_head"},
}
BOTH = {"GPT2DoubleHeadsModel": {"lm_head", "multiple_choice_head.summary"}}


@pytest.mark.parametrize("kind", TASKS | OUTPUTS)
def test_heads_are_found_in_every_kind_of_model_and_nothing_else_is(kind):
    model = model_of(kind)
    found = heads(model)
    assert {name for name in names(model) if model.get_submodule(name) in found} == (TASKS | OUTPUTS)[kind]
    assert bool(task_heads(model)) == (kind in TASKS) and bool(output_layers(model)) == (kind in OUTPUTS)


@pytest.mark.parametrize("kind", TASKS | OUTPUTS)
def test_heads_are_found_behind_wrappers(kind):
    model = model_of(kind)
    wanted = heads(model)
    for part in [part for part in model.modules() if part is not model]:
        for name, child in list(part.named_children()):
            if type(child) is nn.Linear:
                setattr(part, name, torch.compile(child))
    for name, child in list(model.named_children()):
        setattr(model, name, torch.compile(child))
    assert wanted == heads(model) == heads(nn.DataParallel(model))


def test_a_model_of_two_heads_has_both():
    for kind, wanted in BOTH.items():
        model = model_of(kind)
        assert {name for name in names(model) if model.get_submodule(name) in heads(model)} == wanted
        assert names(quant.quantize_model(model)) == wanted


@pytest.mark.parametrize("kind", TASKS | OUTPUTS)
def test_heads_stay_dense_and_all_linear_passes_over_them(kind):
    model = model_of(kind)
    everything, dense = names(model), (TASKS | OUTPUTS)[kind]
    quant.quantize_model(model)
    assert names(model) == dense and names(model, (quant.Linear4bit,)) == everything - dense
    lora.inject(model, LoRAConfig(r=2, target_modules="all-linear"))
    assert set(lora.adapters(model)) == everything - dense


def test_a_head_is_reached_by_its_name_or_by_skipping_nothing():
    assert lora.targets(model_of("LlamaForSequenceClassification"), ["score"]) == ["score"]
    named = quant.quantize_model(model_of("LlamaForSequenceClassification"), skip=("score", "q_proj"))
    assert names(named) == {"score", "model.layers.0.self_attn.q_proj"}
    other = quant.quantize_model(model_of("LlamaForSequenceClassification"), skip=("q_proj",))
    assert type(other.score) is nn.Linear
    everything = quant.quantize_model(model_of("LlamaForSequenceClassification"), skip=())
    assert type(everything.score) is quant.Linear4bit


def test_a_model_within_a_module_keeps_its_head_and_a_module_of_ones_own_has_none():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.classifier = model_of("BertForSequenceClassification"), nn.Linear(2, 2)

    own = quant.quantize_model(Own())
    assert names(own) == {"net.classifier"} and type(own.classifier) is quant.Linear4bit
    assert "classifier" in lora.targets(own, "all-linear") and "net.classifier" not in lora.targets(own, "all-linear")


def test_a_language_model_within_a_module_keeps_its_head_whatever_it_is_called():
    own = nn.ModuleDict({"net": model_of("BertForMaskedLM"), "value": nn.Linear(32, 2)})
    head = own["net"].cls.predictions.decoder
    assert output_layers(own) == {head} and head in heads(own)
    quant.quantize_model(own)
    assert names(own) == {"net.cls.predictions.decoder"}


def test_a_classifier_is_trained_and_answers_with_its_fresh_head():
    model = quant.quantize_model(model_of("LlamaForSequenceClassification"))
    lora.inject(model, LoRAConfig(r=2, target_modules="all-linear"))
    model(input_ids=torch.arange(6)[None], labels=torch.tensor([1])).loss.backward()
    assert all(layer.lora_B.grad.any() for layer in list(lora.adapters(model).values())[2:4])
