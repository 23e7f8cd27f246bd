"""Answers to the tasks of lesson 05: wrong ones, each with a part of its diagnosis, and right ones."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: you round down
def rank_for_budget(shapes, budget):
    return budget // sum(d_in + d_out for d_out, d_in in shapes)
#: you round up
def rank_for_budget(shapes, budget):
    return math.ceil(budget / sum(d_in + d_out for d_out, d_in in shapes))
#: round it
def rank_for_budget(shapes, budget):
    return budget / sum(d_in + d_out for d_out, d_in in shapes)
#: the frozen matrix
def rank_for_budget(shapes, budget):
    return max(1, round(budget / sum(d_in * d_out for d_out, d_in in shapes)))
#: everything twice
def rank_for_budget(shapes, budget):
    return max(1, round(budget / (2 * sum(d_in + d_out for d_out, d_in in shapes))))
#: square matrices only
def rank_for_budget(shapes, budget):
    return max(1, round(budget / sum(2 * d_in for d_out, d_in in shapes)))
#: only the first matrix
def rank_for_budget(shapes, budget):
    d_out, d_in = shapes[0]
    return max(1, round(budget / (d_in + d_out)))
#: no adapter has a rank below 1
def rank_for_budget(shapes, budget):
    return round(budget / sum(d_in + d_out for d_out, d_in in shapes))
#: swapped
def lora_plus_groups(named, lr, ratio):
    A = [p for name, p in named if name.endswith("lora_A")]
    B = [p for name, p in named if name.endswith("lora_B")]
    return [{"params": A, "lr": ratio * lr}, {"params": B, "lr": lr}]
#: plain LoRA
def lora_plus_groups(named, lr, ratio):
    return [{"params": [p for name, p in named], "lr": lr}]
#: the ratio is right
def lora_plus_groups(named, lr, ratio):
    A = [p for name, p in named if name.endswith("lora_A")]
    B = [p for name, p in named if name.endswith("lora_B")]
    return [{"params": A, "lr": lr / ratio}, {"params": B, "lr": lr}]
#: a ratio multiplies
def lora_plus_groups(named, lr, ratio):
    A = [p for name, p in named if name.endswith("lora_A")]
    B = [p for name, p in named if name.endswith("lora_B")]
    return [{"params": A, "lr": lr}, {"params": B, "lr": lr + ratio}]
#: a letter may stand anywhere
def lora_plus_groups(named, lr, ratio):
    A = [p for name, p in named if "A" in name]
    B = [p for name, p in named if "A" not in name]
    return [{"params": A, "lr": lr}, {"params": B, "lr": ratio * lr}]
#: two groups
def lora_plus_groups(named, lr, ratio):
    A = [p for name, p in named if "A" in name]
    B = [p for name, p in named if "B" in name]
    return [{"params": A, "lr": lr}, {"params": B, "lr": ratio * lr}]
#: would never train
def lora_plus_groups(named, lr, ratio):
    return [{"params": [p for name, p in named if name.endswith("lora_B")], "lr": ratio * lr}]
#: the parameters alone
def lora_plus_groups(named, lr, ratio):
    A = [pair for pair in named if pair[0].endswith("lora_A")]
    B = [pair for pair in named if pair[0].endswith("lora_B")]
    return [{"params": A, "lr": lr}, {"params": B, "lr": ratio * lr}]
#: lies after the stop
def stop_early(losses, patience):
    best = min(range(len(losses)), key=losses.__getitem__)
    return best, min(best + patience, len(losses) - 1)
#: compare with the lowest so far
def stop_early(losses, patience):
    best = waited = 0
    for now in range(1, len(losses)):
        waited = 0 if losses[now] < losses[now - 1] else waited + 1
        best = now if losses[now] < losses[best] else best
        if waited == patience:
            return best, now
    return best, len(losses) - 1
#: one evaluation too early
def stop_early(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        elif now - best == patience - 1:
            return best, now
    return best, len(losses) - 1
#: one evaluation too long
def stop_early(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        if now - best > patience:
            return best, now
    return best, len(losses) - 1
#: only equals the best
def stop_early(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss <= losses[best]:
            best = now
        if now - best == patience:
            return best, now
    return best, len(losses) - 1
#: where they stand in the list
def stop_early(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        if now - best == patience:
            return losses[best], losses[now]
    return losses[best], losses[-1]
#: evaluations, and the last one is number
def stop_early(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        if now - best == patience:
            return best, now
    return best, best + patience
#: starts the count again
def stop_early(losses, patience):
    best = waited = 0
    for now, loss in enumerate(losses[1:], 1):
        if loss < losses[best]:
            best = now
        else:
            waited += 1
        if waited == patience:
            return best, now
    return best, len(losses) - 1
#: two numbers
def stop_early(losses, patience):
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        if now - best == patience:
            break
    return best
""")

RIGHT = cells("""
#:
def rank_for_budget(shapes, budget):
    per_rank = 0
    for d_out, d_in in shapes:
        per_rank += d_out + d_in
    return max(1, int(budget / per_rank + 0.5))
#:
def rank_for_budget(shapes, budget):
    cost = sum(map(sum, shapes))
    return min(range(1, budget), key=lambda r: abs(r * cost - budget))
#:
def lora_plus_groups(named, lr, ratio):
    groups = []
    for name, parameter in named:
        rate = ratio * lr if name[-1] == "B" else lr
        groups.append({"params": [parameter], "lr": rate})
    return groups
#:
def lora_plus_groups(named, lr, ratio):
    slow, fast = [], []
    for name, parameter in named:
        (fast if "lora_B" in name else slow).append(parameter)
    return [dict(params=fast, lr=lr * ratio), dict(params=slow, lr=lr)]
#:
def stop_early(losses, patience):
    best, waited = 0, 0
    for now in range(1, len(losses)):
        if losses[now] < losses[best]:
            best, waited = now, 0
        else:
            waited += 1
        if waited == patience:
            return best, now
    return best, len(losses) - 1
#:
def stop_early(losses, patience):
    for last in range(len(losses)):
        seen = losses[:last + 1]
        best = seen.index(min(seen))
        if last - best >= patience:
            break
    return [best, last]
""")
