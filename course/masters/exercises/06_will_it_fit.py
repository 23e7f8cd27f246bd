# %% [markdown]
# # Exercises: will it fit?
#
# Four counts that decide what runs: the cache of a long chat, what an optimizer keeps, the numbers of a model from its config,
# and texts at a time. They go with lesson [06](../notebooks/06_will_it_fit.ipynb) and take about 45 minutes.

# %%
import math
from types import SimpleNamespace

from lora_lab.exercises import check

LLAMA = SimpleNamespace(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                        num_attention_heads=32, num_key_value_heads=8, head_dim=128, attention_bias=False,
                        tie_word_embeddings=False)  # Llama-3.1-8B

# %% [markdown] tags=["task:kv_cache_bytes"]
# ## 1. The memory of a chat
#
# difficulty 1 of 5 · importance 5 of 5 · 8 minutes
#
# When a model answers, every layer keeps the *key* and the *value* of each token it has seen, so that the next token need not
# compute them again. With *grouped-query attention* several query heads share one key-value head.
#
# In: `config` with the names above; `tokens` in each of `texts` texts; `width`, the bytes of one value. Each key-value head of a
# layer has a key and a value of `head_dim` values for each token. (`head_dim` stands in the config; it need not be
# `hidden_size / num_attention_heads`.) Out: bytes of the whole cache.
#
# For 1 layer, 4 query heads, 2 key-value heads, `head_dim` 10, 100 tokens, 1 text, 2 bytes it is 8,000.

# %% tags=["turn:kv_cache_bytes"]
def kv_cache_bytes(config, tokens, texts, width):
    #> all values that are kept, times their width
    each_token = 2 * config.num_key_value_heads * config.head_dim
    return config.num_hidden_layers * each_token * tokens * texts * width
    #<

# %% [markdown] tags=["hint:kv_cache_bytes"]
# **A first hint.** It is one product. Begin with one layer, one token: how many numbers does it keep?
#
# **A second hint.** Query heads are not kept: a query is used once, by its own token.

# %% tags=["check:kv_cache_bytes"]
kv_cache_bytes = check("kv_cache_bytes", kv_cache_bytes)

# %%
for tokens in (8_192, 131_072):
    print(f"Llama-3.1-8B, {tokens:,} tokens: {kv_cache_bytes(LLAMA, tokens, 1, 2) / 1e9:.2f} GB beside 16 GB of weights")

# %% [markdown] tags=["task:optimizer_bytes"]
# ## 2. What the optimizer keeps
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# The *states* are what an optimizer keeps from one step to the next. In: `shapes`, a list of the shapes of what trains (one or two
# numbers each; all fp32, 4 bytes a number), and the optimizer's name. Out: bytes of its states.
#
# - `"sgd"`: none.
# - `"momentum"`: one fp32 number for each number that trains.
# - `"adamw"`: two.
# - `"adafactor"`: of a matrix one fp32 number for each row and one for each column; of a vector one for each number.
# - `"adamw8bit"`: two states, as AdamW, of *one byte* for each number; and for each state an fp32 constant per block of 256 numbers,
#   the last block of a tensor may be short. A tensor with fewer than 4,096 numbers keeps both states in fp32.
#
# For `[[100, 50]]` (5,000 numbers, 20 blocks): 0, 20,000, 40,000, 600 and 10,160.

# %% tags=["turn:optimizer_bytes"]
def optimizer_bytes(shapes, optimizer):
    #> tensor by tensor
    total = 0
    for shape in shapes:
        numbers = math.prod(shape)
        if optimizer == "momentum":
            total += 4 * numbers
        elif optimizer == "adamw" or (optimizer == "adamw8bit" and numbers < 4096):
            total += 2 * 4 * numbers
        elif optimizer == "adamw8bit":
            blocks = math.ceil(numbers / 256)
            total += 2 * (numbers + 4 * blocks)
        elif optimizer == "adafactor":
            total += 4 * (sum(shape) if len(shape) == 2 else numbers)
    return total
    #<

# %% [markdown] tags=["hint:optimizer_bytes"]
# **A first hint.** Loop over the shapes, and decide for each tensor by itself. `math.prod(shape)` counts its numbers.
#
# **A second hint.** Rounding up: `-(-numbers // 256)`, or `math.ceil(numbers / 256)`.
#
# **A third hint.** In `"adamw8bit"` both states have their own bytes and their own constants: count one state, and double.

# %% tags=["check:optimizer_bytes"]
optimizer_bytes = check("optimizer_bytes", optimizer_bytes)

