"""Explorables: a model of something with sliders, beside the static figure that says the same for one setting.

They need `ipywidgets` and a running kernel. On GitHub, and in a notebook that was only read, they are dead, so a lesson
shows its figure first and the explorable after it.
"""

from typing import TYPE_CHECKING, Any, Unpack

from lora_lab.show.figures import picture
from lora_lab.show.memory import memory_bars
from lora_lab.units import GB, GIB, Method

if TYPE_CHECKING:
    from lora_lab.memory.settings import Options

_TOKENS = tuple(2**k for k in range(7, 18))
_RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BATCHES = (1, 2, 4, 8, 16, 32)


def memory_explorer(model: str = "llama-3.1-8b", gpu: str = "t4") -> Any:
    """Will it fit? Choose model, method, rank, batch and GPU, and see where the bytes go.

    Args:
        model: the preset to begin with.
        gpu: the GPU to begin with.

    Returns:
        A widget; as a cell's last expression it shows itself.

    Raises:
        ImportError: without ipywidgets.
        ValueError: for an unknown preset or GPU.
    """
    from lora_lab import memory  # here, because it brings transformers along, which no other figure needs

    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise ImportError("explorables need ipywidgets: pip install ipywidgets, then restart the kernel") from error
    memory.load_config(model), memory.get_gpu(gpu)  # unknown names say so before anything is drawn
    if not isinstance(model, str) or model.strip().lower() not in memory.PRESETS:
        raise ValueError(f"the explorable begins with a preset, which {model!r} is not: see memory.PRESETS")
    wide = {"description_width": "9em"}

    def choose(kind: Any, description: str, options: Any, value: Any) -> Any:
        return kind(options=options, value=value, description=description, style=wide)

    controls = {
        "config": choose(widgets.Dropdown, "model", sorted(memory.PRESETS), model.strip().lower()),
        "method": choose(widgets.ToggleButtons, "method", list(memory.METHODS), "qlora"),
        "r": choose(widgets.SelectionSlider, "rank r", _RANKS, 16),
        "batch_size": choose(widgets.SelectionSlider, "batch size", _BATCHES, 1),
        "seq_len": choose(widgets.SelectionSlider, "tokens", _TOKENS, 2048),
        "precision": choose(widgets.ToggleButtons, "precision", list(memory.PRECISIONS), "mixed"),
        "checkpointing": widgets.Checkbox(value=False, description="checkpointing", style=wide),
    }
    where = choose(widgets.Dropdown, "GPU", list(memory.GPUS), gpu.strip().lower())
    shown = widgets.HTML()

    def update(_: Any = None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        shown.value = describe(chosen.pop("config"), where.value, **chosen)

    for control in (*controls.values(), where):
        control.observe(update, names="value")
    update()
    return widgets.VBox([*controls.values(), where, shown])


def describe(config: str, gpu: str, method: Method = "lora", **settings: "Unpack[Options]") -> str:
    """What the explorable shows for one setting, as HTML: the bar with its alt text, or why there is none."""
    from lora_lab import memory

    try:
        estimate = memory.estimate(config, method, **settings)
    except (ValueError, TypeError) as error:
        return f"<p><b>Not possible.</b> {error}</p>"
    room, (low, high) = memory.get_gpu(gpu).usable_bytes, memory.process_bytes(estimate.peak_bytes)
    verdict = "fits" if high <= room else "may fit" if low <= room else "does not fit"
    title = f"{config} with {method} {verdict} on {gpu}"
    largest = ", ".join(
        f"{name} {size / GB:.2f} GB"
        for name, size in sorted(estimate.components.items(), key=lambda part: -part[1])[:4]
        if size
    )
    alt = (
        f"{title}: {estimate.peak_bytes / GB:.2f} GB of tensors at the peak, in the phase {estimate.peak_phase}; "
        f"{largest}. With context and fragmentation {low / GIB:.1f} to {high / GIB:.1f} GiB; "
        f"{room / GIB:.1f} are usable."
    )
    return picture(memory_bars({method: estimate}, title, budget={gpu: room}), alt, caption=alt).html
