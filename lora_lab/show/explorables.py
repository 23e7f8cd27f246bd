"""Explorables of memory: a training step, or an answer, with levers, beside the figure that says the same once.

They need `ipywidgets` and a running kernel. On GitHub, and in a notebook that was only read, they are dead, so a lesson
shows its figure first (`show.memory_bars`, or `show.memory_gauge` for one setting) and the explorable after it.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, Unpack

from lora_lab import memory
from lora_lab.memory.gpus import answer
from lora_lab.memory.generation import CACHE_WIDTHS
from lora_lab.memory.passes import STORED_AS
from lora_lab.memory.presets import Preset, find_preset
from lora_lab.memory.saying import gib, verdict
from lora_lab.memory.settings import ATTENTIONS, OFFLOADS, OPTIMIZERS, PRECISIONS, Options
from lora_lab.memory.sizes import sizes
from lora_lab.memory.stacks import STACK_NAMES, get_stack, with_defaults
from lora_lab.show.figures import picture
from lora_lab.show.gauge import memory_gauge
from lora_lab.show.levers import choice, panel, put, slider, switch, toolkit, values
from lora_lab.units import METHODS, Method

USUAL: dict[str, Any] = {field.name: field.default for field in fields(memory.Setup)}
_CHUNKS = {"all at once": None} | {f"{n:,} at a time": n for n in (128, 256, 512, 1024, 2048)}
_MOST_TOKENS, _MOST_CONTEXT, _STEP = 32_768, 131_072, 128


class Said(NamedTuple):
    """HTML of one setting.

    Attributes:
        picture: the verdict and the bar with its alt text; or why there is none.
        call: the line of Python that says the same.
    """

    picture: str
    call: str


def memory_explorer(model: str = "llama-3.1-8b", gpu: str = "t4", stack: str = "peft") -> Any:
    """Will it fit? Every lever of a training step, and where the bytes go on the card.

    The axis is the card's and stays while a lever moves. A stack, a method or a model moves the levers that it sets;
    a lever that means nothing under the others is switched off.

    Args:
        model: the preset to begin with.
        gpu: the GPU to begin with.
        stack: whose layers and loop to begin with, as `lora-lab memory` does.

    Returns:
        A widget; as a cell's last expression it shows itself. It serves mouse and keyboard.

    Raises:
        ImportError: without ipywidgets.
        ValueError: for an unknown preset, GPU or stack.
    """
    first, card = _preset(model).name, memory.get_gpu(gpu).name
    start = USUAL | implied(first, get_stack(stack).name, "qlora")
    controls = {
        "config": choice("model", sorted(memory.PRESETS), first),
        "gpu": choice("GPU", list(memory.GPUS), card),
        "stack": choice("stack", STACK_NAMES, stack),
        "method": choice("method", METHODS, "qlora"),
        "precision": choice("precision", PRECISIONS, start["precision"]),
        "optimizer": choice("optimizer", OPTIMIZERS, start["optimizer"]),
        "attention": choice("attention", ATTENTIONS, start["attention"]),
        "chunked_loss": choice("logits", _CHUNKS, start["chunked_loss"]),
        "offload": choice("offloaded", {"nothing": None} | {name: name for name in OFFLOADS}, None),
        "r": slider("rank r", start["r"], 256),
        "batch_size": slider("batch size", 1, 32),
        "seq_len": slider("tokens", start["seq_len"], _MOST_TOKENS, _STEP),
        "accumulation": slider("accumulation", 1, 64),
        "checkpointing": switch("checkpointing", start["checkpointing"]),
        "double_quant": switch("double quantization", start["double_quant"]),
        "upcast_frozen": switch("upcast to float32", start["upcast_frozen"]),
        "keep_outputs": switch("outputs kept", start["keep_outputs"]),
        "optimizer_in_backward": switch("update in the backward pass", start["optimizer_in_backward"]),
    }
    usual = USUAL | {"config": first, "gpu": card}
    own: Mapping[str, Any] = implied(first, stack, "qlora")

    def settle() -> None:
        nonlocal own
        chosen = values(controls, usual)
        own = _follow(controls, own, implied(chosen["config"], chosen["stack"], chosen["method"]), USUAL)
        off = useless(values(controls, usual))
        for name, control in controls.items():
            control.disabled = name in off

    return _alive(controls, settle, lambda: describe(**values(controls, usual)))


def inference_explorer(model: str = "llama-3.1-8b", gpu: str = "t4") -> Any:
    """Will it answer there? Model, format of the weights, sequences at a time, context, and where the bytes go.

    Args:
        model: the preset to begin with.
        gpu: the GPU to begin with.

    Returns:
        A widget, as `memory_explorer`.

    Raises:
        ImportError: without ipywidgets.
        ValueError: for an unknown preset or GPU.
    """
    first, card = _preset(model).name, memory.get_gpu(gpu).name
    caches = {"as the products": None} | {name: name for name in CACHE_WIDTHS}
    usual = {"context": USUAL["seq_len"]}
    own: Mapping[str, Any] = _most(first, "context")
    controls = {
        "config": choice("model", sorted(memory.PRESETS), first),
        "gpu": choice("GPU", list(memory.GPUS), card),
        "weights": choice("weights", STORED_AS, "bf16"),
        "cache": choice("cache", caches, None),
        "batch_size": slider("batch size", 1, 64),
        "context": slider("context", own.get("context", usual["context"]), _MOST_CONTEXT, _STEP),
    }

    def settle() -> None:
        nonlocal own
        own = _follow(controls, own, _most(controls["config"].value, "context"), usual)

    return _alive(controls, settle, lambda: describe_inference(**values(controls, usual)))


def describe(config: str, gpu: str, method: Method = "lora", **settings: Unpack[Options]) -> Said:
    """What `memory_explorer` shows for one setting."""
    base = USUAL | with_defaults(method, {"stack": settings.get("stack", USUAL["stack"])})
    told = {name: value for name, value in settings.items() if value != base[name] or name == "stack"}
    return _shown(f"{config}, {method}", gpu, memory.estimate, "estimate", (config, method), told, settings)


def describe_inference(config: str, gpu: str, weights: Any = "bf16", **settings: Any) -> Said:
    """The same for `inference_explorer`."""
    told = {name: value for name, value in settings.items() if value is not None}
    return _shown(f"{config} in {weights}", gpu, memory.inference, "inference", (config, weights), told, settings)


def implied(config: str, stack: str, method: Method) -> dict[str, Any]:
    """The levers that a stack sets for a method, and those that a model leaves no choice: as the command settles them.

    Args:
        config: a preset's name.
        stack, method: as for `memory.Setup`.
    """
    s, own = sizes(config), dict(get_stack(stack).settings.get(method, {}))
    own.pop("target_modules", None)  # no lever: the estimate takes them from the stack
    if s.score_cap:  # which sdpa has no place for
        own["attention"] = "eager"
    return own | _most(config, "seq_len")


def useless(chosen: Mapping[str, Any]) -> set[str]:
    """The levers that mean nothing, or cannot be had, under the others."""
    off: set[str] = set()
    if chosen["method"] == "full":
        off |= {"r"}
    if chosen["method"] != "qlora":
        off |= {"double_quant", "upcast_frozen"}
    if chosen["precision"] not in ("mixed", "fp16"):
        off |= {"upcast_frozen"}
    if chosen["chunked_loss"] is not None:  # outputs are logits, which are then never whole
        off |= {"keep_outputs"}
    if chosen["accumulation"] > 1:  # gradients that are waited for
        off |= {"optimizer_in_backward"}
    return off


def _most(config: str, tokens: str) -> dict[str, int]:
    """The tokens of a model that does not read as many as usual."""
    positions = sizes(config).positions
    return {tokens: positions} if positions < USUAL["seq_len"] else {}


def _follow(
    controls: Mapping[str, Any], own: Mapping[str, Any], now: Mapping[str, Any], usual: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Move the levers that are no longer set back to the usual, and those that are set; only when that changes, so that
    a hand can move them again."""
    if now != own:
        for name, value in {**{name: usual[name] for name in own}, **now}.items():
            put(controls[name], value)
    return now


