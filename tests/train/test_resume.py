"""A run that is kept in a folder: killed anywhere and gone on with, it is the run that was not killed."""

import json
import math
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from lora_lab import lora, train
from lora_lab.train import fingerprints, keeping, losses, packing, schedules
from lora_lab.train.interruptions import held_back
from lora_lab.train.loop import run
from tests.helpers.data import examples
from tests.helpers.models import snapshot, tiny_llama

SCORES = (1.0, 3.0, 2.0, 2.5, 2.0, 9.0)
"""Of the evaluations: the second is the best one, and with a patience of 3 the fifth is the last."""


class Killed(BaseException):
    """What SIGKILL does: nobody catches it, and nothing is saved at it."""


def net(seed: int = 0, width: int = 7) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(5, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Tanh(), nn.Linear(width, 3)]
    return nn.Sequential(*layers)


def batches(seed: int = 3, n: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(4, 5, generator=generator) for _ in range(n)]
    return [(x, (x.sum(1) > 0).long()) for x in rows]


def scripted():
    """An evaluation that draws random numbers, as one that samples would."""
    count = 0

    def evaluate() -> float:
        nonlocal count
        torch.rand(3)
        count += 1
        return SCORES[count - 1]

    def after(done: int):  # as it would be in another process that goes on
        nonlocal count
        count = done
        return evaluate

    evaluate.after = after
    return evaluate


OPTIONS = {"steps": 12, "accumulate": 2, "evaluate_every": 2, "patience": 3, "seed": 5, "save_every": 1,
           "schedule": schedules.cosine(3)}  # fmt: skip


def trained(folder=None, *, model=None, on_step=None, evaluate=None, data=None, **options):
    model = model or net()
    history = run(
        model, data or batches(), losses.cross_entropy, resume=folder, on_step=on_step,
        evaluate=evaluate or scripted(), **{**OPTIONS, **options}
    )  # fmt: skip
    return model, history


def killed_at(step: int, error=Killed):
    def on_step(done, loss):
        if done == step:
            raise error

    return on_step


def evaluations_in(folder) -> int:
    return len(packing.read_document(folder, "")["history"]["evaluations"])


def assert_same_run(one, other):
    (model, history), (ours, wanted) = one, other
    for name in ("losses", "learning_rates", "grad_norms", "counted", "evaluations", "stopped_early"):
        assert getattr(history, name) == getattr(wanted, name), name
    state = ours.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert len(history.seconds) == len(history.losses) and history.seconds == sorted(history.seconds)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        *((step, Killed) for step in range(1, 11)),
        (1, KeyboardInterrupt),
        (5, KeyboardInterrupt),
        (10, KeyboardInterrupt),
    ],
)
def test_a_run_killed_at_any_step_and_gone_on_with_is_the_run_that_was_not_bit_for_bit(tmp_path, step, error):
    whole = trained()
    assert len(whole[1].losses) == 10 and whole[1].stopped_early  # so that patience is in it too
    with pytest.raises(error):
        trained(tmp_path, on_step=killed_at(step, error))
    assert keeping.steps_done(tmp_path) == (step if error is KeyboardInterrupt else step - 1) or step == 1
    done = evaluations_in(tmp_path) if (tmp_path / packing.DOCUMENT).exists() else 0
    torch.manual_seed(99)
    other = net(seed=0)  # the same base, in another state of the random numbers
    assert_same_run(trained(tmp_path, model=other, evaluate=scripted().after(done)), whole)


@pytest.mark.parametrize("at", range(1, 6))
def test_a_run_interrupted_while_it_is_evaluated_evaluates_again(tmp_path, at):
    evaluate = scripted()
    count = 0

    def interrupted():
        nonlocal count
        score, count = evaluate(), count + 1
        if count == at:
            raise KeyboardInterrupt
        return score

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, evaluate=interrupted)
    assert keeping.steps_done(tmp_path) == 2 * at and evaluations_in(tmp_path) == at - 1
    assert_same_run(trained(tmp_path, evaluate=scripted().after(at - 1)), trained())


