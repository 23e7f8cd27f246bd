"""Dropout of the adapters, and the update within the backward pass: closed forms against simulated and real steps."""

import pytest
import torch
from transformers import LlamaConfig

from lora_lab import memory

LLAMA = LlamaConfig(vocab_size=1511, hidden_size=120, intermediate_size=310, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, max_position_embeddings=300, tie_word_embeddings=False)  # fmt: skip
TIED = LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": True})
TOKENS = 2 * 150


def apart(config=LLAMA, **setup) -> float:
    """How far the closed form is from the simulated step."""
    options = {"batch_size": 2, "seq_len": 150, "device": "cpu", **setup}
    return memory.estimate(config, **options).peak_bytes / memory.simulate(config, **options).peak_bytes - 1


@pytest.mark.parametrize(
    "setup",
    [
        {"method": "lora"},
        {"method": "lora", "target_modules": ["q_proj", "v_proj"], "attention": "eager"},
        {"method": "qlora", "precision": "fp32", "target_modules": ["q_proj", "down_proj"]},
    ],
)
def test_what_dropout_keeps_is_what_a_step_with_dropout_keeps(setup):
    assert abs(apart(**setup, dropout=0.1)) < 0.03


def test_on_cuda_each_adapter_keeps_a_thinned_copy_of_its_input_and_a_byte_of_mask_a_value():
    def peak(dropout: float) -> int:
        return memory.estimate(LLAMA, "lora", target_modules=["q_proj", "v_proj"], batch_size=2, seq_len=150,
                               dropout=dropout).peak_bytes  # fmt: skip

    one_copy, two_copies_and_masks = 2, 2 * (2 + 1)
    unmasked = 2 * 1  # the first layer's input needs no gradient, so nothing has to be masked on the way back
    more = LLAMA.num_hidden_layers * (two_copies_and_masks - one_copy) - unmasked
    assert peak(0.1) - peak(0.0) == TOKENS * LLAMA.hidden_size * more
    assert peak(0.1) == peak(0.5)


@pytest.mark.parametrize(
    ("config", "setup"),
    [
        (LLAMA, {"method": "full", "precision": "bf16", "checkpointing": True}),
        (LLAMA, {"method": "full", "precision": "bf16", "optimizer": "adafactor", "seq_len": 20}),
        (TIED, {"method": "full", "precision": "bf16", "optimizer": "sgd", "seq_len": 20}),
        (LLAMA, {"method": "lora", "r": 40}),
    ],
)
def test_an_update_within_the_backward_pass_needs_what_such_a_step_needs(config, setup):
    assert abs(apart(config, **setup, optimizer_in_backward=True)) < 0.03


def test_gradients_are_never_all_there_and_an_8b_model_fits_a_4090():
    setup = {"stack": "torchtune", "batch_size": 2, "seq_len": 2048}
    early, late = (memory.estimate("llama-3.1-8b", "full", **setup, optimizer_in_backward=way) for way in (True, False))
    card = memory.get_gpu("rtx-4090").usable_bytes
    assert early.peak_bytes < card < late.peak_bytes
    assert early.phases["optimizer step"] == early.phases["at rest"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_update_is_the_same_within_the_backward_pass_and_after_it(optimizer):
    after = []
    for early in (False, True):
        setup = memory.Setup(
            TIED, "full", precision="fp32", optimizer=optimizer, seq_len=9, optimizer_in_backward=early
        )
        model, step = memory.real_step(setup)
        step(), step()
        assert all(parameter.grad is None for parameter in model.parameters())
        after.append(model.state_dict())
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])


@pytest.mark.parametrize(
    ("setup", "match"),
    [
        ({"method": "full", "dropout": 0.1}, "dropout=0.1 is the adapters'"),
        ({"method": "lora", "dropout": 1.0}, "dropout"),
        ({"method": "lora", "dropout": -0.1}, "dropout"),
        (
            {"method": "full", "optimizer_in_backward": True, "accumulation": 4},
            "accumulation=4 would find no gradients",
        ),
    ],
)
def test_what_cannot_be_trained_so_is_refused(setup, match):
    with pytest.raises(ValueError, match=match):
        memory.Setup(LLAMA, seq_len=100, **setup)
