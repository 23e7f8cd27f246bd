"""Answers to the exercises of lesson 02, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: keep that of shapes, unsorted
def lifted(z, column, sign, shapes):
    moves = sign * z[column]
    out, start = {}, 0
    for name in sorted(shapes):
        n = math.prod(shapes[name])
        out[name] = moves[start:start + n].reshape(shapes[name])
        start += n
    return out
#: go on where the last one ended
def lifted(z, column, sign, shapes):
    moves = sign * z[column]
    out = {}
    for name, shape in shapes.items():
        out[name] = moves[:math.prod(shape)].reshape(shape)
    return out
#: PyTorch's view and reshape fill row after row
def lifted(z, column, sign, shapes):
    moves = sign * z[column]
    out, start = {}, 0
    for name, shape in shapes.items():
        n = math.prod(shape)
        part = moves[start:start + n]
        out[name] = part.reshape(shape[::-1]).T if len(shape) == 2 else part
        start += n
    return out
#: compute all of them from z itself
def lifted(z, column, sign, shapes):
    moves = torch.tensor([s * z[c].item() for s, c in zip(sign.tolist(), column.tolist())], requires_grad=True)
    out, start = {}, 0
    for name, shape in shapes.items():
        n = math.prod(shape)
        out[name] = moves[start:start + n].reshape(shape)
        start += n
    return out
#: RuntimeError: shape '[2, 2, 3]' is invalid for input of size 4
def lifted(z, column, sign, shapes):
    moves = sign * z[column]
    out, start = {}, 0
    for name, shape in shapes.items():
        n = shape[0] * shape[1] if len(shape) > 1 else shape[0]
        out[name] = moves[start:start + n].view(*shape)
        start += n
    return out
#: RuntimeError: shape '[3, 4]' is invalid for input of size 7
def lifted(z, column, sign, shapes):
    P = torch.zeros(len(column), len(z))
    P[range(len(column)), column] = sign.float()
    moves = P @ z
    out, start = {}, 0
    for name, shape in shapes.items():
        n = sum(shape)
        out[name] = moves[start:start + n].reshape(shape)
        start += n
    return out
#: weight i of the whole column moves by sign[i] · z[column[i]]
def lifted(z, column, sign, shapes):
    moves = z[column]
    out, start = {}, 0
    for name, shape in shapes.items():
        n = math.prod(shape)
        out[name] = (moves[start:start + n].reshape(shape)) * sign[:n].reshape(shape)
        start += n
    return out
#: make a new tensor instead
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    theta = torch.stack([theta_0[i] + row(i) @ z for i in range(D)])
    g = gradient_at(theta)
    for i in range(D):
        z -= rate * g[i] * row(i)
    return z
#: that is P, with D · d numbers; draw a row again when the gradient comes
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    P = torch.stack([row(i) for i in range(len(theta_0))])
    g = gradient_at(theta_0 + P @ z)
    return z - rate * P.T @ g
#: you ask gradient_at 4 times in one step, wanted once, at θ = θ₀ + P z
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    theta = torch.stack([theta_0[i] + row(i) @ z for i in range(D)])
    new = z.clone()
    for i in range(D):
        new = new - rate * gradient_at(theta)[i] * row(i)
    return new
#: it starts from θ₀
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    theta = torch.stack([row(i) @ z for i in range(D)])
    g = gradient_at(theta)
    new = z.clone()
    for i in range(D):
        new = new - rate * g[i] * row(i)
    return new
#: the model has moved, by P z
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    g = gradient_at(theta_0)
    new = z.clone()
    for i in range(D):
        new = new - rate * g[i] * row(i)
    return new
#: Pᵀ g is the sum of g[i] · row(i) over all weights i
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    theta = torch.stack([theta_0[i] + row(i) @ z for i in range(D)])
    g = gradient_at(theta)
    return z - rate * torch.stack([row(i) * g[i] for i in range(len(z))]).sum(0)
#: Pᵀ g is the sum of g[i] · row(i) over all weights i
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    theta = torch.stack([theta_0[i] + row(i) @ z for i in range(D)])
    g = gradient_at(theta)
    new = z.clone()
    for i in range(D):
        new = new - rate * (g[i] * row(i)).mean()
    return new
#: that is P, with D · d numbers; draw a row again when the gradient comes
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    theta, g_total = theta_0.clone(), torch.zeros_like(z)
    rows = {}
    for i in range(len(theta_0)):
        rows[i] = row(i)
        theta[i] += rows[i] @ z
    g = gradient_at(theta)
    for i in rows:
        g_total += g[i] * rows[i]
    return z - rate * g_total
#: give that d, and guess nothing below it
def crossing_dimension(sizes, scores, wanted):
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** t
#: halfway between 100 and 10,000 is 1,000 here, so take logarithms of d
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] + t * (sizes[k] - sizes[k - 1])
    return None
#: the first time it reaches the score counts
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(len(sizes) - 1, 0, -1):
        if scores[k - 1] < wanted <= scores[k]:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** t
    return None
#: the first time it reaches the score counts
def crossing_dimension(sizes, scores, wanted):
    if max(scores) < wanted:
        return None
    import numpy as np
    return float(np.exp(np.interp(wanted, scores, np.log(sizes))))
#: a run with just that score has reached it
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] > wanted:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** t
    return None
#: that is rounded: give every digit
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return round(sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** t)
    return None
#: walk log d as far between the two neighbours as the score has walked
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            return math.sqrt(sizes[k - 1] * sizes[k])
    return None
#: no run reaches it, so nobody knows
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** t
    return sizes[-1]
""")

RIGHT = cells(r"""
#:
def lifted(z, column, sign, shapes):
    moves = sign * z[column]
    out, start = {}, 0
    for name, shape in shapes.items():
        n = math.prod(shape)
        out[name] = moves[start:start + n].reshape(shape)
        start += n
    return out
#:
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    D = len(theta_0)
    theta = torch.stack([theta_0[i] + row(i) @ z for i in range(D)])
    g = gradient_at(theta)
    new = z.clone()
    for i in range(D):
        new = new - rate * g[i] * row(i)
    return new
#:
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            t = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** t
    return None
""")
