"""Four sizes of machine, and what the same course runs on each: model, dtype, batch, steps and rates.

cpu     no usable GPU: the embedded base, nothing downloaded
t4      16 GB, no fast bfloat16
l4      24 GB
a100    40 GB and more

`SMOLLM2` beside them is no size of machine: the real model that is small enough for every one, and its main job there.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import torch

from lora_lab import ranges
from lora_lab.units import GB, GIB, METHODS, Method

EMBEDDED: Final = "embedded"
REAL: Final = "smollm2"

TierName = Literal["auto", "cpu", "t4", "l4", "a100"]
BaseName = Literal["auto", "cpu", "t4", "l4", "a100", "embedded", "smollm2"]  # what `load_base` takes
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Tier:
    """What the course runs on one size of machine.

    `min_memory` (bytes of the GPU as it reports them, a little under what is advertised) and `min_capability`
    say from where on `detect_tier` chooses it; the rest is for the fine-tuning lessons.
    """

    name: TierName
    model: str  # EMBEDDED, or a model's name on the Hugging Face hub
    min_memory: int
    min_capability: tuple[int, int]
    batch_size: int
    steps: int
    seq_len: int  # tokens; no example of the tasks is longer
    heldout: int  # held-out examples that are answered before and after
    full_lr: float  # peak learning rates; adapters want several times that of full fine-tuning
    adapter_lr: float
    checkpointing: bool = False
    warmup: int = 10  # steps

    @property
    def embedded(self) -> bool:
        """Whether the model is the one in the package, so that nothing is downloaded."""
        return self.model == EMBEDDED

    @property
    def device(self) -> Device:
        """`"cuda"` for a model that wants one, where there is a GPU, else `"cpu"`."""
        return "cuda" if self.min_memory and torch.cuda.is_available() else "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """What the model is loaded and computed in."""
        return choose_dtype(self.device)[0]

    def lr(self, method: Method) -> float:
        """The peak learning rate for `"full"`, `"lora"` or `"qlora"`; ValueError for another method."""
        ranges.choice("method", method, METHODS)
        return self.full_lr if method == "full" else self.adapter_lr


_on_gpu = partial(
    Tier,
    batch_size=8,
    steps=60,
    seq_len=512,
    heldout=128,
    full_lr=1e-5,
    adapter_lr=2e-4,
    checkpointing=True,
)

# From small to large. The hub models are under the Apache-2.0 licence and need no account.
TIERS = {
    tier.name: tier
    for tier in (
        Tier(
            "cpu",
            EMBEDDED,
            min_memory=0,
            min_capability=(0, 0),
            batch_size=16,
            steps=200,
            seq_len=256,
            heldout=128,
            full_lr=1.5e-3,
            adapter_lr=7e-3,
        ),
        _on_gpu("t4", "Qwen/Qwen2.5-1.5B-Instruct", min_memory=7 * GIB, min_capability=(7, 0)),
        _on_gpu("l4", "Qwen/Qwen2.5-7B-Instruct", min_memory=20 * GIB, min_capability=(8, 0)),
        _on_gpu("a100", "Qwen/Qwen2.5-14B-Instruct", min_memory=38 * GIB, min_capability=(8, 0), batch_size=16),
    )
}

SMOLLM2 = Tier(
    "cpu",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    min_memory=0,
    min_capability=(0, 0),
    batch_size=8,
    steps=30,
    seq_len=256,
    heldout=32,
    full_lr=1e-4,
    adapter_lr=1e-3,
    warmup=3,
)
"""As `course/records/real.py` measured it: about five minutes on two CPU cores."""


def detect_tier() -> TierName:
    """The largest tier whose needs this machine's first GPU meets; `"cpu"` without one."""
    if not torch.cuda.is_available():
        return "cpu"
    memory = torch.cuda.get_device_properties(0).total_memory
    capability = torch.cuda.get_device_capability(0)
    fitting = (t for t in TIERS.values() if memory >= t.min_memory and capability >= t.min_capability)
    return [tier.name for tier in fitting][-1]


def tier_in_words() -> str:
    """One sentence for a lesson's first cell: this machine's GPU, and the model that the lessons use on it."""
    tier = get_tier()
    if not torch.cuda.is_available():
        return "No GPU here: the lessons use the small model that comes with the course."
    memory = f"GPU with {torch.cuda.get_device_properties(0).total_memory / GB:.0f} GB"
    if tier.embedded:
        return f"{memory}, too small or too old for a larger model: the lessons use the one that comes with the course."
    return f"{memory}: lessons that can make use of it fine-tune {tier.model.partition('/')[2]}."


def get_tier(name: TierName = "auto") -> Tier:
    """The tier of that name; `"auto"` is the one that suits this machine.

    Raises:
        ValueError: for a name that is no tier, with the nearest ones.
        TypeError: for anything but a string.
    """
    wanted = _spelled(name)
    if wanted == "auto":
        wanted = detect_tier()
    if wanted not in TIERS:
        if wanted in (EMBEDDED, REAL):
            raise ValueError(
                f"'{name}' is a model, no size of machine: give load_base(\"{wanted}\"), or --model {wanted}"
            )
        hint = ranges.suggestion(wanted, ("auto", *TIERS))
        raise ValueError(f"unknown tier '{name}': {hint}choose from {_choices()}")
    return TIERS[wanted]


def _spelled(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a tier is named by a string, not by {type(name).__name__}: choose from {_choices()}")
    return name.strip().lower()


def choose_dtype(device: Device) -> tuple[torch.dtype, str]:
    """The dtype to compute in on `"cpu"` or `"cuda"`, and the reason in words.

    `torch.cuda.is_bf16_supported()` is not asked: it says True on a T4, where bfloat16 is slow emulation.
    """
    if device == "cpu":
        return torch.float32, "16-bit arithmetic on a CPU is slow or emulated, and the embedded base is small"
    major, minor = torch.cuda.get_device_capability(0)
    if major >= 8:
        return torch.bfloat16, f"compute capability {major}.{minor} has fast bfloat16, with the range of float32"
    return torch.float16, f"compute capability {major}.{minor} is under 8.0, where bfloat16 is slow emulation"


def _choices() -> str:
    return ", ".join(("auto", *TIERS))
