"""Preparing a model for a method, and fine-tuning it on a task: what is chosen on which split, and what a typo does."""

import inspect
from dataclasses import replace

import pytest
import torch

from lora_lab import lora, models, quant, train
from lora_lab.data import tasks
from lora_lab.lora import LoRAConfig
from lora_lab.train.pretrain import Recipe
from lora_lab.train.settings import FitOptions, RunOptions
from tests.helpers.models import assert_same, snapshot, tiny_llama

from lora_lab.train import recipes


def small(**sizes) -> tasks.Task:
    return tasks.sentence(**{"train": 12, "heldout": 3, "validation": 4, **sizes})


@pytest.fixture
def base():
    model, tokenizer = models.load_base("cpu")
    del model.model.layers[1:]  # quick, and it need not be right
    return model, tokenizer


# ---- the loss of answers -------------------------------------------------------------------------------------------


def test_the_loss_of_answers_is_measured_in_pieces_whose_logits_a_small_gpu_holds(base, monkeypatch):
    model, tokenizer = base
    seen, collate = [], recipes.collate
    monkeypatch.setattr(recipes, "collate", lambda some, pad: seen.append(len(some)) or collate(some, pad))
    some = small(heldout=7).heldout
    whole = recipes.answer_loss(model, tokenizer, some)
    assert seen == [7]
    longest = max(len(recipes.encode_example(tokenizer, e.prompt, e.answer)["input_ids"]) for e in some)
    monkeypatch.setattr(recipes, "LOGITS", 3 * longest * model.config.vocab_size)
    assert recipes.answer_loss(model, tokenizer, some) == pytest.approx(whole, rel=1e-5)
    assert recipes.answer_loss(model, tokenizer, some, batch_size=2) == pytest.approx(whole, rel=1e-5)
    assert seen == [7, 3, 3, 1, 2, 2, 2, 1]
    monkeypatch.setattr(recipes, "LOGITS", 1)
    recipes.answer_loss(model, tokenizer, some[:2])
    assert seen[-2:] == [1, 1]


# ---- prepare -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        LoRAConfig(target_modules=("q_proj", "nowhere")),
        LoRAConfig(target_modules="embed_tokens"),
        LoRAConfig(target_modules="q_proj", layers_to_transform=7),
        LoRAConfig(target_modules="q_proj", exclude_modules="q_proj"),
        LoRAConfig(target_modules="q_proj", rank_pattern={"v_proj": 2}),
        LoRAConfig(target_modules=("q_proj", "lm_head")),  # tied
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_leaves_the_model_untouched_and_the_retry_works(config):
    model = tiny_llama()
    model.model.norm.weight.requires_grad_(False)
    before, modules = snapshot(model), dict(model.named_modules())
    flags = [p.requires_grad for p in model.parameters()]
    for _ in range(2):
        with pytest.raises(ValueError) as error:
            train.prepare(model, "qlora", config)
        assert "no nn.Linear" not in str(error.value)  # the second time it says what the first time said
    assert dict(model.named_modules()) == modules
    assert [p.requires_grad for p in model.parameters()] == flags
    assert_same(model, before)
    train.prepare(model, "qlora")
    assert len(lora.adapters(model)) == 14


def test_an_error_after_quantizing_leaves_the_model_untouched(monkeypatch):
    model = tiny_llama()
    before, modules = snapshot(model), dict(model.named_modules())

    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lora, "inject", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.prepare(model, "qlora")
    assert dict(model.named_modules()) == modules
    assert_same(model, before)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_model_is_prepared_once(method):
    model = train.prepare(tiny_llama(), "qlora")
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match="adapters already"):
        train.prepare(model, method)
    assert [p.requires_grad for p in model.parameters()] == flags


def test_4_bit_weights_are_not_prepared_for_full_fine_tuning():
    model = quant.quantize_model(tiny_llama())
    with pytest.raises(ValueError, match="4-bit weights cannot be trained"):
        train.prepare(model, "full")


def test_the_seed_decides_the_adapters_whatever_was_drawn_before():
    def factors(before: int, seed: int) -> dict[str, torch.Tensor]:
        model = tiny_llama(0)
        torch.manual_seed(before)
        return snapshot(train.prepare(model, "lora", seed=seed))

    first, second, other = factors(1, 0), factors(2, 0), factors(1, 1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("seed", [-1, 2.0, True, 2**64])
def test_a_seed_out_of_range_leaves_the_model_untouched(seed):
    model = tiny_llama()
    before = snapshot(model)
    with pytest.raises((TypeError, ValueError), match="seed="):
        train.prepare(model, "qlora", seed=seed)
    assert_same(model, before)


# ---- typos ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["qlorra", "LoRA", None, ["lora"], 3])
def test_an_unknown_method_is_a_sentence_in_both(method, base):
    with pytest.raises(ValueError, match="unknown method .*choose one of full, lora, qlora"):
        train.prepare(tiny_llama(), method)
    with pytest.raises(ValueError, match="unknown method .*choose one of full, lora, qlora"):
        train.finetune(*base, small(), method)


def test_a_misspelt_option_names_the_near_one(base):
    with pytest.raises(TypeError, match="no option 'batchsize': did you mean 'batch_size'"):
        train.finetune(*base, small(), "full", batchsize=2)


def test_the_options_of_finetune_are_those_of_fit():
    parameters = inspect.signature(train.fit).parameters.values()
    wanted = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"lr"}
    assert set(FitOptions.__annotations__) == wanted | set(RunOptions.__annotations__)


def test_the_options_that_fit_hands_on_are_those_of_the_loop():
    assert set(RunOptions.__annotations__) < set(inspect.signature(train.loop.run).parameters)


