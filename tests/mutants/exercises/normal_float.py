"""Answers to lesson 09's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_SIGNATURE = (
    "def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):\n    "
)
_CODES, _RESTORED = "[6, 0, 4, 5, 2, 3]", "[0.48, -0.8, 0.12, 0.28, -0.24, 0.0]"


def _six(returned: str, says: str = "") -> Answer:
    return Answer(task="six_weights", code=f"def six_weights():\n    return {returned}\n", says=says)


def _table(body: str, says: str = "") -> Answer:
    return Answer(task="normal_float4", code=_SIGNATURE + body.replace("\n", "\n    ") + "\n", says=says)


def _lloyd(body: str, says: str = "") -> Answer:
    code = "codes = torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)"
    code = f"def lloyd_step(values, importance, levels):\n    {code}\n    {body}\n"
    return Answer(task="lloyd_step", code=code, says=says)


_HALF = """def half(n):
    p = torch.linspace(p_max, 0.5, n + 1, dtype=probability)[:-1]
    return torch.special.ndtri(p.to(quantile)).to(result)
"""
_JOIN = "levels = torch.cat([-half(7), torch.zeros(1, dtype=result), half(8)]).sort().values\n"
_LAST = "return (levels / levels.max()).float()"
_LOOP = """moved = levels.clone()
    for k in range(len(levels)):
        own = codes == k
        moved[k] = {}
    return moved"""

ANSWERS = [
    _six(f"-0.8, {_CODES}, {_RESTORED}", "with its sign taken off"),
    _six(f"0.4, {_CODES}, {_RESTORED}", "with its sign taken off"),
    _six(f"0.8, [7, 1, 5, 6, 3, 4], {_RESTORED}", "codes count from 0"),
    _six(f"0.8, [0.6, -1, 0.15, 0.35, -0.3, 0], {_RESTORED}", "its code is its place"),
    _six(f"0.8, [5, 0, 4, 5, 2, 3], {_RESTORED}", "divide by absmax first"),
    _six(f"0.8, [6, 0, 3, 5, 2, 3], {_RESTORED}", "the nearest level 0.15"),
    _six(f"0.8, {_CODES}, [0.6, -1, 0.15, 0.35, -0.3, 0]", "multiply it by absmax"),
    _six(f"0.8, {_CODES}, [0.4, -0.8, 0.09, 0.3, -0.2, 0.02]", "you restore 0.4 as"),
    _six(f"0.8, {_CODES}", "three things"),
    _six(f"0.8, [6, 0, 4], {_RESTORED}", "a list of six numbers"),
    _table(_HALF + _JOIN + "return levels.float()", "divide by the largest"),
    _table(_HALF + _JOIN.replace(".sort().values", "") + _LAST, "not ascending"),
    _table(_HALF.replace("[:-1]", "") + _JOIN + _LAST, "wanted [16]"),
    _table(_HALF + _JOIN.replace("half(7)", "half(8)") + _LAST, "17 levels"),
    _table(_HALF + _JOIN.replace("half(7)", "half(0)").replace("half(8)", "half(15)") + _LAST, "above zero, wanted 8"),
    _table(_HALF + _JOIN.replace("half(7), torch.zeros(1, dtype=result)", "half(8)") + _LAST, "no zero"),
    _table(_HALF.replace("0.5, n + 1", "0.5, n").replace("[:-1]", "") + _JOIN + _LAST, "more than once"),
    _table(_HALF.replace("p_max, 0.5", "1.0, 0.5") + _JOIN + _LAST, "infinite level"),
    _table(_HALF.replace("n + 1", "n + 2").replace("[:-1]", "[:-2]") + _JOIN + _LAST, "evenly spaced from p_max"),
    _table(_HALF.replace(".to(result)", "").replace("torch.zeros", "torch.zeros") + _JOIN + _LAST, "close, "),
    _table(_HALF.replace(", dtype=probability", ", dtype=torch.float64") + _JOIN + _LAST, "close, "),
    _table(_HALF.replace("p_max, 0.5", "0.9677083, 0.5") + _JOIN + _LAST, "use the argument"),
    _table(_HALF.replace("dtype=probability", "dtype=torch.float32") + _JOIN + _LAST, "ignores one of the dtypes"),
    _lloyd(_LOOP.format("values[own].mean()"), "the plain mean"),
    _lloyd(_LOOP.format("(importance * values)[own].mean()"), "divided by the sum of the importance"),
    _lloyd(_LOOP.format("(importance * values)[own].sum() / own.sum()"), "divided by the sum of the importance"),
    _lloyd(_LOOP.format("(importance * values)[own].sum()"), "divided by the sum of the importance"),
    _lloyd(
        "codes = torch.bucketize(values, levels)\n    "
        + _LOOP.format("(importance * values)[own].sum() / importance[own].sum()"), "wants the midpoints"
    ),
    _lloyd(_LOOP.format("values[own].median()"), "moves to"),
    _lloyd("return levels", "have not moved"),
    _lloyd("levels[0] = values[codes == 0].mean()\n    return levels", "your code changes levels"),
    _lloyd(_LOOP.format("values[own].mean()").replace("return moved", ""), "yours gives nothing"),
    _lloyd("return (levels[1:] + levels[:-1]) / 2", "wanted 3 new levels"),
]  # fmt: skip

RIGHT = [
    _six(f"0.8, torch.tensor({_CODES}), torch.tensor({_RESTORED})"),
    _six(f"(0.8, tuple({_CODES}), {_RESTORED})"),
    _table(
        "upper = torch.special.ndtri(torch.linspace(0.5, p_max, 9, dtype=probability).to(quantile))[1:].to(result)\n"
        "lower = torch.special.ndtri(torch.linspace(0.5, p_max, 8, dtype=probability).to(quantile))[1:].to(result)\n"
        "levels = torch.cat((-lower.flip(0), torch.zeros(1, dtype=result), upper))\n"
        "return (levels / levels[-1]).to(torch.float32)"
    ),
    _table(_HALF + "levels = sorted([-q for q in half(7)] + [torch.tensor(0.0, dtype=result)] + list(half(8)))\n"
           "return (torch.stack(levels) / levels[-1]).float()"),
    _lloyd("total = torch.bincount(codes, importance)\n    return torch.bincount(codes, importance * values) / total"),
    *cells('''
#:
def lloyd_step(values, importance, levels):
    nearest = (values[:, None] - levels).abs().argmin(dim=1)
    new = []
    for k in range(len(levels)):
        own = nearest == k
        new.append(float((values[own] * importance[own] / importance[own].sum()).sum()))
    return torch.tensor(new)
'''),
]  # fmt: skip
