"""The loop under every loss, `train.loop.run`: against loops written by hand in float64, without language models."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from lora_lab.train import losses, optimizers, schedules, stream
from lora_lab.train.loop import run
from lora_lab.units import IGNORE
from tests.helpers.data import examples
from tests.helpers.models import assert_same, snapshot, tiny_llama
from lora_lab.data.batches import collate


def net(seed: int = 0, dropout: float = 0.0, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(7)] if norm else []
    return nn.Sequential(nn.Linear(5, 7), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(7, 3)).double()


def labelled(*sizes: int, classes: bool = True) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in sizes]
    if classes:
        return [(x, (x.sum(1) > 0).long() + (x[:, 0] > 0.5).long()) for x in rows]
    return [(x, x[:, :3].sin()) for x in rows]


def sgd(lr: float):
    return lambda named: torch.optim.SGD([p for _, p in named], lr=lr)


def close(model: nn.Module, wanted: dict[str, torch.Tensor]) -> None:
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, wanted[key], rtol=0, atol=1e-12)


class Scripted:
    """A loss that says what it was told to say."""

    def __init__(self, weight=1, mean=None):
        self._weight, self._mean = weight, mean

    def weight(self, model, batch):
        return self._weight

    def mean(self, model, batch):
        return model(batch).square().mean() if self._mean is None else self._mean(model, batch)


# ---- a step --------------------------------------------------------------------------------------------------------


def test_steps_of_plain_descent_are_written_in_three_lines():
    batches, model, ours = labelled(4, 6, 3), net(), net()
    history = run(
        model, batches, losses.cross_entropy, steps=5, optimizer=sgd(0.3), schedule=schedules.constant, clip=1e6
    )
    for step in range(5):
        x, y = batches[step % 3]
        loss = -ours(x).log_softmax(-1)[range(len(y)), y].mean()
        assert history.losses[step] == pytest.approx(loss.item(), rel=1e-12)
        for p, g in zip(ours.parameters(), torch.autograd.grad(loss, list(ours.parameters()))):
            p.data -= 0.3 * g
    close(model, ours.state_dict())
    assert history.counted == [4, 10, 13, 17, 23] and history.learning_rates == [0.3] * 5


def test_two_steps_of_adamw_with_decay_and_warm_up_are_those_written_by_hand():
    batches, model, ours = labelled(4, 6, classes=False), net(), net()
    run(
        model,
        batches,
        losses.squared_error,
        steps=2,
        optimizer=optimizers.adamw(1e-2, 0.3),
        schedule=schedules.cosine(2),
        clip=0.05,
    )
    ps = list(ours.parameters())
    m, v = ([torch.zeros_like(p) for p in ps] for _ in range(2))
    for step, ((x, y), rate) in enumerate(zip(batches, (0.5e-2, 1e-2)), start=1):
        grads = torch.autograd.grad((ours(x) - y).square().mean(), ps)
        norm = math.sqrt(sum(float(g.square().sum()) for g in grads))
        for i, (p, g) in enumerate(zip(ps, grads)):
            g = g * min(1.0, 0.05 / (norm + 1e-6))  # as torch clips
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            decayed = p.data * (1 - rate * (0.3 if p.ndim > 1 else 0))
            p.data = decayed - rate * (m[i] / (1 - 0.9**step)) / ((v[i] / (1 - 0.999**step)).sqrt() + 1e-8)
    close(model, ours.state_dict())


def test_two_optimizers_each_move_their_own_at_their_own_rate():
    def two(named):
        first = [p for name, p in named if name.startswith("0.")]
        rest = [p for name, p in named if not name.startswith("0.")]
        return [torch.optim.SGD(first, lr=0.5), torch.optim.SGD([{"params": rest, "lr": 0.01}], lr=9.0)]

    batches, model, ours = labelled(6), net(), net()
    halving = lambda step, steps, peak: peak / 2**step  # noqa: E731
    run(model, batches, losses.cross_entropy, steps=3, optimizer=two, schedule=halving, clip=1e6)
    for step in range(3):
        x, y = batches[0]
        loss = nn.functional.cross_entropy(ours(x), y)
        grads = torch.autograd.grad(loss, list(ours.parameters()))
        for (name, p), g in zip(ours.named_parameters(), grads):
            p.data -= (0.5 if name.startswith("0.") else 0.01) / 2**step * g
    close(model, ours.state_dict())


def tokens() -> tuple[nn.Module, list]:
    return tiny_llama().double(), [collate([example], 0) for example in examples(6)]


@pytest.mark.parametrize(
    ("loss", "make"),
    [
        (losses.cross_entropy, lambda: (net(), labelled(1, 4, 2, 6, 3, 5))),
        (losses.squared_error, lambda: (net(), labelled(1, 4, 2, 6, 3, 5, classes=False))),
        (losses.answers, tokens),
        (losses.every_token, lambda: (tokens()[0], [{"input_ids": batch["input_ids"]} for batch in tokens()[1]])),
    ],
    ids=["cross_entropy", "squared_error", "answers", "every_token"],
)
def test_a_step_is_the_mean_over_what_counts_however_it_is_split(loss, make):
    """Against one gradient of Σ weight · mean / Σ weight; the batches differ in size."""
    (model, batches), (ours, _) = make(), make()
    history = run(
        model, batches, loss, steps=1, accumulate=6, optimizer=sgd(0.1), schedule=schedules.constant, clip=9e9
    )
    weights = [loss.weight(ours, batch) for batch in batches]
    assert len(set(weights)) > 1 and history.counted == [sum(weights)]
    whole = sum(weight * loss.mean(ours, batch) for weight, batch in zip(weights, batches)) / sum(weights)
    parameters = list(ours.parameters())
    for p, g in zip(parameters, torch.autograd.grad(whole, parameters)):
        p.data -= 0.1 * g
    assert history.losses == pytest.approx([float(whole)], rel=1e-6)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, ours.get_parameter(name), rtol=0, atol=1e-7, msg=name)


def test_every_token_is_predicted_from_those_before_it():
    model, ids = tiny_llama(), torch.arange(5, 23).view(2, 9)
    history = run(model, [{"input_ids": ids}], losses.every_token, steps=1, optimizer=sgd(1e-9))
    logs = model(ids).logits[:, :-1].double().log_softmax(-1)
    assert history.losses == pytest.approx([float(-logs.gather(-1, ids[:, 1:, None]).detach().mean())], rel=1e-5)
    assert history.counted == [16]


def test_examples_split_into_batches_are_the_step_of_one_batch():
    (x, y) = labelled(9)[0]
    y[4] = IGNORE
    whole, apart = net(), net()
    options = {"steps": 2, "optimizer": sgd(0.3), "schedule": schedules.constant}
    run(whole, [(x, y)], losses.cross_entropy, **options)
    parts = [(x[:2], y[:2]), (x[2:4], y[2:4]), (x[4:5], y[4:5]), (x[5:], y[5:])]
    run(apart, parts, losses.cross_entropy, accumulate=4, **options)
    close(apart, whole.state_dict())


# ---- weights -------------------------------------------------------------------------------------------------------


def test_a_batch_of_weight_0_is_not_computed_and_moves_no_running_mean():
    x, y = labelled(4)[0]
    nothing = (1e6 * torch.ones(4, 5).double(), torch.full((4,), IGNORE))
    with_it, without = net(norm=True), net(norm=True)
    run(with_it, [nothing, (x, y), nothing], losses.cross_entropy, steps=2, accumulate=3)
    run(without, [(x, y)], losses.cross_entropy, steps=2)
    assert_same(with_it, snapshot(without))


def test_a_step_without_weight_is_passed_over():
    (x, y), nothing = labelled(4)[0], (torch.ones(1, 5).double(), torch.tensor([IGNORE]))
    history = run(net(), [nothing, nothing, (x, y)], losses.cross_entropy, steps=2)
    assert history.counted == [4, 8]


def test_batches_that_never_weigh_anything_end(monkeypatch):
    monkeypatch.setattr(stream, "_EMPTY", 50)
    with pytest.raises(ValueError, match="no batch has weight after 0 steps"):
        run(net(), labelled(3), Scripted(weight=0), steps=1)


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, 2**60])
def test_a_weight_out_of_range_is_refused_before_the_step(weight):
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match="the loss's weight of a batch=.*at least 0"):
        run(model, labelled(3), Scripted(weight=weight), steps=1)
    assert_same(model, before)


@pytest.mark.parametrize("weight", [None, "3", True, torch.tensor(3), [1]])
def test_a_weight_is_a_number(weight):
    with pytest.raises(TypeError, match="the loss's weight of a batch=.* must be a number"):
        run(net(), labelled(3), Scripted(weight=weight), steps=1)


@pytest.mark.parametrize(
    ("mean", "error", "words"),
    [
        (lambda model, batch: None, TypeError, "is a NoneType: give a tensor"),
        (lambda model, batch: 0.5, TypeError, "is a float: give a tensor"),
        (lambda model, batch: (model(batch[0]).sum(), 3), TypeError, "is a tuple"),
        (lambda model, batch: model(batch[0]), ValueError, r"\[3, 3\]: give one floating-point number"),
        (lambda model, batch: torch.tensor(3), ValueError, "int64"),
        (lambda model, batch: torch.tensor(3.0), ValueError, "depends on nothing that trains"),
        (lambda model, batch: model(batch[0]).sum() * math.nan, FloatingPointError, "the loss is nan at step 1"),
    ],
)
def test_a_mean_is_one_number_in_the_graph(mean, error, words):
    model = net()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        run(model, labelled(3), Scripted(mean=mean), steps=1)
    assert_same(model, before)


def test_a_loss_may_be_below_0():
    mean = lambda model, batch: -model(batch[0]).tanh().mean()  # noqa: E731
    history = run(net(), labelled(3), Scripted(mean=mean), steps=9, optimizer=sgd(0.5))
    assert history.losses[-1] < min(0.0, history.losses[0])


# ---- batches -------------------------------------------------------------------------------------------------------


def test_a_generator_that_ends_says_after_how_many_steps():
    model = net()
    with pytest.raises(ValueError, match="ended after 2 of steps=9 steps: choose fewer"):
        run(model, (batch for batch in labelled(3, 4, 5, 6, 2)), losses.cross_entropy, steps=9, accumulate=2)
    assert all(p.grad is None for p in model.parameters())


def test_batches_are_drawn_when_their_step_comes():
    drawn, seen = [], []

    def stream():
        for batch in labelled(3, 3, 3):
            drawn.append(1)
            yield batch

    run(net(), stream(), losses.cross_entropy, steps=3, on_step=lambda step, loss: seen.append(len(drawn)))
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        ([], ValueError, "ended after 0 of steps=1"),
        ({"input_ids": 1}, TypeError, "a single batch"),
        (3, TypeError, "batches=3: give a list"),
        ([3], TypeError, "a batch is 3: give a pair"),
        ([(torch.ones(2, 5), torch.ones(3).long())], ValueError, r"inputs \[2, 5\] and targets \[3\]"),
        ([(torch.ones(2, 5), torch.ones(2))], TypeError, "float32: classes are int64"),
        ([(torch.ones(2, 5), torch.ones(2, 1).long())], ValueError, "one class per example"),
        (
            [(torch.ones(2, 5).double(), torch.tensor([0, 3]))],
            ValueError,
            "a target is the class 3, but classes count from 0 to 2",
        ),
    ],
)
def test_what_is_no_batch_is_refused(batches, error, words):
    with pytest.raises(error, match=words):
        run(net(), batches, losses.cross_entropy, steps=1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_targets_that_are_not_finite_are_named_before_the_step(value):
    (x, y), model = labelled(4, classes=False)[0], net()
    before = snapshot(model)
    y[2, 1] = value
    with pytest.raises(ValueError, match="a batch's targets hold NaN or infinity"):
        run(model, [(x, y)], losses.squared_error, steps=1)
    assert_same(model, before)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.squared_error])
def test_inputs_that_are_not_finite_are_thought_of(loss):
    x, y = labelled(4, classes=loss is losses.cross_entropy)[0]
    with pytest.raises(FloatingPointError, match="look for weights or inputs that are not finite"):
        run(net(), [(x * math.nan, y)], loss, steps=1)


def test_a_regression_never_broadcasts():
    with pytest.raises(ValueError, match=r"the model gives \[4, 3\], but the targets are \[4\]"):
        run(net(), [(torch.ones(4, 5).double(), torch.ones(4).double())], losses.squared_error, steps=1)


@pytest.mark.parametrize("loss", [losses.answers, losses.every_token])
def test_a_token_loss_names_what_the_model_cannot_read(loss):
    model = tiny_llama(max_position_embeddings=8)
    for ids, error, words in (
        (torch.ones(1, 9).long(), ValueError, "9 tokens in a row, but the model has 8 positions"),
        (torch.tensor([[5, 256]]), ValueError, "token id 256"),
        (torch.ones(1, 3), TypeError, "tensors of int64"),
    ):
        with pytest.raises(error, match=words):
            run(model, [{"input_ids": ids, "labels": ids}], loss, steps=1)


# ---- what is refused, and what is left behind ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", [None, lambda model, batch: 0, nn.CrossEntropyLoss(), type(losses.answers)])
def test_what_cannot_weigh_a_batch_is_no_loss(loss):
    with pytest.raises(TypeError, match=r"has no weight\(model, batch\)"):
        run(net(), labelled(3), loss, steps=1)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda named: None, TypeError, "optimizer gave None"),
        (lambda named: [torch.optim.SGD], TypeError, "optimizer gave"),
        (lambda named: torch.optim.SGD([p for _, p in named[1:]], lr=1), ValueError, "moves 0.weight not at all"),
        (lambda named: [sgd(1)(named), sgd(1)(named[:1])], ValueError, "moves 0.weight twice"),
        (
            lambda named: [sgd(1)(named), sgd(1)([("", nn.Parameter(torch.ones(1)))])],
            ValueError,
            "moves 5 weights, but 4",
        ),
    ],
)
def test_optimizers_move_each_weight_that_trains_once(make, error, words):
    with pytest.raises(error, match=words):
        run(net(), labelled(3), losses.cross_entropy, steps=1, optimizer=make)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1e-3])
@pytest.mark.parametrize("done", [0, 1])
def test_a_rate_that_is_none_is_named_before_it_spoils_the_weights(bad, done):
    model, kept = net(), {0: snapshot(net())}
    with pytest.raises(ValueError, match=f"the schedule's rate in step {done + 1}={bad}: choose a finite number at"):
        run(
            model,
            labelled(3),
            losses.cross_entropy,
            steps=done + 1,
            schedule=lambda step, steps, peak: bad if step == done else peak,
            on_step=lambda step, loss: kept.update({step: snapshot(model)}),
        )
    assert_same(model, kept[done])


@pytest.mark.parametrize("bad", [None, "1e-3", True])
def test_a_rate_is_a_number(bad):
    with pytest.raises(TypeError, match="the schedule's rate in step 1=.* must be a number"):
        run(net(), labelled(3), losses.cross_entropy, steps=1, schedule=lambda *_: bad)


def test_what_begins_to_train_between_two_steps_is_left_without_gradients():
    """As adapters that are switched on meanwhile, while those that trained are frozen."""
    model = net()
    model[3].requires_grad_(False)

    def switch(step: int, loss: float) -> None:
        for part, on in ((0, step == 2), (3, True)):
            model[part].requires_grad_(on)

    run(model, labelled(3), losses.cross_entropy, steps=3, on_step=switch)
    assert all(p.grad is None for p in model.parameters())


def test_a_module_that_cannot_checkpoint_says_so():
    with pytest.raises(ValueError, match="Sequential has no gradient_checkpointing_enable"):
        run(net(), labelled(3), losses.cross_entropy, steps=1, checkpointing=True)


def interrupted(*_) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["weight", "mean", "evaluate", "on_step", "batches", "schedule"])
def test_an_interruption_leaves_modes_and_no_gradients(where):
    model, loss, batches = net(dropout=0.5, norm=True).eval(), Scripted(mean=lambda m, b: m(b[0]).sum()), labelled(3, 3)
    model[3].train()
    modes = [module.training for module in model.modules()]
    options = {where: interrupted, "evaluate_every": 1} if where in ("evaluate", "on_step", "schedule") else {}
    if where in ("weight", "mean"):
        setattr(loss, where, interrupted)
    if where == "batches":
        batches = (interrupted() if i else batch for i, batch in enumerate(batches))
    with pytest.raises(KeyboardInterrupt):
        run(model, batches, loss, steps=2, accumulate=2, **options)
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())


def test_classification_with_dropout_and_batch_norm_learns_and_follows_the_seed():
    def trained(before: int, seed: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        model = net(dropout=0.3, norm=True)
        torch.manual_seed(before)
        history = run(
            model, labelled(16, 16), losses.cross_entropy, steps=60, optimizer=optimizers.adamw(2e-2), seed=seed
        )
        return history.losses, snapshot(model)

    (curve, first), (again, second), (other, _) = trained(1, 0), trained(2, 0), trained(1, 1)
    assert curve == again != other and sum(curve[-5:]) < 0.6 * sum(curve[:5])
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_with_patience_running_means_are_those_of_the_best_step_too():
    model, kept, scores = net(norm=True), {}, iter([1.0, 2.0, 0.0, 0.0])
    run(
        model,
        labelled(4, 6),
        losses.cross_entropy,
        steps=9,
        evaluate=lambda: next(scores),
        evaluate_every=1,
        patience=2,
        on_step=lambda step, loss: kept.update({step: snapshot(model)}),
    )
    assert max(kept) == 4 and not torch.equal(kept[2]["1.running_mean"], kept[4]["1.running_mean"])
    assert_same(model, kept[2])


# ---- any module ----------------------------------------------------------------------------------------------------


def test_the_loop_and_its_losses_come_without_transformers():
    code = "import sys, lora_lab.train.loop, lora_lab.train.losses; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_loops_sentences_speak_of_no_tokens():
    with pytest.raises(TypeError, match="^3 is no model: give a torch.nn.Module$"):
        run(3, labelled(3), losses.cross_entropy, steps=1)
    with pytest.raises(ValueError, match="in bfloat16 or float32, beside frozen ones in float16$"):
        run(net().half(), labelled(3), losses.cross_entropy, steps=1)


def test_the_loss_is_scaled_wherever_a_weight_is_float16():
    """The gradient of a frozen float16 layer behind a trained float32 one is 1e-9, which float16 does not hold."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.ones(1))
            self.last = nn.Parameter(torch.ones(1).half(), requires_grad=False)

        def forward(self, x):
            return (self.first * x).half() * self.last

    mean = lambda model, batch: (model(batch).float() * 1e-9).sum()  # noqa: E731
    history = run(Mixed(), [torch.ones(1)], Scripted(mean=mean), steps=1)
    assert history.grad_norms[0] == pytest.approx(1e-9, rel=1e-2)


def test_what_is_for_language_models_is_found_when_asked_for():
    code = "from lora_lab import train; train.recipes, train.evaluate; print(train.fit.__module__, 'fit' in dir(train))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["lora_lab.train.fitting", "True"]
