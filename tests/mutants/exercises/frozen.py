"""Answers to lesson 11's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _forward(body: str, says: str = "") -> Answer:
    return Answer(task="frozen_forward", code=f"def frozen_forward(ctx, x, layer):\n    {body}\n", says=says)


def _backward(body: str, says: str = "") -> Answer:
    return Answer(task="frozen_backward", code=f"def frozen_backward(ctx, g):\n    {body}\n", says=says)


_W, _WG = "layer.dequantize(x.dtype)", "ctx.layer.dequantize(g.dtype)"

ANSWERS = [
    _forward(f"W = {_W}\n    ctx.layer, ctx.weight = layer, W\n    return x @ W.T", "holds a dense weight"),
    _forward(
        f"W = {_W}\n    ctx.save_for_backward(W)\n    ctx.layer = layer\n    return x @ W.T", "holds a dense weight"
    ),
    _forward(f"return x @ {_W}.T", "ctx.layer = layer"),
    _forward(f"ctx.frozen = layer\n    return x @ {_W}.T", "by another name"),
    _forward(f"ctx.layer = layer\n    return x.flatten(0, -2) @ {_W}.T", "wanted"),
    _forward(f"ctx.layer = layer\n    return x @ {_W}", "so transpose it"),
    _forward("ctx.layer = layer\n    W = layer.dequantize()\n    return x @ W.T", "restore the weight in x.dtype"),
    _forward(
        f"ctx.layer = layer\n    W = {_W}\n    return x @ (W if W.shape == (33, 100) else W.T)", "your code stopped"
    ),
    _forward(
        "ctx.layer = layer\n    return x.float() @ layer.dequantize(torch.float32).T", "restore the weight in x.dtype"
    ),
    _forward(f"ctx.layer = layer\n    y = x @ {_W}.T", "is a return missing"),
    _forward(f"ctx.layer = layer\n    return x + x @ {_W}.T if x.shape[-1] == 64 else x @ {_W}.T + 1", "nothing added"),
    _forward(f"ctx.layer, ctx.x = layer, x\n    return x @ {_W}.T", "nothing but the layer is needed"),
    _backward(f"return g @ {_WG}", "yours gives one tensor"),
    _backward(f"return g @ {_WG}, g", "give None for it"),
    _backward("return None, None", "nothing reaches the adapters below"),
    _backward(f"return g @ {_WG}.T, None", "not transposed"),
    _backward("return g @ ctx.layer.dequantize(), None", "restore the weight in g.dtype"),
    _backward(f"W = {_WG}\n    return (g @ W.T if W.shape[0] == W.shape[1] else g @ W), None", "not transposed"),
    _backward(f"return 2 * g @ {_WG}, None", "nothing else"),
    _backward("return g.float() @ ctx.layer.dequantize(torch.float32), None", "restore the weight in g.dtype"),
    _backward(f"return (g @ {_WG}).flatten(0, -2), None", "wanted that of x"),
    _backward(f"return g @ {_WG}, None, None", "two things"),
]

RIGHT = [
    _forward(f"ctx.layer = layer\n    return F.linear(x, {_W})"),
    _forward(f"ctx.layer = layer\n    return torch.einsum('...i,oi->...o', x, {_W})"),
    _backward(f"return torch.einsum('...o,oi->...i', g, {_WG}), None"),
    _backward("W = ctx.layer.dequantize(g.dtype)\n    of_x = torch.matmul(g, W)\n    return of_x, None"),
]
