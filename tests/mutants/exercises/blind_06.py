"""Answers to the tasks of notebook 06, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: keys *and* values are kept
def kv_cache_bytes(config, tokens, texts, width):
    return config.num_hidden_layers * config.num_key_value_heads * config.head_dim * tokens * texts * width
#: need not be hidden_size / heads
def kv_cache_bytes(config, tokens, texts, width):
    head_dim = config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * tokens * texts * width
#: each tensor is looked at by itself
def optimizer_bytes(shapes, optimizer):
    n = sum(math.prod(shape) for shape in shapes)
    if optimizer == "sgd":
        return 0
    if optimizer == "momentum":
        return 4 * n
    if optimizer == "adamw":
        return 8 * n
    if optimizer == "adafactor":
        return 4 * sum(sum(shape) for shape in shapes)
    return 2 * (n + 4 * math.ceil(n / 256)) if n >= 4096 else 8 * n
#: exactly 4,096 numbers are no longer under 4,096
def optimizer_bytes(shapes, optimizer):
    total = 0
    for shape in shapes:
        n = math.prod(shape)
        total += {"sgd": 0, "momentum": 4 * n, "adamw": 8 * n, "adafactor": 4 * sum(shape),
                  "adamw8bit": 2 * (n + 4 * math.ceil(n / 256)) if n > 4096 else 8 * n}[optimizer]
    return total
#: have constants of their own
def optimizer_bytes(shapes, optimizer):
    total = 0
    for shape in shapes:
        n = math.prod(shape)
        total += {"sgd": 0, "momentum": 4 * n, "adamw": 8 * n, "adafactor": 4 * sum(shape),
                  "adamw8bit": 2 * n + 4 * math.ceil(n / 256) if n >= 4096 else 8 * n}[optimizer]
    return total
#: the last norm stands there once
def decoder_parameters(config):
    h, i = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * q * h + 2 * kv * h + 3 * h * i + 2 * h
    if config.attention_bias:
        layer += q + 2 * kv + h
    tables = config.vocab_size * h
    if not config.tie_word_embeddings:
        tables += config.vocab_size * h
    return tables + config.num_hidden_layers * (layer + h)
#: which need not be hidden_size
def decoder_parameters(config):
    h, i = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * h * h + 2 * kv * h + 3 * h * i + 2 * h
    if config.attention_bias:
        layer += 2 * h + 2 * kv
    return config.vocab_size * h * (1 if config.tie_word_embeddings else 2) + config.num_hidden_layers * layer + h
#: embedding and head are two tables here
def decoder_parameters(config):
    h, i = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * q * h + 2 * kv * h + 3 * h * i + 2 * h
    if config.attention_bias:
        layer += q + 2 * kv + h
    return config.vocab_size * h * (2 if config.tie_word_embeddings else 1) + config.num_hidden_layers * layer + h
#: turned round
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if need(n) <= budget:
            while texts % n:
                n -= 1
            return texts // n, n
    return None
#: they must divide evenly
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if need(n) <= budget:
            return n, math.ceil(texts / n)
    return None
#: one text at a time does fit
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 1, -1):
        if texts % n == 0 and need(n) <= budget:
            return n, texts // n
    return None
#: yours counts it twice
def optimizer_bytes(shapes, optimizer):
    total = 0
    for shape in shapes:
        n = math.prod(shape)
        total += {"sgd": 0, "momentum": 4 * n, "adamw": 8 * n, "adafactor": 4 * (shape[0] + shape[-1]),
                  "adamw8bit": 2 * (n + 4 * math.ceil(n / 256)) if n >= 4096 else 8 * n}[optimizer]
    return total
#: the attention's output has a bias, too
def decoder_parameters(config):
    h, i = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * q * h + 2 * kv * h + 3 * h * i + 2 * h
    if config.attention_bias:
        layer += q + 2 * kv
    return config.vocab_size * h * (1 if config.tie_word_embeddings else 2) + config.num_hidden_layers * layer + h
#: is as long as its output, not as the queries
def decoder_parameters(config):
    h, i = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    layer = 2 * q * h + 2 * kv * h + 3 * h * i + 2 * h
    if config.attention_bias:
        layer += 2 * q + 2 * kv
    return config.vocab_size * h * (1 if config.tie_word_embeddings else 2) + config.num_hidden_layers * layer + h
#: these must be whole numbers
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) <= budget:
            return n, texts / n
    return None
#: what needs exactly the budget does
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) < budget:
            return n, texts // n
    return None
""")

RIGHT = cells("""
#:
def kv_cache_bytes(config, tokens, texts, width):
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return values * tokens * texts * width
#:
def optimizer_bytes(shapes, optimizer):
    total = 0
    for shape in shapes:
        n = math.prod(shape)
        if optimizer == "momentum":
            total += 4 * n
        elif optimizer == "adamw":
            total += 8 * n
        elif optimizer == "adafactor":
            total += 4 * sum(shape)
        elif optimizer == "adamw8bit":
            total += 8 * n if n < 4096 else 2 * (n + 4 * math.ceil(n / 256))
    return total
#:
def decoder_parameters(config):
    h, i = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    attention = 2 * q * h + 2 * kv * h
    if config.attention_bias:
        attention += q + 2 * kv + h
    tables = config.vocab_size * h * (1 if config.tie_word_embeddings else 2)
    return tables + config.num_hidden_layers * (attention + 3 * h * i + 2 * h) + h
#:
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) <= budget:
            return n, texts // n
    return None
""")
