"""Answers to exercises 01: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: sums of σ
def energy_held(M):
    s = torch.linalg.svdvals(M)
    return s.cumsum(0) / s.sum()
#: stands by itself
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return s / s.sum()
#: energies, not shares
def energy_held(M):
    return (torch.linalg.svdvals(M) ** 2).cumsum(0)
#: the strongest direction: divide by the sum
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return s.cumsum(0) / s.max()
#: left over
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return 1 - s.cumsum(0) / s.sum()
#: from the weakest
def energy_held(M):
    s = torch.linalg.svdvals(M).sort().values ** 2
    return s.cumsum(0) / s.sum()
#: has the shape []
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return s.sum() / M.square().sum()
#: is None
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    shares = s.cumsum(0) / s.sum()
#: the square of a length
def energy_held(M):
    s = torch.linalg.svdvals(M) ** 2
    return (s.cumsum(0) / s.sum()).sqrt()
#: Frobenius norm again
def stable_rank(M):
    return float(M.norm() ** 2 / M.norm(2) ** 2)
#: sums of σ, not of σ²
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return float(s.sum() / s[0])
#: square it too
def stable_rank(M):
    s = torch.linalg.svdvals(M)
    return float((s ** 2).sum() / s[0])
#: its root
def stable_rank(M):
    return float(M.norm() / torch.linalg.matrix_norm(M, 2))
#: the plain rank
def stable_rank(M):
    return int(torch.linalg.matrix_rank(M))
#: the largest entry
def stable_rank(M):
    return float((M ** 2).sum() / M.max().maximum(-M.min()) ** 2)
#: upside down
def stable_rank(M):
    s = torch.linalg.svdvals(M) ** 2
    return float(s[0] / s.sum())
#: gives tensor
def stable_rank(M):
    s = torch.linalg.svdvals(M) ** 2
    return s / s[0]
#: the root of an energy
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M) ** 2
    r = 1
    while s[r:].sum() > error * s.sum():
        r += 1
    return r
#: 1 − error of Σσ
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M)
    return int((s.cumsum(0) < (1 - error) * s.sum()).sum()) + 1
#: the spectral norm
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M)
    return int((s > error * s[0]).sum())
#: sigma[r:] in Python
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M)
    r = 1
    while s[r:].norm() > error * s.norm():
        r += 1
    return r - 1
#: one direction more
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M)
    for r in range(1, len(s) + 1):
        if s[r - 1:].norm() <= error * s.norm():
            return r
    return len(s) + 1
#: a share of the length of M
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M)
    for r in range(1, len(s) + 1):
        if s[r:].norm() <= error:
            return r
#: a whole number of directions
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M)
    for r in range(1, len(s) + 1):
        if s[r:].norm() <= error * s.norm():
            return float(s[r:].norm() / s.norm())
#: the first r columns
def recompressed(B, A, r):
    return B[:, :r], A[:r]
#: you cut B alone
def recompressed(B, A, r):
    u, s, vh = torch.linalg.svd(B, full_matrices=False)
    return u[:, :r] * s[:r], vh[:r] @ A
#: you cut A alone
def recompressed(B, A, r):
    u, s, vh = torch.linalg.svd(A, full_matrices=False)
    return B @ u[:, :r] * s[:r], vh[:r]
#: σ is missing
def recompressed(B, A, r):
    u, s, vh = torch.linalg.svd(B @ A, full_matrices=False)
    return u[:, :r], vh[:r]
#: counts twice
def recompressed(B, A, r):
    u, s, vh = torch.linalg.svd(B @ A, full_matrices=False)
    return u[:, :r] * s[:r], s[:r, None] * vh[:r]
#: are exchanged
def recompressed(B, A, r):
    u, s, vh = torch.linalg.svd(B @ A, full_matrices=False)
    return vh[:r], u[:, :r] * s[:r]
#: largest product of lengths
def recompressed(B, A, r):
    strongest = (B.norm(dim=0) * A.norm(dim=1)).topk(r).indices
    return B[:, strongest], A[strongest]
#: put back
def recompressed(B, A, r):
    Q_B, R_B = torch.linalg.qr(B)
    Q_A, R_A = torch.linalg.qr(A.T)
    u, s, vh = torch.linalg.svd(R_B @ R_A)
    return Q_B @ u[:, :r] * s[:r], vh[:r] @ Q_A.T
#: has the shape
def recompressed(B, A, r):
    u, s, vh = torch.linalg.svd(B @ A, full_matrices=False)
    return u * s, vh
""")

RIGHT = cells("""
#:
def energy_held(M):
    gram = torch.linalg.eigvalsh(M.double() @ M.double().T if M.shape[0] < M.shape[1] else M.double().T @ M.double())
    held, shares = 0.0, []
    for energy in gram.flip(0).tolist():
        held += energy
        shares.append(held)
    return [each / shares[-1] for each in shares]
#:
def energy_held(M):
    s = torch.linalg.svd(M, full_matrices=False).S
    return torch.stack([s[: k + 1].norm() ** 2 / M.norm() ** 2 for k in range(len(s))])
#:
def stable_rank(M):
    return (M.norm() / torch.linalg.matrix_norm(M, 2)) ** 2
#:
def stable_rank(M):
    total = sum(float(x) ** 2 for row in M for x in row)
    return total / float(torch.linalg.svdvals(M.double())[0]) ** 2
#:
def rank_for_error(M, error):
    s = torch.linalg.svdvals(M.double())
    for r in range(1, len(s) + 1):
        if s[r:].norm() <= error * s.norm():
            return r
    return len(s)
#:
def rank_for_error(M, error):
    held = lowrank.energy_fractions(M)
    return torch.sum(held < 1 - error ** 2) + 1
#:
def recompressed(B, A, r):
    return lowrank.truncated_svd(B @ A, r)
#:
def recompressed(B, A, r):
    Q, R = torch.linalg.qr(B)
    u, s, vh = torch.linalg.svd(R @ A, full_matrices=False)
    return Q @ u[:, :r], s[:r, None] * vh[:r]
""")
