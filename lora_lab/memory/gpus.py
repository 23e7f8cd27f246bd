"""The GPUs people fine-tune on: what fits, and roughly how fast.

Units: NVIDIA's "80 GB" is 80 GiB of chips (GiB = 2³⁰ bytes), of which the driver and error correction keep some back;
`usable_bytes` is what CUDA then reports. Bandwidth is in GB/s and speed in TFLOP/s, with GB = 10⁹ and T = 10¹².
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig

from lora_lab import ranges
from lora_lab.memory.presets import load_config
from lora_lab.memory.settings import MOST
from lora_lab.memory.shapes import active_parameters
from lora_lab.memory.sizes import sizes
from lora_lab.ranges import brief
from lora_lab.units import GB, GIB, METHODS, Method

if TYPE_CHECKING:
    from lora_lab.memory.result import MemoryEstimate

# What a process holds beyond its tensors. The context: 130 to 150 MiB on a T4 (141 in the rows below), up to about
# 500 MiB on recent GPUs with all libraries loaded (our guess). The allocator's fragments: torch reserved 1.04 to 1.49
# times what it had allocated, both at their peaks, median 1.12, over the T4 rows in the source distribution of
# fitcheck-llm 0.3.1 (PyPI; data/measurements/t4-*.json and final-t4-*.json).
CONTEXT_BYTES = (130 * 2**20, 500 * 2**20)
FRAGMENTATION = (0.04, 0.49)

# Share of the dense peak that fine-tuning with plain PyTorch reaches, when the batch fills the GPU.
UTILISATION = (0.25, 0.5)


@dataclass(frozen=True)
class GPU:
    """One GPU.

    Attributes:
        name: how to call it here.
        memory_gib: as advertised, GiB.
        usable_gib: about the least that PyTorch reports as its "total capacity", GiB; it varies with the driver.
        bandwidth: of its memory, GB/s.
        tflops: dense 16-bit tensor products with float32 accumulation, TFLOP/s. Data sheets often print twice that,
            for sparse matrices.
        capability: CUDA compute capability; from (8, 0) on there is fast bfloat16, below it use float16.
        source: of the figures.
    """

    name: str
    memory_gib: int
    usable_gib: float
    bandwidth: int
    tflops: float
    capability: tuple[int, int]
    source: str

    @property
    def memory_bytes(self) -> int:
        """Advertised."""
        return self.memory_gib * GIB

    @property
    def usable_bytes(self) -> int:
        """What CUDA reports."""
        return round(self.usable_gib * GIB)

    @property
    def bfloat16(self) -> bool:
        """Whether it computes bfloat16 in hardware."""
        return self.capability >= (8, 0)


# From small to large, and within one size from old to new. `usable_gib` from out-of-memory messages in public
# repositories ("GPU 0 has a total capacity of ..."); 24-GB cards with error correction report 21.96 to 22.06.
# fmt: off
GPUS: dict[str, GPU] = {gpu.name: gpu for gpu in (
    GPU("t4", 16, 14.56, 320, 65.0, (7, 5), "NVIDIA T4 data sheet, 2019"),
    GPU("v100-16gb", 16, 15.75, 900, 125.0, (7, 0), "NVIDIA V100 data sheet, 2018 (SXM2)"),
    GPU("a10g", 24, 21.96, 600, 70.0, (8, 6), "NVIDIA A10G data sheet (AWS G5), 2021"),
    GPU("rtx-3090", 24, 23.5, 936, 71.0, (8, 6), "NVIDIA Ampere GA102 white paper, 2020"),
    GPU("l4", 24, 21.96, 300, 121.0, (8, 9), "NVIDIA L4 data sheet, 2023"),
    GPU("rtx-4090", 24, 23.5, 1008, 165.2, (8, 9), "NVIDIA Ada white paper, 2022"),
    GPU("v100-32gb", 32, 31.73, 900, 125.0, (7, 0), "NVIDIA V100 data sheet, 2018 (SXM2)"),
    GPU("rtx-5090", 32, 31.34, 1792, 209.5, (12, 0), "NVIDIA RTX Blackwell white paper, 2025"),
    GPU("a100-40gb", 40, 39.39, 1555, 312.0, (8, 0), "NVIDIA A100 data sheet, 2021 (SXM4)"),
    GPU("l40s", 48, 44.39, 864, 362.0, (8, 9), "NVIDIA L40S data sheet, 2023"),
    GPU("a100-80gb", 80, 79.14, 2039, 312.0, (8, 0), "NVIDIA A100 data sheet, 2021 (SXM4)"),
    GPU("h100", 80, 79.10, 3350, 989.0, (9, 0), "NVIDIA H100 data sheet, 2023 (SXM5)"),
    GPU("h200", 141, 139.72, 4800, 989.0, (9, 0), "NVIDIA H200 data sheet, 2024 (SXM5)"),
    GPU("b200", 180, 178.35, 8000, 2250.0, (10, 0), "NVIDIA's, as in stas00/ml-engineering, 2026; GB: MLPerf 6.0"),
)}
# fmt: on


@dataclass(frozen=True)
class Fit:
    """One GPU on which a step fits.

    Attributes:
        gpu: the GPU.
        tensor_bytes: the peak of all live tensors.
        process_bytes: least and most that the process is likely to hold: tensors, their fragmentation, CUDA's context.
        certain: whether even the most fits; otherwise it fits with little fragmentation
            (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True` keeps it low).
    """

    gpu: GPU
    tensor_bytes: int
    process_bytes: tuple[int, int]
    certain: bool

    def __str__(self) -> str:
        low, high = (size / GB for size in self.process_bytes)
        return (
            f"{self.gpu.name}: tensors {self.tensor_bytes / GB:.2f} GB, process {low:.2f} to {high:.2f} GB "
            f"of {self.gpu.usable_bytes / GB:.2f} GB: {'fits' if self.certain else 'tight'}"
        )


def get_gpu(name: str) -> GPU:
    """A GPU by its name, in any case.

    Raises:
        ValueError: for an unknown name; it lists the known ones.
    """
    if not isinstance(name, str) or name.strip().lower() not in GPUS:
        raise ValueError(f"unknown GPU {brief(name)}: choose one of {', '.join(GPUS)}")
    return GPUS[name.strip().lower()]


def process_bytes(tensor_bytes: int) -> tuple[int, int]:
    """Least and most that a process with so many bytes of tensors is likely to hold on the GPU.

    Raises:
        TypeError, ValueError: for what is no number of bytes.
    """
    ranges.whole("tensor_bytes", tensor_bytes, 0)
    low, high = (
        round(tensor_bytes * (1 + fragments)) + context for fragments, context in zip(FRAGMENTATION, CONTEXT_BYTES)
    )
    return low, high


def gpus_that_fit(estimate: "MemoryEstimate") -> list[Fit]:
    """The GPUs on which a step fits at least without much fragmentation, the smallest first; empty if none does.

    Args:
        estimate: of `memory.estimate`, `simulate` or `measure`; its peak counts tensors only.

    Raises:
        TypeError: for anything else.
    """
    if not hasattr(estimate, "peak_bytes"):
        raise TypeError(f"gpus_that_fit takes an estimate, such as memory.estimate(...), not {brief(estimate)}")
    low, high = process_bytes(estimate.peak_bytes)
    return [
        Fit(gpu, estimate.peak_bytes, (low, high), high <= gpu.usable_bytes)
        for gpu in GPUS.values()
        if low <= gpu.usable_bytes
    ]


def flops_per_token(
    config: PreTrainedConfig | str, method: Method = "lora", seq_len: int = 2048, checkpointing: bool = False
) -> int:
    """Floating-point operations of one training step per token.

    With N the parameters that take part in products, each pass costs two operations per parameter:

        forward 2N  +  gradient of the activations 2N  +  gradient of the weights 2N (full only)
                    +  forward again 2N (checkpointing)

    So LoRA takes 2/3 of full fine-tuning, 3/4 with checkpointing. Attention adds, per layer, 2 · seq_len · width for
    queries times keys and weights times values together, half of the square since the future is masked; its
    gradient costs twice that whatever is trained. The adapters' own products, under 2 %, are left out.

    Raises:
        TypeError: for a sequence that is no integer, or a checkpointing that is neither True nor False.
        ValueError: for an unknown method or a sequence shorter than 1.
    """
    ranges.choice("method", method, METHODS)
    ranges.whole("seq_len", seq_len, 1, MOST)
    ranges.switch("checkpointing", checkpointing)
    config = load_config(config)
    s, n = sizes(config), active_parameters(config)
    attention = 2 * seq_len * s.layers * s.q_width
    passes = (3 if method == "full" else 2) + checkpointing
    return 2 * n * passes + attention * (3 + checkpointing)


def tokens_per_second(
    config: PreTrainedConfig | str,
    gpu: GPU | str,
    method: Method = "lora",
    seq_len: int = 2048,
    checkpointing: bool = False,
    utilisation: tuple[float, float] = UTILISATION,
) -> tuple[float, float]:
    """Tokens a second of training, as a range.

    Assumes that the step is bound by its products and reaches between 25 % and 50 % of the dense 16-bit peak, which
    takes a batch of some thousand tokens. A smaller batch, padding, eager attention or a full disk give less. QLoRA
    also dequantizes every weight in each pass, a fixed cost per pass that shrinks with the batch and is not counted.

    Raises:
        ValueError: for an unknown GPU or method, or a utilisation that is not 0 < low <= high <= 1.
    """
    if not _is_range(utilisation):
        raise ValueError(f"utilisation={brief(utilisation)} is no range of shares: give 0 < low <= high <= 1")
    low, high = utilisation
    gpu = gpu if isinstance(gpu, GPU) else get_gpu(gpu)
    peak = 1e12 * gpu.tflops / flops_per_token(config, method, seq_len, checkpointing)
    return low * peak, high * peak


def _is_range(shares: Any) -> bool:
    if not isinstance(shares, (tuple, list)) or len(shares) != 2:
        return False
    return all(isinstance(share, (int, float)) for share in shares) and 0 < shares[0] <= shares[1] <= 1
