"""Answers to the bits of lesson 06, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: those are bits, and a byte has eight
def fixed_bytes(frozen, bits, trained):
    return frozen * bits + 16 * trained
#: the number, its gradient, and AdamW has *two* moments
def fixed_bytes(frozen, bits, trained):
    return frozen * bits / 8 + 12 * trained
#: keep the fraction
def fixed_bytes(frozen, bits, trained):
    return frozen * (bits // 8) + 16 * trained
#: 4 bytes for itself, 4 for its gradient, 4 for each of AdamW's two moments
def fixed_bytes(frozen, bits, trained):
    return (frozen + trained) * bits / 8 + 12 * trained
#: ask in the middle, and keep the half that holds the edge
def largest_that_fits(fits, most):
    n = 0
    while n < most and fits(n + 1):
        n += 1
    return n
#: the last one, `most`, counts too
def largest_that_fits(fits, most):
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
#: if not even 1 fits, say 0
def largest_that_fits(fits, most):
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
#: return the end that you know to fit
def largest_that_fits(fits, most):
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return high
#: What needs exactly the budget fits
def fastest_that_fits(ways, budget_gb):
    ok = [w for w in ways if w["gb"] < budget_gb]
    return min(ok, key=lambda w: w["operations"])["name"] if ok else None
#: memory left over buys nothing
def fastest_that_fits(ways, budget_gb):
    for w in ways:
        if w["gb"] <= budget_gb:
            return w["name"]
#: the list is in the order of preference, so take the first of equals
def fastest_that_fits(ways, budget_gb):
    best = None
    for w in ways:
        if w["gb"] <= budget_gb and (best is None or w["operations"] <= best["operations"]):
            best = w
    return best and best["name"]
#: read it, and take nothing out
def fastest_that_fits(ways, budget_gb):
    ways.sort(key=lambda w: w["operations"])
    for w in ways:
        if w["gb"] <= budget_gb:
            return w["name"]
#: with 10 GB nothing fits
def fastest_that_fits(ways, budget_gb):
    ok = [w for w in ways if w["gb"] <= budget_gb]
    return min(ok, key=lambda w: w["operations"])["name"]
#: a full card is not the aim
def fastest_that_fits(ways, budget_gb):
    ok = [w for w in ways if w["gb"] <= budget_gb]
    return max(ok, key=lambda w: w["gb"])["name"] if ok else None
""")

RIGHT = cells(r"""
#:
def fixed_bytes(frozen, bits, trained):
    return frozen * bits / 8 + trained * (4 + 4 + 2 * 4)
#:
def largest_that_fits(fits, most):
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
#:
def fastest_that_fits(ways, budget_gb):
    ok = [w for w in ways if w["gb"] <= budget_gb]
    return min(ok, key=lambda w: w["operations"])["name"] if ok else None
""")
