"""Answers to exercises 04: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells


def _rule(step: str, says: str = "", init: str = "self.A, self.B = A, B") -> Answer:
    init, step = (lines.replace("\n", "\n        ") for lines in (init, step))
    return Answer("FewSteps", f"""class FewSteps:
    def __init__(self, A, B):
        {init}

    def step(self, grad_A, grad_B):
        {step}
""", says)  # fmt: skip


_BOTH = "self.A, self.B = self.A - {} * grad_A, self.B - {} * grad_B\n"
_RETURN = "return self.A, self.B"
_ADAM_INIT = """self.A, self.B, self.t = A, B, 0
self.m, self.v = [0 * A, 0 * B], [0 * A, 0 * B]"""
_ADAM = """self.t += 1
new = []
for i, (p, g) in enumerate(((self.A, grad_A), (self.B, grad_B))):
    self.m[i] = {b1} * self.m[i] + (1 - {b1}) * g
    self.v[i] = {b2} * self.v[i] + (1 - {b2}) * g * g
    m, v = self.m[i] / (1 - {b1} ** self.t), self.v[i] / (1 - {b2} ** self.t)
    new.append(p - {lr} * m / (v.sqrt() + 1e-8))
self.A, self.B = new
return self.A, self.B"""

ANSWERS = [
    *cells("""
#: with more rank there are more terms
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / math.sqrt(r) if use_rslora else alpha / r
    return s * (math.sqrt(new_r) if new_use_rslora else new_r)
#: under α/r alone
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    return alpha
#: that is the new scale
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / math.sqrt(r) if use_rslora else alpha / r
    return s * r / new_r
#: upside down
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = (alpha / math.sqrt(r) if use_rslora else alpha / r) * new_r / r
    return s * (math.sqrt(new_r) if new_use_rslora else new_r)
#: that is s · r
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    return alpha * math.sqrt(r) if use_rslora else alpha
#: it is close, but rounded
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / math.sqrt(r) if use_rslora else alpha / r
    return round(s * r / new_r * (math.sqrt(new_r) if new_use_rslora else new_r))
#: gives None
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / math.sqrt(r) if use_rslora else alpha / r
    if new_use_rslora:
        return s * r / new_r * math.sqrt(new_r)
#: teaches nothing
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * step / warmup
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
#: one step too many
def rate_at(step, steps, warmup, peak, floor):
    if step <= warmup:
        return peak * (step + 1) / max(1, warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
#: the floor is missing
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
#: a straight line
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak - (peak - floor) * (step - warmup) / (steps - warmup)
#: counts from step 0
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * step / steps))
#: cos goes from 1 to −1
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    return floor + (peak - floor) * math.cos(math.pi * (step - warmup) / (steps - warmup))
#: the peak is exceeded
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    return floor + peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
#: divides by zero
def rate_at(step, steps, warmup, peak, floor):
    up = peak * (step + 1) / warmup
    if step < warmup:
        return up
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
#: reached in the last step
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - 1 - warmup)))
"""),
    _rule(_BOTH.format(0.1, 0.1) + _RETURN, "it falls, and too slowly"),
    _rule(_ADAM.format(b1=0.9, b2=0.999, lr=0.001), "it falls, and too slowly", _ADAM_INIT),
    _rule(_BOTH.format(40, 40) + _RETURN, "too long"),
    _rule(_BOTH.replace("-", "+").format(1, 1) + _RETURN, "the opposite step would go down"),
    _rule(_BOTH.format(1, 1) + "return self.B, self.A", "are exchanged"),
    _rule(_BOTH.format(1, 1), "gives None"),
    _rule("return self.A - 1 * grad_A, self.B - 1 * grad_B", "keep the new A and B too"),
    _rule(_BOTH.format(1, 0) + _RETURN, "moves neither"),
    _rule(_BOTH.format(1, 1).replace("grad_A,", "torch.linalg.inv(self.B.T @ self.B) @ grad_A,") + _RETURN, "singular"),
    _rule(_BOTH.format(1, 1).replace("* grad_A,", "* grad_A / self.B.norm(),") + _RETURN, "divided by zero"),
]

RIGHT = [
    *cells('''
#:
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    if use_rslora:
        alpha *= r ** 0.5
    return alpha / new_r ** 0.5 if new_use_rslora else alpha
#:
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    def power(rslora):
        return 0.5 if rslora else 1
    return alpha / r ** power(use_rslora) * r / new_r * new_r ** power(new_use_rslora)
#:
def rate_at(step, steps, warmup, peak, floor):
    if step >= warmup:
        angle = math.pi * (step - warmup) / (steps - warmup)
        return (peak + floor) / 2 + (peak - floor) / 2 * math.cos(angle)
    return peak / warmup * (step + 1)
#:
def rate_at(step, steps, warmup, peak, floor):
    rising = [peak * k / warmup for k in range(1, warmup + 1)]
    n = steps - warmup
    falling = [floor + (peak - floor) * math.cos(math.pi / 2 * k / n) ** 2 for k in range(n)]
    return (rising + falling)[step]
'''),
    _rule(_ADAM.format(b1=0.9, b2=0.999, lr=0.1), "", _ADAM_INIT),
    _rule(_ADAM.format(b1=0.8, b2=0.9, lr="(0.1 if i else 0.05)"), "", _ADAM_INIT),
    _rule("""eye = torch.eye(len(self.A))
new_B = self.B - torch.linalg.solve(self.A @ self.A.T + 1e-4 * eye, grad_B.T).T
if self.B.any():
    self.A = self.A - torch.linalg.solve(self.B.T @ self.B + 1e-4 * eye, grad_A)
self.B = new_B
return self.A, self.B"""),
]  # fmt: skip
