"""Answers to lesson 14's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _bytes(body: str, says: str = "") -> Answer:
    return Answer(
        task="adapter_bytes", code=f"def adapter_bytes(layers, r, bytes_per_number):\n    {body}\n", says=says
    )


def _merged(body: str, says: str = "") -> Answer:
    return Answer(task="merged_weight", code=f"def merged_weight(W, A, B, s):\n    {body}\n", says=says)


def _survives(body: str, says: str = "") -> Answer:
    return Answer(task="survives", code=f"def survives(levels, code, update):\n    {body}\n", says=says)


_NEAREST = "(levels[code.long()].unsqueeze(-1) + update.unsqueeze(-1) - levels).abs().argmin(-1)"

ANSWERS = [
    _bytes("return sum(r * (o + i) for o, i in layers)", "counts numbers"),
    _bytes("return bytes_per_number * sum(o * i for o, i in layers)", "whole weight"),
    _bytes("return bytes_per_number * sum(o + i for o, i in layers)", "multiply by r"),
    _bytes("return bytes_per_number * sum(r * i for o, i in layers)", "A alone"),
    _bytes("for o, i in layers:\n        return bytes_per_number * r * (o + i)", "first layer alone"),
    _bytes("for o, i in layers:\n        total = bytes_per_number * r * (o + i)\n    return total", "last layer alone"),
    _bytes("return 2 * bytes_per_number * sum(r * (o + i) for o, i in layers)", "counted twice"),
    _bytes("return bytes_per_number * sum(r * (o + i) for o, i in layers) / 8", "not bits"),
    _bytes("total = bytes_per_number * sum(r * (o + i) for o, i in layers)", "end with return"),
    _bytes("return torch.tensor(bytes_per_number * sum(r * (o + i) for o, i in layers))", "end with .item()"),
    _merged("return W + B @ A", "s is missing"),
    _merged("return (W.float() + s * (A @ B)).to(W.dtype)", "B @ A has the shape of W"),
    _merged("return s * (B @ A)", "update alone"),
    _merged("return s * (W + B @ A)", "s multiplies W"),
    _merged("return W + s * (A.T @ B.T) if W.shape[0] == W.shape[1] else W + s * (B @ A)", "transposed"),
    _merged("return W.float() + s * (B @ A)", "as W: round at the end"),
    _merged("return W + (s * (B @ A)).to(W.dtype)", "rounded to bfloat16 before the sum"),
    _merged("return W + s * (B.to(W.dtype) @ A.to(W.dtype))", "rounded to bfloat16 before the sum"),
    _merged("W += (s * (B @ A)).to(W.dtype)\n    return W", "changes W"),
    _merged("return W - s * (B @ A)", "subtracted"),
    _survives(
        "return (levels[code].unsqueeze(-1) + update.unsqueeze(-1) - levels).abs().argmin(-1) != code",
        "takes uint8 in brackets for a mask",
    ),
    _survives("return update.abs() > (levels[1] - levels[0])", "Half a step is enough"),
    _survives(f"return {_NEAREST} == code", "turn it round"),
    _survives(f"return {_NEAREST}", "wanted bool"),
    _survives(f"return {_NEAREST.replace('.abs()', '')} != code", "least difference"),
    _survives("return torch.searchsorted(levels, levels[code.long()] + update) != code", "earchsorted gives the next"),
    _survives("return update.abs() > (levels[1] - levels[0]) / 2", "is rounded to"),
    _survives("return update != 0", "Any update that is not zero"),
    _survives(f"return ({_NEAREST} != code).tolist()", "wanted a tensor"),
    _survives("return update > (levels[1] - levels[0]) / 2", "not moved"),
    _survives("return (update.abs() > (levels[1:] - levels[:-1]).mean() / 2)", "is rounded to"),
    _survives(f"return ({_NEAREST} != code).any()", "that of code"),
]

RIGHT = [
    _bytes("total = 0\n    for o, i in layers:\n        total += r * i + o * r\n    return bytes_per_number * total"),
    _bytes("return r * bytes_per_number * sum(map(sum, layers))"),
    _merged("return (W.double() + s * B.double() @ A.double()).to(W.dtype)"),
    _merged("return torch.addmm(W.float(), B, A, alpha=s).type_as(W)"),
    _survives(f"return {_NEAREST} != code"),
    _survives(
        "middle = (levels[1:] + levels[:-1]) / 2\n    moved = levels[code.long()] + update\n"
        "    return torch.bucketize(moved, middle) != code"
    ),
    _survives(
        "step = levels[1:] - levels[:-1]\n    far = torch.full((1,), math.inf)\n    code = code.long()\n"
        "    up, down = torch.cat([step, far])[code], torch.cat([far, step])[code]\n"
        "    return (update > up / 2) | (-update > down / 2)"
    ),
]