def test_a_misspelt_option_of_fit_names_the_near_one():
    with pytest.raises(TypeError, match="fit has no option 'acumulate': did you mean 'accumulate'"):
        train.fit(tiny_llama(), [], acumulate=2)


@pytest.mark.slow
def test_a_type_checker_sees_a_typo(tmp_path):
    from mypy import api

    right = ['train.prepare(model, "qlora", seed=1)', 'train.finetune(model, 0, task, "qlora", batch_size=2)']
    wrong = [
        'train.prepare(model, "qlorra")',
        'train.finetune(model, 0, task, "qlorra")',
        'train.finetune(model, 0, task, "qlora", batchsize=2)',
        'train.finetune(model, 0, task, "qlora", steps="many")',
    ]
    script = tmp_path / "script.py"
    head = "from torch import nn\nfrom lora_lab import train\nfrom lora_lab.data import Task\n"
    body = "".join(f"    {line}\n" for line in (*right, *wrong))
    script.write_text(f"{head}def run(model: nn.Module, task: Task) -> None:\n{body}")
    found, _, _ = api.run(["--cache-dir", str(tmp_path), "--follow-imports", "silent", str(script)])
    lines = {int(line.split(":")[1]) for line in found.splitlines() if "script.py" in line and ": error:" in line}
    assert lines == set(range(7, 11)), found


# ---- fine-tuning on the right split --------------------------------------------------------------------------------


class Watched(tasks.Task):
    """A task that may not be reported on yet."""

    def __getattribute__(self, name: str):
        if name in ("heldout", "retention", "score"):
            raise AssertionError(f"fine-tuning looked at {name}")
        return super().__getattribute__(name)


@pytest.mark.parametrize("options", [{}, {"patience": 1, "evaluate_every": 1}])
def test_fine_tuning_never_looks_at_what_is_held_out(options, base):
    task = small()
    watched = Watched(task.name, task.train, task.heldout, task.retention, task.score, task.validation)
    history = train.finetune(*base, watched, "full", steps=2, batch_size=4, **options)
    assert len(history.evaluations) == (2 if options else 0)


def test_fine_tuning_trains_on_the_training_split(base):
    model, tokenizer = base
    task, seen = small(), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.extend(tokenizer.batch_decode(kwargs["input_ids"])), with_kwargs=True
    )
    train.finetune(model, tokenizer, task, "full", steps=1, batch_size=12)
    for example in task.train:
        assert sum(example.prompt in text and example.answer in text for text in seen) >= 1
    assert len(seen) == 12


def test_patience_watches_the_loss_on_validation_and_keeps_its_best_weights(base):
    model, tokenizer = base
    task = small(train=4)
    losses: dict[int, float] = {}

    def note(step: int, loss: float) -> None:
        losses[step] = train.answer_loss(model, tokenizer, task.validation)

    options = {"steps": 12, "batch_size": 4, "warmup": 0, "evaluate_every": 1, "patience": 3}
    history = train.finetune(model, tokenizer, task, "full", lr=3e-3, on_step=note, **options)
    assert history.evaluations == [(step, -loss) for step, loss in losses.items()]
    best = min(losses, key=lambda step: losses[step])
    assert history.best_step == best and len(history.losses) == best + 3 < 12  # four examples are soon overfitted
    assert train.answer_loss(model, tokenizer, task.validation) == losses[best] < losses[best + 3]


def test_patience_without_validation_examples_is_refused(base):
    with pytest.raises(ValueError, match="'sentence' has none for validation"):
        train.finetune(*base, replace(small(), validation=[]), "full", patience=1)


def test_an_evaluation_of_ones_own_takes_the_place_of_validation(base):
    history = train.finetune(
        *base, small(validation=0), "full", steps=2, evaluate=lambda: 1.0, evaluate_every=1, patience=1
    )
    assert history.evaluations == [(1, 1.0), (2, 1.0)] and history.stopped_early


def test_a_training_example_that_is_too_long_is_named(base):
    task = small(train=2)
    task = replace(task, train=[task.train[0], replace(task.train[1], answer="word " * 600)])
    with pytest.raises(ValueError, match="example 1 has .* tokens, but the model has 512 positions"):
        train.finetune(*base, task, "full")


# ---- the recipe of the base ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("people", 0, ValueError),
        ("steps", 2.0, TypeError),
        ("warmup", 0, ValueError),
        ("threads", True, TypeError),
        ("seed", -1, ValueError),
        ("vocab_size", 260, ValueError),
        ("length", 513, ValueError),
        ("dictation_steps", -1, ValueError),
        ("matrix_lr", float("nan"), ValueError),
        ("other_lr", "1", TypeError),
        ("hidden_size", 190, ValueError),
        ("kv_heads", 4, ValueError),
    ],
)
def test_a_recipe_has_ranges(field, value, error):
    with pytest.raises(error, match=f"{field}="):
        Recipe(**{field: value})


def test_a_pretrained_model_is_saved_before_it_is_measured(tmp_path, monkeypatch):
    from lora_lab.train import pretrain

    saved = []
    monkeypatch.setattr(pretrain, "write", lambda model, tokenizer, record, out: saved.append(dict(record)))
    monkeypatch.setattr(pretrain, "make_tokenizer", lambda *args: models.load_base("cpu")[1])
    monkeypatch.setattr(pretrain, "measure", lambda *args: 1 / 0)
    recipe = Recipe(people=4, hidden_size=12, intermediate_size=8, layers=1, heads=1, kv_heads=1, steps=1, rows=1)
    with pytest.raises(ZeroDivisionError):
        pretrain.pretrain(recipe, tmp_path / "base", progress=False)
    assert len(saved) == 1 and saved[0]["recipe"]["hidden_size"] == 12 and "recall" not in saved[0]
