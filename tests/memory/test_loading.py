"""Loading in closed form, against what quantizing one weight makes operator by operator."""

import bitsandbytes as bnb
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lora_lab import memory, quant
from lora_lab.memory.checkpoints import in_flight
from lora_lab.memory.storages import Storages

N = 2**17


class Most(Storages):
    most = 0

    def note(self):
        self.most = max(self.most, sum(self.bytes.values()))


def made_by(quantize, weight):
    """Most that is there while a weight is quantized, itself included; and what comes of it."""
    books = Most()
    with books:
        books.hold([weight], "weight")
        result = quantize(weight)
    return books.most, result


@pytest.mark.parametrize("double_quant", [False, True])
def test_quantizing_a_weight_needs_what_bitsandbytes_makes_of_it(double_quant):
    weight = torch.randn(N // 256, 256).bfloat16()
    most, (packed, _) = made_by(
        lambda w: bnb.functional.quantize_4bit(w, blocksize=64, compress_statistics=double_quant, quant_type="nf4"),
        weight,
    )
    final = packed.nbytes + memory.constant_bytes(N, 64, double_quant)
    assert in_flight(N, "nf4", "peft", double_quant) == pytest.approx(most - final, rel=0.01)


def test_quantizing_a_weight_to_int8_needs_its_float16():
    most, (values, scales) = made_by(
        lambda w: bnb.functional.int8_vectorwise_quant(w)[:2], torch.randn(N // 256, 256).half()
    )
    assert in_flight(N, "int8") == most - values.nbytes - scales.nbytes


@pytest.mark.usefixtures("readable_path")
def test_quantizing_a_weight_needs_what_our_own_quantizer_makes():
    most, quantized = made_by(quant.quantize, torch.randn(N // 256, 256).bfloat16())
    assert in_flight(N, "nf4", "lora_lab") == pytest.approx(most - quantized.nbytes, rel=0.01)


def test_nothing_is_in_flight_where_nothing_is_quantized():
    loaded = memory.loading("llama-3.1-8b", "bf16")
    assert loaded.peak_bytes == loaded.phases["at rest"] == memory.weight_bytes("llama-3.1-8b").total


def test_an_8b_model_is_loaded_in_four_bits_with_one_dense_matrix_more():
    loaded = memory.loading("llama-3.1-8b")
    assert loaded.peak_bytes - loaded.phases["at rest"] == 2 * 4096 * 14336
    assert memory.loading("llama-3.1-8b", stack="lora_lab").peak_bytes < memory.weight_bytes("llama-3.1-8b").total / 2


@pytest.mark.parametrize("tied", [False, True])
def test_the_upcast_after_loading_needs_what_peft_s_preparation_makes(tied):
    config = AutoConfig.for_model(
        "llama", vocab_size=4096, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=tied,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    dense = [weight for name, weight in model.named_parameters() if "proj" not in name]
    books = Most()
    with books:
        books.hold(dense, "weights")
        for weight in dense:  # peft 0.21.2, utils/other.py:204
            weight.data = weight.data.to(torch.float32)
    loaded = memory.loading(config, upcast_frozen=True)
    packed = loaded.peak_bytes - loaded.components["workspace"] - 2 * sum(2 * weight.numel() for weight in dense)
    assert loaded.peak_phase == "upcast" and loaded.peak_bytes - packed == pytest.approx(books.most, rel=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"weights": "int4"}, "weights"),
        ({"stack": "torchtune"}, "stack"),
        ({"stack": "lora_lab", "weights": "int8"}, "peft"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        memory.loading("llama-3.1-8b", **options)
