"""Whether one may go past torch's operators and work on the memory of tensors, here and now."""

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)  # any other class, such as a fake one, may stand for no memory


def runs_on(*tensors: Tensor) -> bool:
    """Whether tensors are plain and dense, and no compiler, tracer or transform of torch.func looks on.

    Such an onlooker sees operators only, and where it looks on a tensor may stand for others, or for a whole batch of
    them. A negated view, such as the imaginary part of a conjugate, is not what lies in its memory.
    """
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is None  # that of make_fx
        and not torch.jit.is_tracing()
        and all(type(each) in _PLAIN and each.layout == torch.strided and not each.is_neg() for each in tensors)
    )
