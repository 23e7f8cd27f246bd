# %% [markdown]
# # Exercises: start here
#
# After [lesson 00](../notebooks/00_start_here.ipynb), three ways to look at the answers of a model before you believe a number. Plain Python, about 25
# minutes.

# %%
import math

from lora_lab.exercises import check

# %% [markdown] tags=["task:exact_share"]
# ## 1. Right to the letter
#
# difficulty 1 of 5 · importance 4 of 5 · 6 minutes
#
# `answers` and `wanted` are lists of strings of one length. Return the share of answers that are the wanted one of the same place, letter for letter,
# capitals included; white space at an answer's ends means nothing.
#
# By hand: answers "swan", " goat ", "Hare", "blue boat" for swan, goat, hare, blue. Two of four are right: 0.5.

# %% tags=["turn:exact_share"]
def exact_share(answers, wanted):  # -> a number between 0 and 1
    #> count what is equal, divide by how many there are
    right = 0
    for answer, one in zip(answers, wanted):
        if answer.strip() == one:
            right += 1
    return right / len(wanted)
    #<

# %% [markdown] tags=["hint:exact_share"]
# **A first hint.** `for answer, one in zip(answers, wanted):` goes through both lists together.
#
# **A second hint.** `" goat ".strip()` is "goat".

# %% tags=["check:exact_share"]
exact_share = check("exact_share", exact_share)

# %%
print(exact_share(["swan", " goat ", "Hare", "blue boat"], ["swan", "goat", "hare", "blue"]))

# %% [markdown] tags=["task:share_by_field"]
# ## 2. Which field is it?
#
# difficulty 2 of 5 · importance 3 of 5 · 10 minutes
#
# "80 % of the fields are right" may hide that one of them never is. `given` and `wanted` are lists of dictionaries, place by place. A given one may lack
# fields, or all of them, and may have others that nobody wanted; and not every wanted one has the same fields. Return a dictionary: for each field
# that is wanted anywhere, the share of right values among the answers that should have it.
#
# By hand: wanted {"born": 1901, "pet": "swan"} and {"born": 1950}; given {"born": 1901} and {"born": "1950"}. The result is
# {"born": 0.5, "pet": 0.0}, for a text is no number.

# %% tags=["turn:share_by_field"]
def share_by_field(given, wanted):  # -> {"born": 0.5, …}
    #> two counts for each field: how often it is wanted, how often right
    times, right = {}, {}
    for answer, fields in zip(given, wanted):
        for field, value in fields.items():
            times[field] = times.get(field, 0) + 1
            if field in answer and answer[field] == value:
                right[field] = right.get(field, 0) + 1
    return {field: right.get(field, 0) / times[field] for field in times}
    #<

# %% [markdown] tags=["hint:share_by_field"]
# **A first hint.** Keep two dictionaries, from a field to a count: how often it is wanted, and how often it is right.
#
# **A second hint.** `counts[field] = counts.get(field, 0) + 1` counts also what is not there yet.
#
# **Help, a KeyError.** `answer[field]` fails where the field is missing: ask `field in answer` first.

# %% tags=["check:share_by_field"]
share_by_field = check("share_by_field", share_by_field)

# %% [markdown] tags=["task:share_and_error"]
# ## 3. How far can I trust a share?
#
# difficulty 2 of 5 · importance 5 of 5 · 8 minutes
#
# `right` is a list of True and False, one for each of n questions. Ask n other questions of the same kind, and the share p will be another one. How far
# it swings is its *standard error*, √(p (1 − p) / n); two shares that lie closer together than two of these may well come from equally good models. Return p and its
# standard error, two plain numbers.
#
# By hand: 3 of 4 right are p = 0.75, and √(0.75 · 0.25 / 4) = 0.217.

# %% tags=["turn:share_and_error"]
def share_and_error(right):  # -> share, standard error
    #> the share, and the formula
    n = len(right)
    share = sum(right) / n
    return share, math.sqrt(share * (1 - share) / n)
    #<

# %% [markdown] tags=["hint:share_and_error"]
# **A first hint.** `sum(right)` counts: True is 1 there.
#
# **A second hint.** `return one, other` gives two things.

# %% tags=["check:share_and_error"]
share_and_error = check("share_and_error", share_and_error)

# %% [markdown]
# Nine of ten are right. With how many questions does that mean something?

# %%
for n in (10, 64, 1000):
    share, error = share_and_error([True] * (9 * n // 10) + [False] * (n - 9 * n // 10))
    print(f"{n} questions: {share:.0%} right, ± {2 * error:.0%} (two standard errors)")
