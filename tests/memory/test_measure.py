import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig

from lora_lab import memory
from lora_lab.memory import measurement, storages

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = LlamaConfig(
    vocab_size=701, hidden_size=96, intermediate_size=250, num_hidden_layers=2, num_attention_heads=3,
    num_key_value_heads=1, max_position_embeddings=128,
)  # fmt: skip


class Counted(storages.Storages):
    """The second opinion: every storage that is alive between two operators."""

    peak = 0

    def note(self) -> None:
        self.peak = max(self.peak, sum(self.bytes.values()))


def chain() -> tuple[nn.Module, torch.optim.Optimizer, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(70, 130), nn.Tanh(), nn.Linear(130, 30))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), torch.randn(50, 70)


def test_the_peak_is_that_of_the_live_storages_where_kernels_need_no_workspace():
    model, optimizer, x = chain()

    def step() -> None:
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    estimate = memory.measure(model, step)
    counted = Counted()
    counted.hold([*model.parameters(), x, *storages.states(optimizer)], "before")
    with counted:
        step()
    assert estimate.peak_bytes == counted.peak
    weights = sum(p.nbytes for p in model.parameters())
    assert estimate.phases["at rest"] == 2 * weights + x.nbytes  # and as much momentum
    assert estimate.components["trainable weights"] == estimate.components["optimizer states"] == weights
    assert sum(estimate.components.values()) == estimate.peak_bytes
    assert estimate.trainable_params == sum(p.numel() for p in model.parameters())


def test_the_workspace_of_a_kernel_is_seen():
    model, x = nn.Linear(10, 10), torch.randn(64, 1000)

    @torch.no_grad()
    def step() -> None:
        model(x[:, :10]), x.logsumexp(dim=1)

    counted = Counted()
    counted.hold([*model.parameters(), x], "before")
    with counted:
        step()
    assert memory.measure(model, step).peak_bytes >= counted.peak + x.nbytes  # exp(x - max)


