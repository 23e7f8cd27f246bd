"""Answers to what is typed in lesson 01: plausible wrong ones, each with its diagnosis, and right ones."""

from tests.mutants.exercises.answer import Answer, cells

CUT, COUNT = "cut_to_rank", "rank_for_energy"


def _cut(*lines: str) -> str:
    return _function("cut_to_rank(M, r)", "u, s, vh = torch.linalg.svd(M, full_matrices=False)", *lines)


def _count(*lines: str) -> str:
    return _function("rank_for_energy(M, share)", "sigma = torch.linalg.svdvals(M.double())", *lines)


def _function(head: str, *lines: str) -> str:
    return "\n    ".join([f"def {head}:", *lines]) + "\n"


HELD = "held = sigma.square().cumsum(0) / sigma.square().sum()"

ANSWERS = [
    Answer(CUT, says="σ is missing", code=_cut("return u[:, :r], vh[:r]")),
    Answer(CUT, says="counts twice", code=_cut("return u[:, :r] * s[:r], s[:r, None] * vh[:r]")),
    Answer(CUT, says="√σ is in one factor only", code=_cut("return u[:, :r] * s[:r].sqrt(), vh[:r]")),
    Answer(CUT, says="the weakest r", code=_cut("return u[:, -r:] * s[-r:], vh[-r:]")),
    Answer(CUT, says="exchanged", code=_cut("return vh[:r], u[:, :r] * s[:r]")),
    Answer(CUT, says="transpose it", code=_cut("return u[:, :r] * s[:r], vh[:r].T")),
    Answer(CUT, says="keep r columns of u", code=_cut("return u * s, vh")),
    Answer(
        CUT,
        says="you subtract M's mean first",
        code=_function("cut_to_rank(M, r)", "return lowrank.truncated_svd(M - M.mean(), r)"),
    ),
    Answer(
        CUT,
        says="the mean of each column",
        code=_function("cut_to_rank(M, r)", "return lowrank.truncated_svd(M - M.mean(0), r)"),
    ),
    Answer(CUT, says="return B, A", code=_cut("return (u[:, :r] * s[:r]) @ vh[:r]")),
    Answer(CUT, says="a tuple of 3, wanted two tensors", code=_cut("return u[:, :r], s[:r], vh[:r]")),
    Answer(
        CUT,
        says="as the strongest r layers do",
        code=_function("cut_to_rank(M, r)", "Q, R = torch.linalg.qr(M)", "return Q[:, :r], R[:r]"),
    ),
    Answer(
        COUNT,
        says="energy is σ²",
        code=_count("held = (sigma / sigma.sum()).cumsum(0)", "return int((held < share).sum()) + 1"),
    ),
    Answer(COUNT, says="count the one that reaches it", code=_count(HELD, "return int((held < share).sum())")),
    Answer(
        COUNT,
        says="one layer fewer",
        code=_count(HELD, "return min(int((held < share).sum()) + 2, len(sigma))"),
    ),
    Answer(COUNT, says="that is a share", code=_count(HELD, "return (int((held < share).sum()) + 1) / len(sigma)")),
    Answer(COUNT, says="yours", code=_count("return math.ceil(share * len(sigma))")),
    Answer(
        COUNT,
        says="from the strongest",
        code=_count("sigma = sigma.flip(0)", HELD, "return int((held < share).sum()) + 1"),
    ),
    Answer(COUNT, says="a whole number of layers", code=_count(HELD, "return held >= share")),
]

