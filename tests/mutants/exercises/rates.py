"""Answers to lesson 04's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer


def _scaling(body: str, says: str = "") -> Answer:
    return Answer(task="scaling", code=f"def scaling(rule, r, fixed):\n    {body}\n", says=says)


def _rate_of_B(body: str, says: str = "") -> Answer:
    return Answer(task="rate_of_B", code=f"def rate_of_B(optimizer, factor):\n    {body}\n", says=says)


def _chosen(body: str, says: str = "") -> Answer:
    return Answer(task="chosen_rate", code=f"def chosen_rate(rows):\n    {body}\n", says=says)


_LEAST = "min((row for row in rows if row['validation'] is not None), key=lambda row: row['validation'])"

ANSWERS = [
    _scaling("return fixed / r", "for 'α/√r'"),
    _scaling("return {'α/r': r / fixed, 'α/√r': fixed / r**0.5, 'constant': fixed}[rule]", "for 'α/r'"),
    _scaling("return {'α/r': fixed / r, 'α/√r': (fixed / r) ** 0.5, 'constant': fixed}[rule]", "of r alone"),
    _scaling("return {'α/r': fixed / r, 'α/√r': fixed / r**0.5, 'constant': fixed * r}[rule]", "do not multiply by r"),
    _scaling("return {'α/r': fixed / r, 'α/√r': fixed / r**0.5, 'constant': fixed / r}[rule]", "do not divide"),
    _scaling("return fixed", "undivided"),
    _scaling("return {'α/r': fixed / r, 'α/√r': fixed / r**0.5, 'constant': 2.0}[rule]", "for 'constant'"),
    _scaling("return {'α/r': fixed / r, 'α/√r': fixed / r**0.5, 'constant': 1.0}[rule]", "for 'constant'"),
    _scaling("if rule == 'α/r':\n        return fixed / r", "does every case reach a return"),
    _scaling("return {'α/r': fixed // r, 'α/√r': fixed / r**0.5, 'constant': fixed}[rule]", "for 'α/r'"),
    _rate_of_B("return factor", 'rate_of_B("SGD", 2)'),
    _rate_of_B("return factor**2", "which of the two does Adam feel"),
    _rate_of_B("return factor**2 if optimizer == 'Adam' else factor", "does Adam feel"),
    _rate_of_B("return 1.0 if optimizer == 'Adam' else factor**2", "does Adam feel"),
    _rate_of_B("return factor if optimizer == 'Adam' else 2 * factor", "does SGD feel"),
    _rate_of_B("if optimizer == 'SGD':\n        return factor**2", "does every case reach a return"),
    _rate_of_B("return -factor", "above 0"),
    _chosen("return max(rows, key=lambda row: row['exact'])['lr']", "peeking"),
    _chosen(f"return {_LEAST.replace('min', 'max', 1)}['lr']", "largest loss"),
    _chosen("return min(rows, key=lambda row: row['validation'] or 0)['lr']", "has no loss"),
    _chosen("return min(rows, key=lambda row: row['validation'])['lr']", "leave such rows out first"),
    _chosen("found = rows.sort(key=lambda row: row['lr'])\n    return found[0]['lr']", "'NoneType' object"),
    _chosen(f"return {_LEAST}", "the whole row"),
    _chosen(f"return {_LEAST}['validation']", "the smallest loss itself"),
    _chosen("rows.sort(key=lambda row: row['validation'] or 9)\n    return rows[0]['lr']", "changed the table"),
    _chosen("return sorted(row['lr'] for row in rows)[len(rows) // 2]", "Its loss on validation"),
]

RIGHT = [
    _scaling("return fixed / {'α/r': r, 'α/√r': r**0.5, 'constant': 1}[rule]"),
    _scaling("power = {'α/r': 1, 'α/√r': 0.5}.get(rule, 0)\n    return fixed * r**-power"),
    _rate_of_B("return factor ** {'Adam': 1, 'SGD': 2}[optimizer]"),
    _rate_of_B("return factor * factor if optimizer == 'SGD' else factor"),
    _chosen(f"return {_LEAST}['lr']"),
    _chosen(
        "best, lowest = None, math.inf\n    for row in rows:\n"
        "        if row['validation'] is not None and row['validation'] < lowest:\n"
        "            best, lowest = row['lr'], row['validation']\n    return best"
    ),
]
