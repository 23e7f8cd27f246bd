"""Answers to the tasks of notebook 12, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: the end token of each answer is left out
def loss_on_answers(logits, ids, prompt, length):
    labels = ids.clone()
    for row, start in enumerate(prompt):
        labels[row, :start] = -100
    end = ids[0, -1]
    labels[ids == end] = -100
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
#: the mean of the examples' means
def loss_on_answers(logits, ids, prompt, length):
    losses = []
    for row, (start, end) in enumerate(zip(prompt, length)):
        losses.append(F.cross_entropy(logits[row, start - 1:end - 1], ids[row, start:end]))
    return torch.stack(losses).mean()
#: `length` counts from the beginning of the row
def loss_on_answers(logits, ids, prompt, length):
    labels = torch.full_like(ids, -100)
    for row, (start, end) in enumerate(zip(prompt, length)):
        labels[row, start:start + end] = ids[row, start:start + end]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
#: minus the logarithm of the mean probability
def loss_on_answers(logits, ids, prompt, length):
    each = logits[:, :-1].softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    place = torch.arange(1, ids.shape[1])
    mask = (place >= torch.tensor(prompt)[:, None]) & (place < torch.tensor(length)[:, None])
    return -each[mask].mean().log()
#: a list that ends early
import json, re

def judged(answer, wanted):
    def refuse(word):
        raise ValueError(word)
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)
    def same(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list) and isinstance(b, list):
            return all(same(c, d) for c, d in zip(a, b))
        return isinstance(a, bool) == isinstance(b, bool) and a == b
    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=once)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    return "exact" if same(given, json.loads(wanted)) else "valid"
#: a list that goes on
import json, re

def judged(answer, wanted):
    def refuse(word):
        raise ValueError(word)
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)
    def same(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list) and isinstance(b, list):
            return len(a) >= len(b) and all(same(c, d) for c, d in zip(a, b))
        return isinstance(a, bool) == isinstance(b, bool) and a == b
    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=once)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    return "exact" if same(given, json.loads(wanted)) else "valid"
#: true for 1, in an inner object
import json, re

def judged(answer, wanted):
    def refuse(word):
        raise ValueError(word)
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)
    def same(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return a == b
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(same(c, d) for c, d in zip(a, b))
        return isinstance(a, bool) == isinstance(b, bool) and a == b
    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=once)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    wanted = json.loads(wanted)
    if given.keys() != wanted.keys():
        return "valid"
    return "exact" if all(same(given[key], wanted[key]) for key in given) else "valid"
#: a field twice, in an inner object
import json, re

def judged(answer, wanted):
    def refuse(word):
        raise ValueError(word)
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)
    def same(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(same(c, d) for c, d in zip(a, b))
        return isinstance(a, bool) == isinstance(b, bool) and a == b
    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=list)
    except ValueError:
        return "not valid"
    plain = json.loads(answer)
    if not isinstance(plain, dict) or len(plain) != len(given):
        return "not valid"
    given = plain
    return "exact" if same(given, json.loads(wanted)) else "valid"
#: a key may stand once in each object
import json, re

def judged(answer, wanted):
    def refuse(word):
        raise ValueError(word)
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)
    def same(a, b):
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(same(c, d) for c, d in zip(a, b))
        return isinstance(a, bool) == isinstance(b, bool) and a == b
    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=once)
    except ValueError:
        return "not valid"
    keys = re.findall(r'"([^"]*)"\s*:', answer)
    if not isinstance(given, dict) or len(keys) != len(set(keys)):
        return "not valid"
    return "exact" if same(given, json.loads(wanted)) else "valid"
#: inside lists too
import json

def judged(answer, wanted):
    def pairs(items):
        if len(dict(items)) != len(items):
            raise ValueError
        return dict(items)

    def refuse(word):
        raise ValueError

    try:
        given = json.loads(answer, object_pairs_hook=pairs, parse_constant=refuse)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    wanted = json.loads(wanted)
    if given != wanted:
        return "valid"
    for key in given:
        if isinstance(given[key], bool) != isinstance(wanted[key], bool):
            return "valid"
    return "exact"
#: numbers are equal by value
import json

def judged(answer, wanted):
    def refuse(word):
        raise ValueError
    def pairs(items):
        if len(dict(items)) != len(items):
            raise ValueError
        return dict(items)
    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=pairs)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    def text(value):
        return json.dumps(value, sort_keys=True)
    return "exact" if text(given) == text(json.loads(wanted)) else "valid"
#: takes the two scores for independent
def points_lost(before, after):
    n = len(before)
    p, q = sum(before) / n, sum(after) / n
    return 100 * (p - q), 100 * math.sqrt(p * (1 - p) / n + q * (1 - q) / n)
#: takes away from the loss
def points_lost(before, after):
    differences = [1 if b and not a else 0 for b, a in zip(before, after)]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((each - mean) ** 2 for each in differences) / (n - 1)
    return 100 * mean, 100 * math.sqrt(variance / n)
#: a number becomes too large for a float
def luck(lost, won):
    n, least = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(n, k) * 0.5 ** n for k in range(least + 1)))
#: this one belongs to them
def luck(lost, won):
    n, least = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least)) / 2 ** n)
""")

RIGHT = cells("""
#:
def loss_on_answers(logits, ids, prompt, length):
    labels = torch.full_like(ids, -100)
    for row, (start, end) in enumerate(zip(prompt, length)):
        labels[row, start:end] = ids[row, start:end]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
#:
def loss_on_answers(logits, ids, prompt, length):
    logprob = logits.log_softmax(dim=-1)
    total, count = 0.0, 0
    for row, (start, end) in enumerate(zip(prompt, length)):
        for place in range(start, end):
            total = total - logprob[row, place - 1, ids[row, place]]
            count += 1
    return total / count
#:
import json

def judged(answer, wanted):
    def pairs(items):
        keys = [key for key, _ in items]
        if len(set(keys)) != len(keys):
            raise ValueError("a key twice")
        return dict(items)

    def refuse(word):
        raise ValueError(word)

    def same(a, b):
        if isinstance(a, bool) or isinstance(b, bool):
            return a is b
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(map(same, a, b))
        return a == b

    try:
        given = json.loads(answer, object_pairs_hook=pairs, parse_constant=refuse)
    except ValueError:
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    return "exact" if same(given, json.loads(wanted)) else "valid"
#:
def points_lost(before, after):
    differences = [int(b) - int(a) for b, a in zip(before, after)]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((each - mean) ** 2 for each in differences) / (n - 1)
    return 100 * mean, 100 * math.sqrt(variance / n)
#:
def luck(lost, won):
    n, least = lost + won, min(lost, won)
    tail = sum(math.comb(n, k) for k in range(least + 1))
    return min(1.0, 2 * tail / 2 ** n)
#:
def luck(lost, won):
    n = lost + won
    uneven = abs(lost - won)
    ways = sum(math.comb(n, k) for k in range(n + 1) if abs(n - 2 * k) >= uneven)
    return ways / 2 ** n
""")
