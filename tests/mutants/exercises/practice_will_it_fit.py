"""Answers to exercise 06's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells


def _cache(returned: str, says: str = "") -> Answer:
    code = f"def kv_cache_bytes(config, tokens, texts, width):\n    c = config\n    return {returned}\n"
    return Answer("kv_cache_bytes", code, says)


def _states(body: str, says: str = "") -> Answer:
    code = """
def optimizer_bytes(shapes, optimizer):
    total = 0
    for shape in shapes:
        n = math.prod(shape)
        blocks = math.ceil(n / 256)
        total += {
            "sgd": 0, "momentum": 4 * n, "adamw": 8 * n,
            "adafactor": 4 * sum(shape) if len(shape) == 2 else 4 * n,
            "adamw8bit": 8 * n if n < 4096 else 2 * (n + 4 * blocks),
        }[optimizer]
    return total
"""
    before, after = body.split(" -> ") if body else ("", "")
    assert before in code
    return Answer("optimizer_bytes", code.replace(before, after) if before else code, says)


_LLAMA = """
def decoder_parameters(config):
    h, i, d = config.hidden_size, config.intermediate_size, config.head_dim
    q, kv = config.num_attention_heads * d, config.num_key_value_heads * d
    attention = h * q + 2 * h * kv + q * h
    bias = q + 2 * kv + h
    mlp = 3 * h * i
    layer = attention + mlp + 2 * h + (bias if config.attention_bias else 0)
    head = 0 if config.tie_word_embeddings else config.vocab_size * h
    return config.vocab_size * h + config.num_hidden_layers * layer + h + head
