"""Answers to the tasks of lesson 05, written by somebody who knew the lesson and had not seen the check."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: your code changes shapes
def rank_for_budget(shapes, budget):
    per_rank = 0
    while shapes:
        per_rank += sum(shapes.pop())
    return max(1, round(budget / per_rank))
#: upside down
def rank_for_budget(shapes, budget):
    per_rank = sum(d_out + d_in for d_out, d_in in shapes)
    return max(1, round(per_rank / budget))
#: only the last matrix
def rank_for_budget(shapes, budget):
    per_rank = 0
    for d_out, d_in in shapes:
        per_rank = d_out + d_in
    return max(1, round(budget / per_rank))
#: return its rank
def rank_for_budget(shapes, budget):
    per_rank = sum(d_out + d_in for d_out, d_in in shapes)
    return max(1, round(budget / per_rank)) * per_rank
#: only powers of two
def rank_for_budget(shapes, budget):
    per_rank = sum(d_out + d_in for d_out, d_in in shapes)
    return max(1, 2 ** round(math.log2(budget / per_rank)))
#: the average matrix
def rank_for_budget(shapes, budget):
    per_rank = sum(d_out + d_in for d_out, d_in in shapes) / len(shapes)
    return max(1, round(budget / per_rank))
#: every matrix gets the whole budget
def rank_for_budget(shapes, budget):
    r = 0
    for d_out, d_in in shapes:
        r += budget / (d_out + d_in)
    return max(1, round(r))
#: you round up
def rank_for_budget(shapes, budget):
    per_rank = sum(d_out + d_in for d_out, d_in in shapes)
    return max(1, math.ceil(budget / per_rank))
#: 2 · d_in fits square matrices only
def rank_for_budget(shapes, budget):
    per_rank = 2 * sum(d_in for d_out, d_in in shapes)
    return max(1, round(budget / per_rank))
#: your code changes named
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    while named:
        name, p = named.pop()
        (factor_A if "lora_A" in name else factor_B).append(p)
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
#: you go by position
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for i, (name, p) in enumerate(named):
        if i % 2 == 0:
            factor_A.append(p)
        else:
            factor_B.append(p)
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
#: one group is empty
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for name, p in named:
        if "a" in name.lower():
            factor_A.append(p)
        else:
            factor_B.append(p)
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
#: a group holds a copy
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for name, p in named:
        if name.endswith("lora_A"):
            factor_A.append(nn.Parameter(p.detach().clone()))
        else:
            factor_B.append(nn.Parameter(p.detach().clone()))
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
#: ratio is no rate
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for name, p in named:
        (factor_A if name.endswith("lora_A") else factor_B).append(p)
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio}]
#: 16 stands in your code
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for name, p in named:
        (factor_A if name.endswith("lora_A") else factor_B).append(p)
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": 16 * lr}]
#: named has pairs of name and parameter
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for name, p in named:
        if "lora_A" in name:
            factor_A.append((name, p))
        else:
            factor_B.append((name, p))
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
#: is in two groups
def lora_plus_groups(named, lr, ratio):
    factor_A, factor_B = [], []
    for name, p in named:
        if "A" in name:
            factor_A.append(p)
        factor_B.append(p)
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
#: your code changes losses
def stop_early(losses, patience):
    first = losses[0]
    best = 0
    i = 0
    while losses:
        loss = losses.pop(0)
        if loss < first:
            first, best = loss, i
        elif i - best >= patience:
            return best, i
        i += 1
    return best, i - 1
#: you find the best and go on to the end
def stop_early(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i - best >= patience:
            break
    return best, len(losses) - 1
#: the two are exchanged
def stop_early(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i - best >= patience:
            return i, best
    return len(losses) - 1, best
#: your best stays the first one
def stop_early(losses, patience):
    best, lowest = 0, 0
    for i, loss in enumerate(losses):
        if loss < lowest:
            best, lowest = i, loss
        elif i - best >= patience:
            return best, i
    return best, len(losses) - 1
#: your best stays the first one
def stop_early(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss > losses[best]:
            best = i
        elif i - best >= patience:
            return best, i
    return best, len(losses) - 1
#: right for patience 2
def stop_early(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i - best == 2:
            return best, i
    return best, len(losses) - 1
#: whatever they were: count those since the best
def stop_early(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        if i >= patience:
            return best, i
    return best, len(losses) - 1
#: a new best starts the count again
def stop_early(losses, patience):
    best = 0
    bad = 0
    for i in range(1, len(losses)):
        if losses[i] < losses[best]:
            best = i
        else:
            bad += 1
            if bad == patience:
                return best, i
    return best, len(losses) - 1
#: the best one lies after the stop
def stop_early(losses, patience):
    best = min(range(len(losses)), key=lambda i: losses[i])
    return best, min(best + patience, len(losses) - 1)
""")

RIGHT = cells("""
#:
def rank_for_budget(shapes, budget):
    import numpy as np
    cost = np.array(shapes).sum()
    return max(int(np.rint(budget / cost)), 1)
#:
def rank_for_budget(shapes, budget):
    import numpy as np
    return max(1, np.round(budget / np.sum(shapes)).astype(int))
#:
def rank_for_budget(shapes, budget):
    cost = sum(sum(s) for s in shapes)
    return max(1, (2 * budget + cost) // (2 * cost))
#:
def lora_plus_groups(named, lr, ratio):
    pairs = list(named)
    is_A = [name[-1] == "A" for name, _ in pairs]
    A = [p for (_, p), a in zip(pairs, is_A) if a]
    B = [p for (_, p), a in zip(pairs, is_A) if not a]
    return [{"lr": ratio * lr, "params": B}, {"lr": lr, "params": A}]
#:
def stop_early(losses, patience):
    from itertools import accumulate
    lowest = list(accumulate(losses, min))
    for last in range(len(losses)):
        best = losses.index(lowest[last])
        if last - best >= patience:
            return best, last
    return best, last
#:
def stop_early(losses, patience):
    import numpy as np
    for last in range(patience, len(losses)):
        best = np.argmin(losses[:last + 1])
        if last - best >= patience:
            return best, last
    return np.argmin(losses), len(losses) - 1
#:
def stop_early(losses, patience):
    t = torch.tensor(losses)
    best = 0
    for i in range(len(t)):
        if t[i] < t[best]:
            best = i
        if i == best + patience:
            return best, i
    return best, len(t) - 1
""")
