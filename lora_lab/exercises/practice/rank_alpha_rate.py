"""Exercises 04: an alpha for another rank, a rate over a run, and a puzzle: the rule that needs the fewest steps."""

import math
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import quantities, required
from lora_lab.exercises.tasks import Score, Wrong, task
from lora_lab.train.schedules import learning_rate


def _alpha_for(alpha: float, r: int, use_rslora: bool, new_r: int, new_use_rslora: bool) -> float:
    s = alpha / math.sqrt(r) if use_rslora else alpha / r
    new_s = s * r / new_r
    return new_s * math.sqrt(new_r) if new_use_rslora else new_s * new_r


def _rate_at(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    if step < warmup:
        return peak * (step + 1) / warmup
    part = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2


class _FewSteps:
    """Each factor's gradient divided by the Gram matrix of the other one, with a little momentum.

    Source: preconditioned as in Zhang and Pilanci, "Riemannian Preconditioned LoRA", arXiv 2402.02347.
    """

    def __init__(self, A: Tensor, B: Tensor) -> None:
        self.A, self.B = A, B
        self.move_A, self.move_B = torch.zeros_like(A), torch.zeros_like(B)
        self.steps = 0

    def step(self, grad_A: Tensor, grad_B: Tensor) -> tuple[Tensor, Tensor]:
        by_A = _solved(self.A @ self.A.T, grad_B.T).T
        self.steps += 1
        if self.steps == 1:  # B is zero, so that only B has a gradient
            self.B = self.B - 2 * by_A
            return self.A, self.B
        by_B = _solved(self.B.T @ self.B, grad_A)
        self.move_A = 0.3 * self.move_A + by_B
        self.move_B = 0.3 * self.move_B + by_A
        self.A, self.B = self.A - 1.5 * self.move_A, self.B - 0.68 * self.move_B
        return self.A, self.B


def _solved(gram: Tensor, right: Tensor) -> Tensor:
    """gram⁻¹ right; a thousandth of its mean is added to gram's diagonal, so that it has an inverse."""
    return torch.linalg.solve(gram + 1e-3 * gram.diagonal().mean() * torch.eye(len(gram)), right)


@task(reference=lambda: _alpha_for)
def alpha_for(alpha_for: Any) -> None:
    """The alpha with which rank times scale, and so the first step of every output, stays what it was."""
    found, wanted = [], []
    cases = []
    for rules in ((False, False), (True, True), (False, True), (True, False)):
        for r, new_r in ((16, 64), (48, 12), (9, 25), (5, 5)):
            cases.append((float(torch.randint(3, 40, ())), r, rules[0], new_r, rules[1]))
    for case in cases:
        alpha, r, old, new_r, new = case
        found.append(quantities.number(alpha_for(*case), f"for {_said(case)}"))
        product = alpha * (r**0.5 if old else 1.0)  # s · r
        wanted.append(product / (new_r**0.5 if new else 1.0))
    good = [math.isclose(one, other, rel_tol=1e-6) for one, other in zip(found, wanted)]
    if all(good):
        return
    at = good.index(False)
    raise Wrong(f"for {_said(cases[at])}: {_why_alpha(found, cases, at)}", yours=found[at], wanted=wanted[at])


def _said(case: tuple[float, int, bool, int, bool]) -> str:
    alpha, r, old, new_r, new = case
    rules = ["α/√r" if each else "α/r" for each in (old, new)]
    return f"α = {alpha:g} at r = {r} under {rules[0]}, to r = {new_r} under {rules[1]}"


def _why_alpha(found: list[float], cases: list[tuple[float, int, bool, int, bool]], at: int) -> str:
    alpha, r, old, new_r, new = cases[at]
    s = alpha / r ** (0.5 if old else 1.0)
    power = 0.5 if new else 1.0
    slips = {
        "that keeps the scale s itself: with more rank there are more terms, so s · r is to stay": s * new_r**power,
        "α is left as it is, which is right under α/r alone": alpha,
        "that is the new scale: solve for the α that gives it": s * r / new_r,
        "s · r is upside down: a larger rank wants a smaller scale": s * new_r / r * new_r**power,
        "that is s · r: divide by the new rank, and solve for α": s * r,
        "the new scale is right for α/r, and here the new rule is α/√r": s * r if new else math.nan,
        "the new scale is right for α/√r, and here the new rule is α/r": s * r / new_r**0.5 if not new else math.nan,
        "the old scale was α/√r here": alpha / new_r**0.5 if new and old else math.nan,
        "√ is of the rank alone": math.sqrt(alpha * r),
    }
    why = next((words for words, slip in slips.items() if math.isclose(found[at], slip, rel_tol=1e-6)), "")
    if not why and found[at] > 0 and abs(found[at] - _alpha_for(*cases[at])) < 1:
        why = "it is close, but rounded: α need not be a whole number"
    return why or "first the old scale s, then the new one, which is s · r / new_r, then the α that gives it"


@task(reference=lambda: _rate_at)
def rate_at(rate_at: Any) -> None:
    """A line up to the peak in `warmup` steps, then half a cosine from the peak down to the floor."""
    for steps, warmup in ((10, 4), (10, 0), (57, 9)):
        peak = 0.001 * int(torch.randint(2, 9, ()))
        floor = peak * (0.1 + 0.2 * float(torch.rand(())))
        found = []
        for step in range(steps):
            where = f"in step {step} of {steps} with a warm-up of {warmup}"
            try:
                found.append(quantities.number(rate_at(step, steps, warmup, peak, floor), where))
            except ZeroDivisionError as error:
                raise Wrong(f"yours divides by zero {where}: without warm-up nobody needs that line") from error
        wanted = [floor + learning_rate(step, steps, peak - floor, warmup) for step in range(steps)]
        for step in range(warmup):
            wanted[step] = peak * (step + 1) / warmup
        for step in range(steps):
            if not math.isclose(found[step], wanted[step], rel_tol=1e-5, abs_tol=1e-9):
                raise Wrong(
                    f"in step {step} of {steps}, warm-up {warmup}, peak {peak:g}, floor {floor:.3g}: "
                    + _why_rate(found, wanted, steps, warmup, peak, floor, step),
                    yours=found[step], wanted=wanted[step],
                )  # fmt: skip


def _why_rate(
    found: list[float], wanted: list[float], steps: int, warmup: int, peak: float, floor: float, step: int
) -> str:
    if step < warmup:
        slips = {
            "the first step has the rate 0 and teaches nothing: begin with 1/warmup of the peak": peak * step / warmup,
            "the line begins at the floor: it begins at 0, so that step 0 has 1/warmup of the peak":
                floor + (peak - floor) * (step + 1) / warmup,
            "the peak is reached one step late: the last step of the warm-up has it": peak * (step + 1) / (warmup + 1),
            "the line goes down": peak * (warmup - step) / warmup,
            "there is no warm-up here": peak,
            "the warm-up is counted in shares of the run": peak * (step + 1) / steps,
        }  # fmt: skip
        return _named(found[step], slips) or "the warm-up is a line: step k has (k + 1)/warmup of the peak"
    at = min(max(step, warmup + 1), steps - 1)  # the step in which most slips differ
    part = (at - warmup) / (steps - warmup)
    if step == warmup and math.isclose(found[step], peak * (step + 1) / max(1, warmup), rel_tol=1e-5):
        return "the line goes on for one step too many: the warm-up has the steps below `warmup`"
    curves = {
        "that ends at 0: the floor is missing": peak * _half(part),
        "that is a straight line: the cosine begins and ends level": floor + (peak - floor) * (1 - part),
        "the cosine counts from step 0: it begins when the warm-up ends": floor + (peak - floor) * _half(at / steps),
        "the floor is added on top, so the peak is exceeded": floor + peak * _half(part),
        "that stays at the peak: the rate falls after the warm-up": peak,
        "half a cosine is missing a half: (1 + cos) / 2 goes from 1 to 0": floor + (peak - floor) * 2 * _half(part),
        "cos goes from 1 to −1: (1 + cos) / 2 goes from 1 to 0": floor + (peak - floor) * math.cos(math.pi * part),
        "that is a quarter of a cosine": floor + (peak - floor) * math.cos(math.pi * part / 2),
        "π is missing in the cosine, or degrees are in it": floor + (peak - floor) * _half(part / math.pi),
        "that rises: the sign of the cosine is the other one": floor + (peak - floor) * (1 - _half(part)),
        "the floor is reached in the last step: here it would be reached one step later, when the run is over":
            floor + (peak - floor) * _half((at - warmup) / max(1, steps - 1 - warmup)),
        "the cosine lasts `steps` steps and is cut off: it lasts from the end of the warm-up to the end of the run":
            floor + (peak - floor) * _half((at - warmup) / steps),
        "the cosine begins a step late: the first step after the warm-up has the peak's place, part 0":
            floor + (peak - floor) * _half((at - warmup + 1) / (steps - warmup)),
    }  # fmt: skip
    return _named(found[at], curves) or "after the warm-up the rate is floor + (peak − floor) · (1 + cos(π · part)) / 2"


def _half(part: float) -> float:
    return (1 + math.cos(math.pi * part)) / 2


def _named(found: float, slips: dict[str, float]) -> str | None:
    return next((words for words, slip in slips.items() if math.isclose(found, slip, rel_tol=1e-5, abs_tol=1e-9)), None)


BEST, AT_MOST, TARGET, PROBLEMS = 6, 60, 0.01, 9
_STRENGTHS = (4.0, 2.0, 1.0, 0.5)  # of the change that is to be learned
_SPREAD = 12.0  # of the inputs: their strongest direction over their weakest


@task(reference=lambda: _FewSteps)
def FewSteps(kind: Any) -> Score:
    """A rule that brings the loss to a hundredth; scored by the median of its steps on fresh problems."""
    if not callable(kind):
        raise Wrong(f"FewSteps is a {type(kind).__name__}, wanted a class with a method step")
    needed = sorted(_steps_needed(kind, _Problem()) for _ in range(PROBLEMS))
    median = needed[len(needed) // 2]
    if median > AT_MOST:
        raise Wrong(f"after {AT_MOST} steps the loss is above a hundredth of what it was, in most of {PROBLEMS} "
                    "problems: it falls, and too slowly; a larger rate, one of its own for each factor, or less of "
                    "the rate where the gradient is steep")  # fmt: skip
    return Score(median, "steps", BEST)


class _Problem:
    """loss(A, B) = E‖(2 B A − D) x‖², as a share of what it is at B = 0, over inputs with covariance C."""

    scale = 2.0

    def __init__(self, d_out: int = 20, d_in: int = 28) -> None:
        r = len(_STRENGTHS)
        left, right = (torch.linalg.qr(torch.randn(size, r))[0] for size in (d_out, d_in))
        turned, _ = torch.linalg.qr(torch.randn(d_in, d_in))
        self.D = left * torch.tensor(_STRENGTHS) @ right.T
        self.C = turned * torch.logspace(0, -math.log10(_SPREAD), d_in) @ turned.T
        self.A = (2 * torch.rand(r, d_in) - 1) / math.sqrt(d_in)
        self.B = torch.zeros(d_out, r)
        self.start = float((self.D @ self.C * self.D).sum())

    def loss(self, A: Tensor, B: Tensor) -> float:
        error = self.scale * B @ A - self.D
        return float((error @ self.C * error).sum()) / self.start

    def gradients(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        of_W = 2 * (self.scale * B @ A - self.D) @ self.C / self.start
        return self.scale * B.T @ of_W, self.scale * of_W @ A.T


def _steps_needed(kind: Any, problem: _Problem) -> int:
    """How many steps the rule needs; above `AT_MOST` if it does not get there."""
    A, B = problem.A, problem.B
    rule = kind(A.clone(), B.clone())
    lowest = 1.0
    for step in range(1, AT_MOST + 1):
        grad_A, grad_B = problem.gradients(A, B)
        if not callable(getattr(rule, "step", None)):
            raise Wrong("what FewSteps(A, B) makes has no method step(grad_A, grad_B)")
        after = rule.step(grad_A.clone(), grad_B.clone())
        new_A, new_B = required.several(after, 2, "A and B after the step")
        shapes = [list(each.shape) for each in (new_A, new_B) if isinstance(each, Tensor)]
        if shapes == [list(B.shape), list(A.shape)]:
            raise Wrong("A and B are exchanged: return A first")
        diverged = [isinstance(each, Tensor) and not bool(each.isfinite().all()) for each in (new_A, new_B)]
        if any(diverged):
            raise Wrong(f"after step {step} {'A' if diverged[0] else 'B'} holds nan or infinity: is something divided "
                        "by zero while B is zero, or has the rate blown it up?")  # fmt: skip
        new_A = required.tensor(new_A, "A after the step", A.shape).detach().float()
        new_B = required.tensor(new_B, "B after the step", B.shape).detach().float()
        if step == 1 and torch.equal(new_A, A) and torch.equal(new_B, B):
            raise Wrong("the first step moves neither A nor B: A's gradient is zero then, and B's is not")
        A, B = new_A, new_B
        loss = problem.loss(A, B)
        if step == 1 and loss > 1.0 and problem.loss(2 * problem.A - A, -B) < 1.0:
            raise Wrong("the first step goes up, and the opposite step would go down: a step goes against the gradient")
        if not loss < 1e4:
            raise Wrong(f"the loss grows, to {loss:.3g} times what it was after {step} steps: the steps are too long")
        lowest = min(lowest, loss)
        if loss <= TARGET:
            return step
    if loss > 1.5 * lowest and loss > 0.5:
        raise Wrong(f"the loss goes up and down without end, between {lowest:.2g} and {loss:.2g} of what it was: the "
                    "steps are too long")  # fmt: skip
    kept = getattr(rule, "B", None)
    if isinstance(kept, Tensor) and kept.shape == B.shape and not torch.equal(kept.detach().float(), B):
        raise Wrong("what you return is not what stands in self.B afterwards, so the next step begins from the old "
                    "one: keep the new A and B too")  # fmt: skip
    return AT_MOST + 1