def test_a_run_killed_between_two_saves_goes_on_from_the_last_one(tmp_path):
    with pytest.raises(Killed):
        trained(tmp_path, on_step=killed_at(8), save_every=3)
    assert keeping.steps_done(tmp_path) == 6
    assert_same_run(trained(tmp_path, evaluate=scripted().after(3), save_every=3), trained())


def test_a_run_may_be_interrupted_often(tmp_path):
    for step in (2, 3, 7):
        with pytest.raises(KeyboardInterrupt):
            before = evaluations_in(tmp_path) if step > 2 else 0
            trained(tmp_path, on_step=killed_at(step, KeyboardInterrupt), evaluate=scripted().after(before))
    assert_same_run(trained(tmp_path, evaluate=scripted().after(evaluations_in(tmp_path))), trained())


def test_a_finished_run_gives_its_weights_and_history_back_and_computes_nothing(tmp_path):
    whole = trained(tmp_path)
    written = (tmp_path / packing.TENSORS).stat().st_mtime_ns
    again = trained(tmp_path, on_step=killed_at(1), evaluate=lambda: pytest.fail("evaluated"))
    assert_same_run(again, whole)
    assert again[1].seconds == whole[1].seconds and (tmp_path / packing.TENSORS).stat().st_mtime_ns == written


def test_keeping_a_run_changes_nothing_in_it(tmp_path):
    assert_same_run(trained(tmp_path), trained())


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_a_language_model_goes_on_bit_for_bit_with_every_method(tmp_path, method):
    def tuned(folder=None, on_step=None, dropout=0.1):
        config = None if method == "full" else lora.LoRAConfig(r=4, target_modules="all-linear", dropout=dropout)
        model = train.prepare(tiny_llama(attention_dropout=0.1), method, config)
        evaluate = lambda: -len(examples(2))  # noqa: E731
        history = train.fit(
            model, examples(7), steps=6, lr=1e-2, batch_size=2, warmup=2, accumulate=2, weight_decay=0.1,
            evaluate=evaluate, evaluate_every=2, patience=3, resume=folder, save_every=1, on_step=on_step,
        )  # fmt: skip
        return model, history

    with pytest.raises(Killed):
        tuned(tmp_path, killed_at(4))
    assert_same_run(tuned(tmp_path), tuned())


@pytest.mark.parametrize(
    "make",
    [
        lambda named: torch.optim.SGD([p for _, p in named], lr=0.1, momentum=0.9),
        lambda named: [
            torch.optim.Adafactor([p for _, p in named][:2], lr=0.01),
            torch.optim.RAdam([p for _, p in named][2:], lr=0.01),
        ],
    ],
    ids=["momentum", "two"],
)
def test_optimizers_of_ones_own_go_on(tmp_path, make):
    options = {"optimizer": make, "evaluate": lambda: 0.0, "patience": None, "steps": 5}
    with pytest.raises(Killed):
        trained(tmp_path, on_step=killed_at(3), **options)
    assert_same_run(trained(tmp_path, **options), trained(**options))


def test_what_an_optimizer_remembers_keeps_its_own_precision(tmp_path):
    """`load_state_dict` would round it to the weights' bfloat16."""

    def tuned(folder=None, on_step=None):
        model = net()[0].bfloat16()

        class Own(torch.optim.SGD):
            def step(self, closure=None):
                for p in self.param_groups[0]["params"]:
                    state = self.state[p]
                    state["sum"] = state.get("sum", torch.zeros(p.shape)) + 1.001 * p.grad.float()
                    p.data -= (0.1 * state["sum"]).bfloat16()

        data = [(x.bfloat16(), y) for x, y in batches()]
        make = lambda named: Own([p for _, p in named], lr=0.1)  # noqa: E731
        history = run(model, data, losses.cross_entropy, steps=6, optimizer=make, resume=folder, save_every=1,
                      on_step=on_step)  # fmt: skip
        return model, history

    with pytest.raises(Killed):
        tuned(tmp_path, killed_at(4))
    assert_same_run(tuned(tmp_path), tuned())


# ---- another run ---------------------------------------------------------------------------------------------------