def frees_at_the_end(model, optimizer, x):
    model(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def frees_at_the_start(model, optimizer, x):
    optimizer.zero_grad(set_to_none=True)
    model(x).sum().backward()
    optimizer.step()


def frees_before_the_backward_pass(model, optimizer, x):
    loss = model(x).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def zeroes(model, optimizer, x):
    model(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


@pytest.mark.parametrize(
    ("loop", "kept"),
    [(frees_at_the_end, 0), (frees_at_the_start, 1), (frees_before_the_backward_pass, 1), (zeroes, 1)],
)
def test_what_an_earlier_step_left_is_counted_once_however_the_loop_is_written(loop, kept):
    model, optimizer, x = chain()
    weights = sum(p.nbytes for p in model.parameters())
    fresh = memory.measure(model, lambda: loop(model, optimizer, x))
    again = memory.measure(model, lambda: loop(model, optimizer, x))
    assert fresh == again
    assert fresh.phases["at rest"] == (2 + kept) * weights + x.nbytes
    assert fresh.phases["optimizer step"] >= 3 * weights + x.nbytes


def test_a_batch_made_within_the_step_is_counted_while_it_lives():
    model, optimizer, x = chain()
    outside = memory.measure(model, lambda: frees_at_the_end(model, optimizer, x))
    inside = memory.measure(model, lambda: frees_at_the_end(model, optimizer, x.clone()))
    assert inside.phases["at rest"] == outside.phases["at rest"] + x.nbytes  # x is not used up by its clone
    assert inside.peak_bytes == outside.peak_bytes + x.nbytes


def test_weights_that_the_step_does_not_touch_are_counted_too():
    model, optimizer, x = chain()
    alone = memory.measure(model, lambda: frees_at_the_end(model, optimizer, x))
    model[0].unused = nn.Linear(40, 90).requires_grad_(False)
    beside = memory.measure(model, lambda: frees_at_the_end(model, optimizer, x))
    assert beside.phases["at rest"] - alone.phases["at rest"] == 4 * 41 * 90 == beside.components["frozen weights"]


def test_phases_come_in_order_and_a_model_without_a_decoder_is_taken_as_a_whole():
    model, optimizer, x = chain()
    plain = memory.measure(model, lambda: frees_at_the_end(model, optimizer, x))
    causal = memory.measure(*memory.real_step(memory.Setup(CONFIG, "qlora", checkpointing=True, seq_len=60)))
    for estimate in (plain, causal):
        assert list(estimate.phases) == list(memory.PHASES)
        assert estimate.how == "measured" and estimate.peak_phase in estimate.phases
        assert "Measured peak" in estimate.table()
    logits = 60 * CONFIG.vocab_size
    assert causal.phases["loss"] > causal.phases["at rest"] + 12 * logits  # the head belongs to the loss
    assert causal.phases["forward"] < causal.phases["at rest"] + 12 * logits


def test_a_step_without_an_optimizer_has_no_update():
    model, _, x = chain()
    estimate = memory.measure(model, lambda: F.relu(model(x)).sum().backward())
    assert list(estimate.phases) == ["at rest", "forward", "loss", "backward"]
    assert "optimizer states" not in estimate.components


def test_an_error_in_the_step_comes_out_and_leaves_no_hook_behind():
    model, optimizer, x = chain()

    def broken() -> None:
        model(x).sum().backward()
        raise KeyError("batch")

    with pytest.raises(KeyError, match="batch"):
        memory.measure(model, broken)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert memory.measure(model, lambda: frees_at_the_end(model, optimizer, x)).peak_bytes > 0


def test_a_model_that_cannot_be_measured_is_refused_by_its_device():
    spread = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    for model, words in ((nn.ReLU(), "no parameters"), (spread, "cpu, meta"), (spread[1], "on meta")):
        with pytest.raises(ValueError, match=words):
            memory.measure(model, lambda: pytest.fail("was called"))


class Device:
    """A stand-in for torch.cuda's allocator: each phase of a step brings what `peaks` says."""

    def __init__(self, peaks: list[int]) -> None:
        self.peaks, self.resets = iter(peaks), 0

    def install(self, monkeypatch) -> None:
        for name in ("max_memory_allocated", "reset_peak_memory_stats", "memory_reserved", "mem_get_info"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(measurement, "_device", lambda model: torch.device("cuda:0"))

    def max_memory_allocated(self, device) -> int:
        return next(self.peaks)

    def reset_peak_memory_stats(self, device) -> None:
        self.resets += 1

    def memory_reserved(self, device) -> int:
        return 250_000_000

    def mem_get_info(self, device) -> tuple[int, int]:
        return 15_000_000_000, 16_000_000_000


def test_on_cuda_each_phase_has_the_allocators_own_peak_and_the_process_is_told_apart(monkeypatch):
    model, optimizer, x = chain()
    device = Device([100_000, 130_000, 140_000, 200_000, 150_000])
    device.install(monkeypatch)
    estimate = memory.measure(model, lambda: frees_at_the_end(model, optimizer, x))
    assert estimate.phases == dict(zip(memory.PHASES, [100_000, 130_000, 140_000, 200_000, 150_000]))
    assert (estimate.peak_bytes, estimate.peak_phase) == (200_000, "backward")
    assert estimate.process == {"reserved by the allocator": 250_000_000, "in use on the device": 1_000_000_000}
    assert device.resets == 6  # before the step, and at the end of each phase
    assert estimate.components["optimizer states"] == sum(p.nbytes for p in model.parameters())
    assert "reserved by the allocator" in estimate.table()


class _Left:
    """What only Python's collector takes away, with a tensor."""

    def __init__(self) -> None:
        self.me, self.tensor = self, torch.ones(10**6)


def test_what_an_earlier_measurement_left_behind_does_not_go_during_the_next():
    def peak(beside):
        model, optimizer, x = chain()

        def step():
            beside()
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        return memory.measure(model, step).peak_bytes

    collected = iter((lambda: None, gc.collect))  # in the step that counts
    gc.disable()
    try:
        alone = peak(lambda: None)
        peak(_Left)
        assert peak(lambda: next(collected)()) == alone
    finally:
        gc.enable()


IN_A_PROCESS = """
import gc, json
from pathlib import Path
from transformers import LlamaConfig
from lora_lab import memory

def status(name):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[name].split()[0])

config = LlamaConfig(vocab_size=9001, hidden_size=384, intermediate_size=1030, num_hidden_layers=3,
                     num_attention_heads=6, num_key_value_heads=2)
setup = memory.Setup(config, METHOD, precision=PRECISION, seq_len=900)
memory.real_step(setup)[1]()                        # code, and what libraries keep
gc.collect()
before = status("VmRSS")
model, step = memory.real_step(setup)
step()
Path("/proc/self/clear_refs").write_text("5")       # the process's peak begins anew
step()
grown = status("VmHWM") - before
print(json.dumps([grown, memory.measure(model, step).peak_bytes]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak")
@pytest.mark.parametrize(("method", "precision"), [("full", "fp32"), ("qlora", "mixed")])
def test_the_process_grows_by_what_was_measured(method, precision):
    code = IN_A_PROCESS.replace("METHOD", repr(method)).replace("PRECISION", repr(precision))
    returning = {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}  # malloc keeps no freed block
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **returning})
    assert done.returncode == 0, done.stderr
    grown, measured = json.loads(done.stdout)
    assert measured > 100e6
    assert grown == pytest.approx(measured, rel=0.05), (grown, measured)
    assert "profiler" not in done.stderr


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_step_that_fails_leaves_nothing_behind_and_the_next_can_be_measured(fails_at):
    model, calls = nn.Linear(3, 5), []

    def step() -> None:
        calls.append(None)
        model(torch.ones(2, 3)).sum().backward()
        if len(calls) == fails_at:
            raise RuntimeError("the step's own")

    with pytest.raises(RuntimeError, match="the step's own"):
        memory.measure(model, step)
    assert not model._forward_hooks and not model._forward_pre_hooks
    assert not sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    assert memory.measure(model, step).peak_bytes > 0


@pytest.mark.parametrize(
    ("model", "step", "words"),
    [("gpt2", lambda: None, "'gpt2'"), (None, lambda: None, "None"), (nn.Linear(2, 2), None, "calls its step")],
)
def test_what_cannot_be_measured_is_no_traceback_from_the_profiler(model, step, words):
    with pytest.raises(TypeError, match=words):
        memory.measure(model, step)
