"""Answers to lesson 06's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _fixed(body: str, says: str = "") -> Answer:
    return Answer(task="fixed_bytes", code=f"def fixed_bytes(frozen, bits, trained):\n    {body}\n", says=says)


def _largest(body: str, says: str = "") -> Answer:
    return Answer(task="largest_that_fits", code=f"def largest_that_fits(fits, most):\n    {body}\n", says=says)


def _fastest(body: str, says: str = "") -> Answer:
    return Answer(task="fastest_that_fits", code=f"def fastest_that_fits(ways, budget_gb):\n    {body}\n", says=says)


def _halving(start: str, turn: str, end: str) -> str:
    return f"{start}\n    while high - low > 1:\n        middle = (low + high) // 2\n        {turn}\n    {end}"


_GUARD = "if not fits(1):\n        return 0\n    "
_TURN = "low, high = (middle, high) if fits(middle) else (low, middle)"
_FIT = "fit = [way for way in ways if way['gb'] <= budget_gb]\n    "

ANSWERS = [
    _fixed("return frozen * bits + 16 * trained", "a byte has eight"),
    _fixed("return frozen * bits // 8 + 16 * trained", "keep the fraction"),
    _fixed("return frozen * bits / 8 + 4 * trained", "the number alone"),
    _fixed("return frozen * bits / 8 + 8 * trained", "that is 8"),
    _fixed("return frozen * bits / 8 + 12 * trained", "*two* moments"),
    _fixed("return frozen * bits / 8 + 18 * trained", "16-bit copy"),
    _fixed("return (frozen + trained) * bits / 8", "are fp32 here"),
    _fixed("return 16 * trained", "frozen numbers are stored too"),
    _fixed("return max(frozen * bits / 8, 16 * trained)", "plus the trained ones"),
    _fixed("print(frozen * bits / 8 + 16 * trained)", "None"),
    _largest(_halving("low, high = 1, most + 1", _TURN, "return low"), "if not even 1 fits, say 0"),
    _largest(_halving(_GUARD + "low, high = 1, most + 1", _TURN, "return high"), "no longer fits"),
    _largest(_halving(_GUARD + "low, high = 1, most", _TURN, "return low"), "`most`, counts too"),
    _largest("n = 0\n    while n < most and fits(n + 1):\n        n += 1\n    return n", "questions for"),
    _largest(_halving("low, high = 0, 2 * most", _TURN, "return low"), "may be asked"),
    _largest(_GUARD + "n = 1\n    while 2 * n <= most and fits(2 * n):\n        n *= 2\n    return n",
             "which of the two"),
    _largest(_halving(_GUARD + "low, high = 1, most + 1",
                      "low, high = (low, middle) if fits(middle) else (middle, high)", "return low"),
             "which of the two moves"),
    _largest(_GUARD + "low, high = 1, most + 1\n    while high > low:\n        middle = (low + high) // 2\n"
             "        low, high = (middle, high) if fits(middle) else (low, middle)\n    return low", "without end"),
    _largest(_halving(_GUARD + "low, high = 1, most + 1", "middle = (low + high) / 2\n        " + _TURN, "return low"),
             "halve with //"),
    _fastest("return min(ways, key=lambda way: way['operations'])['name']", "leave such ways out first"),
    _fastest(_FIT + "return min(fit, key=lambda way: way['gb'])['name'] if fit else None", "the least memory"),
    _fastest(_FIT + "return max(fit, key=lambda way: way['gb'])['name'] if fit else None", "fills the card"),
    _fastest("fit = [way for way in ways if way['gb'] < budget_gb]\n"
             "    return min(fit, key=lambda way: way['operations'])['name'] if fit else None", "exactly the budget"),
    _fastest(_FIT + "return min(fit, key=lambda way: way['operations']) if fit else None", "the whole way"),
    _fastest(_FIT + "return min(fit, key=lambda way: (way['operations'], way['gb']))['name'] if fit else None",
             "first of equals"),
    _fastest(_FIT + "return min(fit, key=lambda way: way['operations'])['name'] if fit else ways[-1]['name']",
             "answer is then None"),
    _fastest(_FIT + "return min(fit, key=lambda way: way['operations'])['name']", "nothing fits"),
    _fastest(_FIT + "return sorted(fit, key=lambda way: way['operations'])[0]['name']", "return None then"),
    _fastest("ways.sort(key=lambda way: way['operations'])\n    " + _FIT + "return fit[0]['name'] if fit else None",
             "changes ways"),
]  # fmt: skip

RIGHT = [
    _fixed("return bits * frozen / 8 + (4 + 4 + 2 * 4) * trained"),
    _fixed("itself, gradient, moments = 4, 4, 8\n"
           "    return frozen * (bits / 8) + trained * (itself + gradient + moments)"),
    _largest(
        "low, high = 0, most\n    while low < high:\n        middle = (low + high + 1) // 2\n"
        "        if fits(middle):\n            low = middle\n        else:\n            high = middle - 1\n"
        "    return low"
    ),
    _largest(
        "found, step = 0, 1\n    while 2 * step <= most:\n        step *= 2\n    while step:\n"
        "        if found + step <= most and fits(found + step):\n            found += step\n        step //= 2\n"
        "    return found"
    ),
    _fastest("best = None\n    for way in ways:\n        if way['gb'] <= budget_gb:\n"
             "            if best is None or way['operations'] < best['operations']:\n                best = way\n"
             "    return best and best['name']"),
    _fastest(_FIT + "fit = sorted(fit, key=lambda way: way['operations'])\n    return fit[0]['name'] if fit else None"),
]  # fmt: skip