# %%
adapters = [[16, 4096], [4096, 16], [16, 4096], [1024, 16]] * 32  # r = 16 on the query and value projections
whole = [[14336, 4096]] * 96 + [[4096, 4096]] * 64 + [[1024, 4096]] * 64 + [[128256, 4096]] * 2
for optimizer in ("adamw", "adamw8bit", "adafactor"):
    print(f"{optimizer}: adapters {optimizer_bytes(adapters, optimizer) / 1e6:,.1f} MB, "
          f"all matrices of the model {optimizer_bytes(whole, optimizer) / 1e9:.2f} GB")

# %% [markdown] tags=["task:decoder_parameters"]
# ## 3. Count a model by its config
#
# difficulty 3 of 5 · importance 4 of 5 · 15 minutes
#
# A file of 20 lines, `config.json`, says how many numbers a model has, before anything is downloaded. A Llama consists of
#
# - the *embedding*, [vocab_size, hidden_size]; and a *head* of the same shape, unless `tie_word_embeddings` says that it is the same
#   table;
# - in each layer the projections of queries, [num_attention_heads · head_dim, hidden_size], of keys and of values,
#   [num_key_value_heads · head_dim, hidden_size] each, and of the output, [hidden_size, num_attention_heads · head_dim]. If
#   `attention_bias` is true, each of these four has a bias as long as its output;
# - in each layer an MLP: *gate* and *up*, [intermediate_size, hidden_size], and *down*, the other way round, without biases;
# - in each layer two norms of hidden_size numbers, and after the last layer one more.
#
# In: `config`. Out: how many numbers. With vocab_size 10, hidden_size 4, intermediate_size 6, 1 layer, 2 heads, 1 key-value head,
# head_dim 3, no bias, tied: 40 + 72 + 72 + 8 + 4 = 196.

# %% tags=["turn:decoder_parameters"]
def decoder_parameters(config):
    #> tables, layers, the last norm
    h = config.hidden_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    attention = queries * h + 2 * keys * h + h * queries
    if config.attention_bias:
        attention += queries + 2 * keys + h
    layer = attention + 3 * config.intermediate_size * h + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h
    #<

# %% [markdown] tags=["hint:decoder_parameters"]
# **A first hint.** Write one line for each of the four points above, and check them against the example: 40, 72, 72, 8 and 4.
#
# **Help, only the tied one is wrong.** The embedding is always there. It is the head that goes.

# %% tags=["check:decoder_parameters"]
decoder_parameters = check("decoder_parameters", decoder_parameters)

# %%
print(f"Llama-3.1-8B: {decoder_parameters(LLAMA):,}")

# %% [markdown] tags=["task:texts_at_a_time"]
# ## 4. As many at a time as fit
#
# difficulty 2 of 5 · importance 4 of 5 · 10 minutes
#
# You want an update from 32 texts, and only some fit at a time. So a pass takes a few of them, and gradients are added up over several
# passes. Each pass must have equally many.
#
# In: `need(n)`, which says how many bytes a pass with n texts needs (more texts never need less); `texts`, how many there are;
# `budget`, in bytes. Out: `(at_once, passes)` with at_once · passes = texts, and as many at once as fit (what needs exactly the budget
# fits). None if not even one does.
#
# With `need(n)` = 100 + 50 n, 12 texts and 400 bytes: 6 would fit, and 6 divides 12, so `(6, 2)`. With 370 bytes 5 fit, and 5 does
# not divide 12, so `(4, 3)`.

# %% tags=["turn:texts_at_a_time"]
def texts_at_a_time(need, texts, budget):
    #> from many to few, the first that divides and fits
    for at_once in range(texts, 0, -1):
        if texts % at_once == 0 and need(at_once) <= budget:
            return at_once, texts // at_once
    return None
    #<

# %% [markdown] tags=["hint:texts_at_a_time"]
# **A first hint.** `range(texts, 0, -1)` counts down to 1. The first that satisfies both conditions is the largest.
#
# **A second hint.** n divides `texts` if `texts % n == 0`.

# %% tags=["check:texts_at_a_time"]
texts_at_a_time = check("texts_at_a_time", texts_at_a_time)

# %%
def bytes_of_a_pass(n):  # of QLoRA on an 8B model, roughly: weights, and what each text adds
    return 7_000_000_000 + n * 3_600_000_000


for card, usable in (("12 GB", 12.2e9), ("24 GB", 25.2e9), ("80 GB", 84.6e9)):
    print(card, texts_at_a_time(bytes_of_a_pass, 32, usable))
