"""Answers to the tasks of notebook 14, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: a negative weight has lost its sign
def stacked(adapters, weights):
    A = torch.cat([abs(w * s) ** 0.5 * A for (A, _, s), w in zip(adapters, weights)])
    B = torch.cat([abs(w * s) ** 0.5 * B for (_, B, s), w in zip(adapters, weights)], dim=1)
    return A, B
#: your code changes adapters
def stacked(adapters, weights):
    A, B, s = adapters[0]
    A, B = A, B.mul_(weights[0] * s)
    for (C, D, s), w in zip(adapters[1:], weights[1:]):
        A, B = torch.cat([A, C]), torch.cat([B, w * s * D], dim=1)
    return A, B
#: divided by their sum
def stacked(adapters, weights):
    total = sum(weights)
    A = torch.cat([A for A, _, _ in adapters])
    return A, torch.cat([w / total * s * B for (_, B, s), w in zip(adapters, weights)], dim=1)
#: no rows of the adapter whose weight is 0
def stacked(adapters, weights):
    kept = [(A, w * s * B) for (A, B, s), w in zip(adapters, weights) if w]
    return torch.cat([A for A, _ in kept]), torch.cat([B for _, B in kept], dim=1)
#: B has the shape
def stacked(adapters, weights):
    A = torch.cat([A for A, _, _ in adapters])
    return A, torch.cat([w * s * B for (_, B, s), w in zip(adapters, weights) if w], dim=1)
#: the data begin at 8 + n, not at n
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + n])
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        start, end = about["data_offsets"]
        data = bytearray(blob[n + start:n + end])
        found[name] = torch.frombuffer(data, dtype=DTYPES[about["dtype"]]).view(about["shape"])
    return found
#: at its own data_offsets
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + n])
    header.pop("__metadata__", None)
    found, place = {}, 8 + n
    for name, about in header.items():
        dtype = DTYPES[about["dtype"]]
        size = math.prod(about["shape"]) * dtype.itemsize
        found[name] = torch.frombuffer(bytearray(blob[place:place + size]), dtype=dtype).view(about["shape"])
        place += size
    return found
#: so pass over it
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:8], "little")
    header, data = json.loads(blob[8:8 + n]), blob[8 + n:]
    found = {}
    for name, about in header.items():
        start, end = about["data_offsets"]
        flat = torch.frombuffer(bytearray(data[start:end]), dtype=DTYPES[about["dtype"]])
        found[name] = flat.view(about["shape"])
    return found
#: read the bytes as numbers of their dtype
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:8], "little")
    header, data = json.loads(blob[8:8 + n]), blob[8 + n:]
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        start, end = about["data_offsets"]
        flat = torch.tensor(list(data[start:end]), dtype=DTYPES[about["dtype"]])
        found[name] = flat.view(about["shape"])
    return found
#: the least comes first
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:8], "big")
    header, data = json.loads(blob[8:8 + n]), blob[8 + n:]
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        start, end = about["data_offsets"]
        flat = torch.frombuffer(bytearray(data[start:end]), dtype=DTYPES[about["dtype"]])
        found[name] = flat.view(about["shape"])
    return found
#: the n bytes after the first 8
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:4], "little")
    header, data = json.loads(blob[4:4 + n]), blob[4 + n:]
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        start, end = about["data_offsets"]
        flat = torch.frombuffer(bytearray(data[start:end]), dtype=DTYPES[about["dtype"]])
        found[name] = flat.view(about["shape"])
    return found
#: measure anew
def merged_into_codes(codes, absmax, levels, update):
    old = levels[codes.long()] * absmax[:, None]
    target = old + update
    scaled = target / absmax[:, None]
    new_codes = (scaled[..., None] - levels).abs().argmin(dim=-1)
    moved = levels[new_codes] * absmax[:, None] - old
    share = float((moved * update).sum() / update.square().sum())
    return new_codes.to(torch.uint8), absmax, share
#: the share of codes that changed
def merged_into_codes(codes, absmax, levels, update):
    old = levels[codes.long()] * absmax[:, None]
    target = old + update
    constants = target.abs().amax(dim=1)
    new_codes = ((target / constants[:, None])[..., None] - levels).abs().argmin(dim=-1)
    moved = (new_codes != codes).float()
    share = float(moved.mean())
    return new_codes.to(torch.uint8), constants, share
#: a ratio of energies
def merged_into_codes(codes, absmax, levels, update):
    old = levels[codes.long()] * absmax[:, None]
    target = old + update
    constants = target.abs().amax(dim=1)
    new_codes = ((target / constants[:, None])[..., None] - levels).abs().argmin(dim=-1)
    moved = levels[new_codes] * constants[:, None] - old
    share = float((moved * moved).sum() / update.square().sum())
    return new_codes.to(torch.uint8), constants, share
#: the mean of the blocks' shares
def merged_into_codes(codes, absmax, levels, update):
    old = levels[codes.long()] * absmax[:, None]
    target = old + update
    constants = target.abs().amax(dim=1)
    new_codes = ((target / constants[:, None])[..., None] - levels).abs().argmin(dim=-1)
    moved = levels[new_codes] * constants[:, None] - old
    share = float(((moved * update).sum(1) / update.square().sum(1)).mean())
    return new_codes.to(torch.uint8), constants, share
#: cut off at 0 and 1
def merged_into_codes(codes, absmax, levels, update):
    old = levels[codes.long()] * absmax[:, None]
    target = old + update
    constants = target.abs().amax(dim=1)
    new_codes = ((target / constants[:, None])[..., None] - levels).abs().argmin(dim=-1)
    moved = levels[new_codes] * constants[:, None] - old
    share = min(1.0, max(0.0, float((moved * update).sum() / update.square().sum())))
    return new_codes.to(torch.uint8), constants, share
#: are allowed
def bits_for(sizes, errors, budget):
    choices, used = [], 0
    for of_size, of_error in zip(sizes, errors):
        for j in (3, 2, 1, 0):
            if used + of_size[j] <= budget:
                break
        choices.append(j)
        used += of_size[j]
    return choices
#: no better than the best single format
def bits_for(sizes, errors, budget):
    for j in (3, 2, 1, 0):
        if sum(of[j] for of in sizes) <= budget:
            return [j] * len(sizes)
""")

