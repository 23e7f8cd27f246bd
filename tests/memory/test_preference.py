"""DPO in closed form, against real steps of it."""

import copy

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig

from lora_lab import lora, memory
from lora_lab.memory.step import build_model, make_batch, make_optimizer

TOY = {
    "vocab_size": 1511, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 300,
}  # fmt: skip
STEP = {"seq_len": 64, "device": "cpu"}


def log_probability(model, ids):
    """Of each sequence, [2 · pairs]: fp32 logits, and a log-sum-exp row by row, as trl takes them."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    logits = logits.float()[:, :-1]
    chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (chosen - torch.stack([torch.logsumexp(row, dim=-1) for row in logits])).sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "reference"), [("lora", "adapters"), ("lora", "copy"), ("full", "copy")])
def test_the_peak_of_dpo_is_that_of_a_real_step_within_five_percent(method, reference, one_thread):
    config = AutoConfig.for_model("llama", **TOY)
    setup = memory.Setup(config, method, batch_size=4, **STEP)  # two pairs
    model = build_model(setup, "cpu")
    judge = copy.deepcopy(model).requires_grad_(False) if reference == "copy" else model
    optimizer, ids = make_optimizer(setup, model), make_batch(setup)["input_ids"]

    def step():
        policy = log_probability(model, ids)
        with torch.no_grad():
            if reference == "adapters":
                with lora.disabled(model):
                    before = log_probability(model, ids)
            else:
                before = log_probability(judge, ids)
        chosen, rejected = (policy - before).chunk(2)
        (-F.logsigmoid(0.1 * (chosen - rejected)).mean()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    counted = memory.preference(config, method, reference, batch_size=2, **STEP)
    assert counted.peak_bytes == pytest.approx(memory.measure(model, step).peak_bytes, rel=0.05)


def test_a_reference_of_its_own_costs_a_second_set_of_weights():
    shared = memory.preference("llama-3.1-8b", "qlora")
    own = memory.preference("llama-3.1-8b", "qlora", "copy")
    assert own.peak_bytes - shared.peak_bytes == memory.quantized_weights("llama-3.1-8b").total
    full = (memory.preference("llama-3.2-1b", "full", reference) for reference in (None, "precomputed"))
    assert next(full).peak_bytes - next(full).peak_bytes == 4 * 1_235_814_400


def test_a_pair_is_two_sequences():
    pairs = memory.preference("llama-3.1-8b", "lora", batch_size=3)
    assert pairs.peak_bytes == memory.estimate("llama-3.1-8b", "lora", batch_size=6).peak_bytes


@pytest.mark.parametrize(
    ("arguments", "says"), [(("full", "adapters"), "choose 'copy'"), (("lora", "none"), "unknown reference")]
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(arguments, says):
    with pytest.raises(ValueError, match=says):
        memory.preference("llama-3.1-8b", *arguments)
