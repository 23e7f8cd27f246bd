"""Answers to exercises 00: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_ARGUMENTS = {"exact_share": "answers, wanted", "share_by_field": "given, wanted", "share_and_error": "right"}


def _answer(task: str, *lines: str, says: str = "") -> Answer:
    body = "".join(f"    {line}\n" for line in lines)
    return Answer(task=task, code=f"def {task}({_ARGUMENTS[task]}):\n{body}", says=says)


def _exact(condition: str, says: str, result: str = "right / len(wanted)") -> Answer:
    lines = ("right = 0", "for a, b in zip(answers, wanted):", f"    right += {condition}", f"return {result}")
    return _answer("exact_share", *lines, says=says)


def _fields(condition: str, says: str, result: str = "right[f] / times[f]") -> Answer:
    return _answer("share_by_field", "times, right = {}, {}", "for a, b in zip(given, wanted):", "    for f in b:",
                   "        times[f] = times.get(f, 0) + 1", f"        right[f] = right.get(f, 0) + ({condition})",
                   f"return {{f: {result} for f in times}}", says=says)  # fmt: skip


_RIGHT, _P = "a.strip() == b", "n, p = len(right), sum(right) / len(right)"

ANSWERS = [
    _exact(_RIGHT, "that is a number of answers", "right"),
    _exact(_RIGHT, "that is a percentage", "100 * right / len(wanted)"),
    _exact("a == b", "strip it"),
    _exact("b in a", "only contains"),
    _exact("a.strip().startswith(b)", "only begins with"),
    _exact("a.strip().lower() == b.lower()", "capitals count"),
    _exact("a.strip() in wanted", "of its own place"),
    _exact(_RIGHT, "the share of wrong", "1 - right / len(wanted)"),
    _answer("exact_share", "for a, b in zip(answers, wanted):", "    right = a.strip() == b", says="yours gives None"),
    _fields("f in a and a[f] == b[f]", "that is a number of answers", "right[f]"),
    _fields("a[f] == b[f]", "stops at a missing key"),
    _fields("f in a", "with another value"),
    _fields("b[f] in a.values()", "under another name"),
    _fields("str(a.get(f)) == str(b[f])", "the number that it spells"),
    _fields("f in a and a[f] == b[f]", "not by all", "right[f] / len(wanted)"),
    _answer("share_by_field", "fields = {f for a in given for f in a}",
            "return {f: sum(a.get(f) == b.get(f) for a, b in zip(given, wanted)) / len(given) for f in fields}",
            says="which nobody wanted"),
    _answer("share_by_field", "return [f for b in wanted for f in b]", says="wanted a dictionary"),
    _answer("share_and_error", _P, "return p, math.sqrt(p * (1 - p))", says="one answer's spread"),
    _answer("share_and_error", _P, "return p, p * (1 - p) / n", says="the root of all of it"),
    _answer("share_and_error", _P, "return p, math.sqrt(p * (1 - p)) / n", says="the root is of n too"),
    _answer("share_and_error", _P, "return p, math.sqrt(p / n)", says="1 − p is missing"),
    _answer("share_and_error", _P, "return 100 * p, 100 * math.sqrt(p * (1 - p) / n)", says="that is a percentage"),
    _answer("share_and_error", _P, "return p, 2 * math.sqrt(p * (1 - p) / n)", says="twice the standard error"),
    _answer("share_and_error", _P, "return p, math.sqrt(p * (1 - p) / (n - 1))", says="n − 1"),
    _answer("share_and_error", _P, "return p", says="wanted a share and its standard error"),
]  # fmt: skip

RIGHT = [
    _exact(_RIGHT, ""),
    _answer("exact_share", "hits = [a.strip() == b.strip() for a, b in zip(answers, wanted)]",
            "return sum(hits) / len(hits)"),
    _fields("f in a and a[f] == b[f]", ""),
    _answer("share_by_field", "lists = {}", "for i, b in enumerate(wanted):", "    for f, v in b.items():",
            "        lists.setdefault(f, []).append(int(given[i].get(f, None) == v))",
            "return {f: sum(each) / len(each) for f, each in lists.items()}"),
    _answer("share_and_error", _P, "return p, (p * (1 - p) / n) ** 0.5"),
    _answer("share_and_error", "x = torch.tensor(right).double()",
            "return [x.mean().item(), x.std(unbiased=False).item() / len(right) ** 0.5]"),
]  # fmt: skip
