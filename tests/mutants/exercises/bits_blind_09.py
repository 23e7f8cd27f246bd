"""Answers to the bits of lesson 09, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: the largest magnitude counts, with its sign taken off
def six_weights():
    return -0.8, [6, 0, 4, 5, 2, 3], [0.48, -0.8, 0.12, 0.28, -0.24, 0.0]
#: that is the code of 0.4 undivided; divide by absmax first
def six_weights():
    return 0.8, [5, 0, 4, 5, 2, 3], [0.28, -0.8, 0.12, 0.28, -0.24, 0.0]
#: codes count from 0
def six_weights():
    return 0.8, [7, 1, 5, 6, 3, 4], [0.48, -0.8, 0.12, 0.28, -0.24, 0.0]
#: that is the level itself; multiply it by absmax
def six_weights():
    return 0.8, [6, 0, 4, 5, 2, 3], [0.6, -1, 0.15, 0.35, -0.3, 0]
#: that is the code of 0.4 undivided; divide by absmax first
def six_weights():
    return 0.8, [5, 1, 4, 5, 2, 3], [0.28, -0.48, 0.12, 0.28, -0.24, 0.0]
#: the largest magnitude counts, with its sign taken off
def six_weights():
    return 0.4, [7, 0, 4, 6, 1, 3], [0.4, -0.4, 0.06, 0.24, -0.24, 0.0]
#: yours has 7 levels above zero, wanted 8, and 7 below
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(p_max, 0.5, n + 1, dtype=probability)[:-1]
        return torch.special.ndtri(p.to(quantile)).to(result)

    levels = torch.cat([-side(8), torch.zeros(1, dtype=result), side(7)]).sort().values
    return (levels / levels.max()).float()
#: leave p = ½ out of both halves, and add one zero
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(p_max, 0.5, n, dtype=probability)
        return torch.special.ndtri(p.to(quantile)).to(result)

    levels = torch.cat([-side(7), torch.zeros(1, dtype=result), side(8)]).sort().values
    return (levels / levels.max()).float()
#: your levels are not ascending
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(p_max, 0.5, n + 1, dtype=probability)[:-1]
        return torch.special.ndtri(p.to(quantile)).to(result)

    levels = torch.cat([-side(7), torch.zeros(1, dtype=result), side(8)])
    return (levels / levels.max()).float()
#: divide by the largest
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(p_max, 0.5, n + 1, dtype=probability)[:-1]
        return torch.special.ndtri(p.to(quantile)).to(result)

    return torch.cat([-side(7), torch.zeros(1, dtype=result), side(8)]).sort().values.float()
#: yours has 7 levels above zero, wanted 8, and 7 below
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    p = torch.arange(17, dtype=torch.float64) / 17
    q = torch.special.ndtri(p.clamp(1 - p_max, p_max))
    levels = (q[:-1] + q[1:]) / 2
    return (levels / levels.abs().max()).float()
#: the roundings stand elsewhere. p in `probability`, the quantile of
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(0.9677083, 0.5, n + 1)[:-1]
        return torch.special.ndtri(p.double())

    levels = torch.cat([-side(7), torch.zeros(1), side(8)]).sort().values
    return (levels / levels.max()).float()
#: the roundings stand elsewhere. p in `probability`, the quantile of
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(p_max, 0.5, n + 1, dtype=quantile)[:-1]
        return torch.special.ndtri(p).to(result)

    levels = torch.cat([-side(7), torch.zeros(1, dtype=result), side(8)]).sort().values
    return (levels / levels.max()).float()
#: multiply each value by its importance, and divide by their sum
def lloyd_step(values, importance, levels):
    code = (values[:, None] - levels).abs().argmin(dim=1)
    return torch.stack([values[code == k].mean() for k in range(len(levels))])
#: that is what makes it a weighted mean
def lloyd_step(values, importance, levels):
    code = (values[:, None] - levels).abs().argmin(dim=1)
    return torch.stack([(values[code == k] * importance[code == k]).mean() for k in range(len(levels))])
#: make a new tensor instead
def lloyd_step(values, importance, levels):
    code = (values[:, None] - levels).abs().argmin(dim=1)
    for k in range(len(levels)):
        mine = code == k
        levels[k] = (values[mine] * importance[mine]).sum() / importance[mine].sum()
    return levels
#: it is absmax² already
def lloyd_step(values, importance, levels):
    code = (values[:, None] - levels).abs().argmin(dim=1)
    new = []
    for k in range(len(levels)):
        mine = code == k
        new.append((values[mine] * importance[mine] ** 2).sum() / (importance[mine] ** 2).sum())
    return torch.stack(new)
#: for the nearest one, bucketize wants the midpoints between them
def lloyd_step(values, importance, levels):
    code = torch.bucketize(values, levels).clamp(max=len(levels) - 1)
    new = []
    for k in range(len(levels)):
        mine = code == k
        new.append((values[mine] * importance[mine]).sum() / importance[mine].sum())
    return torch.stack(new)
""")

RIGHT = cells(r"""
#:
def six_weights():
    return 0.8, [6, 0, 4, 5, 2, 3], [0.48, -0.8, 0.12, 0.28, -0.24, 0.0]
#:
def normal_float4(p_max=0.9677083, probability=torch.float32, quantile=torch.float64, result=torch.float32):
    def side(n):
        p = torch.linspace(p_max, 0.5, n + 1, dtype=probability)[:-1]
        return torch.special.ndtri(p.to(quantile)).to(result)

    levels = torch.cat([-side(7), torch.zeros(1, dtype=result), side(8)]).sort().values
    return (levels / levels.max()).float()
#:
def lloyd_step(values, importance, levels):
    distance = (values[:, None] - levels).abs()
    code = distance.argmin(dim=1)
    new = []
    for k in range(len(levels)):
        mine = code == k
        new.append((values[mine] * importance[mine]).sum() / importance[mine].sum())
    return torch.stack(new)
""")
