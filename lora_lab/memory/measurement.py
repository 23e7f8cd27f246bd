"""The peak of a real training step, as the allocator saw it."""

import gc
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile, record_function

from lora_lab.lora import count_parameters
from lora_lab.memory.phases import watch_phases
from lora_lab.memory.result import MemoryEstimate
from lora_lab.memory.storages import Storages, states, tensors_in, weights_by_component
from lora_lab.ranges import brief

REST = "gradients, activations, workspace"
_MARK = "lora_lab phase: "


def measure(model: nn.Module, step: Callable[[], object]) -> MemoryEstimate:
    """Measure the peak memory of one training step. `step` is called twice, and the second call counts.

    On the CPU torch's profiler records every block that the allocator hands out or takes back, those that kernels
    use for a moment included. To that is added what is there at rest: every storage that the first call used or made
    and that outlived it, such as weights, optimizer states, the batch. Python, code, and what libraries take from
    the system by themselves are not seen.

    On CUDA the allocator's own counters are read, which count every tensor on the device.

    Args:
        model: on the CPU or on one CUDA device. Two steps train it.
        step: forward, backward and update.

    Returns:
        The estimate. Hooks on the model and its optimizer tell the phases; weights and optimizer states are known by
        identity, the rest of the peak is one component. On CUDA `process` holds what the allocator reserved and what
        is in use on the whole device.

    Raises:
        TypeError: for a model that is no `nn.Module`, or a step that cannot be called.
        ValueError: for a model without parameters, on several devices, or on one that cannot be measured.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"measure takes a torch.nn.Module and a step, not the model {brief(model)}")
    if not callable(step):
        raise TypeError(
            f"measure calls its step, which {brief(step)} does not allow: give a function without arguments"
        )
    device = _device(model)
    gc.collect()  # what has died, but in a circle, would go meanwhile, and be taken off
    if device.type == "cuda":
        peaks, process, optimizers = _on_cuda(model, step, device)
    else:
        peaks, process, optimizers = _on_cpu(model, step)
    peak_phase = max(peaks, key=peaks.__getitem__)
    books = Storages()
    for component, tensors in weights_by_component(model).items():
        books.hold(tensors, component)
    for optimizer in optimizers:
        books.hold(states(optimizer), "optimizer states")
    return MemoryEstimate(
        how="measured",
        known_error=f"none in what torch's allocator on {device} hands out; the process takes more",
        peak_bytes=peaks[peak_phase],
        peak_phase=peak_phase,
        phases=peaks,
        components={**books.bytes, REST: peaks[peak_phase] - sum(books.bytes.values())},
        trainable_params=count_parameters(model).trainable,
        process=process,
    )


Measured = tuple[dict[str, int], dict[str, int], list[torch.optim.Optimizer]]


def _on_cpu(model: nn.Module, step: Callable[[], object]) -> Measured:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler's own notes come out with the step's

    def mark(phase: str) -> None:
        with record_function(_MARK + phase):
            pass

    used = _Used(model)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        with used:  # the profiler watches too, because it tells the death only of what it saw being born
            optimizers = _optimizers(step)
        at_rest = sum(used.bytes.values())
        mark("at rest")
        with watch_phases(model, mark):
            step()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    return _replay(events, at_rest), {}, optimizers


def _replay(events: list[Any], alive: int) -> dict[str, int]:
    """The peak within each phase, from what was alive before the first and the blocks that came (+) and went (-)."""
    peaks: dict[str, int] = {}
    phase = None
    for event in events:
        if event.name().startswith(_MARK):
            phase = event.name().removeprefix(_MARK)
        elif event.name() == "[memory]" and phase:
            alive += event.nbytes()
        if phase:
            peaks[phase] = max(peaks.get(phase, 0), alive)
    return peaks


class _Used(Storages):
    """All storages that are made or used within the block, and what the model holds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.hold((tensor for tensors in weights_by_component(model).values() for tensor in tensors), "used")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator; an argument that no operator made was there before."""
        self.hold((tensor for tensor in tensors_in([args, kwargs or {}]) if tensor not in self), "used")
        return super().__torch_dispatch__(func, types, args, kwargs)


def _on_cuda(model: nn.Module, step: Callable[[], object], device: torch.device) -> Measured:
    optimizers = _optimizers(step)
    peaks: dict[str, int] = {}
    phase = "at rest"

    def close(following: str) -> None:
        nonlocal phase
        peaks[phase] = max(peaks.get(phase, 0), torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        phase = following

    torch.cuda.reset_peak_memory_stats(device)
    with watch_phases(model, close):
        step()
    close("at rest")
    free, total = torch.cuda.mem_get_info(device)
    process = {"reserved by the allocator": torch.cuda.memory_reserved(device), "in use on the device": total - free}
    return peaks, process, optimizers


def _optimizers(step: Callable[[], object]) -> list[torch.optim.Optimizer]:
    """Run a step, and note the optimizers that take part."""
    found: dict[int, torch.optim.Optimizer] = {}

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        found[id(optimizer)] = optimizer

    handle = register_optimizer_step_pre_hook(note)
    try:
        step()
    finally:
        handle.remove()
    return list(found.values())


def _device(model: nn.Module) -> torch.device:
    devices = {tensor.device for tensors in weights_by_component(model).values() for tensor in tensors}
    if len(devices) != 1 or next(iter(devices)).type not in ("cpu", "cuda"):
        found = ", ".join(sorted(map(str, devices))) or "none, having no parameters"
        raise ValueError(f"measure wants a model on the CPU or one CUDA device, this one is on {found}: move it there")
    return devices.pop()
