# %% [markdown]
# # Exercises: Rank, alpha, learning rate
#
# An alpha that carries a tuned run to another rank, the rate of every step of a run, and a puzzle: in how few steps can a LoRA layer learn?
# After lesson [04](../notebooks/04_rank_alpha_rate.ipynb), about 30 minutes, and as long as you like for the puzzle.

# %%
import math

import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:alpha_for"]
# ## 1. An alpha for another rank
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# A run was tuned at rank r. You want another rank, perhaps under the other rule for the scale, and the same learning rate. The lesson counted: in
# Adam's first step every output moves by the scale s times a sum of r terms. So the rate stays good (from rank 16 upward) if **s · r** stays
# what it was. Which α do you write into the new configuration?
#
# In: `alpha`, `r` and `use_rslora` of the old run; `new_r` and `new_use_rslora` of the new one. s is α/r, or α/√r with rsLoRA. Out: the new α,
# not rounded.
#
# Example: α = 32 at r = 16 without rsLoRA has s = 2 and s · r = 32. At r = 64 s must be 0.5. With rsLoRA that is α/√64, so α = 4.

# %% tags=["turn:alpha_for"]
def alpha_for(alpha, r, use_rslora, new_r, new_use_rslora):
    #> the old scale, the new scale, and the α that gives it
    s = alpha / math.sqrt(r) if use_rslora else alpha / r
    new_s = s * r / new_r
    return new_s * math.sqrt(new_r) if new_use_rslora else new_s * new_r
    #<

# %% [markdown] tags=["hint:alpha_for"]
# **A first hint.** Three lines: s by the old rule; the new s, from s · r = new s · new r; then α by the new rule, solved for α.
#
# **A second hint.** s = α/√r means α = s · √r.

# %% tags=["check:alpha_for"]
alpha_for = check("alpha_for", alpha_for)
for r in (16, 32, 64, 256):
    plain, root = alpha_for(32, 16, False, r, False), alpha_for(32, 16, False, r, True)
    print(f"α = 32 at r = 16 becomes, at r = {r}: {plain:g} with α/r, {root:g} with α/√r")

# %% [markdown] tags=["task:rate_at"]
# ## 2. The rate of every step
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# Most fine-tunes raise the rate over some steps and then let it fall along half a cosine. Write the rate of one step, counted from 0.
#
# - In the first `warmup` steps it is on a line through 0: step 0 has 1/warmup of the peak, step warmup − 1 has all of it.
# - Then with part = (step − warmup) / (steps − warmup), which is 0 in the first step after the warm-up and would be 1 when the run is over, it is
#
# $$\text{floor} + (\text{peak} - \text{floor})\,\frac{1 + \cos(\pi\cdot\text{part})}{2}$$
#
# In: `step`, `steps`, `warmup` (0 means none), `peak`, `floor`. Out: a number.
#
# Example: 10 steps, warm-up 2, peak 8, floor 0: steps 0, 1, 2 have 4, 8, 8, and step 6 has 4.

# %% tags=["turn:rate_at"]
def rate_at(step, steps, warmup, peak, floor):
    #> the line, then the cosine
    if step < warmup:
        return peak * (step + 1) / warmup
    part = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2
    #<

# %% [markdown] tags=["hint:rate_at"]
# **A first hint.** An `if` for the warm-up, with its own `return`. The formula follows below.
#
# **Help, my first step has the rate 0.** Step 0 is the first one: count (step + 1) parts of `warmup`.
#
# **Help, it divides by zero.** With a warm-up of 0 no step is below it, so nothing needs to be divided by it.

# %% tags=["check:rate_at"]
rate_at = check("rate_at", rate_at)
print("40 steps, warm-up 8, peak 0.01, floor 0.001:")
for step in (0, 4, 7, 8, 16, 24, 32, 39):
    rate = rate_at(step, 40, 8, 0.01, 0.001)
    print(f"step {step:2}: {rate:.4f} {'▇' * round(4000 * rate)}")

# %% [markdown] tags=["task:FewSteps"]
# ## 3. A puzzle: as few steps as you can
#
# difficulty 5 of 5 · importance 3 of 5 · 25 minutes
#
# One LoRA layer of rank 4 and scale 2 is to learn a change D of 20 × 28, which has rank 4 too. The loss is what is missed on the inputs,
# E‖(2 B A − D) x‖², as a share of what it was at first. A starts as in the lesson, B at zero. **Bring the loss to 0.01.** Plain gradient
# descent at its best rate needs about 45 steps, Adam at 0.001 more than 400, Adam at its best rate about 33.
#
# You write the update rule. In: `FewSteps(A, B)` is made once for each problem, from A [4, 28] and B [20, 4]. Then `step(grad_A, grad_B)` is called
# with the gradients of the loss at the A and B that it returned last (at first: that it was given). Out: the new `A, B`. You may keep in `self` what
# you like. The check trains: it computes loss and gradients, and nobody tells you D.
#
# It passes with at most 60 steps, at the median of 9 fresh problems. The score is that median, and lower is better. It takes less than a
# second.
#
# Example: `self.A, self.B = self.A - 0.5 * grad_A, self.B - 0.5 * grad_B` is gradient descent at the rate 0.5.

# %% tags=["turn:FewSteps"]
class FewSteps:
    def __init__(self, A, B):
        self.A, self.B = A, B
        #> what your rule remembers
        self.move_A, self.move_B, self.steps = torch.zeros_like(A), torch.zeros_like(B), 0
        #<

    def step(self, grad_A, grad_B):    # -> A, B after the step
        #> your rule
        def solved(gram, right):       # gram⁻¹ right, with a little on the diagonal
            return torch.linalg.solve(gram + 1e-3 * gram.diagonal().mean() * torch.eye(len(gram)), right)

        self.steps += 1
        by_A = solved(self.A @ self.A.T, grad_B.T).T
        if self.steps == 1:
            self.B = self.B - 2 * by_A
            return self.A, self.B
        self.move_A = 0.3 * self.move_A + solved(self.B.T @ self.B, grad_A)
        self.move_B = 0.3 * self.move_B + by_A
        self.A, self.B = self.A - 1.5 * self.move_A, self.B - 0.68 * self.move_B
        return self.A, self.B
        #<

# %% [markdown] tags=["hint:FewSteps"]
# **A first hint.** Begin with the example, and try rates. Then give A and B two rates. Adam with rates around 0.1 and with quicker averages
# (0.8 and 0.9 in place of 0.9 and 0.999) comes to about 22 steps.
#
# **A second hint.** The gradient of B is (the gradient at the weight) · Aᵀ, times the scale. Move B against it and 2 B A moves by that times
# A Aᵀ: far along the directions in which A is long, hardly along the others. What would you have to divide by, so that all directions move alike?
#
# **A third hint.** Divide the gradient of B by A Aᵀ (4 × 4, from the right), and that of A by Bᵀ B (from the left); `torch.linalg.solve`
# divides. While B is zero, Bᵀ B cannot be divided by: move B alone in the first step. With rates near 1 that comes to about 10 steps;
# the paper is [Zhang and Pilanci, 2024](https://arxiv.org/abs/2402.02347). A little momentum and two rates do the rest.

# %% tags=["check:FewSteps"]
FewSteps = check("FewSteps", FewSteps)
