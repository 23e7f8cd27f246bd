"""What fits on which GPU, and roughly how fast it trains. The cards themselves are in `cards`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lora_lab import ranges
from lora_lab.memory.cards import CONTEXT_MIB, GPU, GPUS, get_gpu
from lora_lab.memory.settings import MOST
from lora_lab.memory.shapes import active_parameters
from lora_lab.memory.sizes import Sized, sizes
from lora_lab.ranges import brief
from lora_lab.units import GB, METHODS, Method

if TYPE_CHECKING:
    from lora_lab.memory.result import MemoryEstimate

# How much more than its tensors the allocator of a process reserves, as a share of them: 1.047 to 1.422 times what is
# predicted, over 49 runs on a T4 of 39 settings (restated from fitcheck-llm 0.3.1 on PyPI). Of 50 steps on an H100 43
# are in the range; a process that also quantized the model holds far more (benchmarks/README.md).
# `PYTORCH_ALLOC_CONF=expandable_segments:True` keeps it low.
FRAGMENTATION = (0.051, 0.422)

Answer = Literal["fits", "uncertain", "does not fit"]

# Share of the dense peak that fine-tuning with plain PyTorch reaches, when the batch fills the GPU.
UTILISATION = (0.25, 0.5)


@dataclass(frozen=True)
class Fit:
    """One GPU on which a step fits.

    Attributes:
        gpu: the GPU.
        tensor_bytes: the peak of all live tensors.
        process_bytes: least and most that the process is likely to hold: tensors, their fragmentation, CUDA's context.
        certain: whether even the most fits; otherwise the tensors do, and the rest depends on fragmentation
            (`PYTORCH_ALLOC_CONF=expandable_segments:True` keeps it low).
    """

    gpu: GPU
    tensor_bytes: int
    process_bytes: tuple[int, int]
    certain: bool

    def __str__(self) -> str:
        low, high = (size / GB for size in self.process_bytes)
        return (
            f"{self.gpu.name}: tensors {self.tensor_bytes / GB:.2f} GB, process {low:.2f} to {high:.2f} GB "
            f"of {self.gpu.usable_bytes / GB:.2f} GB: {'fits' if self.certain else 'uncertain'}"
        )


def process_bytes(tensor_bytes: int, gpu: GPU | None = None) -> tuple[int, int]:
    """Least and most that a process with so many bytes of tensors is likely to hold: with what the allocator reserves
    for them, and CUDA's context.

    Args:
        tensor_bytes: the peak of all live tensors.
        gpu: whose context, where it was measured; None for any.

    Raises:
        TypeError, ValueError: for what is no number of bytes.
    """
    ranges.whole("tensor_bytes", tensor_bytes, 0)
    contexts = CONTEXT_MIB if gpu is None else gpu.context_mib
    low, high = (
        round(tensor_bytes * (1 + fragments)) + context * 2**20 for fragments, context in zip(FRAGMENTATION, contexts)
    )
    return low, high


def answer(tensor_bytes: int, room_bytes: int, gpu: GPU | None = None) -> Answer:
    """Whether a step fits: surely if the process's upper end does, surely not if its tensors alone do not.

    Args:
        tensor_bytes, gpu: as for `process_bytes`.
        room_bytes: of the GPU, as CUDA reports it.
    """
    if tensor_bytes > room_bytes:
        return "does not fit"
    return "fits" if process_bytes(tensor_bytes, gpu)[1] <= room_bytes else "uncertain"


def gpus_that_fit(estimate: "MemoryEstimate") -> list[Fit]:
    """The GPUs on which a step may fit, the smallest first; empty if its tensors fit on none.

    Args:
        estimate: of `memory.estimate`, `simulate` or `measure`; its peak counts tensors only.

    Raises:
        TypeError: for anything else.
    """
    if not hasattr(estimate, "peak_bytes"):
        raise TypeError(f"gpus_that_fit takes an estimate, such as memory.estimate(...), not {brief(estimate)}")
    peak = estimate.peak_bytes
    answers = {gpu: answer(peak, gpu.usable_bytes, gpu) for gpu in GPUS.values()}
    return [
        Fit(gpu, peak, process_bytes(peak, gpu), found == "fits")
        for gpu, found in answers.items()
        if found != "does not fit"
    ]


def flops_per_token(config: Sized, method: Method = "lora", seq_len: int = 2048, checkpointing: bool = False) -> int:
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
    s = sizes(config)
    n = active_parameters(s)
    attention = 2 * seq_len * s.layers * s.q_width
    passes = (3 if method == "full" else 2) + checkpointing
    return 2 * n * passes + attention * (3 + checkpointing)


def tokens_per_second(
    config: Sized,
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
