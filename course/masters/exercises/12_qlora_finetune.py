# %% [markdown]
# # Exercises: a QLoRA fine-tune, measured
#
# After [lesson 12](../notebooks/12_qlora_finetune.ipynb), the four numbers that its tables rest on: a loss on answers alone, a verdict on an answer, what
# was forgotten, and whether that is more than luck. Four tasks, about 45 minutes.

# %%
import json
import math

import torch
from torch.nn import functional as F

from lora_lab.exercises import check

# %% [markdown] tags=["task:loss_on_answers"]
# ## 1. A loss on answers alone
#
# difficulty 3 of 5 · importance 5 of 5 · 14 minutes
#
# A padded batch: `logits` [batch, tokens, vocabulary], float32, and `ids` [batch, tokens], int64. Row i begins with `prompt[i]` tokens
# of its prompt (one at least), then comes its answer with the end token, up to `length[i]` tokens in all, then padding, which
# *has the id of the end token*. (`length` counts the prompt too.) The scores at place t predict the token at place t + 1. Return the mean over all answer
# tokens of the batch of −log of the probability that its token got, a tensor through which gradients flow.
#
# By hand: one row's answer has 1 token, which costs 3; another's has 3 tokens, which cost 1 each. The loss is 6/4 = 1.5.

# %% tags=["turn:loss_on_answers"]
def loss_on_answers(logits, ids, prompt, length):  # prompt, length: lists of whole numbers -> a tensor without axes
    #> which tokens are an answer's, a label for each, the loss
    place = torch.arange(ids.shape[1])
    begins, ends = torch.tensor(prompt)[:, None], torch.tensor(length)[:, None]
    labels = ids.masked_fill((place < begins) | (place >= ends), -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    #<

# %% [markdown] tags=["hint:loss_on_answers"]
# **A first hint.** Make labels: the ids, with −100 wherever no answer stands. `F.cross_entropy` leaves −100 out, of the sum and of
# the number that it divides by.
#
# **A second hint.** `logits[:, :-1]` predict `labels[:, 1:]`. Both must become rows, `.flatten(0, 1)` and `.flatten()`.
#
# **Help, padding has the id of a true end.** Then ids cannot tell them apart. Places can: `torch.arange(tokens)` against
# `torch.tensor(length)[:, None]`.

# %% tags=["check:loss_on_answers"]
loss_on_answers = check("loss_on_answers", loss_on_answers)

# %% [markdown] tags=["task:judged"]
# ## 2. What is a right JSON answer?
#
# difficulty 3 of 5 · importance 5 of 5 · 14 minutes
#
# `answer` is what a model wrote, `wanted` a JSON object; both are strings. Return "exact", "valid" or "not valid".
#
# - *valid*: a program could use it. The whole answer is one JSON object, with white space around it at most. JSON has no NaN and
#   no Infinity. A key that stands twice in one object, the outer one or one inside, is not valid: readers
#   differ in which one they take.
# - *exact*: valid, with the same fields and equal values. Order of fields and spacing mean nothing, the order of a list does. Numbers
#   are equal by value, 1980 and 1980.0; `true` is not 1, anywhere.
#
# `judged('{"a": 1}', '{"a": 1.0}')` is "exact"; `judged('{"a": true}', '{"a": 1}')` is "valid"; `judged('It is {"a": 1}', '{"a": 1}')` is
# "not valid".

# %% tags=["turn:judged"]
def judged(answer, wanted):
    #> parse strictly, then compare strictly
    def refuse(word):
        raise ValueError(word)

    def once(pairs):  # the fields of an object, each true and false marked, so that it equals no number
        if len(dict(pairs)) < len(pairs):
            refuse("a key stands twice")
        return {key: marked(value) for key, value in pairs}

    def marked(value):
        if isinstance(value, list):
            return [marked(each) for each in value]
        return ("true or false", value) if isinstance(value, bool) else value

    try:
        given = json.loads(answer, parse_constant=refuse, object_pairs_hook=once)
    except ValueError:  # JSONDecodeError is one
        return "not valid"
    if not isinstance(given, dict):
        return "not valid"
    return "exact" if given == json.loads(wanted, object_pairs_hook=once) else "valid"
    #<

# %% [markdown] tags=["hint:judged"]
# **A first hint.** `json.loads` raises `ValueError` for what is no JSON. It takes lists and numbers, though, and NaN.
#
# **A second hint.** `json.loads(text, parse_constant=f, object_pairs_hook=g)`: f is called for NaN and Infinity, g for every object with
# its list of (key, value) pairs. Either may raise ValueError.
#
# **A third hint.** `{"a": True} == {"a": 1}` in Python. Compare with a function of your own that goes into dictionaries and
# lists, or first turn every bool into something that equals no number.

# %% tags=["check:judged"]
judged = check("judged", judged)

# %% [markdown] tags=["task:points_lost"]
# ## 3. What was forgotten
#
# difficulty 2 of 5 · importance 4 of 5 · 10 minutes
#
# The same questions were answered before and after a fine-tune: `before` and `after` are lists of True (right) and False. Return
# how many percentage points were lost, and the standard error of that number: the *same* questions, so take each one's
# difference first, 1 for lost, 0 for unchanged, −1 for won. A mean of n such numbers has the standard error s/√n, where s is
# their standard deviation (with n − 1).
#
# By hand: before True, True, True, False; after True, False, False, True. The differences are 0, 1, 1, −1: 25 points, with a
# standard error of 47.9.

# %% tags=["turn:points_lost"]
def points_lost(before, after):  # -> points, standard error: two plain numbers
    #> the differences, their mean, and their standard deviation over √n
    differences = []
    for was, now in zip(before, after):
        differences.append(100 * (int(was) - int(now)))
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((each - mean) ** 2 for each in differences) / (n - 1)
    return mean, math.sqrt(variance / n)
    #<

# %% [markdown] tags=["hint:points_lost"]
# **A first hint.** `int(True)` is 1: `int(was) - int(now)` is a question's difference.
#
# **A second hint.** `torch.tensor(differences).float().std()` divides by n − 1 by itself. `.item()` makes a plain number.

# %% tags=["check:points_lost"]
points_lost = check("points_lost", points_lost)

# %% [markdown]
# Two fine-tunes lost the same five points of a hundred. One changed 5 answers, the other 25:

# %%
calm = [True] * 5 + [True] * 95, [False] * 5 + [True] * 95
wild = [True] * 90 + [False] * 10, [False] * 15 + [True] * 85
for name, answers in {"5 lost, 0 won": calm, "15 lost, 10 won": wild}.items():
    points, error = points_lost(*answers)
    print(f"{name}: {points:.0f} points, standard error {error:.1f}")

# %% [markdown] tags=["task:luck"]
# ## 4. Or was it luck?
#
# difficulty 3 of 5 · importance 3 of 5 · 10 minutes
#
# For few changes count exactly, which is called the *sign test*. `lost` answers changed from right to wrong, `won` from wrong to right.
# Suppose that each change goes either way with probability ½, as by the toss of a coin. How probable is a split *at least as
# uneven* as this one, in either direction? Of n coins, exactly k fall one way in `math.comb(n, k)` of the 2ⁿ outcomes. Whole numbers, up
# to some thousand changes; without any change it is 1.
#
# By hand: 5 lost, 1 won. As uneven or more are the splits 6:0, 5:1, 1:5 and 0:6, with 1 + 6 + 6 + 1 = 14 of 64 outcomes: 0.219.

# %% tags=["turn:luck"]
def luck(lost, won):  # -> a probability, a plain number
    #> one tail, twice, and never above 1
    n = lost + won
    outcomes = 0
    for k in range(min(lost, won) + 1):
        outcomes += math.comb(n, k)
    return min(1.0, 2 * outcomes / 2**n)
    #<

# %% [markdown] tags=["hint:luck"]
# **A first hint.** One tail has the splits with 0, 1, … up to `min(lost, won)` on the rarer side. The other tail is as large.
#
# **Help, it is above 1.** With 4 and 4 both tails contain the middle. A probability ends at 1.
#
# **Help, a float's range.** `0.5 ** 1200` is zero, and `math.comb(1200, 600)` too large for a float. Whole numbers divide well:
# `outcomes / 2**n`.

# %% tags=["check:luck"]
luck = check("luck", luck)

# %%
for lost, won in ((5, 0), (15, 10), (6, 0)):
    print(f"{lost} lost, {won} won: as uneven by luck in {luck(lost, won):.1%} of such fine-tunes")
