"""Answers to exercises 02: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: the signs are missing
def lifted(z, column, sign, shapes):
    moves = z[column].split([math.prod(s) for s in shapes.values()])
    return {n: m.view(s) for (n, s), m in zip(shapes.items(), moves)}
#: begins again
def lifted(z, column, sign, shapes):
    move = sign * z[column]
    return {n: move[:math.prod(s)].view(s) for n, s in shapes.items()}
#: keep that of shapes, unsorted
def lifted(z, column, sign, shapes):
    move, out, at = sign * z[column], {}, 0
    for name in sorted(shapes):
        n = math.prod(shapes[name])
        out[name] = move[at:at + n].view(shapes[name])
        at += n
    return out
#: has the shape
def lifted(z, column, sign, shapes):
    moves = (sign * z[column]).split([math.prod(s) for s in shapes.values()])
    return dict(zip(shapes, moves))
#: yours gives a list
def lifted(z, column, sign, shapes):
    moves = (sign * z[column]).split([math.prod(s) for s in shapes.values()])
    return [m.view(s) for m, s in zip(moves, shapes.values())]
#: no gradient reaches z
def lifted(z, column, sign, shapes):
    moves = (sign * z.detach()[column]).split([math.prod(s) for s in shapes.values()])
    return {n: m.view(s) for (n, s), m in zip(shapes.items(), moves)}
#: looked up at column
def lifted(z, column, sign, shapes):
    moves = (sign * z)[column] if len(sign) == len(z) else sign[column] * z[column]
    moves = moves.split([math.prod(s) for s in shapes.values()])
    return {n: m.view(s) for (n, s), m in zip(shapes.items(), moves)}
#: is None, wanted a tensor
def lifted(z, column, sign, shapes):
    return {n: None for n in shapes}
#: another θ than θ₀ + P z: that is θ₀
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(theta_0)
    return z - rate * sum(g[i] * row(i) for i in range(len(g)))
#: that is P z alone
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(torch.stack([row(i) @ z for i in range(len(theta_0))]))
    return z - rate * sum(g[i] * row(i) for i in range(len(g)))
#: you have kept all of them
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    P = torch.stack([row(i) for i in range(len(theta_0))])
    return z - rate * P.T @ gradient_at(theta_0 + P @ z)
#: you go up
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(torch.stack([t + row(i) @ z for i, t in enumerate(theta_0)]))
    return z + rate * sum(g[i] * row(i) for i in range(len(g)))
#: the rate is missing
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(torch.stack([t + row(i) @ z for i, t in enumerate(theta_0)]))
    return z - sum(g[i] * row(i) for i in range(len(g)))
#: that is the gradient of z
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(torch.stack([t + row(i) @ z for i, t in enumerate(theta_0)]))
    return sum(g[i] * row(i) for i in range(len(g)))
#: has the shape
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    theta = torch.stack([t + row(i) @ z for i, t in enumerate(theta_0)])
    return theta - rate * gradient_at(theta)
#: your code changes z
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(torch.stack([t + row(i) @ z for i, t in enumerate(theta_0)]))
    for i in range(len(g)):
        z -= rate * g[i] * row(i)
    return z
#: times in one step, wanted once
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    new = z.clone()
    for i in range(len(theta_0)):
        theta = torch.stack([t + row(j) @ z for j, t in enumerate(theta_0)])
        new -= rate * gradient_at(theta)[i] * row(i)
    return new
#: straight in d
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] + part * (sizes[k] - sizes[k - 1])
#: the first size tried that reaches it
def crossing_dimension(sizes, scores, wanted):
    return min((d for d, s in zip(sizes, scores) if s >= wanted), default=None)
#: that is the logarithm of d
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return math.log(sizes[0])
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            a, b = math.log(sizes[k - 1]), math.log(sizes[k])
            return a + part * (b - a)
#: the curve dips
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    found = None
    for k in range(1, len(sizes)):
        if scores[k - 1] < wanted <= scores[k]:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            found = sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** part
    return found
#: nobody knows: None
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted or k == len(sizes) - 1:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** part
#: guess nothing below it
def crossing_dimension(sizes, scores, wanted):
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** part
#: from the upper end
def crossing_dimension(sizes, scores, wanted):
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            part = (scores[k] - wanted) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** part
""")

RIGHT = cells("""
#:
def lifted(z, column, sign, shapes):
    at, moves = 0, {}
    for name, shape in shapes.items():
        n = 1
        for size in shape:
            n *= size
        moves[name] = (z[column[at:at + n]] * sign[at:at + n]).reshape(shape)
        at += n
    return moves
#:
def lifted(z, column, sign, shapes):
    P = torch.zeros(len(column), len(z))
    P[torch.arange(len(column)), column] = sign
    flat = list(P @ z)
    return {name: torch.stack([flat.pop(0) for _ in range(math.prod(shape))]).reshape(*shape)
            for name, shape in shapes.items()}
#:
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    theta = theta_0.clone()
    for i in range(len(theta)):
        theta[i] += (row(i) * z).sum()
    g, new = gradient_at(theta), z.clone()
    for i in range(len(theta)):
        new = new - rate * g[i] * row(i)
    return new
#:
def step_row_by_row(row, theta_0, z, gradient_at, rate):
    g = gradient_at(torch.tensor([float(t) + float(row(i).double() @ z.double()) for i, t in enumerate(theta_0)]))
    return z - rate * sum(row(i) * float(g[i]) for i in reversed(range(len(g))))
#:
def crossing_dimension(sizes, scores, wanted):
    before = None
    for d, score in zip(sizes, scores):
        if score >= wanted:
            if before is None:
                return d
            part = (wanted - before[1]) / (score - before[1])
            return 10 ** ((1 - part) * math.log10(before[0]) + part * math.log10(d))
        before = d, score
    return None
#:
def crossing_dimension(sizes, scores, wanted):
    k = next((i for i, s in enumerate(scores) if s >= wanted), -1)
    if k < 1:
        return sizes[0] if k == 0 else None
    a, b = torch.tensor(sizes[k - 1:k + 1]).double().log()
    return (a + (b - a) * (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])).exp()
""")