def _alive(controls: Mapping[str, Any], settle: Callable[[], None], say: Callable[[], Said]) -> Any:
    """The panel whose picture follows its controls; what they do to each other is drawn once."""
    shown, call = (toolkit().HTML(layout={"width": "100%", "min_height": least}) for least in ("26em", "2em"))
    settling = False

    def update(_: Any = None) -> None:
        nonlocal settling
        if settling:
            return
        settling = True
        try:
            settle()
        finally:
            settling = False
        shown.value, call.value = say()

    for control in controls.values():
        control.observe(update, names="value")
    update()
    return panel(shown, controls.values(), call)


def _shown(
    what: str,
    gpu: str,
    count: Callable[..., memory.MemoryEstimate],
    name: str,
    given: tuple[Any, ...],
    told: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Said:
    call = ", ".join([*map(repr, given), *(f"{key}={value!r}" for key, value in told.items())])
    code = f"<p><code>memory.{name}({html.escape(call)})</code></p>"
    try:
        estimate = count(*given, **settings)
    except (ValueError, TypeError) as error:
        return Said(f"<p><b>Not possible.</b> {html.escape(str(error))}</p>", code)
    card = memory.get_gpu(gpu)
    said = verdict(estimate.peak_bytes, card.usable_bytes, f"usable on {card.name}", card, gib)
    title = f"{what}: {answer(estimate.peak_bytes, card.usable_bytes, card)} on {card.name}"
    drawn = picture(*memory_gauge(estimate, card, title)).html.replace("<figure>", '<figure style="margin: 0">', 1)
    return Said(f"<p><b>{html.escape(said)}</b></p>{drawn}", code)


def _preset(model: Any) -> Preset:
    """The preset to begin with."""
    if found := find_preset(model):
        return found
    memory.load_config(model)  # an unknown name says so
    raise ValueError(f"the explorable begins with a preset, which {model!r} is not: see memory.PRESETS")
