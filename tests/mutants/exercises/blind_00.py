"""Answers to the exercises of lesson 00, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: an answer must be the wanted one of its own place
def exact_share(answers, wanted):
    return sum(a.strip() in wanted for a in answers) / len(answers)
#: a line's end too
def exact_share(answers, wanted):
    return sum(a.strip(" ") == w for a, w in zip(answers, wanted)) / len(wanted)
#: a line's end too
def exact_share(answers, wanted):
    return sum(a.lstrip() == w for a, w in zip(answers, wanted)) / len(wanted)
#: an answer that only begins with the wanted one says more than that
def exact_share(answers, wanted):
    return sum(a.strip().startswith(w) for a, w in zip(answers, wanted)) / len(wanted)
#: read it, and take nothing out
def exact_share(answers, wanted):
    for i in range(len(answers)):
        answers[i] = answers[i].strip()
    return sum(a == w for a, w in zip(answers, wanted)) / len(wanted)
#: a share lies between 0 and 1
def exact_share(answers, wanted):
    return 100 * sum(a.strip() == w for a, w in zip(answers, wanted)) / len(wanted)
#: right nowhere, so its share is 0
def share_by_field(given, wanted):
    asked, right = {}, {}
    for g, w in zip(given, wanted):
        for field in w:
            asked[field] = asked.get(field, 0) + 1
            if g.get(field) == w[field]:
                right[field] = right.get(field, 0) + 1
    return {field: right[field] / asked[field] for field in right}
#: go through all that is wanted
def share_by_field(given, wanted):
    fields = list(wanted[0])
    result = {}
    for field in fields:
        having = [(g, w) for g, w in zip(given, wanted) if field in w]
        result[field] = sum(g.get(field) == w[field] for g, w in having) / len(having)
    return result
#: divide by the answers that should have the field, not by all
def share_by_field(given, wanted):
    result = {}
    for g, w in zip(given, wanted):
        for field in w:
            result[field] = result.get(field, 0) + (field in g and g[field] == w[field]) / len(wanted)
    return result
#: divide by the answers that should have the field, not by those that do
def share_by_field(given, wanted):
    asked, right = {}, {}
    for g, w in zip(given, wanted):
        for field in w:
            if field in g:
                asked[field] = asked.get(field, 0) + 1
                right[field] = right.get(field, 0) + (g[field] == w[field])
    return {field: right[field] / asked[field] for field in asked}
#: compare without str
def share_by_field(given, wanted):
    asked, right = {}, {}
    for g, w in zip(given, wanted):
        for field in w:
            asked[field] = asked.get(field, 0) + 1
            right[field] = right.get(field, 0) + (field in g and str(g[field]) == str(w[field]))
    return {field: right[field] / asked[field] for field in asked}
#: the root is of n too
def share_and_error(right):
    p = sum(right) / len(right)
    return p, math.sqrt(p * (1 - p)) / len(right)
#: that is twice the standard error
def share_and_error(right):
    p = sum(right) / len(right)
    return p, 2 * math.sqrt(p * (1 - p) / len(right))
#: that divides by n − 1; the formula here has n
def share_and_error(right):
    x = torch.tensor(right).float()
    return x.mean().item(), x.std().item() / math.sqrt(len(right))
#: that is rounded: give every digit
def share_and_error(right):
    p = round(sum(right) / len(right), 2)
    return p, round(math.sqrt(p * (1 - p) / len(right)), 3)
#: p times 1 − p stands under the root as well
def share_and_error(right):
    p = sum(right) / len(right)
    return [p, p * (1 - p) / len(right) ** 0.5]
""")

RIGHT = cells(r"""
#:
def exact_share(answers, wanted):
    right = 0
    for i in range(len(wanted)):
        right += answers[i].strip() == wanted[i]
    return right / len(wanted)
#:
def share_by_field(given, wanted):
    shares = {}
    for field in {f for one in wanted for f in one}:
        pairs = [(g, w) for g, w in zip(given, wanted) if field in w]
        shares[field] = sum(field in g and g[field] == w[field] for g, w in pairs) / len(pairs)
    return shares
#:
def share_and_error(right):
    n = len(right)
    p = right.count(True) / n
    return p, (p * (1 - p) / n) ** 0.5
""")
