"""Answers to the exercises of lesson 05, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: column i of B is as long as row i of A, so √σ and √s go into each
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = sigma[:r].sqrt()
    B = u[:, :r] @ torch.diag(root) / s
    A = torch.diag(root) @ vh[:r]
    return B, A, W - s * (B @ A)
#: B A itself is the strongest part, so divide by s
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = sigma[:r].sqrt()
    B = u[:, :r] @ torch.diag(root)
    A = torch.diag(root) @ vh[:r]
    return B, A, W - s * (B @ A)
#: make a new tensor instead
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = (sigma[:r] / s).sqrt()
    B = u[:, :r] @ torch.diag(root)
    A = torch.diag(root) @ vh[:r]
    W -= s * (B @ A)
    return B, A, W
#: these are the weakest directions
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = (sigma[-r:] / s).sqrt()
    B = u[:, -r:] @ torch.diag(root)
    A = torch.diag(root) @ vh[-r:]
    return B, A, W - s * (B @ A)
#: it is s · B A, and should be what that leaves of W
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = (sigma[:r] / s).sqrt()
    B = u[:, :r] @ torch.diag(root)
    A = torch.diag(root) @ vh[:r]
    return B, A, s * B @ A
#: it is the sum of the r strongest σ · u · v
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = (sigma[:r] / s).sqrt()
    B = root[:, None] * u[:r]
    A = torch.diag(root) @ vh[:r]
    return B.T, A, W - s * (B.T @ A)
#: a key begins after a dot, or where the name begins
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.search(key + "$", name):
            return value
    return default
#: else the dot before it belongs to k_proj alone
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.search(rf"(^|\.){key}$", name):
            return value
    return default
#: the first one counts
def setting_for(name, pattern, default):
    import re
    result = default
    for key, value in pattern.items():
        if re.search(rf"(^|\.)({key})$", name):
            result = value
    return result
#: the first one counts
def setting_for(name, pattern, default):
    import re
    best, length = default, -1
    for key, value in pattern.items():
        if re.search(rf"(^|\.)({key})$", name) and len(key) > length:
            best, length = value, len(key)
    return best
#: a key is a regular expression
def setting_for(name, pattern, default):
    for key, value in pattern.items():
        if ("." + name).endswith("." + key):
            return value
    return default
#: does every case reach a return?
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.search(rf"(^|\.)({key})$", name):
            return value
        else:
            return default
#: a key may be the whole name, with no dot before it
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.match(rf"(.*\.)({key})$", name):
            return value
    return default
#: a key begins after a dot, or where the name begins
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.fullmatch(rf".*\.?({key})", name):
            return value
    return default
#: a key may be several parts
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if any(re.fullmatch(key, part) for part in name.split(".")[-1:]):
            return value
    return default
#: when one no longer fits, a cheaper one may
def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    while True:
        ready = [n for n in strengths if ranks[n] < len(strengths[n]) and costs[n] < budget]
        if not ready:
            return ranks
        best = max(ready, key=lambda n: strengths[n][ranks[n]] ** 2 / costs[n])
        ranks[best] += 1
        budget -= costs[best]
#: a cheaper one may still
def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    while True:
        ready = [n for n in strengths if ranks[n] < len(strengths[n])]
        if not ready:
            return ranks
        best = max(ready, key=lambda n: strengths[n][ranks[n]] ** 2 / costs[n])
        if costs[best] > budget:
            return ranks
        ranks[best] += 1
        budget -= costs[best]
#: you compare σ per number
def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    while True:
        ready = [n for n in strengths if ranks[n] < len(strengths[n]) and costs[n] <= budget]
        if not ready:
            return ranks
        best = max(ready, key=lambda n: strengths[n][ranks[n]] / costs[n])
        ranks[best] += 1
        budget -= costs[best]
#: a cheaper one may still
def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    every = sorted(((s ** 2 / costs[n], n) for n in strengths for s in strengths[n]), reverse=True)
    for _, n in every:
        if costs[n] > budget:
            break
        ranks[n] += 1
        budget -= costs[n]
    return ranks
#: a layer that gets nothing has rank 0
def ranks_for_layers(strengths, costs, budget):
    ranks = {}
    while True:
        ready = [n for n in strengths if ranks.get(n, 0) < len(strengths[n]) and costs[n] <= budget]
        if not ready:
            return ranks
        best = max(ready, key=lambda n: strengths[n][ranks.get(n, 0)] ** 2 / costs[n])
        ranks[best] = ranks.get(best, 0) + 1
        budget -= costs[best]
#: read it, and take nothing out
def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    while True:
        ready = [n for n in strengths if strengths[n] and costs[n] <= budget]
        if not ready:
            return ranks
        best = max(ready, key=lambda n: strengths[n][0] ** 2 / costs[n])
        strengths[best].pop(0)
        ranks[best] += 1
        budget -= costs[best]
""")

RIGHT = cells(r"""
#:
def pissa_start(W, r, s):
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    root = (sigma[:r] / s).sqrt()
    B = u[:, :r] @ torch.diag(root)
    A = torch.diag(root) @ vh[:r]
    return B, A, W - s * (B @ A)
#:
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.search(rf"(^|\.)({key})$", name):
            return value
    return default
#:
def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    while True:
        ready = [n for n in strengths if ranks[n] < len(strengths[n]) and costs[n] <= budget]
        if not ready:
            return ranks
        best = max(ready, key=lambda n: strengths[n][ranks[n]] ** 2 / costs[n])
        ranks[best] += 1
        budget -= costs[best]
""")