@pytest.fixture
def half(tmp_path):
    with pytest.raises(Killed):
        trained(tmp_path, on_step=killed_at(5), identity={"data": "a"})
    return tmp_path


OTHERS = [
    ({"steps": 13}, "was begun with steps=12, and this one has steps=13"),
    ({"seed": 6}, "seed=5, and this one has seed=6"),
    ({"accumulate": 1}, "accumulate=2, and"),
    ({"clip": 2.0}, "clip=1.0, and"),
    ({"patience": 4}, "patience=3, and"),
    ({"evaluate_every": 3}, "evaluate_every=2, and"),
    ({"schedule": schedules.cosine(2)}, "has other rates of the schedule than this one"),
    ({"optimizer": train.optimizers.adamw(3e-3)}, "optimizer="),
    ({"model": net(width=6)}, "has other trainable weights"),
    ({"data": batches(seed=4)}, "batches are others"),
    ({"data": batches(n=6)}, "batches are others"),
    ({"identity": {"data": "b"}}, "data=a, and this one has data=b"),
]


@pytest.mark.parametrize(("options", "words"), OTHERS, ids=[next(iter(options)) for options, _ in OTHERS])
def test_the_state_of_another_run_is_refused_naming_the_difference(half, options, words):
    before = (half / packing.TENSORS).read_bytes()
    model = options.pop("model", None) or net()
    start = snapshot(model)
    with pytest.raises(ValueError, match=words):
        trained(half, model=model, **{"identity": {"data": "a"}, **options})
    assert all(torch.equal(value, start[key]) for key, value in model.state_dict().items())
    assert (half / packing.TENSORS).read_bytes() == before


def test_another_frozen_base_is_refused(tmp_path):
    def tuned(base, on_step=None):
        model = train.prepare(base, "lora", lora.LoRAConfig(r=2, target_modules="all-linear"))
        return train.fit(model, examples(4), steps=4, batch_size=2, resume=tmp_path, save_every=1, on_step=on_step)

    with pytest.raises(Killed):
        tuned(tiny_llama(), killed_at(3))
    with pytest.raises(ValueError, match="has other frozen weights than this one"):
        tuned(tiny_llama(seed=1))
    tuned(tiny_llama())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 2e-3}, "lr=0.001, and this one has lr=0.002"),
        ({"batch_size": 3}, "batch_size=2, and"),
        ({"dataset": examples(5)[::-1]}, "has other examples to learn from"),
        ({"dataset": [*examples(5)[:4], examples(6)[5]]}, "has other examples to learn from"),  # none drawn so far
    ],
)
def test_fit_refuses_other_data_and_settings_by_name(tmp_path, change, words):
    def tuned(dataset=None, on_step=None, **options):
        model = train.prepare(tiny_llama(), "full")
        settings = {"lr": 1e-3, "batch_size": 2, **options}
        train.fit(model, dataset or examples(5), steps=4, resume=tmp_path, save_every=1, on_step=on_step, **settings)

    with pytest.raises(Killed):
        tuned(on_step=killed_at(2))
    with pytest.raises(ValueError, match=words):
        tuned(**change)


