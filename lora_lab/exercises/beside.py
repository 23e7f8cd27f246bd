"""What an answer gave beside what was wanted, as text."""

from typing import Any

from torch import Tensor

from lora_lab import ranges
from lora_lab.exercises.tasks import Wrong

ENTRIES = 64  # of a tensor that is still looked at number by number


def side_by_side(wrong: Wrong) -> list[str]:
    """Lines to show: one for each of yours and wanted, or the rows of small tensors."""
    lines = []
    for name, value in wrong.shown:
        first, *rest = _text(value).splitlines() or [""]
        lines += [f"  {name:<7}{first}", *(f"  {'':<7}{line}" for line in rest)]
    return lines


def _text(value: Any) -> str:
    if isinstance(value, Tensor):
        return _tensor(value.detach())
    return f"{value:.6g}" if isinstance(value, float) else ranges.brief(value)


def _tensor(value: Tensor) -> str:
    """Numbers with as many digits as help; of a large tensor its shape and its corner."""
    shape = "" if value.dim() == 0 else f"  {list(value.shape)}"
    if value.numel() > ENTRIES:
        corner = value.flatten()[:6].tolist()
        return f"{', '.join(map(_number, corner))}, …{shape}"
    rows = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
    texts = [[_number(each) for each in row] for row in rows.tolist()]
    width = max((len(text) for row in texts for text in row), default=0)
    lines = [" ".join(text.rjust(width) for text in row) for row in texts]
    return "\n".join([*lines[:-1], f"{lines[-1] if lines else '(empty)'}{shape}"])


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
