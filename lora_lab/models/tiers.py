"""Four sizes of machine, and what the same course runs on each: model, dtype, batch, steps, rates, memory and time.

cpu           no usable GPU: the embedded base, nothing downloaded
t4            16 GB, no fast bfloat16
l4, or a10    24 GB
a100, or h100 40 GB and more

`SMOLLM2` beside them is no size of machine: the real model that is small enough for every one, and its main job there.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, get_args

import torch

from lora_lab import ranges
from lora_lab.ram import free_memory
from lora_lab.units import GB, GIB, METHODS, Method

EMBEDDED: Final = "embedded"
REAL: Final = "smollm2"

TierName = Literal["auto", "cpu", "t4", "l4", "a10", "a100", "h100"]
BaseName = Literal["auto", "cpu", "t4", "l4", "a10", "a100", "h100", "embedded", "smollm2"]  # what `load_base` takes
Device = Literal["cpu", "cuda"]

ALIASES = {"a10": "l4", "h100": "a100"}
"""Cards that run what another one is named for."""

VARIABLE = "LORA_LAB_TIER"
"""Names the tier that "auto" means: a smaller one on a card that is shared, so that no notebook need be changed."""


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
    revision: str | None = None  # the commit of the model's repository on the hub
    parameters: int = 0  # of a model from the hub
    peaks: Mapping[Method, int] = field(default_factory=dict)  # bytes of tensors in a training step
    seconds_per_step: Mapping[str, float] = field(default_factory=dict)  # of QLoRA, by card; from measured steps

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

    @property
    def weight_bytes(self) -> int:
        """Of the model in 16 bits, as it lies on the hub and is loaded; 0 for the embedded one."""
        return 2 * self.parameters

    def needs(self, method: Method) -> int:
        """Bytes of GPU memory, at least: the weights as they are loaded, or the peak of a training step, if more."""
        ranges.choice("method", method, METHODS)
        return max(self.weight_bytes, self.peaks.get(method, 0))

    def minutes(self, card: str) -> float | None:
        """Of training by QLoRA on a card, such as "NVIDIA H100 80GB HBM3"; None where nothing was measured on it."""
        found = [seconds for name, seconds in self.seconds_per_step.items() if name in card]
        return self.steps * found[0] / 60 if found else None


_on_gpu = partial(
    Tier,
    batch_size=8,
    steps=60,
    seq_len=256,  # SmolLM2, whose prompts are as wordy, reads 161 at most
    heldout=128,
    full_lr=1e-5,
    adapter_lr=2e-4,
    checkpointing=True,
)

# From small to large. The hub models are under the Apache-2.0 licence and need no account.
#
# To check a revision: https://huggingface.co/MODEL/commits/main lists it, and, as long as it is the newest, so does
# `git ls-remote https://huggingface.co/MODEL main`. Each stands beside its model's name in public repositories.
#
# Peaks are those of `memory.estimate` for the tier's own batch, rank 16 on all linears, as finetune runs it: "full"
# in the weights' 16 bits, and where those are float16, in which nothing trains in full, as if with a float32 copy.
# tests/models/test_tiers.py makes them anew.
#
# A step of the 14B model on an H100: between 0.330 s of an 8B one and 1.914 s of a 70B one, 2,048 tokens each
# (benchmarks/results/gpu.json), by parameters, for 16 x 161 tokens. No other tier's step was measured.
TIERS: dict[str, Tier] = {
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
        _on_gpu(
            "t4",
            "Qwen/Qwen2.5-1.5B-Instruct",
            min_memory=7 * GIB,
            min_capability=(7, 0),
            revision="989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
            parameters=1_543_714_304,
            peaks={"full": 25_645_541_192, "lora": 7_238_063_136, "qlora": 5_293_562_032},
        ),
        _on_gpu(
            "l4",
            "Qwen/Qwen2.5-7B-Instruct",
            min_memory=20 * GIB,
            min_capability=(8, 0),
            revision="a09a35458c702b33eeacc393d103063234e8bc28",
            parameters=7_615_616_512,
            peaks={"full": 60_939_646_796, "lora": 19_907_925_024, "qlora": 10_223_543_856},
        ),
        _on_gpu(
            "a100",
            "Qwen/Qwen2.5-14B-Instruct",
            min_memory=38 * GIB,
            min_capability=(8, 0),
            batch_size=16,
            revision="cf98f3b3bbb457ad9e2bb7baf9a0125b6b88caa8",
            parameters=14_770_033_664,
            peaks={"full": 118_202_280_716, "lora": 39_979_250_816, "qlora": 20_370_829_760},
            seconds_per_step={"H100": 0.64},
        ),
    )
}
"""What is fine-tuned on which machine, from small to large, by the tier's name."""

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
    parameters=134_515_008,
    revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
)
"""How the real model that needs no GPU, SmolLM2-135M-Instruct, is fine-tuned."""