def test_recomputing_activations_may_be_switched_on_when_going_on(tmp_path):
    """Who ran out of memory can go on."""

    def tuned(on_step=None, **options):
        model = train.prepare(tiny_llama(), "full")
        return train.fit(model, examples(4), steps=4, batch_size=2, resume=tmp_path, save_every=1, on_step=on_step,
                         **options)  # fmt: skip

    with pytest.raises(Killed):
        tuned(killed_at(3))
    assert len(tuned(checkpointing=True).losses) == 4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"folder": 3}, TypeError, "resume=3: give the folder"),
        ({"folder": ""}, ValueError, "'' names no file and no folder"),
        ({"save_every": 0}, ValueError, "save_every=0: choose at least 1"),
        ({"save_every": 1.5}, TypeError, "save_every=1.5 must be an integer"),
        ({"identity": {"a": object()}}, TypeError, "cannot be written as JSON"),
        ({"identity": [1]}, TypeError, "give a dict"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        trained(**{"folder": tmp_path / "run", **options})


@pytest.mark.parametrize("damage", ["cut", "missing", "no json", "of two saves", "{}", "other kinds", "no tensor"])
def test_a_damaged_state_is_named_and_nothing_is_trained(half, damage):
    document, tensors = half / packing.DOCUMENT, half / packing.TENSORS
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:100])
    elif damage == "missing":
        tensors.unlink()
    elif damage == "no json":
        document.write_text("{")
    elif damage == "{}":
        document.write_text("{}")
    elif damage == "other kinds":
        document.write_text('{"history": {"losses": 5}, "identity": 5}')
    elif damage == "no tensor":
        document.write_text(document.read_text().replace('"weights.0"', "[1]"))
    else:
        document.write_text(document.read_text().replace("weights.0", "weights.99"))
    model = net()
    before = snapshot(model)
    with pytest.raises((ValueError, OSError), match=r"begin again in another folder, or delete this one"):
        trained(half, model=model, identity={"data": "a"})
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("text", ["{}", '{"history": []}', '{"history": {"losses": 5}}'])
def test_a_state_that_is_not_what_was_written_has_no_number_of_steps(tmp_path, text):
    (tmp_path / packing.DOCUMENT).write_text(text)
    with pytest.raises(ValueError, match=r"state\.json is damaged \(it is not what was written\): begin again"):
        keeping.steps_done(tmp_path)


def test_a_disk_that_is_full_costs_the_way_back_and_not_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("cannot write 'x' (No space left on device): free some space")

    monkeypatch.setattr(packing, "write", full)
    with pytest.warns(UserWarning, match="of the run is not kept: cannot write .*No space left"):
        ours = trained(tmp_path)
    assert_same_run(ours, trained())


def test_a_disk_that_stays_full_is_tried_and_told_of_as_often_as_a_save_is_due(tmp_path, monkeypatch):
    tried = []

    def full(folder, tree):
        tried.append(len(tree["history"]["losses"]))
        raise OSError("cannot write 'x' (No space left on device): free some space")

    monkeypatch.setattr(packing, "write", full)
    with pytest.warns(UserWarning, match="is not kept"):
        trained(tmp_path, save_every=5)
    assert tried == [5, 10, 10], "every five steps, and at the end, which patience brings after ten"


# ---- files ---------------------------------------------------------------------------------------------------------


def test_a_state_is_json_and_safetensors_and_never_a_pickle(half):
    assert {path.name for path in half.iterdir()} == {"state.json", "state.safetensors"}
    json.loads((half / "state.json").read_text(encoding="utf-8"))


def test_a_tree_comes_back_as_it_was(tmp_path):
    one = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    tree = {
        "a": [one, one, one.T, one[1], torch.tensor(3)],
        "b": {"c": None, "d": math.inf, "e": 0.1, "f": "x"},
        "g": [True, 2, []],
    }
    packing.write(tmp_path, tree)
    back = packing.read(tmp_path, "")
    for given, wanted in zip(back["a"], tree["a"], strict=True):
        assert given.dtype == wanted.dtype and torch.equal(given, wanted)
    assert (back["b"], back["g"]) == (tree["b"], tree["g"])


@pytest.mark.parametrize(
    "tree",
    [{"a": {1: 2}}, {"a": object()}, {"a": {"b": [1, {2}]}}],
)
def test_what_no_file_can_hold_is_refused_by_its_place(tmp_path, tree):
    with pytest.raises(TypeError, match="^a"):
        packing.write(tmp_path / "state", tree)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [12]),
        ([[1], [2]], [[1, 2]]),
        ("1", 1),
        (1, 1.0),
        (True, 1),
        ({"a": [1]}, {"b": [1]}),
        (torch.ones(2, 3), torch.ones(3, 2)),
        (torch.ones(2), torch.ones(2).double()),
        (torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])),
        (["a", "bc"], ["ab", "c"]),
    ],
)
def test_what_differs_has_other_fingerprints(one, other):
    assert fingerprints.of_values(one) != fingerprints.of_values(other)
    assert fingerprints.of_values(one) == fingerprints.of_values(one)


