"""The GPU catalogue: plausible figures, what fits, and tokens a second from FLOPs, against a count of real products."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from lora_lab import lora
from lora_lab.memory import cards, closed_form, gpus, presets, shapes


def estimate(peak_bytes: int) -> SimpleNamespace:
    return SimpleNamespace(peak_bytes=peak_bytes)


@pytest.mark.parametrize("gpu", gpus.GPUS.values(), ids=lambda gpu: gpu.name)
def test_every_gpu_has_figures_with_a_source_and_less_usable_than_advertised_memory(gpu):
    assert 0.9 < gpu.usable_bytes / gpu.memory_bytes < 1 or gpu.as_advertised and gpu.usable_gib == gpu.memory_gib
    assert gpu.usable_source and 0 < gpu.context_mib[0] <= gpu.context_mib[1] <= cards.CONTEXT_MIB[1]
    assert gpu.bfloat16 == (gpu.capability[0] >= 8)
    assert "NVIDIA" in gpu.source and "20" in gpu.source
    assert gpu.name == gpu.name.lower() and gpus.get_gpu(gpu.name.upper()) is gpu


def test_the_catalogue_runs_from_the_smallest_to_the_largest():
    memory = [gpu.memory_bytes for gpu in gpus.GPUS.values()]
    assert memory == sorted(memory) and not gpus.GPUS["t4"].bfloat16


def test_what_fits_is_the_tail_of_the_catalogue_by_usable_memory_and_each_says_how_surely():
    fits = gpus.gpus_that_fit(estimate(20 * 10**9))
    names = [fit.gpu.name for fit in fits]
    assert names[0] == "rtx-3090" and "t4" not in names and names[-1] == "b200"
    assert not fits[0].certain and fits[-1].certain
    assert gpus.gpus_that_fit(estimate(10**12)) == []
    assert [fit.gpu for fit in gpus.gpus_that_fit(estimate(0))] == list(gpus.GPUS.values())


@pytest.mark.parametrize("peak_bytes", [10**9, 13_700_000_000, 14_450_000_000, 80 * 10**9])
def test_a_fit_is_certain_exactly_if_the_largest_process_fits_and_none_if_the_tensors_do_not(peak_bytes):
    fits = {fit.gpu: fit for fit in gpus.gpus_that_fit(estimate(peak_bytes))}
    for gpu in gpus.GPUS.values():
        low, high = gpus.process_bytes(peak_bytes, gpu)
        assert peak_bytes * 1.04 < low < high
        assert (gpu in fits) == (peak_bytes <= gpu.usable_bytes)
        if gpu in fits:
            assert fits[gpu].certain == (high <= gpu.usable_bytes)
            assert (fits[gpu].tensor_bytes, fits[gpu].process_bytes) == (peak_bytes, (low, high))


def test_a_fit_says_its_units():
    assert str(next(fit for fit in gpus.gpus_that_fit(estimate(10**9)) if fit.gpu.name == "t4")) == (
        "t4: tensors 1.00 GB, process 1.20 to 1.57 GB of 15.63 GB: fits"
    )


@pytest.mark.parametrize("peak_bytes", [10**8, 10**9, 5 * 10**9, 14 * 10**9])
def test_on_a_gpu_whose_context_was_measured_the_range_is_at_most_a_third_wide(peak_bytes):
    low, high = gpus.process_bytes(peak_bytes, gpus.get_gpu("t4"))
    assert high <= 1.35 * low
    wide_low, wide_high = gpus.process_bytes(peak_bytes)
    assert wide_low <= low and high <= wide_high


PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "published" / "t4.json"


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published figures are not here")
def test_19_of_20_measured_processes_lie_in_the_range_that_is_said():
    table = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    inside = []
    for row in table["rows"]:
        typed = {name: row[name] for name in ("r", "batch_size", "seq_len", "attention")}
        config = AutoConfig.for_model(**table["models"][row["model"]])
        found = closed_form.estimate(
            config, row["method"], **typed, stack="peft-loop", precision="fp16",
            target_modules=table["settings"][row["method"]]["target_modules"],
            checkpointing=table["settings"][row["method"]]["checkpointing"],
        )  # fmt: skip
        low, high = gpus.process_bytes(found.peak_bytes, gpus.get_gpu("t4"))
        inside.append(low <= row["process"] <= high)
    assert len(inside) > 30 and sum(inside) >= 0.95 * len(inside)


NAMES = {
    "4090": "rtx-4090",
    "rtx4090": "rtx-4090",
    "GeForce RTX 4090": "rtx-4090",
    "RTX 3060 12GB": "rtx-3060-12gb",
    "3060": "rtx-3060-12gb",
    "4060ti": "rtx-4060-ti-8gb",
    "4060 ti 16gb": "rtx-4060-ti-16gb",
    "RTX4070Ti": "rtx-4070-ti",
    "Tesla T4": "t4",
    "t4 16GB": "t4",
    "a100": "a100-40gb",
    "A100 80g": "a100-80gb",
    "NVIDIA A100-SXM4-80GB": "a100-80gb",
    "a100_80gb_pcie": "a100-80gb",
    "h100 80gb": "h100",
    "NVIDIA H100 80GB HBM3": "h100",
    "v100-sxm2-32gb": "v100-32gb",
    "Tesla P100-PCIE-16GB": "p100-16gb",
    "rtx a6000": "rtx-a6000",
    "RTX 6000 Ada Generation": "rtx-6000-ada",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "rtx-pro-6000",
    " L4 ": "l4",
    "colab": "t4",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_is_found_under_the_names_that_people_and_drivers_write(name):
    assert gpus.get_gpu(name).name == NAMES[name]


@pytest.mark.parametrize(
    "name", ["4090 ti", "4080 super", "3060 ti", "rtx", "gb", "12gb", "2x", "x2", "t", "a", "a1", "é", "-"]
)
def test_another_card_is_not_taken_for_one_of_the_catalogue(name):
    with pytest.raises(ValueError, match="unknown GPU"):
        gpus.get_gpu(name)


@pytest.mark.parametrize("gpu", gpus.GPUS)
def test_no_name_of_the_catalogue_means_another_card(gpu):
    assert cards.get_cards(gpu) == (1, gpus.GPUS[gpu])
    assert cards.get_cards(f"8x{gpu}") == cards.get_cards(f"{gpu.upper()} x8") == (8, gpus.GPUS[gpu])


def test_kaggles_pair_is_two_cards_and_each_has_a_memory_of_its_own():
    t4 = gpus.get_gpu("t4")
    for name in ("2xt4", "2 x T4", "T4 x2", "2 × t4", "kaggle"):
        assert cards.get_cards(name) == (2, t4)
        with pytest.raises(ValueError, match="2 cards, each with a memory of its own"):
            gpus.get_gpu(name)


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
        (lambda: gpus.get_gpu("9" * 400), "unknown GPU '9999"),
        (lambda: cards.get_cards("0xt4"), "'0xt4' is no number of cards"),
        (lambda: cards.get_cards("1025xt4"), "from 1 to 1024"),
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
    "rtx-2080-ti": (544, 32, 1.545),  # an eighth as many products as an A100's core, and GeForce's half of them
    "rtx-3060-12gb": (112, 64, 1.777),
    "rtx-3070": (184, 64, 1.725),
    "rtx-3080-10gb": (272, 64, 1.71),
    "rtx-4060": (96, 64, 2.46),
    "rtx-4060-ti-8gb": (136, 64, 2.535),
    "rtx-4060-ti-16gb": (136, 64, 2.535),
    "rtx-4070": (184, 64, 2.475),
    "rtx-4070-ti": (240, 64, 2.61),
    "rtx-4080": (304, 64, 2.505),
    "rtx-5060-ti-8gb": (144, 64, 2.572),
    "rtx-5060-ti-16gb": (144, 64, 2.572),
    "rtx-5070-ti": (280, 64, 2.452),
    "rtx-5080": (336, 64, 2.617),
    "rtx-a4000": (192, 128, 1.56),
    "rtx-a5000": (256, 128, 1.695),
    "rtx-a6000": (336, 128, 1.8),
    "rtx-6000-ada": (568, 128, 2.505),
    "rtx-pro-6000": (752, 128, 2.617),
    "a10": (288, 128, 1.695),
    "a30": (224, 256, 1.44),
    "a40": (336, 128, 1.74),
    "p100-16gb": (3584, 1, 1.303),  # no tensor cores: its fp32 cores
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
SPARSE = {
    "a10": 250,
    "a30": 330,
    "a40": 299.4,
    "rtx-a6000": 309.7,
    "rtx-pro-6000": 1007.6,
    "l4": 242,
    "l40s": 724,
    "a100-40gb": 624,
    "a100-80gb": 624,
    "h100": 1979,
    "h200": 1979,
    "b200": 4500,
}


@pytest.mark.parametrize("name", gpus.GPUS)
def test_the_speed_is_the_dense_one_that_its_cores_and_their_clock_give(name):
    assert name in BUILT or name in SPARSE
    if name in BUILT:
        cores, products, clock = BUILT[name]
        assert gpus.GPUS[name].tflops == pytest.approx(cores * 2 * products * clock / 1000, rel=0.02)
    if name in SPARSE:  # which data sheets print
        assert gpus.GPUS[name].tflops == pytest.approx(SPARSE[name] / 2, rel=0.005)