def detect_tier() -> TierName:
    """The tier that `LORA_LAB_TIER` names, or the largest that this machine's first GPU can run; `"cpu"` without one.

    Raises:
        ValueError: if it names no tier.
    """
    named = _spelled(os.environ.get(VARIABLE, ""))
    if named not in ("", "auto"):
        found = TIERS.get(ALIASES.get(named, named))
        if found is None:
            hint = ranges.suggestion(named, _names())
            raise ValueError(f"{VARIABLE}={ranges.brief(named)}: {hint}set it to one of {_choices()}, or unset it")
        return found.name
    if not torch.cuda.is_available():
        return "cpu"
    memory = torch.cuda.get_device_properties(0).total_memory
    capability = torch.cuda.get_device_capability(0)
    fitting = (t for t in TIERS.values() if memory >= t.min_memory and capability >= t.min_capability)
    return [tier.name for tier in fitting][-1]


def tier_in_words() -> str:
    """One sentence for a lesson's first cell: this machine's GPU, and the model that the lessons use on it.

    What cannot run is said too: a traceback in the first cell of every notebook would help nobody.
    """
    try:
        tier = get_tier()
    except ValueError as error:
        return f"{error}."
    if lacks := too_large_without_gpu(tier):
        return f"{lacks}."
    named = os.environ.get(VARIABLE, "").strip()
    if not torch.cuda.is_available():
        machine = "No GPU here"
    else:
        machine = f"GPU with {torch.cuda.get_device_properties(0).total_memory / GB:.0f} GB"
    if not tier.embedded:
        chosen = f" and {VARIABLE}={named}" if named else ""
        return f"{machine}{chosen}: lessons that can make use of it fine-tune {tier.model.partition('/')[2]}."
    if named:
        machine += f" and {VARIABLE}={named}"
    elif torch.cuda.is_available():
        return (
            f"{machine}, too small or too old for a larger model: the lessons use the one that comes with the course."
        )
    return f"{machine}: the lessons use the small model that comes with the course."


def too_large_without_gpu(tier: Tier) -> str | None:
    """Why a tier's model cannot be loaded on the CPU of this machine, with the way out; None where it can, or need not.

    In float32, as `choose_dtype` has it there.
    """
    need, free = 4 * tier.parameters, free_memory()
    if tier.device == "cuda" or free is None or need <= free:
        return None
    return (
        f"{tier.model} needs {need / GB:.1f} GB of memory without a GPU, and {free / GB:.1f} GB are free: take the "
        f"tier cpu, whose model comes with the course ({VARIABLE}=cpu, or unset, chooses it)"
    )


def get_tier(name: TierName = "auto") -> Tier:
    """The tier of that name, or of the card that its name is an alias of; `"auto"` is the one that suits this machine.

    Raises:
        ValueError: for a name that is no tier, with the nearest ones; as `detect_tier`.
        TypeError: for anything but a string.
    """
    wanted = _spelled(name)
    if wanted == "auto":
        wanted = detect_tier()
    wanted = ALIASES.get(wanted, wanted)
    if wanted not in TIERS:
        if wanted in (EMBEDDED, REAL):
            raise ValueError(
                f"'{name}' is a model, no size of machine: give load_base(\"{wanted}\"), or --model {wanted}"
            )
        hint = ranges.suggestion(wanted, _names())
        raise ValueError(f"unknown tier '{name}': {hint}choose from {_choices()}")
    return TIERS[wanted]


def _spelled(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a tier is named by a string, not by {type(name).__name__}: choose from {_choices()}")
    return name.strip().lower()


def choose_dtype(device: Device) -> tuple[torch.dtype, str]:
    """The dtype to compute in on `"cpu"` or `"cuda"`, and the reason in words.

    `torch.cuda.is_bf16_supported()` is not asked: it says True on a T4, where bfloat16 is slow emulation.

    Raises:
        ValueError: for another device, or "cuda" where torch sees no GPU.
    """
    ranges.choice("device", device, get_args(Device))
    if device == "cpu":
        return torch.float32, "16-bit arithmetic on a CPU is slow or emulated, and the embedded base is small"
    if not torch.cuda.is_available():
        raise ValueError("device 'cuda': torch sees no GPU here: give 'cpu', or leave it out")
    major, minor = torch.cuda.get_device_capability(0)
    if major >= 8:
        return torch.bfloat16, f"compute capability {major}.{minor} has fast bfloat16, with the range of float32"
    return torch.float16, f"compute capability {major}.{minor} is under 8.0, where bfloat16 is slow emulation"


def _names() -> tuple[str, ...]:
    return ("auto", *TIERS, *ALIASES)


def _choices() -> str:
    return ", ".join([*("auto", *TIERS), *(f"{alias} (as {name})" for alias, name in ALIASES.items())])