def test_a_sample_of_a_weight_tells_another_start_apart():
    big = torch.randn(1000, 100, generator=torch.Generator().manual_seed(0))
    assert fingerprints.of_weights([("w", big)]) == fingerprints.of_weights([("w", big.clone())])
    for other in (big + 1e-3, big.T.contiguous(), big[:999]):
        assert fingerprints.of_weights([("w", other)]) != fingerprints.of_weights([("w", big)])
    assert fingerprints.of_weights([("v", big)]) != fingerprints.of_weights([("w", big)])


# ---- Ctrl-C --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_is_held_back_until_the_block_is_done(number):
    before = signal.signal(number, signal.default_int_handler)
    done = False
    try:
        with pytest.raises(KeyboardInterrupt), held_back():
            os.kill(os.getpid(), number)
            done = True
        assert done and signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_is_raised_at_once():
    done = False
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert not done


def test_a_handler_of_somebody_else_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            assert seen == [1]
    finally:
        signal.signal(signal.SIGINT, before)


class Interrupted:
    """A loss at which Ctrl-C is pressed: within a step, when gradients are there and nothing has moved."""

    def __init__(self, at, times=1):
        self.at, self.times, self.calls = at, times, 0

    def weight(self, model, batch):
        return 1

    def mean(self, model, batch):
        self.calls += 1
        if self.calls == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return losses.cross_entropy.mean(model, batch)


@pytest.mark.parametrize(("times", "kept"), [(1, 3), (2, 2)])
def test_ctrl_c_within_a_step_keeps_it_whole_and_a_second_one_leaves_it_out(tmp_path, times, kept):
    def tuned(loss, folder=None):
        model = net()
        return model, run(model, batches(), loss, steps=6, resume=folder, save_every=1)

    with pytest.raises(KeyboardInterrupt):
        tuned(Interrupted(3, times), tmp_path)
    assert keeping.steps_done(tmp_path) == kept
    assert_same_run(tuned(Interrupted(0), tmp_path), tuned(Interrupted(0)))


def test_weights_that_a_second_ctrl_c_left_half_moved_are_not_kept(tmp_path):
    def torn(named):
        class Torn(torch.optim.SGD):
            def step(self, closure=None):
                super().step()
                self.param_groups[0]["n"] = self.param_groups[0].get("n", 0) + 1
                if self.param_groups[0]["n"] == 3 and armed:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGINT)

        return Torn([p for _, p in named], lr=0.1)

    def tuned(folder=None):
        model = net()
        return model, run(model, batches(), losses.cross_entropy, steps=6, optimizer=torn, resume=folder)

    armed = True
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path)
    assert keeping.steps_done(tmp_path) is None
    armed = False
    assert_same_run(tuned(tmp_path), tuned())


def test_without_a_folder_ctrl_c_is_not_held_back():
    loss = Interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        run(net(), batches(), loss, steps=6)
    assert loss.calls == 3 and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_a_process_that_is_killed_in_truth_goes_on_in_another(tmp_path):
    """SIGKILL at some moment in the middle of steps and saves."""
    code = (
        "import sys, torch\n"
        "from tests.train.test_resume import trained\n"
        "def on_step(done, loss):\n"
        "    print(done, flush=True)\n"
        f"trained({str(tmp_path)!r}, on_step=on_step, evaluate=lambda: 0.0, patience=None, steps=4000)\n"
    )
    path = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    for line in process.stdout:
        if int(line) == 20:
            process.kill()
            break
    process.wait()
    done = keeping.steps_done(tmp_path)
    assert 18 <= done < 4000
    options = {"evaluate": lambda: 0.0, "patience": None, "steps": 4000}
    with pytest.raises(Killed):
        trained(tmp_path, on_step=killed_at(done + 5), **options)
    model = net()
    with pytest.raises(Killed):
        trained(model=model, on_step=killed_at(done + 4), **options)
    kept = packing.read(tmp_path, "")["weights"]
    parameters = [*model.parameters(), *model[1].buffers()]
    assert len(kept) == len(parameters) and all(torch.equal(a, b) for a, b in zip(kept, parameters))


def test_no_warning_in_a_run_that_is_kept(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(tmp_path)
