"""A small master in the form of a lesson, which keeps the whole contract."""

LESSON = """\
# %% [markdown] tags=["slide"]
# # A lesson
#
# A team pays for 131 GB. You will see why, and how to pay for less.
#
# | minutes on 2 CPU cores | memory | builds on |
# |---|---|---|
# | 1 | 1 GB | [01](01_svd.ipynb) |

# %% [markdown] tags=["minutes:6", "slide"]
# ## 1. The first idea
#
# Text with a [syllabus](../course/syllabus.md), and a picture: ![a circle](https://example.org/circle.png)

# %% tags=["slide", "guess:energy", "guess:rank"]
energy = 40     #? directions of 192 | 192: full rank sounds as if all were needed | 16: the rank that papers use
rank = 8        #? rank of an update
# | 1: one direction is not enough
# | 64: more is not always better

# %% tags=["reveal", "nbval-ignore-output", "slide"]
from lora_lab.exercises import check, guesses, results

guessed = guesses(energy=energy, rank=rank)
guessed.against(energy=17.25, rank=8)

# %% tags=["optional"]
show.block_diagram(3)

# %% [markdown] tags=["minutes:10"]
# ## 2. The second idea
#
# $$h = W x$$

# %% tags=["slide", "turn:double"]
def double(x):
    #> twice as much: one line
    return 2 * x
    #<

# %% [markdown] tags=["hint:double"]
# **A first hint.** Multiply.
#
# **Help, `x` < 0.** Text of two paragraphs.
#
# ```python
# 2 * 3
# ```

# %% tags=["check:double"]
double = check("double", double)
print(double(2))

# %% tags=["turn:scaling"]
alpha, r = 16, 8
#> alpha over r
scaling = alpha / r
#<

# %% [markdown] tags=["hint:scaling"]
# **A first hint.** Divide.

# %% tags=["check:scaling"]
scaling = check("scaling", scaling)

# %% tags=["assert"]
assert double(scaling) == 4

# %%
results("05")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# ## What was not shown
#
# ## What to try
#
# ## Three questions
#
# <details><summary>Why?</summary>
#
# So.
#
# </details>
# <details><summary>How?</summary>Thus.</details>
# <details><summary>When?</summary>Now.</details>
#
# ## Next
#
# [01](01_svd.ipynb)
"""