# Written by somebody who knew the lesson and had not seen the check.
ANSWERS += cells("""
#: your code changes M
def cut_to_rank(M, r):
    M = M.double()
    columns, rows = [], []
    for _ in range(r):
        u, s, vh = torch.linalg.svd(M, full_matrices=False)
        columns.append(u[:, 0] * s[0])
        rows.append(vh[0])
        M -= torch.outer(columns[-1], rows[-1])
    return torch.stack(columns, 1), torch.stack(rows)
#: your code changes M
def cut_to_rank(M, r):
    M -= M.mean()
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    return u[:, :r] * s[:r], vh[:r]
#: a row of vh
def cut_to_rank(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    B = u[:, :r] * s[:r]
    A = vh[:, :r].T
    return B, A
#: σ counts three times
def cut_to_rank(M, r):
    M = M.double()
    values, V = torch.linalg.eigh(M.T @ M)
    V = V.flip(1)[:, :r]
    return (M @ V) * values.flip(0)[:r], V.T
#: the strengths stand in a column
def cut_to_rank(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    return u[:, :r] * s[:r], s[:r] * vh[:r]
#: σ is in both factors, so it counts twice
def cut_to_rank(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    B = u[:, :r] * s[:r]
    A = s[:r, None] * vh[:r]
    return B, A
#: √σ is in one factor only
def cut_to_rank(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    return u[:, :r] * s[:r].sqrt(), vh[:r]
#: where the share is reached exactly
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    cum = torch.cumsum(sigma ** 2, 0)
    return int((cum <= share * cum[-1]).sum()) + 1
#: strong beside the strongest
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    e = sigma.square()
    return int((e >= (1 - share) * e[0]).sum())
#: compared with the share itself
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    energy = (sigma ** 2).cumsum(0)
    return int((energy < share).sum()) + 1
#: the total is the sum of σ²
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    energy = sigma.square().cumsum(0)
    return int((energy < share * sigma.sum()).sum()) + 1
#: a share of the number of layers
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    return math.ceil(share * len(sigma))
#: square each strength and then add
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    cum = torch.cumsum(sigma, 0) ** 2
    return int((cum < share * cum[-1]).sum()) + 1
#: count the one that reaches it too
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    energy = sigma ** 2
    total = 0
    for i in range(len(energy)):
        total += energy[i]
        if total >= share * energy.sum():
            return i
#: count from the strongest layer, not from the weakest
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    energy = (sigma ** 2).flip(0).cumsum(0)
    return int((energy < share * energy[-1]).sum()) + 1
""")

RIGHT = [
    Answer(CUT, code=_cut("return u[:, :r], s[:r, None] * vh[:r]")),
    Answer(
        CUT,
        code=_function("cut_to_rank(M, r)", "B, A = lowrank.truncated_svd(M, r)", "return 2 * B, A / 2"),
    ),
    Answer(
        CUT,
        code=_function(
            "cut_to_rank(M, r)",
            "lengths, v = torch.linalg.eigh(M.double().T @ M.double())",
            "v = v[:, -r:]",
            "return M.double() @ v, v.T",
        ),
    ),
    Answer(
        COUNT,
        code=_count(
            "total, held = sigma.square().sum(), 0.0",
            "for count, s in enumerate(sigma, 1):",
            "    held += s ** 2 / total",
            "    if held >= share:",
            "        return count",
            "return len(sigma)",
        ),
    ),
    Answer(
        COUNT,
        code=_count(
            "r = 1",
            "while (sigma[:r] ** 2).sum() < share * (sigma ** 2).sum():",
            "    r += 1",
            "return r",
        ),
    ),
]

# By the same hand.
RIGHT += cells("""
#:
def cut_to_rank(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    A = u[:, :r] @ torch.diag(s[:r])
    B = vh[:r]
    return A, B
#:
def cut_to_rank(M, r):
    # project onto the top left singular vectors
    values, vectors = torch.linalg.eigh(M.double() @ M.double().T)
    top = vectors.flip(1)[:, :r]
    return top, top.T @ M.double()
#:
def cut_to_rank(M, r):
    import numpy as np
    U, S, Vt = np.linalg.svd(M.double().numpy())
    root = np.sqrt(S[:r])
    left = np.einsum("ik,k->ik", U[:, :r], root)
    right = np.stack([root[k] * Vt[k] for k in range(r)])
    return torch.from_numpy(left), torch.from_numpy(right)
#:
def cut_to_rank(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    return [u[:, :r], torch.einsum("k,kj->kj", s[:r], vh[:r])]
#:
def cut_to_rank(M, r):
    U, S, V = torch.svd(M)
    return U[:, :r] @ S[:r].diag(), V[:, :r].T
#:
def rank_for_energy(M, share):
    import numpy as np
    s = np.linalg.svd(M.double().numpy(), compute_uv=False)
    part = np.cumsum(s ** 2)
    return int(np.argmax(part >= share * part[-1])) + 1
#:
def rank_for_energy(M, share):
    remaining = share * M.double().square().sum().item()
    layers = 0
    for strength in torch.linalg.svdvals(M.double()).tolist():
        if remaining <= 1e-12:
            break
        remaining -= strength * strength
        layers += 1
    return layers
#:
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    held = sigma.pow(2).cumsum(0)
    return torch.searchsorted(held, share * held[-1]) + 1
#:
def rank_for_energy(M, share):
    sigma = torch.linalg.svdvals(M.double())
    for r in range(1, len(sigma) + 1):
        if torch.sum(sigma[:r] ** 2) >= share * torch.sum(sigma ** 2):
            return r
#:
def rank_for_energy(M, share):
    return int((lowrank.energy_fractions(M) < share).sum()) + 1
""")
