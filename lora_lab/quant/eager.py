"""Whether one may go past torch's operators and work on the memory of tensors, here and now."""

import torch
from torch import Tensor, nn

_CLASSES = (Tensor, nn.Parameter)  # any other, such as a fake one, may stand for no memory
_PROXY = torch._C._TorchDispatchModeKey.PROXY  # the mode of `make_fx`


def runs_on(tensor: Tensor) -> bool:
    """Whether no compiler, tracer or transform of torch.func looks on, and a tensor is what lies in its memory.

    Such an onlooker sees operators only, and a tensor may stand for another there, or for a whole batch.
    """
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_dispatch_mode(_PROXY) is None
        and not torch._C._is_tracing()  # by torch.jit.trace
        and is_plain(tensor)
    )


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is of no class and layout of its own, no negated view, as `z.conj().imag` is, and no zero
    without memory, as autograd makes."""
    return (
        type(tensor) in _CLASSES
        and tensor.layout is torch.strided
        and not tensor.is_neg()
        and not tensor._is_zerotensor()
    )
