"""A training step as `lora-lab memory` answers for it: alone, among several cards, or on preferences."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lora_lab import memory
from lora_lab.commands.memory_answer import Answer
from lora_lab.commands.memory_counted import stack_line, step_line
from lora_lab.commands.memory_measured import measured, unmeasured
from lora_lab.commands.memory_options import SETTINGS, TOGETHER
from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_settings import flag, settle
from lora_lab.commands.memory_sharing import more_cards, other_shardings, refuse_storage, said_of_cards
from lora_lab.commands.memory_verdict import shorter, ways_out
from lora_lab.commands.memory_words import in_the_stack_s_words
from lora_lab.memory.reach import adapted
from lora_lab.memory.saying import size
from lora_lab.memory.sizes import FAMILIES
from lora_lab.memory.stacks import STACKS, get_stack

UNCOMPARED = "no step of DPO was compared with a run, so nothing is known of its error"
_LOADERS = {"peft": "peft", "peft-loop": "peft", "lora_lab": "lora_lab"}


def answer(model: str, config: Any, typed: Mapping[str, Any], room: Room | None, simulated: bool) -> Answer:
    """All that is said of a step.

    Args:
        model: as it was typed.
        config: a preset or a `transformers` config.
        typed: of `given`.
        room: what it must fit into, if anything.
        simulated: the model's own code is run, instead of the closed form.

    Raises:
        ValueError: for settings that cannot be.
    """
    stack = get_stack(typed["stack"])
    settled, remarks = settle(config, typed)
    setup = memory.Setup(config, **settled)
    _refuse_float16(setup, room)
    refuse_storage(typed, room)
    estimate = memory.simulate(config, **settled) if simulated else count(config, typed)
    remarks += [] if simulated else _paged(config, typed, setup.optimizer, estimate)
    remarks += _not_of_the_stack(setup, typed) + _too_high_a_rank(setup)
    error = None
    if typed.get("dpo"):
        estimate = replace(estimate, known_error=UNCOMPARED)
    if not typed.keys() & TOGETHER:
        error = measured(stack.name, setup.method, setup.base)
        if not simulated:  # the closed form's own error is against simulation, not against the world
            estimate = replace(estimate, known_error=str(error or unmeasured(setup.method, setup.base)))
    if simulated and stack.name != "lora_lab":
        remarks.append(f"--simulate runs this package's layers, with the settings of --stack {stack.name}")
    loading = loaded(setup, typed)
    remarks += said_of_cards(typed, setup, loading)
    if room and room.gpu and not room.gpu.bfloat16 and setup.precision in ("mixed", "bf16"):
        remarks.append(_without_bfloat16(config, typed, room.gpu, estimate))
    found = Answer(
        model=model,
        kind="training",
        config=config,
        typed=typed,
        settings={name: getattr(setup, name) for name in SETTINGS} | _together(typed, setup),
        estimate=estimate,
        loading=loading,
        error=error,
        room=room,
        counted=(f"Counted: {step_line(model, typed, setup)}", f"Stack: {stack_line(setup, typed)}"),
        remarks=tuple(remarks),
    )
    if room and found.verdict != "fits":
        question = Training(config)
        singles, together = ways_out(question, typed, room)
        more = None if simulated else more_cards(config, question, typed, room)
        found = replace(found, singles=tuple(singles), together=together, more_cards=more)
    if room and room.gpu and found.verdict != "does not fit":
        found = replace(found, more=_speed(setup, typed, room.gpu))
    return found


def _refuse_float16(setup: memory.Setup, room: Room | None) -> None:
    """Refuse what a stack that trains in bfloat16 or float32 alone does not train.

    Raises:
        ValueError: for float16, and for 16 bits on a GPU without bfloat16.
    """
    without = room is not None and room.gpu is not None and not room.gpu.bfloat16
    if not setup.software.float16 and (setup.precision == "fp16" or (without and setup.precision != "fp32")):
        raise ValueError(
            f"{setup.stack} trains neither in float16 nor on a card without bfloat16: choose --precision fp32, or "
            "--stack peft"
        )


def count(config: Any, typed: Mapping[str, Any]) -> memory.MemoryEstimate:
    """What was asked for, in closed form; of several cards the fullest.

    Raises:
        ValueError: as the library's functions.
    """
    settled, _ = settle(config, typed)
    if typed.get("dpo"):
        return memory.preference(config, reference=typed.get("reference"), **settled)
    if typed.get("sharding"):
        return memory.estimate_rank(config, ranks=typed["gpus"], sharding=typed["sharding"], **settled)
    return memory.estimate(config, **settled)


def loaded(setup: memory.Setup, typed: Mapping[str, Any]) -> memory.MemoryEstimate | None:
    """Loading and quantizing; None where nothing is quantized on the way, or it is not known how.

    Sharding changes nothing of it: each process loads a quantized model whole, onto its own card (transformers 5.23.0,
    quantizers/quantizer_bnb_4bit.py:97), and it is shared afterwards (accelerate 1.15.0, utils/fsdp_utils.py:794, :830;
    transformers 5.23.0, modeling_utils.py:1435: ZeRO 3 begins with shares only where nothing is quantized).
    """
    loader: Any = _LOADERS.get(setup.stack)
    if setup.method != "qlora" or not loader or setup.block_size != 64 or setup.precision == "fp32":
        return None
    if setup.quantize_experts:  # which no loader does yet
        return None
    if setup.offload == "weights" or typed.get("reference") == "copy":
        return None
    try:
        return memory.loading(setup.config, setup.base, loader, setup.double_quant, setup.upcast_frozen)
    except ValueError:  # an architecture without closed forms, that was simulated
        return None


class Training:
    """How settings of a step become bytes, and which could be changed; see `memory_verdict.Question`."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def needs(self, typed: Mapping[str, Any]) -> int | None:
        """Bytes of the step or of loading for it, whichever is more."""
        try:
            step = count(self.config, typed)
            before = loaded(memory.Setup(self.config, **settle(self.config, typed)[0]), typed)
        except ValueError:  # no closed form, or settings that do not go together
            return None
        return max(step.peak_bytes, before.peak_bytes if before else 0)

    def changes(self, typed: Mapping[str, Any], room: Room) -> Iterator[dict[str, Any]]:
        """Constants first, then what is kept twice, then time, then precision, then the method, then length."""
        now = memory.Setup(self.config, **settle(self.config, typed)[0])
        if now.method == "qlora" and not now.double_quant:
            yield {"double_quant": True}
        if now.attention == "eager":
            yield {"attention": "sdpa"}
        if now.keep_outputs:
            yield {"keep_outputs": False}
        if typed.get("reference") == "copy":
            yield {"reference": "adapters" if now.adapted else "precomputed"}
        if typed.get("dpo") and not now.adapted and not typed.get("reference"):
            yield {"reference": "precomputed"}
        if now.chunked_loss is None and not now.fused_loss:
            yield from self._other_losses(now, {"keep_outputs": False} if typed.get("keep_outputs") else {})
        if typed.get("sharding"):
            yield from other_shardings(typed["sharding"], now, room)
        if now.batch_size > 1:
            yield {"batch_size": 1, "accumulation": now.batch_size * now.accumulation}
        if self._updates_in_backward(now):
            yield {"optimizer_in_backward": True}
        if not now.checkpointing:
            yield {"checkpointing": True}
        if now.optimizer == "adamw":
            yield {"optimizer": "paged_adamw8bit"}
        if now.upcast_frozen:
            yield {"upcast_frozen": False}
        follows = now.adapted and now.base != "int8"  # a cast that PEFT leaves out over integers: tuners_utils.py:2184
        if follows and now.adapter_dtype is None and now.precision == "mixed":
            if not room.gpu or room.gpu.bfloat16:
                yield {"adapter_dtype": "bf16"}
        if now.method == "full" and not typed.get("dpo") and _has_a_recipe(now, room):
            yield {"stack": "torchtune"} | ({"fused_loss": False} if now.fused_loss else {})  # which has none
        for method in memory.METHODS[memory.METHODS.index(now.method) + 1 :]:
            yield {"method": method}
        yield from shorter(self, typed, room, "seq_len", now.seq_len)

    def _other_losses(self, now: memory.Setup, without: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Losses that never make all logits, as far as the stack has them."""
        if "chunked_loss" in now.software.can:
            yield {"chunked_loss": 512, **without}
        if "fused_loss" in now.software.can and self.config.model_type != "gpt2":  # Liger knows no GPT-2
            yield {"fused_loss": True, **without}

    def _updates_in_backward(self, now: memory.Setup) -> bool:
        """Whether each weight could be updated within the backward pass: float16 needs all gradients for its scale."""
        could = "optimizer_in_backward" in now.software.can and now.accumulation == 1 and now.precision != "fp16"
        return could and not now.adapted and not now.optimizer_in_backward


def _has_a_recipe(now: memory.Setup, room: Room) -> bool:
    """Whether torchtune fine-tunes such a model in full on one such card, in 16 bits."""
    if now.precision == "fp16":
        return False
    known = now.config.model_type in ("llama", "mistral", "gemma", "gemma2", "phi3", "qwen2")  # torchtune 0.6.1, models
    return known and now.stack.startswith("peft") and room.count == 1 and (room.gpu is None or room.gpu.bfloat16)


def _together(typed: Mapping[str, Any], setup: memory.Setup) -> dict[str, Any]:
    """Settings of several cards and of preferences, where they are asked for."""
    found = {name: typed[name] for name in ("gpus", "sharding") if name in typed}
    if typed.get("dpo"):
        found |= {"dpo": True, "reference": typed.get("reference") or ("adapters" if setup.adapted else "copy")}
    return found


def _without_bfloat16(
    config: Any, typed: Mapping[str, Any], gpu: memory.GPU, estimate: memory.MemoryEstimate
) -> str:  # fmt: skip
    said = f"{gpu.name} computes no bfloat16 in hardware: train in float16, --precision fp16"
    try:
        other = count(config, {**typed, "precision": "fp16"}).peak_bytes
    except ValueError:
        return said
    return f"{said}, which takes {'as much' if other == estimate.peak_bytes else size(other) + ' of tensors'}"


def _speed(setup: memory.Setup, typed: Mapping[str, Any], gpu: memory.GPU) -> tuple[str, ...]:
    if typed.get("dpo"):  # a reference's passes are not counted
        return ()
    try:
        slow, fast = memory.tokens_per_second(setup.config, gpu, setup.method, setup.seq_len, setup.checkpointing)
    except ValueError:  # an architecture whose products are not counted here, and that was simulated
        return ()
    low, high = memory.UTILISATION
    cards = " on each card, sending apart" if typed.get("gpus", 1) > 1 else ""
    if not gpu.bfloat16 and setup.precision in ("mixed", "bf16"):
        cards = f" in float16{cards}"
    return (
        f"About {slow:,.0f} to {fast:,.0f} tokens a second{cards}, if it reaches {low:.0%} to {high:.0%} of the peak "
        f"of {gpu.tflops:g} TFLOP/s.",
    )


def _not_of_the_stack(setup: memory.Setup, typed: Mapping[str, Any]) -> list[str]:
    """What was typed and the stack does not offer: it is counted, as if somebody had built it."""
    of_the_stack = set(setup.software.can)
    if setup.stack == "torchtune" and setup.adapted:  # only its full fine-tuning updates so
        of_the_stack -= {"optimizer_in_backward"}
    known = {name for each in STACKS.values() for name in each.can} - of_the_stack
    asked = [flag(name, typed[name]) for name in sorted(known) if typed.get(name)]
    instead = "fused_loss" in setup.software.can and typed.get("chunked_loss")
    liger = f" (it has --fused-loss: {in_the_stack_s_words(setup.stack, {'fused_loss': True})})" if instead else ""
    return [f"{setup.stack} has no {each} of its own: counted as if it were built in{liger}" for each in asked]


def _too_high_a_rank(setup: memory.Setup) -> list[str]:
    """That adapters are wider than the weight that they change."""
    if not setup.adapted or setup.config.model_type not in FAMILIES:
        return []
    narrowest = min(adapted(setup.sizes, setup.target_modules), key=lambda shape: min(shape.d_in, shape.d_out))
    width = min(narrowest.d_in, narrowest.d_out)
    if setup.r <= width:
        return []
    name = narrowest.paths[0].rpartition(".")[2]
    return [f"--r {setup.r} is more than the rank that a change of {name} can have, {width}"]


def _paged(config: Any, typed: Mapping[str, Any], optimizer: str, estimate: memory.MemoryEstimate) -> list[str]:
    """Where the states are that a paged optimizer does not hold on the card: counted as none there."""
    if not optimizer.startswith("paged_"):
        return []
    plain = count(config, {**typed, "optimizer": optimizer.removeprefix("paged_")})
    away = plain.components["optimizer states"] - estimate.components["optimizer states"]
    return [f"{size(away)} of optimizer states are paged: they move to the host's memory when the card is full"]
