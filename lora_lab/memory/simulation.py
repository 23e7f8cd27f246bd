"""One training step of the real model class, without a model: fake tensors, with live storages counted.

A fake tensor has a shape, a dtype and a storage of the right size, but no data. The model's own code runs on it,
autograd keeps and frees as always, and so the peak comes out without weights and without a fitted constant. Of 4-bit
layers it is the readable path that runs: a CPU's kernels (`quant.kernels`) need less.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import masking_utils

from lora_lab import lora
from lora_lab.memory.presets import load_config
from lora_lab.memory.passing import softmax_backward
from lora_lab.memory.phases import watch_phases
from lora_lab.memory.reach import notes
from lora_lab.memory.result import COMPONENTS, PHASES, MemoryEstimate, Moment
from lora_lab.memory.settings import Options, Setup
from lora_lab.memory.sizes import FAMILIES, Sized
from lora_lab.memory.stacks import with_defaults
from lora_lab.memory.step import build_model, make_batch, make_optimizer, refuse_what_cannot_run, training_step
from lora_lab.memory.storages import Storages, states, weights_by_component
from lora_lab.quant import Linear4bit
from lora_lab.units import Method, first_line

KNOWN_ERROR = "within 1 % of what torch's CPU allocator hands out; a GPU's libraries take workspace of their own"

aten = torch.ops.aten


def simulate(config: Sized, method: Method = "lora", **options: Unpack[Options]) -> MemoryEstimate:
    """Predict the memory of a training step by running it on fake tensors: an 8B model in seconds, without weights.

    It is not the first step: the optimizer's states are there from its beginning. 4-bit weights are dequantized whole,
    as on a GPU; on a CPU `Linear4bit` restores those of more than 2²⁰ values slab by slab, and needs less.

        print(memory.simulate("llama-3.1-8b", "qlora", seq_len=2048, checkpointing=True).table())

    Args:
        config: a `transformers` config of a causal LM, the name of a preset, or a folder.
        method: "full", "lora" or "qlora".
        options: the other fields of `Setup`.

    Returns:
        The estimate, with a timeline.

    Raises:
        TypeError, ValueError: as `Setup`; and for optimizers that are not torch's own, offloading, targets that
            `lora.inject` refuses, and models whose code needs values, not only shapes.
    """
    setup = Setup(config, method, **with_defaults(method, options))
    refuse_what_cannot_run(setup)
    with _refusing(type(load_config(setup.config)).__name__):
        model = build_model(setup, "meta")
    return simulate_model(setup, model)


def simulate_model(setup: Setup, model: nn.Module) -> MemoryEstimate:
    """`simulate` for a model on "meta" that was made otherwise, such as one with PEFT's layers.

    Args:
        setup: its batch, optimizer, loss and precision are taken.
        model: a causal LM in training mode, whose parameters say what trains. It becomes fake, and is of no more use.

    Raises:
        ValueError: for a model whose code needs values, not only shapes.
    """
    ledger = _Ledger(setup)
    with _refusing(type(model).__name__), FakeTensorMode(allow_non_fake_inputs=True), ledger, _as_if_real():
        _materialise(model)
        for component, tensors in weights_by_component(model).items():
            ledger.hold(tensors, component)
        optimizer, batch = make_optimizer(setup, model), make_batch(setup)
        _make_states(optimizer)
        ledger.hold(states(optimizer), "optimizer states")
        ledger.start()
        with ledger.watching(model):
            training_step(setup, model, optimizer, batch)
        ledger.enter(PHASES[0])
    counted = ledger.estimate(lora.count_parameters(model).trainable)
    return replace(counted, notes=notes(setup.sizes, setup.method) if setup.config.model_type in FAMILIES else ())


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """The code of a model is anybody's, and fails as it likes without values, or in sizes that none has."""
    try:
        yield
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"{what} does not run on fake tensors with these settings ({first_line(error)}): "
            "memory.estimate counts in closed form"
        ) from error


