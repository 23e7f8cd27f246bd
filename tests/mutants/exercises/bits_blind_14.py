"""Answers to the bits of lesson 14, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: add d_out and d_in
def adapter_bytes(layers, r, bytes_per_number):
    return bytes_per_number * r * sum(a * b for a, b in layers)
#: that counts numbers; each takes several bytes
def adapter_bytes(layers, r, bytes_per_number):
    return r * sum(a + b for a, b in layers)
#: the sizes of the first layer
def adapter_bytes(layers, r, bytes_per_number):
    a, b = layers[0]
    return bytes_per_number * r * (a + b) * len(layers)
#: always 4 bytes a number
def adapter_bytes(layers, r, bytes_per_number):
    return 4 * r * sum(a + b for a, b in layers)
#: that is the first layer alone
def adapter_bytes(layers, r, bytes_per_number):
    for a, b in layers:
        return bytes_per_number * r * (a + b)
#: something was rounded to bfloat16 before the sum. Make W a float32 first,
def merged_weight(W, A, B, s):
    return W + (s * (B @ A)).to(W.dtype)
#: round at the end, by .to(W.dtype)
def merged_weight(W, A, B, s):
    return W.float() + s * (B @ A)
#: make a new tensor instead
def merged_weight(W, A, B, s):
    W += s * (B @ A)
    return W
#: the update is s·B·A
def merged_weight(W, A, B, s):
    return (W.float() + B @ A).to(W.dtype)
#: it is B @ A, [d_out, r] times [r, d_in]
def merged_weight(W, A, B, s):
    return (W.float() + s * (A.T @ B.T)).to(W.dtype)
#: something was rounded to bfloat16 before the sum. Make W a float32 first,
def merged_weight(W, A, B, s):
    return (W.float() + s * (B.to(W.dtype) @ A.to(W.dtype)).float()).to(W.dtype)
#: your weight is bfloat16, wanted float32
def merged_weight(W, A, B, s):
    return (W.float() + s * (B @ A)).to(torch.bfloat16)
#: something was rounded to bfloat16 before the sum. Make W a float32 first,
def merged_weight(W, A, B, s):
    return torch.add(W, s * (B @ A).to(W.dtype))
#: which ones does rounding undo?
def survives(levels, code, update):
    return update != 0
#: At either end there is no further level
def survives(levels, code, update):
    gap = levels[1] - levels[0]
    return update.abs() > gap / 2
#: True where the nearest level is another one
def survives(levels, code, update):
    code = code.long()
    new = levels[code] + update
    nearest = (new[..., None] - levels).abs().argmin(dim=-1)
    return nearest
#: turn it round
def survives(levels, code, update):
    code = code.long()
    new = levels[code] + update
    nearest = (new[..., None] - levels).abs().argmin(dim=-1)
    return nearest == code
#: compare with the midpoints
def survives(levels, code, update):
    code = code.long()
    new = levels[code] + update
    return torch.bucketize(new, levels) != code
#: RuntimeError: The size of tensor a (2) must match the size of tensor b (5)
def survives(levels, code, update):
    code = code.long()
    new = levels[code] + update
    nearest = (new[:, None] - levels).abs().argmin(dim=-1)
    return nearest != code
#: True where the nearest level is another one
def survives(levels, code, update):
    code = code.long()
    new = levels[code] + update
    nearest = (new[..., None] - levels).abs().argmin(dim=-1)
    return (nearest != code).float()
""")

RIGHT = cells(r"""
#:
def adapter_bytes(layers, r, bytes_per_number):
    return bytes_per_number * r * sum(a + b for a, b in layers)
#:
def merged_weight(W, A, B, s):
    return (W.to(torch.float32) + s * (B @ A)).to(W.dtype)
#:
def survives(levels, code, update):
    code = code.long()
    new = levels[code] + update
    nearest = (new[..., None] - levels).abs().argmin(dim=-1)
    return nearest != code
""")