"""


def _count(change: str, says: str = "") -> Answer:
    before, after = change.split(" -> ")
    assert _LLAMA.count(before) == 1, before
    return Answer("decoder_parameters", _LLAMA.replace(before, after), says)


ANSWERS = [
    _cache("2 * c.num_hidden_layers * c.num_attention_heads * c.head_dim * tokens * texts * width",
     "query heads share"),
    _cache("c.num_hidden_layers * c.num_key_value_heads * c.head_dim * tokens * texts * width", "keys *and* values"),
    _cache("2 * c.num_hidden_layers * c.hidden_size * tokens * texts * width", "not as the hidden state"),
    _cache("2 * c.num_hidden_layers * c.num_key_value_heads * (c.hidden_size // c.num_attention_heads)"
           " * tokens * texts * width",
           "need not be hidden_size / heads"),
    _cache("2 * c.num_key_value_heads * c.head_dim * tokens * texts * width", "every layer has a cache"),
    _cache("2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * tokens * width", "each of the texts"),
    _cache("2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * tokens * texts", "each has `width` bytes"),
    _cache("2 * 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * tokens * texts", "need not be 2"),
    _cache("2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * tokens * texts * width / 8",
     "in bytes already"),
    _cache("print(2 * c.num_hidden_layers)", "does every case reach a return"),
    _states('"sgd": 0 -> "sgd": 4 * n', "plain SGD keeps nothing"),
    _states('"momentum": 4 * n -> "momentum": n', "each has 4 bytes"),
    _states('"adamw": 8 * n -> "adamw": 4 * n', "AdamW keeps two states"),
    _states('"adamw": 8 * n -> "adamw": 16 * n', "the states alone"),
    _states("if len(shape) == 2 else 4 * n -> if len(shape) == 2 else 4", "a vector keeps one number"),
    _states("4 * sum(shape) if len(shape) == 2 else 4 * n -> 4 * n", "each row and each column"),
    _states("2 * (n + 4 * blocks) -> 2 * n", "the constants are missing"),
    _states("2 * (n + 4 * blocks) -> 2 * n + 4 * blocks", "constants of their own"),
    _states("8 * n if n < 4096 else 2 * (n + 4 * blocks) -> 2 * (n + 4 * blocks)", "keeps its states in fp32"),
    _states("n < 4096 -> n <= 4096", "no longer under"),
    _states("math.ceil(n / 256) -> n // 256", "the last block may be short"),
    _states("2 * (n + 4 * blocks) -> n + 4 * blocks", "two states, and both are stored"),
    _count("config.num_key_value_heads * d -> config.num_attention_heads * d", "query heads share them"),
    _count("0 if config.tie_word_embeddings else config.vocab_size * h -> config.vocab_size * h", "one table"),
    _count("0 if config.tie_word_embeddings else config.vocab_size * h -> 0", "two tables"),
    _count(" + h + head ->  + head", "a last norm"),
    _count("mlp + 2 * h -> mlp + h", "two norms"),
    _count("mlp = 3 * h * i -> mlp = 2 * h * i", "three matrices"),
    _count("attention = h * q + 2 * h * kv + q * h -> attention = h * q + 2 * h * kv",
     "the attention's output is missing"),
    _count("attention = h * q + 2 * h * kv + q * h -> attention = h * h + 2 * h * kv + h * h",
     "need not be hidden_size"),
    _count("2 * h * kv -> h * kv", "a projection each"),
    _count("(bias if config.attention_bias else 0) -> 0", "each of the four projections has a bias"),
    _count("(bias if config.attention_bias else 0) -> bias", "only where attention_bias says so"),
    _count("config.num_hidden_layers * layer -> layer", "every layer has"),
    _count("config.head_dim -> config.hidden_size // config.num_attention_heads",
     "which need not be hidden_size / num"),
    *cells('''
#: they must divide evenly
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if need(n) <= budget:
            return n, math.ceil(texts / n)
#: more at a time fit
def texts_at_a_time(need, texts, budget):
    for n in range(1, texts + 1):
        if texts % n == 0 and need(n) <= budget:
            return n, texts // n
#: turned round
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) <= budget:
            return texts // n, n
#: more at a time fit
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) < budget:
            return n, texts // n
#: and one text at a time does fit
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 1, -1):
        if texts % n == 0 and need(n) <= budget:
            return n, texts // n
#: not even one fits, so it must be None
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) <= budget:
            return n, texts // n
    return 1, texts
#: need more than the budget
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(1) <= budget:
            return n, texts // n
#: these must be whole numbers
def texts_at_a_time(need, texts, budget):
    for passes in range(1, texts + 1):
        if need(max(1, texts // passes)) <= budget:
            return texts / passes, passes
#: a number of texts is whole
def texts_at_a_time(need, texts, budget):
    passes = 1
    while need(texts / passes) > budget:
        passes += 1
    return texts // passes, passes
#: wanted at_once, passes
def texts_at_a_time(need, texts, budget):
    for n in range(texts, 0, -1):
        if texts % n == 0 and need(n) <= budget:
            return n
'''),
]  # fmt: skip

RIGHT = [
    _cache("sum(2 * c.num_key_value_heads * c.head_dim for _ in range(c.num_hidden_layers))"
           " * (width * tokens * texts)"),
    _cache("8 * 2 * width * c.head_dim * tokens * texts * c.num_hidden_layers * c.num_key_value_heads / 8"),
    _states(""),
    *cells('''
#:
def optimizer_bytes(shapes, optimizer):
    def states(weight):
        if optimizer in ("momentum", "adamw"):
            return {"momentum": [weight], "adamw": [weight, weight]}[optimizer]
        if optimizer == "adafactor":
            return [weight] if weight.dim() == 1 else [weight[0], weight[:, 0]]
        return []
    tensors = [torch.empty(shape) for shape in shapes]
    if optimizer == "adamw8bit":
        large = [w.numel() for w in tensors if w.numel() >= 4096]
        small = [w.numel() for w in tensors if w.numel() < 4096]
        return 8 * sum(small) + 2 * sum(large) + 8 * sum((n + 255) // 256 for n in large)
    return sum(4 * each.numel() for weight in tensors for each in states(weight))
#:
def decoder_parameters(config):
    from transformers import LlamaConfig, LlamaForCausalLM
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**vars(config)))
    return sum(weight.numel() for weight in model.parameters())
#:
def decoder_parameters(config):
    h = config.hidden_size
    outputs = [config.num_attention_heads * config.head_dim] + 2 * [config.num_key_value_heads * config.head_dim]
    per_layer = 2 * h + 3 * h * config.intermediate_size
    for out in outputs:
        per_layer += out * h + (out if config.attention_bias else 0)
    per_layer += outputs[0] * h + (h if config.attention_bias else 0)
    tables = [config.vocab_size * h] * (2 - config.tie_word_embeddings)
    return sum(tables) + per_layer * config.num_hidden_layers + h
#:
def texts_at_a_time(need, texts, budget):
    fitting = [n for n in range(1, texts + 1) if texts % n == 0 and need(n) <= budget]
    return [max(fitting), texts // max(fitting)] if fitting else None
#:
def texts_at_a_time(need, texts, budget):
    passes = 1
    while passes <= texts:
        if texts % passes == 0 and need(texts // passes) <= budget:
            return texts // passes, passes
        passes += 1
'''),
]  # fmt: skip
