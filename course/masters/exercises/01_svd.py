# %% [markdown]
# # Exercises: SVD
#
# Four functions that people who work with adapters keep at hand: how much a few directions hold, a rank that noise cannot fool, the rank
# that an error allows, and an adapter cut to a smaller one. After lesson [01](../notebooks/01_svd.ipynb), about 45 minutes.

# %%
import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:energy_held"]
# ## 1. Who holds how much
#
# difficulty 1 of 5 · importance 4 of 5 · 8 minutes
#
# A matrix M has singular values σ, strongest first. Its energy is Σσ². Which share of it is held by the first direction, by the first
# two together, by the first three, …?
#
# In: `M` [height, width], floating point. Out: one share for each singular value, a tensor [min(height, width)] that rises to 1.
#
# Example: `torch.diag(torch.tensor([4., 2., 2., 1.]))` has the energies 16, 4, 4, 1, together 25, so the shares are
# 0.64, 0.80, 0.96, 1.00.

# %% tags=["turn:energy_held"]
def energy_held(M):                    # [height, width] -> [min(height, width)]
    #> energies, strongest first, added up, as shares of all
    energy = torch.linalg.svdvals(M).square()
    return energy.cumsum(0) / energy.sum()
    #<

# %% [markdown] tags=["hint:energy_held"]
# **A first hint.** `torch.linalg.svdvals(M)` gives the σ, strongest first. Squares first, sums then.
#
# **A second hint.** `cumsum(0)` gives the running sum of a tensor: `torch.tensor([16, 4, 4, 1]).cumsum(0)` is [16, 20, 24, 25].

# %% tags=["check:energy_held"]
energy_held = check("energy_held", energy_held)

# %% [markdown] tags=["task:stable_rank"]
# ## 2. A rank that noise cannot fool
#
# difficulty 2 of 5 · importance 3 of 5 · 8 minutes
#
# Add a little noise to a matrix of rank 1 and its rank is full: rank counts every σ that is not zero. The *stable rank* asks how many
# directions *as strong as the strongest* would hold the same energy:
#
# $$\frac{\sum_i \sigma_i^2}{\sigma_1^2} = \frac{\lVert M\rVert_F^2}{\lVert M\rVert_2^2}$$
#
# In: `M` [height, width]. Out: a number, 1 at least. It does not change when M is multiplied by a number.
#
# Example: for σ = 4, 2, 2, 1 it is 25 / 16 = 1.5625.

# %% tags=["turn:stable_rank"]
def stable_rank(M):                    # [height, width] -> a number
    #> all of the energy, by the energy of the strongest direction
    energy = torch.linalg.svdvals(M).square()
    return float(energy.sum() / energy[0])
    #<

# %% [markdown] tags=["hint:stable_rank"]
# **A first hint.** Above the bar stands the whole energy, below it the energy of one direction.
#
# **Help, I get 1 for every matrix.** `M.norm()` and `M.norm(2)` are the same norm, Frobenius's. σ₁ is the first of
# `torch.linalg.svdvals(M)`.

# %% tags=["check:stable_rank"]
stable_rank = check("stable_rank", stable_rank)
one, noise = torch.ones(60, 40), torch.randn(60, 40, generator=torch.manual_seed(0))
for name, M in {"a matrix of rank 1": one, "with a little noise": one + 0.1 * noise, "noise alone": noise}.items():
    print(f"{name}: rank {int(torch.linalg.matrix_rank(M))}, stable rank {stable_rank(M):.1f}")

# %% [markdown] tags=["task:rank_for_error"]
# ## 3. The rank that an error allows
#
# difficulty 3 of 5 · importance 4 of 5 · 12 minutes
#
# You may store M as B A if the mistake is small: ‖M − B A‖ at most `error` times ‖M‖. Both are lengths, that is Frobenius norms: the
# root of the sum of all squares. With the strongest r directions, what is missed is the energy of the others:
#
# $$\lVert M - M_r\rVert = \sqrt{\sigma_{r+1}^2 + \sigma_{r+2}^2 + \dots}$$
#
# In: `M` [height, width]; `error`, between 0 and 1. Out: the smallest rank r, 1 at least, an int.
#
# Example: σ = 4, 2, 2, 1, so ‖M‖ = 5. For an error of 0.5 it is 2: with r = 1, √(4 + 4 + 1) = 3 is missed, more than 2.5; with
# r = 2, √5 = 2.24.