RIGHT = cells("""
#:
def stacked(adapters, weights):
    A = torch.cat([A for A, _, _ in adapters], dim=0)
    B = torch.cat([w * s * B for (_, B, s), w in zip(adapters, weights)], dim=1)
    return A, B
#:
import json
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}

def tensors_in(blob):
    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + n])
    data, found = blob[8 + n:], {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        start, end = about["data_offsets"]
        dtype = DTYPES[about["dtype"]]
        if start == end:
            found[name] = torch.empty(about["shape"], dtype=dtype)
        else:
            found[name] = torch.frombuffer(bytearray(data[start:end]), dtype=dtype).view(about["shape"])
    return found
#:
def merged_into_codes(codes, absmax, levels, update):
    old = levels[codes.long()] * absmax[:, None]
    target = old + update
    constants = target.abs().amax(dim=1)
    scaled = target / torch.where(constants > 0, constants, torch.ones_like(constants))[:, None]
    new_codes = torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2)
    moved = levels[new_codes] * constants[:, None] - old
    share = float((moved * update).double().sum() / update.double().square().sum())
    return new_codes.to(torch.uint8), constants, share
#:
def bits_for(sizes, errors, budget):
    best = {0: (0.0, [])}
    for of_size, of_error in zip(sizes, errors):
        following = {}
        for used, (error, choices) in best.items():
            for j, (size, harm) in enumerate(zip(of_size, of_error)):
                key = used + size
                if key <= budget and (key not in following or error + harm < following[key][0]):
                    following[key] = (error + harm, choices + [j])
        best = following
    return min(best.values())[1]
#:
def bits_for(sizes, errors, budget):
    choices = [0] * len(sizes)
    used = sum(of[0] for of in sizes)
    while True:
        gains = []
        for i, j in enumerate(choices):
            for k in range(j + 1, len(sizes[i])):
                more = sizes[i][k] - sizes[i][j]
                if used + more <= budget:
                    gains.append(((errors[i][j] - errors[i][k]) / more, i, k))
        if not gains or max(gains)[0] <= 0:
            return choices
        _, i, k = max(gains)
        used += sizes[i][k] - sizes[i][choices[i]]
        choices[i] = k
""")
