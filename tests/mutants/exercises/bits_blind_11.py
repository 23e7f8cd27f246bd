"""Answers to the bits of lesson 11, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: keep the layer, and restore there once more
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    ctx.W = layer.dequantize(x.dtype)
    return x @ ctx.W.T
#: and nothing but the layer is needed
def frozen_forward(ctx, x, layer):
    W = layer.dequantize(x.dtype)
    ctx.save_for_backward(x, W)
    ctx.layer = layer
    return x @ W.T
#: rows of Ŵ are outputs, so transpose it
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    return x @ layer.dequantize(x.dtype)
#: restore the weight in x.dtype
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    return x @ layer.dequantize(torch.float32).T
#: ctx holds nothing
def frozen_forward(ctx, x, layer):
    return x @ layer.dequantize(x.dtype).T
#: restore the weight in x.dtype
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    return x.float() @ layer.dequantize(torch.float32).T
#: and nothing but the layer is needed
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    ctx.x = x
    return x @ layer.dequantize(x.dtype).T
#: and nothing but the layer is needed
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    ctx.save_for_backward(x)
    return x @ layer.dequantize(x.dtype).mT
#: on the way back Ŵ is not transposed
def frozen_backward(ctx, g):
    return g @ ctx.layer.dequantize(g.dtype).T, None
#: of x, and None
def frozen_backward(ctx, g):
    return g @ ctx.layer.dequantize(g.dtype)
#: give None for it
def frozen_backward(ctx, g):
    return None, g @ ctx.layer.dequantize(g.dtype)
#: restore the weight in g.dtype
def frozen_backward(ctx, g):
    return g @ ctx.layer.dequantize(torch.float32), None
#: RuntimeError: The size of tensor a (3) must match the size of tensor b
def frozen_backward(ctx, g):
    return g * ctx.layer.dequantize(g.dtype), None
#: restore the weight in g.dtype
def frozen_backward(ctx, g):
    return g.float() @ ctx.layer.dequantize(torch.float32), None
#: RuntimeError: Expected size for first two dimensions of batch2 tensor to
def frozen_backward(ctx, g):
    return ctx.layer.dequantize(g.dtype).T @ g, None
""")

RIGHT = cells(r"""
#:
def frozen_forward(ctx, x, layer):
    ctx.layer = layer
    return x @ layer.dequantize(x.dtype).T
#:
def frozen_backward(ctx, g):
    return g @ ctx.layer.dequantize(g.dtype), None
""")
