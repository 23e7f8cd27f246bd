"""Greedy means the likeliest token, whatever a model comes with; and what is measured is what was meant."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lora_lab import models, train
from lora_lab.data import tasks
from lora_lab.data.batches import collate, encode_example
from lora_lab.data.tasks import Example
from lora_lab.data.world import World
from lora_lab.train import evaluate
from lora_lab.units import IGNORE
from tests.helpers.data import Numbers
from tests.helpers.models import tiny_llama

PROMPTS = [[5, 6, 5, 6, 5], [9], [17, 3, 200, 4, 8, 44, 9, 12, 13], [70, 71]]


def talkative(**options) -> nn.Module:
    """A random model whose next token depends on the whole prompt."""
    model = tiny_llama(**options)
    with torch.no_grad():
        for layer in model.model.layers:
            for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.o_proj):
                linear.weight.mul_(8)
    return model


def by_argmax(model: nn.Module, prompt: list[int], n: int, ends: tuple[int, ...] = (1,)) -> str:
    """Greedy decoding as one says it: no padding, no cache, no configuration."""
    new: list[int] = []
    with torch.no_grad():
        while len(new) < n:
            token = int(model(torch.tensor([prompt + new]), use_cache=False).logits[0, -1].argmax())
            if token in ends:
                break
            new.append(token)
    return Numbers().decode(new)


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


# ---- greedy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shipped",
    [
        {},
        {"repetition_penalty": 5.0},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": list(range(100, 256))},
        {"begin_suppress_tokens": list(range(100, 256))},
        {"bad_words_ids": [[i] for i in range(100, 256)]},
        {"sequence_bias": [[[7], 50.0]]},
        {"forced_eos_token_id": 9},
        {"forced_bos_token_id": 9},
        {"min_length": 30, "min_new_tokens": 9},
        {"max_length": 6},
        {"num_beams": 4, "length_penalty": 3.0},
        {"num_beams": 2, "num_return_sequences": 2},
        {"do_sample": True, "temperature": 9.0, "top_k": 0, "min_p": 0.1},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"exponential_decay_length_penalty": [1, 9.0]},
        {"guidance_scale": 3.0},
        {"return_dict_in_generate": True, "output_scores": True},
        {"prompt_lookup_num_tokens": 3},
        {"stop_strings": ["1"]},
        {"max_time": 0.0},
        {"use_cache": False},
        {"pad_token_id": 77},
    ],
    ids=lambda shipped: "-".join(shipped) or "plain",
)
def test_greedy_is_the_argmax_whatever_the_generation_config_says(shipped):
    model = talkative()
    wanted = [by_argmax(model, prompt, 8) for prompt in PROMPTS]
    assert len(set(wanted)) == 4
    for key, value in shipped.items():
        setattr(model.generation_config, key, value)
    config, before = model.generation_config, model.generation_config.to_dict()
    assert train.complete(model, Numbers(), PROMPTS, max_new_tokens=8, batch_size=3) == wanted
    assert model.generation_config is config and config.to_dict() == before


def test_padding_changes_no_answer():
    model = talkative()
    together = train.complete(model, Numbers(), PROMPTS, max_new_tokens=6, batch_size=4)
    assert together == [by_argmax(model, prompt, 6) for prompt in PROMPTS]


@pytest.mark.parametrize("several", [False, True])
def test_an_answer_ends_at_every_end_token_of_the_model(several):
    model = talkative()
    tokens = [int(token) for token in by_argmax(model, PROMPTS[0], 8).split()]
    ends = tokens[3]
    model.generation_config.eos_token_id = [ends, 250] if several else ends
    wanted = [by_argmax(model, prompt, 8, ends=(1, 250, ends)) for prompt in PROMPTS]
    assert train.complete(model, Numbers(), PROMPTS, max_new_tokens=8) == wanted
    assert len(wanted[0].split()) < 8


def test_complete_restores_mode_and_config_also_after_an_error():
    model = talkative().train()
    model.model.layers[0].eval()
    config, before = model.generation_config, modes(model)
    train.complete(model, Numbers(), PROMPTS, max_new_tokens=2)
    assert modes(model) == before and model.generation_config is config

    def interrupted(n: int) -> None:
        assert not any(modes(model))  # eval mode while it answers
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.complete(model, Numbers(), PROMPTS, max_new_tokens=2, progress=interrupted)
    assert modes(model) == before and model.generation_config is config


@pytest.mark.parametrize(
    ("prompts", "options", "error", "words"),
    [
        ([[5], []], {}, ValueError, "prompt 1 has no tokens"),
        ([[5], [256]], {}, ValueError, "prompt 1 has the token id 256"),
        (["text"], {}, TypeError, "prompt 0 is text"),
        ([torch.tensor([5])], {}, TypeError, "prompt 0's token ids are a Tensor"),
        ([[5] * 30], {}, ValueError, "prompt 0 has 30 tokens, and max_new_tokens=8 .* 32 positions: .*=2 or less"),
        ([[5] * 32], {}, ValueError, "32 positions: shorten"),
        ([[5]], {"max_new_tokens": 0}, ValueError, "max_new_tokens=0"),
        ([[5]], {"max_new_tokens": 2.0}, TypeError, "max_new_tokens=2.0"),
        ([[5]], {"batch_size": 0}, ValueError, "batch_size=0"),
        ([[5]], {"batch_size": True}, TypeError, "batch_size=True"),
    ],
)
def test_what_cannot_be_completed_is_named(prompts, options, error, words):
    with pytest.raises(error, match=words):
        train.complete(tiny_llama(max_position_embeddings=32), Numbers(), prompts, **{"max_new_tokens": 8, **options})


def test_an_answer_may_fill_the_last_position():
    model = tiny_llama(max_position_embeddings=32)
    assert len(train.complete(model, Numbers(), [[5] * 24], max_new_tokens=8)) == 1


def test_progress_tells_how_many_each_batch_has_finished():
    told: list[int] = []
    train.complete(tiny_llama(), Numbers(), [*PROMPTS, [8]], max_new_tokens=2, batch_size=2, progress=told.append)
    assert told == [2, 2, 1]


@pytest.mark.parametrize("call", ["complete", "answer", "fit", "answer_loss"])
def test_without_a_pad_token_the_way_out_is_named(call, base):
    model, tokenizer = base
    some, pad, configured = tasks.reading(2), tokenizer.pad_token, model.config.pad_token_id
    calls = {
        "complete": lambda: train.complete(model, tokenizer, [[5, 6]]),
        "answer": lambda: train.answer(model, tokenizer, some),
        "fit": lambda: train.finetune(model, tokenizer, task_of(some), "full", steps=1),
        "answer_loss": lambda: train.answer_loss(model, tokenizer, some),
    }
    tokenizer.pad_token = model.config.pad_token_id = None
    try:
        with pytest.raises(ValueError, match="no pad token: set tokenizer.pad_token = tokenizer.eos_token"):
            calls[call]()
    finally:
        tokenizer.pad_token, model.config.pad_token_id = pad, configured


# ---- loss ----------------------------------------------------------------------------------------------------------


def batch(*lengths: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    rows = [torch.randint(2, 256, (n,), generator=generator).tolist() for n in lengths]
    return collate([{"input_ids": row, "labels": row} for row in rows], pad_id=0)


def test_the_mean_loss_weighs_tokens_and_not_batches():
    model, batches = talkative(), [batch(3), batch(14, 9), batch(2, 2)]
    total, count = 0.0, 0
    for one in batches:
        for ids, mask in zip(one["input_ids"], one["attention_mask"]):
            row = ids[mask.bool()]
            with torch.no_grad():
                logs = model(row[None]).logits[0, :-1].double().log_softmax(-1)
            total -= float(logs.gather(-1, row[1:, None]).sum())
            count += len(row) - 1
    assert train.mean_loss(model, batches) == pytest.approx(total / count, rel=1e-5)


def test_a_masked_batch_weighs_nothing_in_the_mean_loss():
    model, masked = talkative(), batch(5, 4)
    masked["labels"] = torch.full_like(masked["labels"], IGNORE)
    assert train.mean_loss(model, [masked, batch(6), masked]) == train.mean_loss(model, [batch(6)])


def test_the_mean_loss_restores_the_mode_also_after_an_error():
    model = talkative().train()
    model.model.layers[0].eval()
    before = modes(model)
    train.mean_loss(model, [batch(4)])
    assert modes(model) == before
    with pytest.raises(ValueError):
        train.mean_loss(model, [batch(4), {}])
    assert modes(model) == before


def test_the_mean_loss_may_fill_the_last_position():
    short, long = (tiny_llama(max_position_embeddings=n) for n in (8, 64))
    assert train.mean_loss(short, [batch(8, 3)]) == train.mean_loss(long, [batch(8, 3)])


def test_a_mean_loss_over_nothing_is_refused():
    masked = {**batch(4), "labels": torch.full((1, 4), IGNORE)}
    for batches in ([], [masked]):
        with pytest.raises(ValueError, match="no batch has a token with loss"):
            train.mean_loss(tiny_llama(), batches)
    with pytest.raises(ValueError, match="batch 1 has no labels"):
        train.mean_loss(tiny_llama(), [batch(4), {"input_ids": torch.ones(1, 2)}])
    with pytest.raises(ValueError, match="batch 0 has 9 tokens in a row, but the model has 8 positions"):
        train.mean_loss(tiny_llama(max_position_embeddings=8), [batch(9, 2)])
    with pytest.raises(TypeError, match=r"\[batch\]"):
        train.mean_loss(tiny_llama(), batch(4))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"input_ids": torch.tensor([[5, 256, 7]])}, ValueError, "batch 1 has the token id 256"),
        ({"labels": torch.tensor([[5, 300, 7]])}, ValueError, "batch 1 has the label 300"),
        ({"labels": torch.tensor([[5, -1, 7]])}, ValueError, "batch 1 has the label -1"),
        ({"labels": torch.tensor([5, 6, 7])}, ValueError, r"batch 1 has input_ids \[1, 3\] and labels \[3\]"),
        ({"labels": torch.tensor([[5, 6]])}, ValueError, r"labels \[1, 2\]"),
        ({"labels": torch.tensor([[5.0, 6, 7]])}, TypeError, "int64"),
        ({"input_ids": [[5, 6, 7]]}, TypeError, "int64"),
    ],
)
def test_a_batch_that_the_model_cannot_read_is_named(changed, error, words):
    with pytest.raises(error, match=words):
        train.mean_loss(tiny_llama(), [batch(3), {**batch(3), **changed}])


# ---- weights that are not finite -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_is_not_finite_gives_no_answer_and_no_loss(value):
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(value)
    with pytest.raises(FloatingPointError, match="logits that are NaN"):
        train.complete(model, Numbers(), PROMPTS, max_new_tokens=2)
    with pytest.raises(FloatingPointError, match="the loss of batch 1 is nan"):
        masked = {**batch(3), "labels": torch.full((1, 3), IGNORE)}
        train.mean_loss(model, [masked, batch(3)])


def test_a_token_that_the_model_rules_out_is_no_error():
    model = talkative()
    wanted = by_argmax(model, PROMPTS[0], 4)
    unseen = next(i for i in range(2, 256) if str(i) not in wanted.split())

    def ruled_out(module, args, logits):
        return logits.index_fill(-1, torch.tensor([unseen]), -math.inf)

    model.lm_head.register_forward_hook(ruled_out)
    assert train.complete(model, Numbers(), PROMPTS[:1], max_new_tokens=4) == [wanted]


# ---- prompts and wrappers ------------------------------------------------------------------------------------------


def test_prompts_may_come_one_by_one():
    model = talkative()
    wanted = train.complete(model, Numbers(), PROMPTS, max_new_tokens=3)
    assert train.complete(model, Numbers(), (prompt for prompt in PROMPTS), max_new_tokens=3) == wanted
    with pytest.raises(TypeError, match="prompts=3: give a list"):
        train.complete(model, Numbers(), 3)
    with pytest.raises(TypeError, match="progress=3 cannot be called"):
        train.complete(model, Numbers(), PROMPTS, progress=3)


@pytest.mark.parametrize("wrapped", [nn.DataParallel, torch.compile, AveragedModel])
def test_a_wrapped_model_answers_and_is_measured_as_it_is(wrapped):
    model = talkative(max_position_embeddings=32)
    outside = wrapped(model)
    wanted = train.complete(model, Numbers(), PROMPTS, max_new_tokens=3)
    assert train.complete(outside, Numbers(), PROMPTS, max_new_tokens=3) == wanted
    with pytest.raises(ValueError, match="prompt 0 has 31 tokens.*32 positions"):
        train.complete(outside, Numbers(), [[5] * 31], max_new_tokens=3)
    with pytest.raises(ValueError, match="batch 0 has 50 tokens in a row, but the model has 32 positions"):
        train.mean_loss(outside, [batch(50)])


# ---- scores --------------------------------------------------------------------------------------------------------


def test_recall_counts_completions_that_begin_with_the_fact(monkeypatch):
    world = World.generate(0, people=2)
    said = [ending + " And more." for _, ending in world.facts()]
    said[3], said[7] = " first" + said[3], "ah" + said[7]
    monkeypatch.setattr(evaluate, "complete", lambda *args, **options: said)
    assert train.recall(tiny_llama(), Numbers(), world) == 0.8


def test_nothing_to_measure_is_refused_or_empty(base):
    model, tokenizer = base
    assert train.answer(model, tokenizer, []) == [] == train.complete(model, tokenizer, [])
    with pytest.raises(ValueError, match="no examples"):
        train.answer_loss(model, tokenizer, [])
    with pytest.raises(ValueError, match="nothing to score"):
        train.reading(model, tokenizer, [])
    with pytest.raises(ValueError, match="no people"):
        train.recall(model, tokenizer, World((), ()))
    full = task_of(tasks.reading(1))
    for split in ("heldout", "retention"):
        with pytest.raises(ValueError, match=f"no {split} examples"):
            train.report(model, tokenizer, replace(full, **{split: []}))


def test_the_answer_loss_names_an_example_that_is_too_long(base):
    model, tokenizer = base
    some = [*tasks.reading(1), Example("word " * 600, "yes")]
    n = len(encode_example(tokenizer, some[1].prompt, "yes")["input_ids"])
    with pytest.raises(ValueError, match=f"example 1 has {n} tokens, but the model has 512 positions"):
        train.answer_loss(model, tokenizer, some)


def test_the_report_measures_each_split_by_its_name(base, monkeypatch):
    model, tokenizer = base
    world = World.generate(0, people=4)
    task = replace(tasks.closed_book(world), retention=tasks.reading(12))
    monkeypatch.setattr(train.recipes, "answer", lambda m, t, examples, *a, **o: [e.answer for e in examples])
    monkeypatch.setattr(train.recipes, "reading", lambda m, t, examples: len(examples))
    report = train.report(model, tokenizer, task)
    assert report.answers == [e.answer for e in task.heldout] and report.scores["exact"] == 1
    assert report.retention == 12 and report.loss == train.answer_loss(model, tokenizer, task.heldout)
    assert math.isfinite(report.loss)


def task_of(some: list[Example]) -> tasks.Task:
    return tasks.Task("some", some, some, some, tasks.score_exact)


@pytest.fixture(scope="module")
def base():
    return models.load_base("cpu")
