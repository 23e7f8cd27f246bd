# %% [markdown]
# # Exercises: Intrinsic dimension
#
# In the lesson a library moved the matrices of a model inside a random subspace. Here you write what it does: a short column becomes moves
# of many tensors, a step with a projection that no memory could hold, and a dimension read off between two runs. After lesson
# [02](../notebooks/02_intrinsic_dimension.ipynb), about 40 minutes.

# %%
import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:lifted"]
# ## 1. From d numbers to the tensors of a model
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# A model has many tensors, and θ is all of them one after the other, each row after row. Weight i of that long column moves by
# `sign[i] * z[column[i]]`. Give each tensor its part, in its shape. Gradients must reach z.
#
# In: `z` [d]; `column` [D] whole numbers; `sign` [D] of ±1; `shapes`, a dictionary from names to shapes (lists of sizes), whose order
# counts. Out: a dictionary from the same names to the moves, tensors of those shapes.
#
# Example: `z = [5, 7]`, `column = [0, 1, 1, 0, 1]`, `sign = [1, 1, -1, 1, 1]`, `shapes = {"w": [2, 2], "b": [1]}` give
# `{"w": [[5, 7], [-7, 5]], "b": [7]}`.

# %% tags=["turn:lifted"]
def lifted(z, column, sign, shapes):   # -> {name: tensor of that shape}
    #> all moves as one column [D], cut into parts, each in its shape
    move, moves, at = sign * z[column], {}, 0
    for name, shape in shapes.items():
        size = torch.Size(shape).numel()
        moves[name] = move[at:at + size].view(shape)
        at += size
    return moves
    #<

# %% [markdown] tags=["hint:lifted"]
# **A first hint.** First the whole column of D moves, which is the lesson's line without θ₀. Then walk over `shapes.items()` and keep
# in a number where the next tensor begins.
#
# **A second hint.** `torch.Size([3, 4]).numel()` is 12, and `column.view([3, 4])` fills row after row.
#
# **Help, no gradient reaches z.** Slices and `view` keep it; `torch.tensor(...)`, `float()` and `.detach()` do not.

# %% tags=["check:lifted"]
lifted = check("lifted", lifted)
layer = torch.nn.Linear(192, 512)
shapes = {name: list(parameter.shape) for name, parameter in layer.named_parameters()}
D, dice = sum(parameter.numel() for parameter in layer.parameters()), torch.manual_seed(0)
column, sign = torch.randperm(D, generator=dice) % 100, torch.randint(0, 2, (D,), generator=dice) * 2 - 1
moves = lifted(torch.randn(100, generator=dice), column, sign, shapes)
print("100 numbers move", *(f"{name} {list(move.shape)}" for name, move in moves.items()))

# %% [markdown] tags=["task:step_row_by_row"]
# ## 2. A projection that is never stored
#
# difficulty 3 of 5 · importance 3 of 5 · 15 minutes
#
# Li et al. also tried a P whose numbers are all random. For D = 8 billion weights and d = 1,000 it would hold 8 trillion of them. But a
# random row need not be kept: the same seed draws it again. So you are given a function, `row(i)`, that draws row i, [d].
#
# Write one step of gradient descent on z with it:
#
# $$\theta = \theta_0 + P z \qquad z \leftarrow z - \text{rate}\cdot P^\top g, \qquad g = \text{the gradient at }\theta$$
#
# In: `row`, a function of i; `theta_0` [D]; `z` [d]; `gradient_at`, a function that gives g [D] for θ [D], to be asked once; `rate`. Out:
# the new z [d], a new tensor. Draw each row twice, once for θ and once for Pᵀ g, and keep none.
#
# Example: the rows are [1, 0], [0, 2], [1, 1], θ₀ is zero and z = [1, 1], so θ = [1, 2, 2]. If g is [1, 1, 0] and the rate 0.5, then
# Pᵀ g = 1 · [1, 0] + 1 · [0, 2] + 0 · [1, 1] = [1, 2], and the new z is [0.5, 0].

