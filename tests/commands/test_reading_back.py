"""Whether two models answer alike, asked token by token; and a QLoRA adapter of ours over bitsandbytes' 4 bits."""

import copy

import pytest
import torch

from lora_lab import lora, models, quant, train
from lora_lab.commands import demo, reading_back
from lora_lab.data import tasks
from lora_lab.models.base import EMBEDDED_FOLDER
from tests.helpers.models import moved

HELDOUT = tasks.open_book(train=1, heldout=10, seed=0, validation=0).heldout
WANTED = [example.answer for example in HELDOUT]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A model over 4 bits whose adapter says something, its tokenizer, and the folder of the adapter."""
    folder = tmp_path_factory.mktemp("adapter")
    model, tokenizer = models.load_base("cpu")
    train.prepare(model, "qlora")
    moved(model)
    lora.save_adapter(model, folder)
    return model, tokenizer, folder


def test_greedy_answers_are_the_choices_at_their_places():
    model, tokenizer = models.load_base("cpu")
    answers = train.answer(model, tokenizer, HELDOUT, max_new_tokens=80)
    ended = [(example, text) for example, text in zip(HELDOUT, answers) if len(tokenizer(text).input_ids) < 75]
    chosen = reading_back.choices(model, tokenizer, [e for e, _ in ended], [text for _, text in ended])
    assert ended and [tokenizer.decode(ids[:-1]) for ids in chosen] == [text for _, text in ended]
    assert {ids[-1] for ids in chosen} == {tokenizer.eos_token_id}


def test_one_token_that_differs_is_another_answer(adapted):
    model, tokenizer, _ = adapted
    ours = reading_back.choices(model, tokenizer, HELDOUT, WANTED)
    assert len(ours) == 10 and reading_back.agreeing(ours, copy.deepcopy(ours)) == 10
    other = copy.deepcopy(ours)
    other[3][-1] += 1
    assert reading_back.agreeing(ours, other) == 9


def test_the_adapter_means_the_same_over_both_bases(adapted):
    model, tokenizer, folder = adapted
    ours = reading_back.choices(model, tokenizer, HELDOUT, WANTED)
    bare = quant.dequantize_model(quant.quantize_model(models.load_base("cpu")[0]))
    assert reading_back.agreeing(ours, reading_back.choices(bare, tokenizer, HELDOUT, WANTED)) < 10
    over = reading_back.over(bare, folder)
    assert reading_back.agreeing(ours, reading_back.choices(over, tokenizer, HELDOUT, WANTED)) == 10
    pytest.importorskip("bitsandbytes")
    over = reading_back.over_bitsandbytes(EMBEDDED_FOLDER, folder)
    assert over.training  # else bitsandbytes repacks its weights on some CPUs
    assert reading_back.agreeing(ours, reading_back.choices(over, tokenizer, HELDOUT, WANTED)) == 10
    layer = over.base_model.model.model.layers[0].mlp.up_proj.base_layer
    assert type(layer).__module__.startswith("bitsandbytes") and not layer.weight.requires_grad


# What the demo trains and what it must reach, by the model's name


def test_a_named_model_has_its_own_settings(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert demo.settings(None, "cpu") is demo.settings("embedded", "auto") is models.TIERS["cpu"]
    assert demo.settings("smollm2", "auto") is demo.settings("an-org/another", "auto") is models.SMOLLM2
    assert demo.settings("an-org/another", "l4") is models.TIERS["l4"]


def test_the_real_model_must_reach_its_worst_seed_less_ten_points(monkeypatch):
    rows = [{"run": "qlora", "exact": x} for x in (1.0, 0.9, 0.95)] + [{"run": "qlora, answers shuffled", "exact": 0.0}]
    monkeypatch.setattr(demo.records, "load", lambda name: {"rows": rows} if name == "real_finetune" else None)
    assert demo.target("smollm2", "qlora") == pytest.approx(0.8)
    assert demo.target("embedded", "qlora") == demo.target(None, "qlora") == 0.95


def test_what_only_the_embedded_base_was_taught_is_not_asked_of_others():
    task = demo._task(models.SMOLLM2, 0)
    assert not task.retention and len(task.heldout) == 32 and len(task.train) == 240
    report = train.Report({"exact": 0.0, "valid": 0.0, "fields": 0.0}, 1.0, float("nan"), [])
    assert "retention" not in demo._score_table(report, report) and "nan" not in demo._score_table(report, report)
