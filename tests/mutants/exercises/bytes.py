"""Answers to lesson 07's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _kept(body: str, says: str = "") -> Answer:
    return Answer(task="kept_per_token", code=f"def kept_per_token(h, q, kv, a, i):\n    {body}\n", says=says)


def _peak(body: str, says: str = "") -> Answer:
    return Answer(task="peak_of", code=f"def peak_of(moments):\n    {body}\n", says=says)


def _checkpointed(body: str, says: str = "") -> Answer:
    return Answer(task="checkpointed", code=f"def checkpointed(layers, enters, keeps, loss):\n    {body}\n", says=says)


_SUMS = "sums = [(sum(parts.values()), phase) for phase, parts in moments]\n    "

ANSWERS = [
    _kept("return 8 * h + 4 + 4 * q + 4 * kv + 4 * a + 8 * i", "there are two norms"),
    _kept("return 12 * h + 8 + 4 * q + 4 * kv + 4 * a + 8 * i", "its input in fp32"),
    _kept("return 16 * h + 8 + 2 * q + 4 * kv + 4 * a + 8 * i", "the attention's output"),
    _kept("return 16 * h + 8 + 4 * q + 2 * kv + 4 * a + 8 * i", "key and value"),
    _kept("return 16 * h + 8 + 4 * q + 4 * kv + 2 * a + 8 * i", "for each head"),
    _kept("return 16 * h + 8 + 4 * q + 4 * kv + 4 * a + 6 * i", "four tensors"),
    _kept("return 16 * h + 4 * q + 4 * kv + 4 * a + 8 * i", "1/rms of two norms"),
    _kept("return 32 * h + 8 + 8 * q + 8 * kv + 4 * a + 16 * i", "there are two norms"),
    _kept("print(16 * h)", "None"),
    _peak("worst = {}\n    for phase, parts in moments:\n        for name, count in parts.items():\n"
          "            worst[name] = max(worst.get(name, 0), count)\n    return 'loss', sum(worst.values())",
          "never alive together"),
    _peak(_SUMS + "return 'loss', sum(total for total, _ in sums)", "adds up all moments"),
    _peak("return max(((p, max(parts.values())) for p, parts in moments), key=lambda each: each[1])",
          "largest part alone"),
    _peak(_SUMS + "total, phase = min(sums)\n    return phase, total", "smallest of the sums"),
    _peak(_SUMS + "total, phase = sums[-1]\n    return phase, total", "last moment"),
    _peak(_SUMS + "return moments[-1][0], max(sums)[0]", "that same moment"),
    _peak(_SUMS + "return max(sums)[0]", "return phase, total"),
    _peak("sums = {phase: sum(parts.values()) for phase, parts in moments}\n    phase = max(sums, key=sums.get)\n"
          "    return phase, sums[phase]", "more than once"),
    _peak(_SUMS + "return max(sums)", "wanted a plain number"),
    _checkpointed("return layers * enters + keeps + loss", "the larger counts"),
    _checkpointed("return layers * enters + keeps", "The loss may be larger"),
    _checkpointed("return layers * enters + loss", "One repeated layer may be larger"),
    _checkpointed("return layers * keeps + loss", "without checkpointing"),
    _checkpointed("return layers * (enters + keeps)", "counts once"),
    _checkpointed("return max(layers * enters, keeps, loss)", "all the time"),
    _checkpointed("return max(keeps, loss)", "is kept too"),
    _checkpointed("return enters + max(keeps, loss)", "once for each"),
]  # fmt: skip

RIGHT = [
    _kept("return 16 * h + 4 * (q + kv + a) + 8 * i + 8"),
    _kept("fp32, bf16 = 4, 2\n    norm = h * fp32 + fp32 + 2 * h * bf16\n"
          "    return norm + norm + (2 * q + 2 * kv + 4 * i) * bf16 + a * fp32"),
    _peak("phase, most = None, -1\n    for name, parts in moments:\n        if sum(parts.values()) > most:\n"
          "            phase, most = name, sum(parts.values())\n    return phase, most"),
    _peak(_SUMS + "total, phase = max(sums)\n    return [phase, total]"),
    _checkpointed("return max(layers * enters + keeps, layers * enters + loss)"),
    _checkpointed("stay = enters * layers\n    return stay + (keeps if keeps > loss else loss)"),
]  # fmt: skip
