"""Answers to what is typed in lesson 00: plausible wrong ones, each with its diagnosis, and right ones."""

from tests.mutants.exercises.answer import Answer, cells

ANSWERS = [
    Answer(
        task="fields_right",
        says="that is a count",
        code="""
def fields_right(given, wanted):
    right = 0
    for field, value in wanted.items():
        if field in given and given[field] == value:
            right += 1
    return right
""",
    ),
    Answer(
        task="fields_right",
        says="compare the values",
        code="""
def fields_right(given, wanted):
    return len([field for field in wanted if field in given]) / len(wanted)
""",
    ),
    Answer(
        task="fields_right",
        says="a right value under another key",
        code="""
def fields_right(given, wanted):
    right = 0
    for value in wanted.values():
        if value in given.values():
            right += 1
    return right / len(wanted)
""",
    ),
    Answer(
        task="fields_right",
        says="not of given ones",
        code="""
def fields_right(given, wanted):
    right = 0
    for field, value in given.items():
        if wanted.get(field) == value:
            right += 1
    return right / max(len(given), 1)
""",
    ),
    Answer(
        task="fields_right",
        says="ask `field in given`",
        code="""
def fields_right(given, wanted):
    right = 0
    for field in wanted:
        if given[field] == wanted[field]:
            right += 1
    return right / len(wanted)
""",
    ),
    Answer(
        task="fields_right",
        says="one wrong field does not make the others wrong",
        code="""
def fields_right(given, wanted):
    return 1.0 if all(given.get(field) == value for field, value in wanted.items()) else 0.0
""",
    ),
    Answer(
        task="fields_right",
        says="a percentage",
        code="""
def fields_right(given, wanted):
    right = sum(given.get(field) == value for field, value in wanted.items())
    return 100 * right / len(wanted)
""",
    ),
    Answer(
        task="fields_right",
        says="that is 3 / 4: divide by len(wanted)",
        code="""
def fields_right(given, wanted):
    return sum(given.get(field) == value for field, value in wanted.items()) / 4
""",
    ),
    Answer(
        task="fields_right",
        says="wanted a number",
        code="""
def fields_right(given, wanted):
    for field, value in wanted.items():
        print(field, given.get(field) == value)
""",
    ),
]

# Written by somebody who knew the lesson and had not seen the check.
ANSWERS += cells("""
#: a text is not the number that it spells
def fields_right(given, wanted):
    hits = [str(given[k]) == str(wanted[k]) for k in wanted if k in given]
    return sum(hits) / len(wanted)
#: look a field up by its name
def fields_right(given, wanted):
    n = 0
    for g, w in zip(given.values(), wanted.values()):
        if g == w:
            n += 1
    return n / len(wanted)
#: your code changes given
def fields_right(given, wanted):
    right = 0
    for key in wanted:
        if given.pop(key, None) == wanted[key]:
            right += 1
    return right / len(wanted)
#: the return stands inside the loop
def fields_right(given, wanted):
    n = 0
    for key in wanted:
        if key in given and given[key] == wanted[key]:
            n += 1
        return n / len(wanted)
#: that is 4 / 6: divide by len(wanted)
def fields_right(given, wanted):
    return sum(given.get(k) == wanted[k] for k in wanted) / 6
#: a right value under another key is not right
def fields_right(given, wanted):
    return sum(value in given.values() for value in wanted.values()) / len(wanted)
#: a field that is there with another value is not right
def fields_right(given, wanted):
    return len(given.keys() & wanted.keys()) / len(wanted)
""")

RIGHT = [
    Answer(
        task="fields_right",
        code="""
def fields_right(given, wanted):
    return sum(given.get(field) == value for field, value in wanted.items()) / len(wanted)
""",
    ),
    Answer(
        task="fields_right",
        code="""
def fields_right(given, wanted):
    hits = [field in given and given[field] == value for field, value in wanted.items()]
    return sum(hits) / len(hits)
""",
    ),
    Answer(
        task="fields_right",
        code="""
def fields_right(given, wanted):
    return len(set(given.items()) & set(wanted.items())) / len(wanted)
""",
    ),
]

# By the same hand.
RIGHT += cells("""
#:
def fields_right(given, wanted):
    import numpy as np
    missing = object()
    return np.mean([given.get(field, missing) == truth for field, truth in wanted.items()])
#:
def fields_right(given, wanted):
    wrong = 0
    for field in wanted:
        if field not in given or given[field] != wanted[field]:
            wrong = wrong + 1
    return 1 - wrong / len(wanted)
#:
def fields_right(given, wanted):
    return torch.tensor([field in given and given[field] == wanted[field] for field in wanted]).float().mean().item()
#:
def fields_right(given, wanted):
    return len([1 for pair in wanted.items() if pair in given.items()]) / len(wanted)
""")
