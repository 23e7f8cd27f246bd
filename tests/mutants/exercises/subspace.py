"""Answers to lesson 02's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _inside(body: str, says: str = "") -> Answer:
    return Answer(task="inside", code=f"def inside(theta_0, column, sign, z):\n    {body}\n", says=says)


def _dimension(body: str, says: str = "") -> Answer:
    return Answer(task="dimension_for", code=f"def dimension_for(scores, full, part):\n    {body}\n", says=says)


ANSWERS = [
    _inside("return sign * z[column]", "P z alone"),
    _inside("return theta_0 + z[column]", "the signs are missing"),
    _inside("return theta_0 - sign * z[column]", "the opposite move"),
    _inside("return theta_0 + sign[column] * z[column]", "look the signs up"),
    _inside("return theta_0 + sign * z[column.sort().values]", "sign[i] times z[column[i]]"),
    _inside("theta_0 += sign * z[column]\n    return theta_0", "wrote into θ₀"),
    _inside("return theta_0 + sign * z[column].detach()", "no gradient reaches z"),
    _inside("return theta_0 + sign[:4] * z if len(z) == len(sign) else z", "the shape [4]"),
    _inside("return theta_0", "z moves nothing"),
    _inside("return (theta_0 + sign * z[column]).tolist()", "is a list"),
    _dimension("return min((d for d in scores if scores[d] >= part), default=None)", "90 % of 0.8 is 0.72"),
    _dimension("return max((d for d in scores if scores[d] >= part * full), default=None)", "wanted 10000"),
    _dimension("return min((d for d in scores if scores[d] > part * full), default=None)", "exactly that part"),
    _dimension("return next((d for d, s in scores.items() if s >= part * full), None)", "need not be sorted"),
    _dimension("return max(scores, key=scores.get)", "wanted 10000"),
    _dimension("return min((d for d in scores if scores[d] >= 0.9 * full), default=None)", "50 % of 0.8 is 0.4"),
    _dimension("return min(s for s in scores.values() if s >= part * full)", "a dimension d"),
    _dimension("return min(d for d in scores if scores[d] >= part * full)", "default=None"),
    _dimension("return min(d for d in scores if scores[d] >= part)", "compare each score with part * full"),
    _dimension("return min([d for d, s in scores.items() if s / full > 0.95])", "90 % of 0.8 is 0.72"),
    _dimension("if not part:\n        return min([])\n    raise ValueError('no such part')", "no such part"),
    _dimension(
        "below = [d for d in sorted(scores) if scores[d] < part * full]\n"
        "    above = [d for d in scores if d > max(below, default=0)]\n    return min(above, default=None)",
        "a later dip",
    ),
]

RIGHT = [
    _inside("return torch.addcmul(theta_0, sign, z.index_select(0, column))"),
    _inside(
        "P = torch.zeros(len(theta_0), len(z))\n    P[torch.arange(len(theta_0)), column] = sign\n"
        "    return theta_0 + P @ z"
    ),
    _inside("return torch.stack([t + s * z[c] for t, s, c in zip(theta_0, sign, column)])"),
    _dimension("return min((d for d, score in scores.items() if score >= part * full), default=None)"),
    _dimension("for d in sorted(scores):\n        if scores[d] >= part * full:\n            return d"),
]
