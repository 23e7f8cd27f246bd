"""Answers to the exercises of lesson 04, written without seeing the checks."""

from tests.mutants.exercises.answer import Answer, cells

ANSWERS = cells(r"""
#: with more rank there are more terms, so s · r is to stay
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / (r ** 0.5 if use_rslora else r)
    return s * (new_r ** 0.5 if new_use_rslora else new_r)
#: the old scale was α/√r here
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / r
    s_new = s * r / new_r
    return s_new * (new_r ** 0.5 if new_use_rslora else new_r)
#: first the old scale s, then the new one, which is s · r / new_r, then the
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / (r ** 0.5 if use_rslora else r)
    s_new = s * r // new_r
    return s_new * (new_r ** 0.5 if new_use_rslora else new_r)
#: the old scale was α/√r here
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    if new_use_rslora:
        return alpha / math.sqrt(new_r)
    return alpha
#: a larger rank wants a smaller scale
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / (r ** 0.5 if use_rslora else r)
    s_new = s * new_r / r
    return s_new * (new_r ** 0.5 if new_use_rslora else new_r)
#: first the old scale s, then the new one, which is s · r / new_r, then the
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / (r ** 0.5 if use_rslora else r)
    s_new = s * r / new_r
    return s_new / (new_r ** 0.5 if new_use_rslora else new_r)
#: α need not be a whole number
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / (r ** 0.5 if use_rslora else r)
    s_new = s * r / new_r
    return round(s_new * (new_r ** 0.5 if new_use_rslora else new_r))
#: it begins at 0, so that step 0 has 1/warmup of the peak
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return floor + (peak - floor) * (step + 1) / warmup
    t = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * t))
#: the warm-up has the steps below `warmup`
def rate_at(step, steps, warmup, peak, floor):
    if step <= warmup and warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * t))
#: here it would be reached one step later, when the run is over
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / (steps - warmup - 1)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * t))
#: it lasts from the end of the warm-up to the end of the run
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / steps
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * t))
#: the floor is missing
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / (steps - warmup)
    return max(floor, peak * 0.5 * (1 + math.cos(math.pi * t)))
#: the cosine begins and ends level
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * (1 - t)
#: after the warm-up the rate is floor + (peak − floor) · (1 + cos(π · part))
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / warmup
    t = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * 1 + math.cos(math.pi * t) / 2
#: step k has (k + 1)/warmup of the peak
def rate_at(step, steps, warmup, peak, floor):
    line = peak * (step + 1) / max(warmup, 1)
    t = (step - warmup) / (steps - warmup)
    return min(line, floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * t)))
""") + [
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        self.A, self.B = self.A - 0.01 * grad_A, self.B - 0.01 * grad_B
        return self.A, self.B
""",
        "it falls, and too slowly; a larger rate, one of its own for each factor,",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        self.A, self.B = self.A + 0.5 * grad_A, self.B + 0.5 * grad_B
        return self.A, self.B
""",
        "a step goes against the gradient",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        A, B = self.A - 0.5 * grad_A, self.B - 0.5 * grad_B
        return A, B
""",
        "keep the new A and B too",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        self.A, self.B = self.A - 0.5 * grad_A, self.B - 0.5 * grad_B
        return self.B, self.A
""",
        "return A first",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        self.A -= 0.5 * grad_A
        self.B -= 0.5 * grad_B
""",
        "is a return missing?",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        self.A, self.B = self.A - 20 * grad_A, self.B - 20 * grad_B
        return self.A, self.B
""",
        "the steps are too long",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        new_B = self.B - grad_B @ torch.linalg.inv(self.A @ self.A.T)
        new_A = self.A - torch.linalg.inv(self.B.T @ self.B) @ grad_A
        self.A, self.B = new_A, new_B
        return self.A, self.B
""",
        "_LinAlgError: linalg.inv: The diagonal element 1 is zero, the inversion",
    ),
]

RIGHT = cells(r"""
#:
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    s = alpha / (r ** 0.5 if use_rslora else r)
    s_new = s * r / new_r
    return s_new * (new_r ** 0.5 if new_use_rslora else new_r)
#:
def rate_at(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak / warmup * (step + 1)
    t = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * t))
""") + [
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B
        self.vA, self.vB = torch.zeros_like(A), torch.zeros_like(B)

    def step(self, grad_A, grad_B):
        self.vA = 0.5 * self.vA + grad_A
        self.vB = 0.5 * self.vB + grad_B
        self.A, self.B = self.A - 0.5 * self.vA, self.B - 0.5 * self.vB
        return self.A, self.B
""",
    ),
    Answer(
        "FewSteps",
        r"""
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B

    def step(self, grad_A, grad_B):
        eye = 1e-6 * torch.eye(4)
        new_B = self.B - 0.5 * grad_B @ torch.linalg.inv(self.A @ self.A.T + eye)
        if self.B.abs().max() > 0:
            self.A = self.A - 0.5 * torch.linalg.inv(self.B.T @ self.B + eye) @ grad_A
        self.B = new_B
        return self.A, self.B
""",
    ),
]
