"""Answers to the tasks of lesson 02, written by somebody who knew the lesson and had not seen the check."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: look the signs up at column
def inside(theta_0, column, sign, z):
    return theta_0 + sign[column] * z[column]
#: tensors of different lengths
def inside(theta_0, column, sign, z):
    return theta_0 + sign * z
#: the one that the function is given
from lora_lab.train import subspace
P = subspace.Projection(D=12, d=3, seed=1)
def inside(theta_0, column, sign, z):
    return theta_0 + P.sign * z[P.column]
#: sign[i] times z[column[i]]
def inside(theta_0, column, sign, z):
    return theta_0 + z[(column * sign).long()]
#: weight 7
def inside(theta_0, column, sign, z):
    theta = theta_0.clone()
    for i in range(len(z)):
        theta[i] = theta[i] + sign[i] * z[column[i]]
    return theta
#: sign[i] times z[column[i]]
def inside(theta_0, column, sign, z):
    return theta_0 + (sign * z[column]).sum()
#: sign[i] times z[column[i]]
def inside(theta_0, column, sign, z):
    theta = theta_0.clone()
    theta[column] = theta[column] + sign * z[column]
    return theta
#: torch.tensor()
def inside(theta_0, column, sign, z):
    theta = []
    for i in range(len(theta_0)):
        theta.append((theta_0[i] + sign[i] * z[column[i]]).item())
    return torch.tensor(theta)
#: sign[i] times z[column[i]]
def inside(theta_0, column, sign, z):
    return theta_0 + sign * z[column] / math.sqrt(len(z))
#: is a return missing
def inside(theta_0, column, sign, z):
    theta = theta_0 + sign * z[column]
#: sign[i] times z[column[i]]
def inside(theta_0, column, sign, z):
    return sign * (theta_0 + z[column])
#: sign[i] times z[column[i]]
def inside(theta_0, column, sign, z):
    return theta_0[column] + sign * z[column]
#: the shape [11, 1]
def inside(theta_0, column, sign, z):
    return theta_0[:, None] + sign[:, None] * z[column][:, None]
#: no gradient reaches z
@torch.no_grad()
def inside(theta_0, column, sign, z):
    return theta_0 + sign * z[column]
#: no gradient reaches z
def inside(theta_0, column, sign, z):
    return (theta_0 + sign * z[column]).detach().requires_grad_()
#: a score of at least that
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score >= full], default=None)
#: wanted 10000: a dimension d
def dimension_for(scores, full, part):
    return min([score for d, score in scores.items() if score >= part * full], default=None)
#: no score reaches 0.45
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score >= part * full], default=0)
#: wanted None
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score >= part * full], default=math.inf)
#: no score reaches 0.45
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score >= part * full], default=max(scores))
#: a later dip
def dimension_for(scores, full, part):
    found = None
    for d in sorted(scores, reverse=True):
        if scores[d] < part * full:
            break
        found = d
    return found
#: no score reaches 0.45
def dimension_for(scores, full, part):
    best = max(scores.values())
    return min([d for d, score in scores.items() if score >= part * best], default=None)
#: a later dip
def dimension_for(scores, full, part):
    return min(scores, key=lambda d: abs(scores[d] - part * full))
#: not points below it
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score >= full - (1 - part)], default=None)
#: wanted 10000: a dimension d
def dimension_for(scores, full, part):
    return sorted(d for d, score in scores.items() if score >= part * full)[:1]
#: a score of at least that
def dimension_for(scores, full, part):
    for d in sorted(scores):
        if scores[d] >= part * full:
            return d
        else:
            return None
#: a dimension d
def dimension_for(scores, full, part):
    return min([(d, score) for d, score in scores.items() if score >= part * full], default=None)
#: your code changes scores
def dimension_for(scores, full, part):
    for d in list(scores):
        if scores[d] < part * full:
            del scores[d]
    return min(scores, default=None)
#: wanted 10000
def dimension_for(scores, full, part):
    return min([d for d in scores if d >= part * full], default=None)
#: a later dip
def dimension_for(scores, full, part):
    reached = {d: score for d, score in scores.items() if score >= part * full}
    return min(reached, key=reached.get, default=None)
#: 90 % of 0.8 is 0.72
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score >= full / part], default=None)
#: wanted 10000
def dimension_for(scores, full, part):
    found = None
    for d in sorted(scores):
        if scores[d] < part * full:
            found = d
    return found
#: yours gives 2
def dimension_for(scores, full, part):
    for i, d in enumerate(sorted(scores)):
        if scores[d] >= part * full:
            return i
""")

RIGHT = cells("""
#:
def inside(theta_0, column, sign, z):
    P = F.one_hot(column, len(z)).to(z.dtype) * sign[:, None]
    return theta_0 + P @ z
#:
def inside(theta_0, column, sign, z):
    return torch.addcmul(theta_0, sign, z.gather(0, column))
#:
def inside(theta_0, column, sign, z):
    moved = []
    for start, c, s in zip(theta_0, column, sign):
        moved.append(start + s * z[c])
    return torch.stack(moved)
#:
def inside(theta_0, column, sign, z):
    return theta_0 + torch.where(sign > 0, z[column], -z[column])
#:
def dimension_for(scores, full, part):
    return next((d for d in sorted(scores) if scores[d] / full >= part), None)
#:
def dimension_for(scores, full, part):
    best = None
    for d, score in scores.items():
        if score >= part * full and (best is None or d < best):
            best = d
    return best
#:
def dimension_for(scores, full, part):
    reached = []
    for d in scores:
        if scores[d] >= full * part:
            reached.append(d)
    if reached:
        return min(reached)
#:
def dimension_for(scores, full, part):
    return min([d for d, score in scores.items() if score - part * full > -1e-9], default=None)
#:
def dimension_for(scores, full, part):
    sizes = torch.tensor(sorted(scores))
    values = torch.tensor([scores[int(d)] for d in sizes], dtype=torch.float64)
    good = sizes[values >= part * full]
    return good[0].item() if len(good) else None
""")
