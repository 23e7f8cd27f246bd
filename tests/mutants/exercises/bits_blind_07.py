"""Answers to the bits of lesson 07, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: they come one after the other
def peak_of(moments):
    total = {}
    for phase, parts in moments:
        total[phase] = total.get(phase, 0) + sum(parts.values())
    best = max(total, key=total.get)
    return best, total[best]
#: look at each of its moments, not at its last alone
def peak_of(moments):
    sums = dict((phase, sum(parts.values())) for phase, parts in moments)
    best = max(sums, key=sums.get)
    return best, sums[best]
#: add up what is alive at the same moment
def peak_of(moments):
    return max((max(parts.values()), phase) for phase, parts in moments)[::-1]
#: return phase, total
def peak_of(moments):
    best = max(moments, key=lambda m: sum(m[1].values()))
    return best[0]
#: adds each part at its own largest
def peak_of(moments):
    tops = {}
    for _, parts in moments:
        for part, size in parts.items():
            tops[part] = max(tops.get(part, 0), size)
    best = max(moments, key=lambda m: sum(m[1].values()))
    return best[0], sum(tops.values())
#: of the two, the larger counts
def checkpointed(layers, enters, keeps, loss):
    return layers * enters + keeps + loss
#: take the larger of the two
def checkpointed(layers, enters, keeps, loss):
    return max(layers * enters + keeps, loss)
#: of each layer only `enters` stays
def checkpointed(layers, enters, keeps, loss):
    return layers * max(enters, keeps) + loss
#: `enters` counts once for each
def checkpointed(layers, enters, keeps, loss):
    return enters + max(keeps, loss)
#: What enters each layer lies there
def checkpointed(layers, enters, keeps, loss):
    return layers * (enters + keeps) + loss
#: What enters each layer lies there
def checkpointed(layers, enters, keeps, loss):
    return (layers - 1) * enters + max(keeps, loss)
#: a norm keeps its input in fp32, normalised values and output in bf16, 8
def kept_per_token(h, q, kv, a, i):
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q + 4 * a
    mlp = 4 * 2 * i
    return norm + attention + mlp
#: key and value are as wide as kv, both in bf16
def kept_per_token(h, q, kv, a, i):
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * q + 4 * a
    mlp = 4 * 2 * i
    return 2 * norm + attention + mlp
#: a norm keeps its input in fp32, normalised values and output in bf16, 8
def kept_per_token(h, q, kv, a, i):
    norm = 2 * h + 2 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q + 2 * a
    mlp = 4 * 2 * i
    return 2 * norm + attention + mlp
#: four tensors as wide as i, all in bf16
def kept_per_token(h, q, kv, a, i):
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q + 4 * a
    mlp = 3 * 2 * i
    return 2 * norm + attention + mlp
#: a norm keeps its input in fp32, normalised values and output in bf16, 8
def kept_per_token(h, q, kv, a, i):
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * h + 2 * kv + 2 * kv + 2 * h + 4 * a
    mlp = 4 * 2 * i
    return 2 * norm + attention + mlp
#: one fp32 number for each head
def kept_per_token(h, q, kv, a, i):
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q
    mlp = 4 * 2 * i
    return 2 * norm + attention + mlp
""")

RIGHT = cells(r"""
#:
def peak_of(moments):
    best = max(moments, key=lambda m: sum(m[1].values()))
    return best[0], sum(best[1].values())
#:
def checkpointed(layers, enters, keeps, loss):
    return layers * enters + max(keeps, loss)
#:
def kept_per_token(h, q, kv, a, i):
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q + 4 * a
    mlp = 4 * 2 * i
    return 2 * norm + attention + mlp
""")
