"""Answers to exercises 05: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_SVD = """def pissa_start(W, r, s):
    u, S, vh = torch.linalg.svd(W, full_matrices=False)
    root = (S[:r] / s).sqrt()
"""
_EVEN = "    B, A = u[:, :r] * root, root[:, None] * vh[:r]\n"
_LEFT = "    return B, A, W - s * B @ A\n"


def _start(code: str, says: str = "") -> Answer:
    return Answer("pissa_start", code, says)


_GREEDY = """def ranks_for_layers(strengths, costs, budget):
    ranks = {name: 0 for name in strengths}
    while True:
        gains = {n: %s for n, s in strengths.items() if ranks[n] < len(s)%s}
        if not gains:
            return ranks
        best = max(gains, key=gains.get)
        %s
        ranks[best] += 1
        budget -= costs[best]
"""


def _greedy(gain: str = "s[ranks[n]] ** 2 / costs[n]", fits: str = " and costs[n] <= budget", then: str = "",
            says: str = "") -> Answer:  # fmt: skip
    return Answer("ranks_for_layers", _GREEDY % (gain, fits, then), says)


ANSWERS = [
    _start(_SVD.replace("(S[:r] / s)", "S[:r]") + _EVEN + _LEFT, "s times too large"),
    _start(_SVD + _EVEN + "    return B, A, W\n", "counts twice at step 0"),
    _start(_SVD + _EVEN + "    return B, A, W - B @ A\n", "it is W − B A"),
    _start(_SVD + _EVEN.replace(":r]", "-r:]").replace("root", "(S[-r:] / s).sqrt()", 1).replace(
        "root[:, None]", "(S[-r:, None] / s).sqrt()") + _LEFT, "the weakest directions"),
    _start(_SVD + "    B, A = u[:, :r] * S[:r] / s, vh[:r]\n" + _LEFT, "share σ evenly"),
    _start(_SVD + "    B, A = u[:, :r], vh[:r]\n" + _LEFT, "u and vh have length 1"),
    _start(_SVD + _EVEN + "    return A, B, W - s * B @ A\n", "are exchanged"),
    _start(_SVD + _EVEN + "    return B, A\n", "B, A and the residual"),
    _start(_SVD + _EVEN + "    W -= s * B @ A\n    return B, A, W\n", "your code changes W"),
    *cells('''
#: a key begins after a dot
def setting_for(name, pattern, default):
    import re
    return next((value for key, value in pattern.items() if re.search(key + "$", name)), default)
#: it must reach the end
def setting_for(name, pattern, default):
    import re
    return next((value for key, value in pattern.items() if re.match(rf"(.*[.])?({key})", name)), default)
#: the first one counts
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.fullmatch(rf"(.*[.])?({key})", name):
            default = value
    return default
#: a regular expression
def setting_for(name, pattern, default):
    for key, value in pattern.items():
        if name == key or name.endswith("." + key):
            return value
    return default
#: may be several parts
def setting_for(name, pattern, default):
    return pattern.get(name.split(".")[-1], default)
#: in round brackets
def setting_for(name, pattern, default):
    import re
    return next((value for key, value in pattern.items() if re.fullmatch(rf"(.*[.])?{key}", name)), default)
#: with no dot before it
def setting_for(name, pattern, default):
    import re
    return next((value for key, value in pattern.items() if re.fullmatch(rf".*[.]({key})", name)), default)
#: go on to the next key
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        return value if re.fullmatch(rf"(.*[.])?({key})", name) else default
    return default
#: gives None
def setting_for(name, pattern, default):
    import re
    for key, value in pattern.items():
        if re.fullmatch(rf"(.*[.])?({key})", name):
            return value
'''),
    _greedy("s[ranks[n]]", says="whatever it costs"),
    _greedy("s[ranks[n]] / costs[n]", says="σ per number"),
    _greedy("1 / costs[n]", says="the cheapest layers first"),
    _greedy(fits="", then="if costs[best] > budget:\n            return ranks", says="a cheaper one may still"),
    _greedy(fits=" and budget > 0", says="whether it fits"),
    _greedy("-ranks[n] - 0.01 * list(strengths).index(n)", says="in turn"),
    *cells('''
#: the lesson's rule
def ranks_for_layers(strengths, costs, budget):
    r = min(budget // sum(costs.values()), min(len(s) for s in strengths.values()))
    return {name: r for name in strengths}
#: wanted a dictionary
def ranks_for_layers(strengths, costs, budget):
    return [1 for name in strengths]
'''),
]  # fmt: skip

RIGHT = [
    _start(_SVD + _EVEN + _LEFT),
    _start("""def pissa_start(W, r, s):
    B, A = lowrank.truncated_svd(W, r)
    B, A = B / s ** 0.5, A / s ** 0.5
    return B, A, W - s * (B @ A)
"""),
    _start("""def pissa_start(W, r, s):
    u, S, vh = torch.linalg.svd(W.double(), full_matrices=False)
    residual = (u[:, r:] * S[r:]) @ vh[r:]
    root = (S / s).sqrt().diag()
    return (u @ root)[:, :r], (root @ vh)[:r], residual
"""),
    *cells('''
#:
def setting_for(name, pattern, default):
    import re
    parts = name.split(".")
    ends = [".".join(parts[k:]) for k in range(len(parts))]
    for key in pattern:
        if any(re.fullmatch(key, end) for end in ends):
            return pattern[key]
    return default
#:
def setting_for(name, pattern, default):
    import re
    found = [key for key in pattern if re.match(rf"(.*[.])?({key})$", name)]
    return pattern[found[0]] if found else default
'''),
    _greedy(),
    *cells('''
#:
def ranks_for_layers(strengths, costs, budget):
    ranks = dict.fromkeys(strengths, 0)
    order = [(s * s / costs[name], name) for name in strengths for s in strengths[name]]
    for _, name in sorted(order, reverse=True):
        if budget >= costs[name]:
            ranks[name] += 1
            budget -= costs[name]
    return ranks
'''),
]  # fmt: skip
