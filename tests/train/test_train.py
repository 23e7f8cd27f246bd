"""The loop, the schedule and the recipes, on a model small enough to train in a second."""

import math

import pytest
import torch

from lora_lab import lora, models, train
from lora_lab.data import tasks
from lora_lab.data.batches import IGNORE, encode_example
from lora_lab.lora import LoRAConfig
from tests.helpers.data import examples
from tests.helpers.models import assert_same, snapshot, tiny_llama


def test_the_loss_falls_and_the_history_is_complete():
    model = tiny_llama()
    history = train.fit(model, examples(), steps=30, lr=3e-3, batch_size=4, warmup=3)
    assert sum(history.losses[-5:]) < 0.7 * sum(history.losses[:5])
    lengths = {len(getattr(history, name)) for name in ("losses", "learning_rates", "grad_norms", "tokens", "seconds")}
    assert lengths == {30} and history.tokens == sorted(history.tokens) and not model.training


def test_only_what_requires_a_gradient_moves():
    model = lora.inject(tiny_llama(), LoRAConfig(r=2, target_modules="all-linear"))
    before = snapshot(model)
    train.fit(model, examples(), steps=3, lr=1e-2)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) != ("lora_" in key)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    def trained(seed: int) -> dict[str, torch.Tensor]:
        model = tiny_llama()
        train.fit(model, examples(), steps=4, batch_size=4, lr=1e-3, seed=seed)
        return snapshot(model)

    first, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_accumulating_two_half_batches_is_the_same_step():
    def after(batch_size: int, accumulate: int) -> dict[str, torch.Tensor]:
        model = tiny_llama().double()
        train.fit(model, examples(8), steps=2, batch_size=batch_size, accumulate=accumulate, lr=1e-3, warmup=1)
        return snapshot(model)

    whole, halves = after(8, 1), after(4, 2)
    moved = max(float((whole[key] - value).abs().max()) for key, value in snapshot(tiny_llama().double()).items())
    apart = max(float((whole[key] - halves[key]).abs().max()) for key in whole)
    assert apart < 1e-3 * moved  # the norms of a Llama compute in float32, whatever the weights are


def test_checkpointing_changes_memory_and_not_the_result():
    def after(checkpointing: bool) -> dict[str, torch.Tensor]:
        model = tiny_llama()
        train.fit(model, examples(), steps=3, lr=1e-3, checkpointing=checkpointing)
        assert not model.is_gradient_checkpointing
        return snapshot(model)

    plain, recomputed = after(False), after(True)
    assert all(torch.allclose(plain[key], recomputed[key], atol=1e-6) for key in plain)


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(monkeypatch):
    applied, step = [], torch.optim.AdamW.step

    def watched(optimizer, *arguments):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        applied.append(float(torch.stack([grad.square().sum() for grad in grads]).sum().sqrt()))
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    history = train.fit(tiny_llama(), examples(), steps=2, lr=1e-9, clip=1e-3)
    assert applied == pytest.approx([1e-3, 1e-3], rel=1e-2)
    assert all(norm > 1e-2 for norm in history.grad_norms)  # recorded before clipping


def test_the_learning_rate_warms_up_peaks_and_falls_to_zero():
    rates = [train.learning_rate(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[55] == pytest.approx(0.5)
    assert 0 < rates[99] < 1e-3


def test_training_stops_when_patience_runs_out():
    scores = iter([0.5, 0.6, 0.6, 0.5, 0.9])
    history = train.fit(
        tiny_llama(), examples(), steps=50, lr=1e-4, evaluate=lambda: next(scores), evaluate_every=2, patience=2
    )
    assert history.stopped_early and len(history.losses) == 8
    assert history.evaluations == [(2, 0.5), (4, 0.6), (6, 0.6), (8, 0.5)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"patience": 1}, "evaluate"),
    ],
)
def test_bad_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        train.fit(tiny_llama(), examples(), **options)


def test_an_empty_dataset_and_a_frozen_model_are_refused():
    with pytest.raises(ValueError, match="empty"):
        train.fit(tiny_llama(), [])
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        train.fit(tiny_llama().requires_grad_(False), examples())


def test_a_model_without_a_pad_token_needs_one_from_outside():
    model = tiny_llama()
    model.config.pad_token_id = None
    with pytest.raises(ValueError, match="pad_id"):
        train.fit(model, examples(), steps=1)
    assert len(train.fit(model, examples(), steps=1, pad_id=0).losses) == 1


def test_training_float16_weights_is_refused():
    with pytest.raises(ValueError, match="float16"):
        train.fit(tiny_llama().half(), examples())


def test_a_loss_that_explodes_is_reported_with_its_step():
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="step 1"):
        train.fit(model, examples(), steps=2)


@pytest.fixture(scope="module")
def base():
    return models.load_base("cpu")


def test_the_base_reads_and_knows(base):
    from lora_lab.data.world import World

    model, tokenizer = base
    assert train.reading(model, tokenizer, tasks.reading(100)) >= 0.98
    assert train.recall(model, tokenizer, World.generate(0)) >= 0.95


def test_batched_answers_equal_answers_one_by_one(base):
    model, tokenizer = base
    some = tasks.reading(7)
    assert train.answer(model, tokenizer, some, batch_size=4) == [train.answer(model, tokenizer, [e])[0] for e in some]


def test_the_answer_loss_is_the_mean_over_answer_tokens(base):
    model, tokenizer = base
    some = tasks.open_book(heldout=3).heldout
    total, count = 0.0, 0
    for e in some:
        encoded = encode_example(tokenizer, e.prompt, e.answer)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([encoded["input_ids"]])).logits[0].log_softmax(-1)
        for position, label in enumerate(encoded["labels"][1:]):
            if label != IGNORE:
                total -= float(logits[position, label])
                count += 1
    assert train.answer_loss(model, tokenizer, some) == pytest.approx(total / count, rel=1e-4)


def test_an_unknown_method_is_refused_and_the_model_is_untouched():
    model = tiny_llama()
    before = snapshot(model)
    with pytest.raises(ValueError, match="'dora'.*full, lora, qlora"):
        train.prepare(model, "dora")
    assert_same(model, before)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_each_method_learns_to_answer_in_json(method):
    model, tokenizer = models.load_base("cpu")
    task = tasks.open_book(heldout=64)
    train.prepare(model, method)
    train.finetune(model, tokenizer, task, method, steps=60)
    scores = train.report(model, tokenizer, task).scores
    assert scores["valid"] > 0.9 and scores["fields"] > 0.6  # lesson 12 and the demo go on to the exact match


@pytest.mark.slow
def test_a_small_pretraining_is_reproducible_and_whole(tmp_path):
    from lora_lab.train.pretrain import Recipe, pretrain

    recipe = Recipe(
        people=4,
        hidden_size=64,
        intermediate_size=64,
        layers=2,
        heads=2,
        kv_heads=1,
        vocab_size=512,
        length=256,
        steps=12,
        dictation_steps=4,
        rows=4,
        threads=1,
    )
    records = [pretrain(recipe, tmp_path / name, progress=False) for name in ("first", "again")]
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "again")]
    assert files[0]["model.safetensors"] == files[1]["model.safetensors"]
    assert files[0]["tokenizer.json"] == files[1]["tokenizer.json"]
    assert records[0]["curve"] == records[1]["curve"] and records[0]["loss"] == records[1]["loss"]
    model, tokenizer = models.load_embedded(tmp_path / "first")
    assert model.num_parameters() == records[0]["parameters"] and len(tokenizer) == 512
