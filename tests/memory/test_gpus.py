"""The GPU catalogue: plausible figures, what fits, and tokens a second from FLOPs, against a count of real products."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from lora_lab import lora
from lora_lab.memory import gpus, presets, shapes


def estimate(peak_bytes: int) -> SimpleNamespace:
    return SimpleNamespace(peak_bytes=peak_bytes)


@pytest.mark.parametrize("gpu", gpus.GPUS.values(), ids=lambda gpu: gpu.name)
def test_every_gpu_has_figures_with_a_source_and_less_usable_than_advertised_memory(gpu):
    assert 0.9 < gpu.usable_bytes / gpu.memory_bytes < 1
    assert gpu.bfloat16 == (gpu.capability[0] >= 8)
    assert "NVIDIA" in gpu.source and "20" in gpu.source
    assert gpu.name == gpu.name.lower() and gpus.get_gpu(gpu.name.upper()) is gpu


def test_the_catalogue_runs_from_the_smallest_to_the_largest():
    memory = [gpu.memory_bytes for gpu in gpus.GPUS.values()]
    assert memory == sorted(memory) and not gpus.GPUS["t4"].bfloat16


def test_what_fits_is_the_tail_of_the_catalogue_by_usable_memory_and_each_says_how_surely():
    fits = gpus.gpus_that_fit(estimate(20 * 10**9))
    names = [fit.gpu.name for fit in fits]
    assert names[0] == "a10g" and "t4" not in names and names[-1] == "b200"
    assert not fits[0].certain and fits[-1].certain
    assert gpus.gpus_that_fit(estimate(10**12)) == []
    assert [fit.gpu for fit in gpus.gpus_that_fit(estimate(0))] == list(gpus.GPUS.values())


@pytest.mark.parametrize("peak_bytes", [10**9, 13_700_000_000, 14_450_000_000, 80 * 10**9])
def test_a_fit_is_certain_exactly_if_the_largest_process_fits(peak_bytes):
    low, high = gpus.process_bytes(peak_bytes)
    assert peak_bytes * 1.04 < low < high > peak_bytes * 1.49
    fits = {fit.gpu: fit for fit in gpus.gpus_that_fit(estimate(peak_bytes))}
    for gpu in gpus.GPUS.values():
        assert (gpu in fits) == (low <= gpu.usable_bytes)
        if gpu in fits:
            assert fits[gpu].certain == (high <= gpu.usable_bytes)
            assert (fits[gpu].tensor_bytes, fits[gpu].process_bytes) == (peak_bytes, (low, high))


def test_a_fit_says_its_units():
    assert str(gpus.gpus_that_fit(estimate(10**9))[0]) == (
        "t4: tensors 1.00 GB, process 1.18 to 2.01 GB of 15.63 GB: fits"
    )


@pytest.mark.parametrize("method", ["full", "lora"])
def test_flops_are_those_of_the_real_products_but_for_the_adapters_and_the_masked_half(method):
    config = AutoConfig.for_model(
        "llama", vocab_size=2048, hidden_size=256, intermediate_size=640, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    config._attn_implementation = "eager"  # a plain product, so that the counter sees the whole square
    seq_len = 96
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        if method == "lora":
            lora.inject(model, lora.LoRAConfig(r=1, target_modules="all-linear"))
        ids = torch.zeros(1, seq_len, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    square = 2 * seq_len * config.num_hidden_layers * 256 * 3  # the half that the formula leaves out
    assert counter.get_total_flops() / seq_len == pytest.approx(
        gpus.flops_per_token(config, method, seq_len) + square, rel=0.04
    )


def test_lora_takes_two_thirds_of_the_flops_of_full_fine_tuning_and_three_quarters_with_checkpointing():
    config = presets.load_config("llama-2-7b")
    n = shapes.active_parameters(config)
    assert gpus.flops_per_token(config, "full", 1) == pytest.approx(6 * n, rel=1e-3)
    assert gpus.flops_per_token(config, "lora", 1) == pytest.approx(4 * n, rel=1e-3)
    ratio = gpus.flops_per_token(config, "qlora", 1, True) / gpus.flops_per_token(config, "full", 1, True)
    assert ratio == pytest.approx(3 / 4, rel=1e-3)


def test_tokens_a_second_are_a_range_in_proportion_to_the_utilisation_and_the_gpu():
    low, high = gpus.tokens_per_second("llama-3.1-8b", "a100-80gb")
    assert high == 2 * low and 1000 < low < 4000
    assert gpus.tokens_per_second("llama-3.1-8b", gpus.GPUS["a100-80gb"], utilisation=(0.25, 0.25)) == (low, low)
    assert gpus.tokens_per_second("llama-3.1-8b", "T4")[0] == pytest.approx(low * 65 / 312)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gpus.get_gpu("t5"), "unknown GPU 't5'.*t4"),
        (lambda: gpus.get_gpu(4), "unknown GPU 4"),
        (lambda: gpus.flops_per_token("gpt2", "lorra"), "unknown method 'lorra'"),
        (lambda: gpus.flops_per_token("gpt2", seq_len=0), "seq_len=0"),
        (lambda: gpus.tokens_per_second("gpt2", "t4", utilisation=(0.5, 0.4)), "utilisation"),
        (lambda: gpus.tokens_per_second("gpt2", "t4", utilisation=(0, 0.4)), "utilisation"),
        (lambda: gpus.tokens_per_second("gpt2", "t4", utilisation=0.5), "utilisation=0.5"),
        (lambda: gpus.tokens_per_second("gpt2", "t4", utilisation=(0.5,)), "utilisation"),
        (lambda: gpus.tokens_per_second("gpt2", "t4", utilisation=(float("nan"), 1)), "utilisation"),
        (lambda: gpus.tokens_per_second("gpt2", 4), "unknown GPU 4"),
        (lambda: gpus.get_gpu(""), "unknown GPU ''"),
        (lambda: gpus.process_bytes(-1), "tensor_bytes=-1"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gpus.flops_per_token("gpt2", seq_len="8"), "seq_len='8' must be an integer"),
        (lambda: gpus.flops_per_token("gpt2", seq_len=True), "seq_len=.* must be an integer"),
        (lambda: gpus.flops_per_token("gpt2", checkpointing="yes"), "checkpointing='yes'"),
        (lambda: gpus.gpus_that_fit("gpt2"), "takes an estimate"),
        (lambda: gpus.process_bytes(None), "tensor_bytes=.* must be an integer"),
        (lambda: gpus.process_bytes(1.5), "tensor_bytes=.* must be an integer"),
    ],
)
def test_wrong_kinds_are_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call()


# What a GPU is built of, from the white papers and data sheets of its architecture: tensor cores, 16-bit products
# with fp32 sums per core and clock (each a multiplication and an addition), and the boost clock in GHz that the speed
# is stated at. GeForce cards sum in fp32 at half of their rate.
BUILT = {
    "t4": (320, 64, 1.59),
    "v100-16gb": (640, 64, 1.53),
    "v100-32gb": (640, 64, 1.53),
    "a10g": (320, 64, 1.71),
    "rtx-3090": (328, 64, 1.695),
    "l4": (232, 128, 2.04),
    "rtx-4090": (512, 64, 2.52),
    "rtx-5090": (680, 64, 2.407),
    "a100-40gb": (432, 256, 1.41),
    "a100-80gb": (432, 256, 1.41),
    "l40s": (568, 128, 2.52),
    "h100": (528, 512, 1.83),
    "h200": (528, 512, 1.83),
}
SPARSE = {"l4": 242, "l40s": 724, "a100-40gb": 624, "a100-80gb": 624, "h100": 1979, "h200": 1979, "b200": 4500}


@pytest.mark.parametrize("name", gpus.GPUS)
def test_the_speed_is_the_dense_one_that_its_cores_and_their_clock_give(name):
    assert name in BUILT or name in SPARSE
    if name in BUILT:
        cores, products, clock = BUILT[name]
        assert gpus.GPUS[name].tflops == pytest.approx(cores * 2 * products * clock / 1000, rel=0.02)
    if name in SPARSE:  # which data sheets print
        assert gpus.GPUS[name].tflops == pytest.approx(SPARSE[name] / 2, rel=0.005)
