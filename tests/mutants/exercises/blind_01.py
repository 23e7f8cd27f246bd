"""Answers to the exercises of lesson 01, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: these are sums of σ
def energy_held(M):
    s = torch.linalg.svdvals(M)
    return s.cumsum(0) / s.sum()
#: add up, so that entry k holds what the first k + 1 hold together
def energy_held(M):
    s = torch.linalg.svdvals(M)
    return s ** 2 / (s ** 2).sum()
#: these are not the shares
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return [s[:i].sum() / s.sum() for i in range(len(s))]
#: what you give for a matrix 2 × 3 has the shape [3], wanted [2]
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return torch.tensor([float(s[:i].sum() / s.sum()) for i in range(1, M.shape[1] + 1)])
#: these are not the shares
def energy_held(M):
    e = torch.diag(M) ** 2
    return e.cumsum(0) / e.sum()
#: the strongest comes first
def energy_held(M):
    e = torch.linalg.eigvalsh(M @ M.T)
    return e.cumsum(0) / e.sum()
#: these are sums of σ, not of σ²
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return float(s.sum() / s[0])
#: σ₁ is the strength of the strongest direction
def stable_rank(M):
    return float(M.norm() ** 2 / M.abs().max() ** 2)
#: square it too
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return float((s ** 2).sum() / s[0])
#: try the matrix of the example by hand
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return round(float((s ** 2).sum() / s[0] ** 2))
#: the plain rank, in which a weak direction counts as much as a strong one
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return int(((s / s[0]) ** 2 > 1e-6).sum())
#: or you begin with the largest r
def rank_for_error(M, error):
    sigma = torch.linalg.svdvals(M.double())
    r = 1
    while sigma[r:].norm() > error:
        r += 1
    return r
#: the rank is 1 at least
def rank_for_error(M, error):
    sigma = torch.linalg.svdvals(M.double())
    r = 0
    while sigma[r:].norm() > error * sigma.norm():
        r += 1
    return r
#: does every case reach a return?
def rank_for_error(M, error):
    sigma = torch.linalg.svdvals(M.double())
    for r in range(1, len(sigma)):
        if sigma[r:].norm() <= error * sigma.norm():
            return r
#: or you begin with the largest r
def rank_for_error(M, error):
    sigma = torch.linalg.svdvals(M.double())
    for r in range(len(sigma), 0, -1):
        if sigma[r:].norm() <= error * sigma.norm():
            return r
#: equal is near enough
def rank_for_error(M, error):
    sigma = torch.linalg.svdvals(M.double())
    r = 1
    while sigma[r:].norm() >= error * sigma.norm() and r < len(sigma):
        r += 1
    return r
#: IndexError: index 4 is out of bounds for dimension 0 with size 4
def rank_for_error(M, error):
    sigma = torch.linalg.svdvals(M.double())
    r = 1
    while sigma[r] > error * sigma.norm():
        r += 1
    return r
#: nobody sorted them by strength
def recompressed(B, A, r):
    return B[:, :r], A[:r]
#: Is R_A transposed
def recompressed(B, A, r):
    QB, RB = torch.linalg.qr(B)
    QA, RA = torch.linalg.qr(A.T)
    u, s, vh = torch.linalg.svd(RB @ RA)
    return QB @ u[:, :r] * s[:r], vh[:r] @ QA.T
#: σ is in both factors, so it counts twice
def recompressed(B, A, r):
    QB, RB = torch.linalg.qr(B)
    QA, RA = torch.linalg.qr(A.T)
    u, s, vh = torch.linalg.svd(RB @ RA.T)
    return QB @ (u[:, :r] * s[:r]), (s[:r, None] * vh[:r]) @ QA.T
#: Is R_A transposed
def recompressed(B, A, r):
    QB, RB = torch.linalg.qr(B)
    QA, RA = torch.linalg.qr(A.T)
    u, s, v = torch.linalg.svd(RB @ RA.T)
    return QB @ (u[:, :r] * s[:r]), v[:, :r].T @ QA.T
""")

RIGHT = cells(r"""
#:
def energy_held(M):
    s = torch.linalg.svd(M, full_matrices=False).S
    e = s * s
    return torch.cumsum(e, dim=0) / e.sum()
#:
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return float(((s / s[0]) ** 2).sum())
#:
def rank_for_error(M, error):
    s2 = torch.linalg.svdvals(M.double()) ** 2
    for r in range(1, len(s2) + 1):
        if s2[r:].sum() <= error ** 2 * s2.sum():
            return r
    return len(s2)
#:
def recompressed(B, A, r):
    q, t = torch.linalg.qr(B)
    u, s, vh = torch.linalg.svd(t @ A, full_matrices=False)
    return q @ (u[:, :r] * s[:r]), vh[:r]
""")
