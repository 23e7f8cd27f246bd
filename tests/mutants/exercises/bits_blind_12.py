"""Answers to the bits of lesson 12, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: target_modules="all-linear"
def four_bit_learner(model, r, alpha):
    quant.quantize_model(model)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules=("q_proj", "v_proj")))
    return model
#: end with `return model`
def four_bit_learner(model, r, alpha):
    quant.quantize_model(model)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))
#: call quant.quantize_model(model)
def four_bit_learner(model, r, alpha):
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))
    return model
#: give alpha=alpha
def four_bit_learner(model, r, alpha):
    quant.quantize_model(model)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=2 * r, target_modules="all-linear"))
    return model
#: target_modules="all-linear"
def four_bit_learner(model, r, alpha):
    quant.quantize_model(model)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha))
    return model
#: changed in place
def four_bit_learner(model, r, alpha):
    import copy
    model = copy.deepcopy(model)
    quant.quantize_model(model)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))
    return model
#: leave double_quant on, which is the default
def four_bit_learner(model, r, alpha):
    quant.quantize_model(model, double_quant=False)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))
    return model
#: the standard deviation divides by n − 1, as torch's std does by itself
def paired_difference(ours, theirs, t):
    d = torch.tensor([a - b for a, b in zip(ours, theirs)], dtype=torch.float64)
    return float(d.mean()), float(t * d.std(unbiased=False) / len(d) ** 0.5)
#: those are the two lists' own spreads; subtract pair by pair first
def paired_difference(ours, theirs, t):
    a, b = torch.tensor(ours).double(), torch.tensor(theirs).double()
    s = ((a.var() + b.var()) / len(a)) ** 0.5
    return float(a.mean() - b.mean()), float(t * s)
#: by the square root of the number of pairs, not by the number
def paired_difference(ours, theirs, t):
    d = torch.tensor([a - b for a, b in zip(ours, theirs)], dtype=torch.float64)
    return float(d.mean()), float(t * d.std() / len(d))
#: ours minus theirs, not the other way round
def paired_difference(ours, theirs, t):
    d = torch.tensor([b - a for a, b in zip(ours, theirs)], dtype=torch.float64)
    return float(d.mean()), float(t * d.std() / len(d) ** 0.5)
#: a difference has a sign; do not take its size
def paired_difference(ours, theirs, t):
    d = torch.tensor([abs(a - b) for a, b in zip(ours, theirs)], dtype=torch.float64)
    return float(d.mean()), float(t * d.std() / len(d) ** 0.5)
#: `.item()` makes one of a tensor
def paired_difference(ours, theirs, t):
    d = torch.tensor([a - b for a, b in zip(ours, theirs)], dtype=torch.float64)
    return d.mean(), t * d.std() / len(d) ** 0.5
""")

RIGHT = cells(r"""
#:
def four_bit_learner(model, r, alpha):
    quant.quantize_model(model, double_quant=True)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))
    return model
#:
def paired_difference(ours, theirs, t):
    d = torch.tensor([a - b for a, b in zip(ours, theirs)], dtype=torch.float64)
    return float(d.mean()), float(t * d.std() / len(d) ** 0.5)
""")
