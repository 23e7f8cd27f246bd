"""Answering in closed form, against transformers' own cache and passes, and against published figures."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from lora_lab import memory
from lora_lab.memory.passes import stored_cache
from lora_lab.memory.simulation import _as_if_real, _materialise
from lora_lab.memory.sizes import sizes
from lora_lab.memory.storages import Storages

TOY = {
    "vocab_size": 1511, "hidden_size": 180, "intermediate_size": 410, "num_hidden_layers": 6, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"vocab_size": 1511, "n_embd": 180, "n_layer": 5, "n_head": 6, "n_positions": 300, "bos_token_id": 1,
        "eos_token_id": 2}  # fmt: skip
WINDOW = {"sliding_window": 64}
FAMILIES = [
    ("llama", {}),
    ("mistral", WINDOW),
    ("qwen3", {"head_dim": 30}),
    ("gemma2", {"head_dim": 30, **WINDOW}),
    ("gemma3_text", {"head_dim": 30, **WINDOW}),
    ("phi3", WINDOW),
    ("gpt2", {}),
    ("mixtral", {"hidden_size": 192, "intermediate_size": 416, "sliding_window": None}),
]
BATCH, PROMPT = 2, 200


class Most(Storages):
    """The most that is alive of what is made within the block."""

    most = 0

    def note(self):
        self.most = max(self.most, self.bytes.get("all", 0))


def toy(kind, changes):
    return AutoConfig.for_model(kind, **((GPT2 if kind == "gpt2" else TOY) | changes))


def held(cache):
    """Bytes of the storages of a cache's tensors, each once."""
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def passes(config, attention):
    """Most that a prompt and then the second token after it make on fake tensors, and the cache after each."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention).eval()
    books = Most()

    def run(ids, cache):
        books.most = 0
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        output.logits[:, -1].float()
        return output.past_key_values, books.most

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), books, _as_if_real():
        _materialise(model)
        books.hold([*model.parameters(), *model.buffers()], "weights")
        prompt = torch.zeros((BATCH, PROMPT), dtype=torch.int64)
        books.hold([prompt], "weights")
        cache, first = run(prompt, None)
        filled = held(cache)
        cache, _ = run(prompt[:, :1], cache)
        after = held(cache)
        _, then = run(prompt[:, :1], cache)
    return first, filled, then, after


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("kind", "changes"), FAMILIES, ids=[kind for kind, _ in FAMILIES])
def test_cache_and_peak_are_those_of_transformers_own_passes(kind, changes, attention):
    if (kind, attention) == ("gemma2", "sdpa"):
        pytest.skip("it cannot cap the scores")
    config = toy(kind, changes)
    prefill, filled, decode, after = passes(config, attention)
    counted = memory.inference(
        config, batch_size=BATCH, context=PROMPT + 2, prompt=PROMPT, attention=attention, device="cpu"
    )
    rest = counted.phases["at rest"]
    assert stored_cache(sizes(config), PROMPT, 2 * BATCH, whole=True) == filled
    assert memory.cache_bytes(config, PROMPT + 1, BATCH) == after
    assert counted.phases["prefill"] - rest == pytest.approx(prefill, rel=0.01)
    assert counted.phases["decode"] - rest == pytest.approx(decode, rel=0.01)


def test_the_cache_is_transformers_dynamic_cache_to_the_byte():
    config = toy("gemma3_text", dict(FAMILIES)["gemma3_text"])
    cache = DynamicCache(config=config)
    for new in (PROMPT, 1):
        states = torch.zeros(BATCH, config.num_key_value_heads, new, config.head_dim, dtype=torch.bfloat16)
        for layer in range(config.num_hidden_layers):
            cache.update(states, states.clone(), layer)
        assert held(cache) == stored_cache(sizes(config), cache.get_seq_length(), 2 * BATCH, whole=new > 1)


def test_the_cache_of_8192_tokens_of_llama_3_is_one_gib_and_of_llama_2_without_groups_four_times_that():
    assert memory.cache_bytes("llama-3.1-8b", 8192) == 2**30
    assert memory.cache_bytes("llama-2-7b", 8192) == 4 * 2**30


def test_a_window_bounds_the_cache_of_its_layers():
    assert memory.cache_bytes("mistral-7b", 32768) == memory.cache_bytes("mistral-7b", 4096)
    long, short = memory.cache_bytes("gemma-3-1b", 32768), memory.cache_bytes("gemma-3-1b", 512)
    assert long == short * (4 * 64 + 22) // 26  # 4 of 26 layers see everything


@pytest.mark.parametrize(("weights", "gigabytes"), [("bf16", 16.06), ("int8", 9.09), ("nf4", 6.03), ("fp32", 32.12)])
def test_weights_of_an_8b_model(weights, gigabytes):
    """NF4: 4.5 bits of 6.98 billion values; int8: 8 bits; and 1.05 billion in 16 bits."""
    assert memory.weight_bytes("llama-3.1-8b", weights).total / 1e9 == pytest.approx(gigabytes, abs=0.01)


@pytest.mark.parametrize("solve_for", ["batch_size", "context"])
def test_the_answer_of_fit_inference_fits_and_one_more_does_not(solve_for):
    options = {"weights": "nf4"} | ({"context": 4096} if solve_for == "batch_size" else {"batch_size": 2})
    found = memory.fit_inference(16, solve_for, "llama-3.1-8b", **options)
    needs = [memory.inference("llama-3.1-8b", **options, **{solve_for: n}).peak_bytes for n in (found, found + 1)]
    assert needs[0] <= 16e9 < needs[1]


def test_a_context_is_never_longer_than_the_models_positions():
    assert memory.fit_inference(1000, "context", "llama-2-7b") == 4096


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: memory.inference("llama-2-7b", context=4097), ValueError, "at most 4096"),
        (lambda: memory.inference("llama-2-7b", context=10, prompt=11), ValueError, "prompt=11"),
        (lambda: memory.inference("llama-2-7b", "int4"), ValueError, "weights"),
        (lambda: memory.inference("llama-2-7b", batch_size=0), ValueError, "batch_size=0"),
        (lambda: memory.inference("gemma-2-2b", attention="sdpa"), ValueError, "eager"),
        (lambda: memory.inference("llama-2-7b", cache="nf4"), ValueError, "cache"),
        (lambda: memory.fit_inference(1, "context", "llama-2-7b"), ValueError, "too little"),
        (lambda: memory.fit_inference(-1, "context", "llama-2-7b"), ValueError, "budget_gb"),
        (lambda: memory.fit_inference(16, "prompt", "llama-2-7b"), ValueError, "solve_for"),
        (lambda: memory.fit_inference(16, "context", "llama-2-7b", context=5), TypeError, "leave it out"),
        (lambda: memory.fit_inference(16), TypeError, "needs a model"),
        (lambda: memory.cache_bytes("llama-2-7b", -1), ValueError, "tokens=-1"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_sentence(call, error, says):
    with pytest.raises(error, match=says):
        call()