# %% tags=["turn:rank_for_error"]
def rank_for_error(M, error):          # -> an int
    sigma = torch.linalg.svdvals(M.double())
    #> raise r until what is left out is small enough
    r = 1
    while sigma[r:].norm() > error * sigma.norm():
        r += 1
    return r
    #<

# %% [markdown] tags=["hint:rank_for_error"]
# **A first hint.** `sigma[r:]` are the strengths left out by the strongest r. What is the length of that list of numbers?
#
# **A second hint.** `sigma[r:].norm()` is the root of the sum of squares, and `sigma.norm()` is ‖M‖.
#
# **Help, my ranks are too small.** An energy is the square of a length: an error of 0.1 leaves only 0.01 of the energy.

# %% tags=["check:rank_for_error"]
rank_for_error = check("rank_for_error", rank_for_error)
halving = torch.diag(0.5 ** torch.arange(12.0))  # each direction half as strong as the one before
for error in (0.5, 0.1, 0.01):
    r = rank_for_error(halving, error)
    print(f"an error of {error:.0%} allows rank {r}, which holds {float(energy_held(halving)[r - 1]):.3%} of the energy")

# %% [markdown] tags=["task:recompressed"]
# ## 4. Cut an adapter to a smaller one
#
# difficulty 4 of 5 · importance 4 of 5 · 18 minutes
#
# An adapter came with rank R, and your server takes rank r. Which two thin matrices of rank r are nearest to its B A?
#
# You could form B A and cut it as in the lesson, and the check takes that too. But B A is as large as the weight: 4,096 × 14,336 in a
# large model, and its SVD takes minutes. Do without: split B = Q_B R_B and Aᵀ = Q_A R_A (`torch.linalg.qr`), with columns in Q of
# length 1 and perpendicular to each other. Then
#
# $$B A = Q_B\,\big(R_B R_A^\top\big)\,Q_A^\top$$
#
# and the SVD of the small R × R matrix in the middle has the same σ as B A.
#
# In: `B` [d_out, R], `A` [R, d_in], `r` ≤ R. Out: a new B [d_out, r] and a new A [r, d_in]; how σ is shared between them is up to you.
#
# Example: B = [[1, 0], [0, 2]], A = [[1, 0, 0], [0, 1, 0]], r = 1. The product of the new ones is [[0, 0, 0], [0, 2, 0]].

# %% tags=["turn:recompressed"]
def recompressed(B, A, r):             # -> B [d_out, r], A [r, d_in]
    #> two QR, one small SVD, and the Q put back
    Q_B, R_B = torch.linalg.qr(B)
    Q_A, R_A = torch.linalg.qr(A.T)
    u, s, vh = torch.linalg.svd(R_B @ R_A.T)
    return Q_B @ (u[:, :r] * s[:r]), vh[:r] @ Q_A.T
    #<

# %% [markdown] tags=["hint:recompressed"]
# **A first hint.** `Q_B, R_B = torch.linalg.qr(B)` gives Q_B [d_out, R] and R_B [R, R]. For A, which is wide, take `A.T`.
#
# **A second hint.** Cut `R_B @ R_A.T` to rank r with `torch.linalg.svd`: keep r columns of u, r strengths, r rows of vh. Multiply
# the left part by Q_B from the left and the right part by Q_A.T from the right.
#
# **Help, the error is large.** σ belongs into one of the two factors, or √σ into both. And R_A is a matrix of its own: R_A.T stands in
# the middle.

# %% tags=["check:recompressed"]
recompressed = check("recompressed", recompressed)

# %% [markdown]
# An adapter for the largest matrix of Llama-3.1-8B, cut from rank 64 to 8. Its numbers are made up: some directions are strong, most are
# weak.

# %% tags=["nbval-ignore-output"]
dice = torch.manual_seed(0)
strengths = 0.8 ** torch.arange(64.0)
B, A = strengths * torch.randn(4096, 64, generator=dice), torch.randn(64, 14336, generator=dice)
new_B, new_A = recompressed(B, A, 8)
lengths = [float(((b.T @ b) @ (a @ a.T)).trace()) for b, a in ((B, A), (new_B, new_A))]  # ‖B A‖², without B A
print(f"{B.numel() + A.numel():,} numbers became {new_B.numel() + new_A.numel():,}; "
      f"they hold {lengths[1] / lengths[0]:.0%} of the energy")