# %% tags=["turn:step_row_by_row"]
def step_row_by_row(row, theta_0, z, gradient_at, rate):   # -> z [d] after one step
    #> θ row by row, one gradient, then Pᵀ g row by row
    theta = theta_0.clone()
    for i in range(len(theta)):
        theta[i] += row(i) @ z
    gradient, of_z = gradient_at(theta), torch.zeros_like(z)
    for i in range(len(theta)):
        of_z += gradient[i] * row(i)
    return z - rate * of_z
    #<

# %% [markdown] tags=["hint:step_row_by_row"]
# **A first hint.** Entry i of P z is the product of row i and z, a number: `row(i) @ z`.
#
# **A second hint.** Pᵀ g looks like columns, but it is a sum of rows: g[0] · row(0) + g[1] · row(1) + … Start with
# `torch.zeros_like(z)`.
#
# **Help, it says that I change the caller's tensor.** `theta = theta_0` is the same tensor under another name. Begin with
# `theta_0.clone()`.

# %% tags=["check:step_row_by_row"]
step_row_by_row = check("step_row_by_row", step_row_by_row)


def row(i):  # 20 random numbers, the same ones whenever it is asked
    return torch.randn(20, generator=torch.Generator().manual_seed(i)) / 5


X, y = torch.randn(5, 300, generator=torch.manual_seed(0)) / 17, torch.ones(5)  # 5 equations for 300 weights
z = torch.zeros(20)
for step in range(31):
    if step % 10 == 0:
        misfit = X @ torch.stack([row(i) @ z for i in range(300)]) - y
        print(f"step {step}: ‖Xθ − y‖² is {float(misfit.square().sum()):.3f}")
    z = step_row_by_row(row, torch.zeros(300), z, lambda theta: X.T @ (X @ theta - y), rate=0.5)

# %% [markdown] tags=["task:crossing_dimension"]
# ## 3. Between two runs
#
# difficulty 3 of 5 · importance 3 of 5 · 12 minutes
#
# The lesson's d90 was always one of the sizes that somebody had tried. If d = 100 scores 0.2 and d = 10,000 scores 0.6, where would 0.4 have been reached?
# Curves of this kind are drawn over the logarithm of d, with straight lines between the runs. So read it off such a line: 0.4 lies halfway
# between the scores, and halfway between log 100 and log 10,000 is log 1,000.
#
# In: `sizes`, a list of d, rising; `scores`, one for each; `wanted`, a score. Out: the d at which the line first reaches `wanted`,
# not rounded. If the smallest d tried reaches it already, that d; if none does, `None`.
#
# Example: `crossing_dimension([100, 10_000], [0.2, 0.6], 0.4)` is 1000 (but for rounding).

# %% tags=["turn:crossing_dimension"]
def crossing_dimension(sizes, scores, wanted):   # -> a number or None
    #> the first run that reaches it, then as far between the logarithms as between the scores
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** part
    return None
    #<

# %% [markdown] tags=["hint:crossing_dimension"]
# **A first hint.** Find the first k with `scores[k] >= wanted`. The line runs from run k − 1 to run k.
#
# **A second hint.** `part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])` is how far the score has come, from 0 to 1. The
# logarithm of d has come as far. `math.log` and `math.exp` lead there and back.
#
# **Help, it gives None.** Three kinds of tables need a `return`: reached at once, reached later, never reached.

# %% tags=["check:crossing_dimension"]
crossing_dimension = check("crossing_dimension", crossing_dimension)

# %% [markdown]
# The lesson's sailor, seed by seed: what is d90, read between the runs?

# %%
from lora_lab import records

tried = [100, 1_000, 13_568, 54_272, 217_088, 434_176, 868_352]
full = records.chosen("intrinsic", task="sailor", run="full", size=0)
runs = {d: records.chosen("intrinsic", task="sailor", run="subspace", size=d) for d in tried}
for seed in range(3):
    scores = [runs[d][seed]["exact"] for d in tried]
    for part in (0.5, 0.9):
        d = crossing_dimension(tried, scores, part * full[seed]["exact"])
        print(f"seed {seed}: {part:.0%} of full fine-tuning at d =", f"{d:,.0f}" if d else "more than was tried")
