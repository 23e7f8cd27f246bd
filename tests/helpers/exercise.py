"""A small master in the form of an exercise, which keeps the whole contract."""

EXERCISE = """\
# %% [markdown] tags=["allow:lowrank"]
# # Exercises: doubling
#
# After [a lesson](../notebooks/01_svd.ipynb), with the [glossary](../course/glossary.md).

# %%
from lora_lab.exercises import check

# %% [markdown] tags=["task:twice"]
# ## 1. Twice
#
# difficulty 1 of 5 · importance 2 of 5 · 5 minutes
#
# Twice as much: 3 gives 6.

# %% tags=["turn:twice"]
def twice(x):
    #> one line
    return 2 * x
    #<

# %% [markdown] tags=["hint:twice"]
# **A first hint.** Multiply.

# %% tags=["check:twice"]
twice = check("twice", twice)

# %% [markdown] tags=["task:thrice"]
# ## 2. Thrice
#
# difficulty 2 of 5 · importance 5 of 5 · 10 minutes · 3 points
#
# Three times as much.

# %% tags=["turn:thrice"]
def thrice(x):
    #> one line
    return 3 * x
    #<

# %% [markdown] tags=["hint:thrice"]
# **A first hint.** Multiply.

# %% tags=["check:thrice"]
thrice = check("thrice", thrice)
"""