class _Ledger(Storages):
    """Books the storages of a step under components, and notes the phase of each moment."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = setup
        self.phase = PHASES[0]
        self.timeline: list[Moment] = []
        self._dequantizing = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator as it would run on real tensors."""
        if func is aten._local_scalar_dense.default:  # .item(): memory does not depend on values, so all of them are 1
            return 1.0 if args[0].is_floating_point() else 1
        if func is aten.add.Tensor and self.phase in ("loss", "backward") and _summed_in_place(args[0]):
            func = aten.add_.Tensor
        beside = self.beside_softmax(types, args[0]) if func is aten._softmax_backward_data.default else None
        result = super().__torch_dispatch__(func, types, args, kwargs)
        del beside
        return result

    def beside_softmax(self, types: Any, gradient: Tensor) -> Tensor | None:
        """What CUDA's kernel makes for a moment, and the CPU's, which runs here, does not; see
        `passing.softmax_backward`, which says how wide it is."""
        if not (width := softmax_backward(self.setup)):
            return None
        options = {"dtype": torch.float16 if width == 2 else torch.float32, "device": gradient.device}
        made: Tensor = super().__torch_dispatch__(aten.empty.memory_format, types, (list(gradient.shape),), options)
        return made

    def start(self) -> None:
        """The step that counts begins."""
        self.timeline.clear()
        self.enter(PHASES[0])

    def enter(self, phase: str) -> None:
        """The step comes to another phase."""
        self.phase = phase
        self.note()

    def note(self) -> None:
        """Something was allocated."""
        self.timeline.append(Moment(self.phase, tuple(self.bytes.get(name, 0) for name in COMPONENTS)))

    def component(self) -> str:
        """What a storage that is born now is for. Within the backward pass, autograd records only in a repeated forward
        pass (checkpointing); a 4-bit product is made without recording, and is told by its module."""
        if self.phase == "loss":
            return "logits and loss"
        backward = self.phase == "backward" and not torch.is_grad_enabled()
        return "workspace" if backward or self._dequantizing or self.phase == "optimizer step" else "activations"

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Follow the phases, and rebook what cannot be told at birth."""

        def complete(parameter: Tensor) -> None:
            assert parameter.grad is not None
            self.hold([parameter.grad], "gradients")

        def begin(module: nn.Module, args: Any) -> None:
            self._dequantizing = True

        def end(module: nn.Module, args: Any, output: Tensor) -> None:
            self._dequantizing = False
            self.hold([output], "activations")

        handles = [p.register_post_accumulate_grad_hook(complete) for p in model.parameters() if p.requires_grad]
        for module in model.modules():
            if isinstance(module, Linear4bit):
                handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
        try:
            with watch_phases(model, self.enter):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def estimate(self, trainable_params: int) -> MemoryEstimate:
        """The peak of the timeline."""
        peak = max(self.timeline, key=lambda moment: moment.total)
        phases: dict[str, int] = {}
        for moment in self.timeline:
            phases[moment.phase] = max(phases.get(moment.phase, 0), moment.total)
        return MemoryEstimate(
            how="simulated",
            known_error=KNOWN_ERROR,
            peak_bytes=peak.total,
            peak_phase=peak.phase,
            phases=phases,
            components=dict(zip(COMPONENTS, peak.bytes)),
            trainable_params=trainable_params,
            timeline=tuple(self.timeline),
        )


def _summed_in_place(gradient: Tensor) -> bool:
    """Whether autograd's engine, where two gradients meet, would write their sum over the first of them.

    It does if nobody else holds that storage, but never with fake tensors. Here two hold it: the tensor, and the
    Python object that we ask.
    """
    return not torch.is_grad_enabled() and torch._C._storage_Use_Count(gradient.untyped_storage()._cdata) == 2


@contextmanager
def _as_if_real() -> Iterator[None]:
    """transformers takes a fake tensor for an export, and would build masks that a real step does without."""
    asked = masking_utils.is_tracing
    masking_utils.is_tracing = lambda tensor=None: False
    try:
        yield
    finally:
        masking_utils.is_tracing = asked


def _make_states(optimizer: torch.optim.Optimizer) -> None:
    """One update: an optimizer makes its states at the end of the first step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _materialise(model: nn.Module) -> None:
    """Give every parameter and buffer on "meta" a fake storage; what was tied stays tied."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        own: list[dict[str, Any]] = [module._parameters, module._buffers]
        for tensors in own:
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = made.setdefault(id(tensor), _fake_twin(tensor))


def _fake_twin(tensor: Tensor) -> Tensor:
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake
