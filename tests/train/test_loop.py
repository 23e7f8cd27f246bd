"""What a step is, what it must not be, and what is left behind: `train.fit` against arithmetic by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma3TextConfig,
    GptOssConfig,
    LlamaConfig,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)

from lora_lab import lora, train
from lora_lab.lora import LoRAConfig
from lora_lab.train import limits
from lora_lab.units import IGNORE
from tests.helpers.models import assert_same, snapshot, tiny_llama
from tests.helpers.data import examples
from tests.helpers.data import Numbers

MASKED = {"input_ids": [7, 8, 9, 10], "labels": [IGNORE] * 4}


def adapted(**options) -> nn.Module:
    torch.manual_seed(1)
    return lora.inject(tiny_llama(**options), LoRAConfig(r=3, target_modules="all-linear"))


def spoiling(parameter: torch.Tensor, value: float, when) -> None:
    """Let the gradient of `parameter` be `value` in those of its backward passes that `when` names."""
    calls = iter(range(1, 10**6))
    parameter.register_hook(lambda grad: torch.full_like(grad, value) if when(next(calls)) else grad)


# ---- a step --------------------------------------------------------------------------------------------------------


def test_two_steps_are_two_steps_of_adamw_written_by_hand():
    data = [{"input_ids": [i, i + 1, i + 2, 3], "labels": [IGNORE, i + 1, i + 2, 3]} for i in range(10, 50, 10)]
    ids = torch.tensor([example["input_ids"] for example in data])
    peak, decay, clip = 1e-2, 0.3, 0.05
    model, ours = tiny_llama().double(), tiny_llama().double()
    history = train.fit(
        model, data, steps=2, lr=peak, batch_size=4, warmup=2, weight_decay=decay, clip=clip, accumulate=1
    )
    parameters = list(ours.parameters())
    m, v = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step, rate in enumerate((peak / 2, peak), start=1):
        logs = ours(ids).logits[:, :-1].log_softmax(-1)
        loss = -logs.gather(-1, ids[:, 1:, None]).mean()
        grads = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(float(g.square().sum()) for g in grads))
        assert history.losses[step - 1] == pytest.approx(float(loss), rel=1e-5)
        assert history.grad_norms[step - 1] == pytest.approx(norm, rel=1e-4) and norm > clip
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(parameters, grads)):
                g = g * clip / norm
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                if p.ndim >= 2:  # norms do not decay
                    p -= rate * decay * p
                p -= rate * (m[i] / (1 - 0.9**step)) / ((v[i] / (1 - 0.999**step)).sqrt() + 1e-8)
    for (name, p), wanted in zip(model.named_parameters(), parameters):
        assert float((p - wanted).abs().max()) < 1e-2 * peak, name


def test_each_pass_sees_every_example_once_and_in_another_order():
    model, seen = tiny_llama(), []
    data = [{"input_ids": [i, i, i], "labels": [IGNORE, i, i]} for i in range(1, 7)]
    model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.extend(kwargs["input_ids"][:, 0].tolist()), with_kwargs=True
    )
    train.fit(model, data, steps=8, batch_size=3, lr=1e-4)
    passes = [tuple(seen[i : i + 6]) for i in range(0, 24, 6)]
    assert all(sorted(one) == list(range(1, 7)) for one in passes) and len(set(passes)) == 4


def test_the_seed_decides_about_dropout_whatever_was_drawn_before():
    def trained(before: int) -> dict[str, torch.Tensor]:
        model = tiny_llama(attention_dropout=0.5)
        torch.manual_seed(before)
        train.fit(model, examples(), steps=2, lr=1e-3, seed=5)
        return snapshot(model)

    first, second = trained(1), trained(2)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_seed_drops_out_other_values():
    def losses(seed: int) -> list[float]:
        model = tiny_llama(attention_dropout=0.5)
        return train.fit(model, examples(1), steps=2, batch_size=1, lr=1e-3, seed=seed).losses

    assert losses(1) == losses(1) != losses(2)  # one example has no order that could tell them apart


def test_dropout_is_on_in_every_step_also_after_an_evaluation():
    model, modes = tiny_llama(), []
    model.model.layers[1].register_forward_pre_hook(lambda module, args: modes.append(module.training))
    train.fit(model, examples(), steps=4, lr=1e-4, evaluate=lambda: float(not model.eval()), evaluate_every=1)
    assert modes == [True] * 4


# ---- batches without loss ------------------------------------------------------------------------------------------


def test_a_masked_micro_batch_weighs_nothing():
    data = [*examples(3), MASKED]

    def after(batch_size: int, accumulate: int) -> tuple[train.History, dict[str, torch.Tensor]]:
        model = tiny_llama()
        history = train.fit(model, data, steps=2, batch_size=batch_size, accumulate=accumulate, lr=1e-3)
        return history, snapshot(model)

    (whole, _), (apart, weights) = after(4, 1), after(1, 4)
    assert apart.losses == pytest.approx(whole.losses, rel=1e-4) and apart.tokens == whole.tokens
    assert all(value.isfinite().all() for value in weights.values())


def test_a_step_without_any_token_with_loss_is_not_taken():
    history = train.fit(tiny_llama(), [examples(1)[0], MASKED], steps=4, batch_size=1, lr=1e-4)
    assert len(history.losses) == 4 and all(map(math.isfinite, history.losses))
    assert history.tokens == [3, 6, 9, 12]


@pytest.mark.parametrize("seed", range(6))  # in some of them the masked example is the first of its step
def test_a_step_counts_whichever_of_its_batches_holds_the_tokens_with_loss(seed):
    data = [*examples(5), MASKED]
    history = train.fit(tiny_llama(), data, steps=3, batch_size=1, accumulate=2, lr=1e-4, seed=seed)
    assert len(history.losses) == 3
    assert history.tokens[-1] == sum(label != IGNORE for example in data for label in example["labels"])  # one pass


@pytest.mark.parametrize("labels", [[IGNORE] * 4, [7, IGNORE, IGNORE, IGNORE]])  # nothing predicts the first token
def test_a_dataset_without_any_token_with_loss_is_refused(labels):
    with pytest.raises(ValueError, match="example 0 has no token with loss"):
        train.fit(tiny_llama(), [{**MASKED, "labels": labels}, MASKED])


# ---- numbers that are not finite -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_before_the_step(value):
    model, kept = adapted(), {}
    spoiling(model.model.layers[0].mlp.up_proj.lora_A, value, lambda call: call == 3)
    with pytest.raises(FloatingPointError, match="gradient's norm is .* at step 3"):
        train.fit(model, examples(), steps=3, lr=1e-2, on_step=lambda step, loss: kept.update(snapshot(model)))
    assert_same(model, kept)  # the second step is whole, the third never began
    assert all(p.grad is None for p in model.parameters())


def test_float16_scales_the_loss_so_that_small_gradients_survive():
    def norms(half: bool) -> list[float]:
        model = tiny_llama()
        with torch.no_grad():
            model.model.norm.weight.fill_(1e-5)
        model = lora.inject(model.half() if half else model, LoRAConfig(r=3, target_modules=("o_proj", "down_proj")))
        return train.fit(model, examples(), steps=1, lr=1e-3, clip=1e-9).grad_norms

    assert norms(half=True) == pytest.approx(norms(half=False), rel=0.1)


def test_a_float16_overflow_costs_no_step():
    def trained(overflows: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        model = lora.inject(tiny_llama().half(), LoRAConfig(r=3, target_modules="all-linear"))
        spoiling(model.model.layers[0].mlp.up_proj.lora_B, math.inf, lambda call: call <= overflows)
        return train.fit(model, examples(), steps=2, lr=1e-3).losses, snapshot(model)

    (losses, weights), (plain_losses, plain) = trained(3), trained(0)
    assert losses == pytest.approx(plain_losses, rel=1e-3)
    assert all(torch.allclose(weights[key], plain[key], atol=1e-4) for key in plain)


def test_a_float16_gradient_that_is_nan_at_every_scale_stops():
    model = lora.inject(tiny_llama().half(), LoRAConfig(r=3, target_modules="all-linear"))
    before = snapshot(model)
    spoiling(model.model.layers[0].mlp.up_proj.lora_A, math.nan, lambda call: True)
    with pytest.raises(FloatingPointError, match="gradient's norm is nan at step 1"):
        train.fit(model, examples(4), steps=3, batch_size=2)
    assert_same(model, before)


def test_adapters_that_are_switched_off_cannot_be_trained():
    model = adapted()
    with lora.disabled(model), pytest.raises(ValueError, match="switched off"):
        train.fit(model, examples(), steps=1)


# ---- what is left behind -------------------------------------------------------------------------------------------


def test_gradients_from_before_do_not_count():
    def first_norm(backward: bool) -> float:
        model = tiny_llama()
        if backward:
            model(torch.arange(10)[None], labels=torch.arange(10)[None]).loss.backward()
        return train.fit(model, examples(), steps=1).grad_norms[0]

    assert first_norm(True) == first_norm(False)


def test_gradients_from_a_callback_do_not_count():
    def norms(callback) -> list[float]:
        model = tiny_llama()
        return train.fit(model, examples(), steps=2, on_step=lambda step, loss: callback(model)).grad_norms

    meddling = norms(lambda model: model(torch.arange(9)[None], labels=torch.arange(9)[None]).loss.backward())
    assert meddling == norms(lambda model: None)


def test_no_gradient_is_left_behind():
    model = tiny_llama()
    train.fit(model, examples(), steps=1)
    assert all(p.grad is None for p in model.parameters())


def interrupted(*_) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["callback", "evaluation", "backward", "forward"])
def test_after_an_interruption_mode_gradients_and_checkpointing_are_as_before(where):
    model = tiny_llama().train()
    model.model.layers[0].eval()  # a part that its owner keeps from dropping out
    modes = [module.training for module in model.modules()]
    options = {"callback": {"on_step": interrupted}, "evaluation": {"evaluate": interrupted, "evaluate_every": 1}}
    if where == "backward":
        model.model.layers[0].mlp.up_proj.weight.register_hook(interrupted)
    if where == "forward":
        model.model.layers[1].register_forward_hook(interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, examples(), steps=2, checkpointing=True, **options.get(where, {}))
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_each_module_gets_its_own_mode_back():
    model = tiny_llama().eval()
    model.model.layers[1].train()
    modes = [module.training for module in model.modules()]
    train.fit(model, examples(), steps=1)
    assert [module.training for module in model.modules()] == modes


def test_a_model_that_checkpointed_before_goes_on():
    model = tiny_llama()
    model.gradient_checkpointing_enable()
    train.fit(model, examples(), steps=1, checkpointing=True)
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


# ---- patience ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "steps", "best"), [([1, 3, 2, 1], 8, 4), ([1, 2, 3, 2], 8, 6), ([3, 3, 3], 6, 2)])
def test_with_patience_the_weights_of_the_best_evaluation_are_left(scores, steps, best):
    model, kept, left = adapted(), {}, iter(scores)

    def keep(step: int, loss: float) -> None:
        kept[step] = snapshot(model)

    history = train.fit(
        model, examples(), steps=8, lr=1e-2, evaluate=lambda: next(left), evaluate_every=2, patience=2, on_step=keep
    )
    assert (len(history.losses), history.best_step) == (steps, best)
    assert_same(model, kept[best])
    assert any(not torch.equal(kept[best][key], kept[steps][key]) for key in kept[best]) or best == steps


@pytest.mark.parametrize("ending", [FloatingPointError, KeyboardInterrupt])
def test_with_patience_the_best_weights_are_left_whatever_ends_the_training(ending):
    model, kept, left = adapted(), {}, iter([1.0, 0.5])
    spoiling(model.model.layers[0].mlp.up_proj.lora_A, math.nan, lambda call: call == 3)

    def keep(step: int, loss: float) -> None:
        kept[step] = snapshot(model)
        if step == 2 and ending is KeyboardInterrupt:
            raise ending

    options = {"evaluate": lambda: next(left), "evaluate_every": 1, "patience": 5, "on_step": keep}
    with pytest.raises(ending):
        train.fit(model, examples(), steps=4, lr=1e-2, **options)
    assert_same(model, kept[1])
    assert any(not torch.equal(kept[1][key], kept[2][key]) for key in kept[1])


def test_without_patience_the_last_weights_are_left():
    model, kept, left = adapted(), {}, iter([3.0, 1.0])
    train.fit(
        model,
        examples(),
        steps=4,
        lr=1e-2,
        evaluate=lambda: next(left),
        evaluate_every=2,
        on_step=lambda step, loss: kept.update(snapshot(model)),
    )
    assert_same(model, kept)


# ---- refusals ------------------------------------------------------------------------------------------------------


def refused(error: type[Exception], words: str, data=None, **options) -> None:
    """`fit` says so, and nothing was touched."""
    model = tiny_llama()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        train.fit(model, examples() if data is None else data, **options)
    assert_same(model, before)


@pytest.mark.parametrize("name", ["steps", "batch_size", "accumulate", "warmup", "evaluate_every", "patience", "seed"])
@pytest.mark.parametrize("value", [True, 2.0, math.nan, "3", [2], torch.tensor(2), -1, -(10**30)])
def test_a_whole_number_is_one_and_in_its_range(name, value):
    error = ValueError if isinstance(value, int) and not isinstance(value, bool) else TypeError
    refused(error, f"{name}=", **{name: value, "evaluate": lambda: 0.0})


@pytest.mark.parametrize("name", ["steps", "batch_size", "accumulate", "evaluate_every", "patience"])
def test_some_whole_numbers_are_at_least_one(name):
    refused(ValueError, f"{name}=0: choose", **{name: 0, "evaluate": lambda: 0.0})


@pytest.mark.parametrize(("name", "value"), [("seed", 2**64), ("batch_size", 10**9), ("accumulate", 10**9)])
def test_a_whole_number_can_be_too_large(name, value):
    refused(ValueError, f"{name}={value}: choose from", **{name: value})


@pytest.mark.parametrize("name", ["lr", "clip", "weight_decay"])
@pytest.mark.parametrize(
    "value", [True, "1", None, torch.tensor(0.1), math.nan, math.inf, -math.inf, -1, pytest.param(10**400, id="huge")]
)
def test_a_rate_is_a_finite_number_in_its_range(name, value):
    refused(ValueError if type(value) in (int, float) else TypeError, f"{name}=", **{name: value})


@pytest.mark.parametrize("rate", [{"lr": 0}, {"lr": 1.5}, {"clip": 0.0}, {"weight_decay": 1e4}])
def test_a_rate_outside_its_range_is_named(rate):
    (name, value), *_ = rate.items()
    refused(ValueError, f"{name}={value}: choose a finite number", **{"lr": 1e-3, **rate})


def test_numbers_of_numpy_are_numbers():
    history = train.fit(tiny_llama(), examples(), steps=np.int64(2), lr=np.float32(1e-3), seed=np.int64(0))
    assert len(history.losses) == 2


def test_an_evaluation_that_would_never_come_is_refused():
    refused(ValueError, "evaluate_every=25 is past the last of steps=10", steps=10, evaluate=lambda: 0.0)


@pytest.mark.parametrize(("score", "error"), [(math.nan, ValueError), (None, TypeError), ("good", TypeError)])
def test_a_score_that_is_no_number_is_named_with_its_step(score, error):
    with pytest.raises(error, match="evaluate gave .* after step 2"):
        train.fit(tiny_llama(), examples(), steps=2, evaluate=lambda: score, evaluate_every=2)


@pytest.mark.parametrize(
    ("example", "error", "words"),
    [
        ({"input_ids": [1, 2]}, ValueError, "example 1 has no 'labels'"),
        ({"labels": [1, 2]}, ValueError, "example 1 has no 'input_ids'"),
        ({"input_ids": [], "labels": []}, ValueError, "example 1 has no tokens"),
        ({"input_ids": [1, 2, 3], "labels": [1, 2]}, ValueError, "example 1 has 3 input_ids but 2 labels"),
        ({"input_ids": [1, 256], "labels": [1, 2]}, ValueError, "example 1 has the token id 256.*ends at 255"),
        ({"input_ids": [1, 2], "labels": [1, 256]}, ValueError, "example 1's labels has the token id 256"),
        ({"input_ids": [1, -1], "labels": [1, 2]}, ValueError, "example 1 has the token id -1"),
        ({"input_ids": [1, 2], "labels": [1, -1]}, ValueError, "example 1 has the label -1"),
        ({"input_ids": [1, 0], "labels": [1, IGNORE], "attention_mask": [1, 0]}, ValueError, "example 1 is padded"),
        ({"input_ids": torch.tensor([1, 2]), "labels": [1, 2]}, TypeError, "example 1's token ids are a Tensor"),
        ({"input_ids": [1, 2], "labels": np.array([1, 2])}, TypeError, "example 1's labels are a ndarray"),
        ({"input_ids": [1, 2.5], "labels": [1, 2]}, TypeError, "example 1's token ids hold a float"),
        ("text", TypeError, "example 1 is a str"),
    ],
)
def test_a_damaged_example_is_named_before_anything_is_trained(example, error, words):
    refused(error, words, [examples(1)[0], example])


def test_a_dataset_that_is_no_list_is_refused():
    refused(TypeError, "the dataset is a generator", (example for example in examples()))
    refused(TypeError, "the dataset is a dict", examples()[0])


def test_what_is_not_as_it_should_be_is_refused_before_the_first_step():
    refused(TypeError, "on_step=3 cannot be called", on_step=3)
    refused(TypeError, "checkpointing='False' must be True or False", checkpointing="False")
    refused(TypeError, "evaluate=3 cannot be called", evaluate=3)


def test_a_sequence_beyond_the_models_positions_is_refused():
    model = tiny_llama(max_position_embeddings=8)
    fits, long = ({"input_ids": [5] * n, "labels": [5] * n} for n in (8, 9))
    assert len(train.fit(model, [fits], steps=1).losses) == 1
    with pytest.raises(ValueError, match="example 1 has 9 tokens, but the model has 8 positions"):
        train.fit(model, [fits, long], steps=1)


@pytest.mark.parametrize("wrapped", [nn.DataParallel, torch.compile, AveragedModel])
def test_a_wrapper_hides_neither_positions_nor_padding_nor_checkpointing(wrapped):
    model = wrapped(tiny_llama(max_position_embeddings=32))
    with pytest.raises(ValueError, match="example 0 has 50 tokens, but the model has 32 positions"):
        train.fit(model, [{"input_ids": [5] * 50, "labels": [5] * 50}], steps=1, checkpointing=True)
    if wrapped is nn.DataParallel:
        assert len(train.fit(model, examples(), steps=1, checkpointing=True).losses) == 1


def test_losses_of_several_gpus_are_not_weighed_as_one():
    model = nn.DataParallel(tiny_llama())
    model.device_ids = [0, 1]
    with pytest.raises(ValueError, match="a loss per GPU.*give model.module"):
        train.fit(model, examples(), steps=1)


LONG = {"rope_type": "longrope", "rope_theta": 1e4, "long_factor": [1.0] * 4, "short_factor": [1.0] * 4}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("said", "rope", "reach"),
    [
        (4096, None, 4096),
        (4096, {"rope_type": "linear", "factor": 4.0}, 16384),
        (4096, {"rope_type": "dynamic", "factor": 2.0}, 8192),
        (32768, {"rope_type": "yarn", "factor": 4.0}, 131072),
        (32768, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        (131072, {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096}, 131072),
        (163840, {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096}, 163840),
        (131072, {**LLAMA3, "original_max_position_embeddings": 8192}, 131072),
        (131072, {**LONG, "original_max_position_embeddings": 4096}, 131072),
    ],
)
def test_the_reach_of_rotary_positions_is_counted_once(said, rope, reach):
    model = nn.Module()
    model.config = LlamaConfig(max_position_embeddings=said, rope_parameters=rope and {"rope_theta": 1e4, **rope})
    assert limits.positions(model) == reach


def test_published_configurations_reach_as_far_as_their_papers_say():
    model = nn.Module()
    for config, reach in ((GptOssConfig(), 131072), (Gemma3TextConfig(), 131072), (RobertaConfig(), 510)):
        model.config = config
        assert limits.positions(model) == reach


# ---- which models --------------------------------------------------------------------------------------------------

SMALL = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def t5() -> nn.Module:
    return T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (t5, "T5ForConditionalGeneration is no causal language model: an encoder"),
        (lambda: nn.DataParallel(t5()), "T5ForConditionalGeneration is no causal language model"),
        (lambda: BertForMaskedLM(BertConfig(**SMALL)), "does not predict the next token"),
        (lambda: tiny_llama().model, "LlamaModel is no causal language model: .*AutoModelForCausalLM"),
        (lambda: RobertaForCausalLM(RobertaConfig(**SMALL)), "sees the tokens that it should predict"),
        (lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=64, d_model=16, n_layer=1, n_head=2, d_inner=16)), "xlnet"),
        (lambda: tiny_llama().to("meta"), 'on the device "meta"'),
        (nn.Identity, "no parameters"),
    ],
    ids=["t5", "wrapped", "masked", "headless", "sees all", "unshifted", "meta", "empty"],
)
def test_a_model_that_does_not_predict_the_next_token_is_refused(make, words):
    model = make()
    row = torch.tensor([[5, 6, 7]])
    with pytest.raises(ValueError, match=words):
        train.fit(model, examples(), steps=1)
    with pytest.raises(ValueError, match=words):
        train.mean_loss(model, [{"input_ids": row, "labels": row}])
    with pytest.raises(ValueError, match=words):
        train.complete(model, Numbers(), [[5, 6]])


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="'gpt2' is no model: give a torch.nn.Module"):
        train.fit("gpt2", examples())


def test_a_roberta_that_was_made_a_decoder_is_one_up_to_its_last_position():
    config = RobertaConfig(**SMALL, is_decoder=True, max_position_embeddings=20, pad_token_id=1, eos_token_id=2)
    model = RobertaForCausalLM(config)
    fits, long = ({"input_ids": [5] * n, "labels": [5] * n} for n in (18, 19))
    assert len(train.fit(model, [fits], steps=1).losses) == 1
    with pytest.raises(ValueError, match="19 tokens, but the model has 18 positions"):
        train.fit(model, [long], steps=1)


def test_a_module_of_ones_own_is_taken_at_its_word():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(256, 256)

        def forward(self, input_ids, labels, attention_mask=None, use_cache=None):
            logits = self.table(input_ids)[:, :-1].flatten(0, 1)
            return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels[:, 1:].flatten()))

    model = Own()
    history = train.fit(model, examples(), steps=2, batch_size=4, accumulate=2, pad_id=0)
    assert len(history.losses) == 2
    row = torch.tensor([[5, 6, 7]])
    assert math.isfinite(train.mean_loss(model, [{"input_ids": row, "labels": row}]))


def test_stretched_rotary_positions_reach_further():
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    model = tiny_llama(max_position_embeddings=8, rope_parameters=rope)
    history = train.fit(model, [{"input_ids": [5] * 32, "labels": [5] * 32}], steps=1)
    assert len(history.losses) == 1


@pytest.mark.parametrize(("pad", "error"), [(-1, ValueError), (256, ValueError), ("0", TypeError), (True, TypeError)])
def test_a_pad_token_is_one_of_the_vocabulary(pad, error):
    refused(error, "pad_id=", pad_id=pad)
