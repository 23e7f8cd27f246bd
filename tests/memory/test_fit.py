"""From a budget back to the setting: the answer fits, and one more does not."""

import copy
import json
from dataclasses import fields

import numpy as np
import pytest
from transformers import AutoConfig

from lora_lab import memory
from lora_lab.memory import settings
from lora_lab.memory.budget import _largest

TINY = AutoConfig.for_model(
    "llama", vocab_size=523, hidden_size=72, intermediate_size=150, num_hidden_layers=3, num_attention_heads=6,
    num_key_value_heads=2, max_position_embeddings=300,
)  # fmt: skip


def peak_gb(**setup: object) -> float:
    return memory.estimate(TINY, **setup).peak_bytes / 1e9


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("budget_gb", [0.011, 0.05, 0.7])
def test_the_largest_batch_fits_and_one_more_does_not(method, checkpointing, budget_gb):
    setup = {"method": method, "checkpointing": checkpointing, "seq_len": 77}
    batch_size = memory.fit(budget_gb, "batch_size", TINY, **setup)
    assert peak_gb(batch_size=batch_size, **setup) <= budget_gb < peak_gb(batch_size=batch_size + 1, **setup)


@pytest.mark.parametrize("budget_gb", [0.0015, 0.006, 0.016])
def test_the_longest_sequence_fits_and_one_token_more_does_not(budget_gb):
    seq_len = memory.fit(budget_gb, solve_for="seq_len", config=TINY, attention="eager")
    assert seq_len < 300
    setup = {"attention": "eager"}
    assert peak_gb(seq_len=seq_len, **setup) <= budget_gb < peak_gb(seq_len=seq_len + 1, **setup)


@pytest.mark.parametrize("budget_gb", [0.0012, 0.002])
def test_the_largest_rank_fits_and_one_more_does_not(budget_gb):
    setup = {"method": "qlora", "target_modules": ["q_proj", "down_proj"], "seq_len": 64}
    r = memory.fit(budget_gb, solve_for="r", config=TINY, **setup)
    assert 1 <= r < 72
    assert peak_gb(r=r, **setup) <= budget_gb < peak_gb(r=r + 1, **setup)


def test_what_is_limited_by_the_model_stops_there():
    assert memory.fit(1000, "seq_len", TINY) == 300
    assert memory.fit(1000, "r", TINY, seq_len=64) == 24  # key and value: two heads of twelve
    assert memory.fit(1000, "r", TINY, seq_len=64, target_modules=["q_proj", "down_proj"]) == 72


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64, 100, None])
@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 7, 63, 64, 65, 1000])
def test_the_search_finds_the_last_value_that_fits(limit, threshold):
    wanted = threshold if limit is None else min(threshold, limit)
    assert _largest(lambda value: value <= threshold, limit) == wanted


def test_the_search_never_asks_beyond_the_limit():
    asked: list[int] = []
    _largest(lambda value: asked.append(value) or True, 300)
    assert max(asked) == 300


def test_the_cheapest_method_gives_up_checkpointing_then_rank_then_bits():
    ladder = [
        (method, checkpointing, peak_gb(method=method, checkpointing=checkpointing, seq_len=64))
        for method in ("full", "lora", "qlora")
        for checkpointing in (False, True)
    ]
    seen = set()
    for budget_gb in sorted({need for *_, need in ladder}, reverse=True):
        first = next((method, checkpointing) for method, checkpointing, need in ladder if need <= budget_gb)
        choice = memory.cheapest_method(budget_gb, TINY, seq_len=64)
        assert (choice.method, choice.checkpointing) == first
        assert choice.estimate.peak_bytes / 1e9 <= budget_gb
        seen.add(first)
    assert len(seen) > 2


def test_an_8b_model_on_a_t4_needs_four_bits():
    budget_gb = memory.get_gpu("t4").usable_bytes / 1e9
    choice = memory.cheapest_method(budget_gb, "llama-3.1-8b", seq_len=1024)
    assert choice.method == "qlora"
    assert str(choice).startswith("qlora") and str(choice).endswith("GB of tensors")


def test_a_budget_that_nothing_fits_names_the_smallest_that_would():
    with pytest.raises(ValueError, match=r"batch_size=1 needs ([\d.]+) GB") as caught:
        memory.fit(1, config="llama-3.1-8b", method="qlora")
    enough = float(str(caught.value).split("needs ")[1].split(" ")[0])
    assert memory.fit(enough, config="llama-3.1-8b", method="qlora") == 1

    with pytest.raises(ValueError, match="the least is qlora with checkpointing, which needs") as caught:
        memory.cheapest_method(24, "llama-3.1-70b")
    enough = float(str(caught.value).split("needs ")[1].split(" ")[0])
    assert memory.cheapest_method(enough, "llama-3.1-70b").method == "qlora"


def test_all_methods_are_offered_for_gpt2():
    found = [memory.cheapest_method(budget, "gpt2", seq_len=512) for budget in (24, 1.5, 0.5)]
    assert [choice.method for choice in found] == ["full", "lora", "qlora"]
    assert memory.fit(1.5, "r", "gpt2", "lora", seq_len=512, target_modules="c_attn") > 1
    assert memory.fit(1000, "r", "gpt2", "qlora", seq_len=512) == 768
    assert "t4" in [each.gpu.name for each in memory.gpus_that_fit(found[1].estimate)]
    with pytest.raises(ValueError, match="the least is qlora with checkpointing"):
        memory.cheapest_method(0.1, "gpt2", seq_len=512)


def test_where_adapters_cannot_go_only_full_fine_tuning_is_offered():
    assert memory.cheapest_method(24, TINY, target_modules="c_attn", seq_len=64).method == "full"
    with pytest.raises(ValueError, match="the least is full with checkpointing"):
        memory.cheapest_method(1e-5, TINY, target_modules="c_attn", seq_len=64)


def test_a_stretched_rope_lets_sequences_be_as_long_as_it_reaches():
    long = copy.deepcopy(TINY)
    long.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    assert memory.fit(1000, "seq_len", long) == 600
    with pytest.raises(ValueError, match="the 600 positions"):
        memory.estimate(long, seq_len=601)


@pytest.mark.parametrize(
    ("error", "call", "words"),
    [
        (ValueError, lambda: memory.fit(-3, config=TINY), "budget_gb=-3: choose .* above 0"),
        (ValueError, lambda: memory.fit(0, config=TINY), "budget_gb=0: choose .* above 0"),
        (ValueError, lambda: memory.fit(float("nan"), config=TINY), "budget_gb=nan"),
        (TypeError, lambda: memory.fit("16GB", config=TINY), "16GB"),
        (TypeError, lambda: memory.fit(True, config=TINY), "True"),
        (TypeError, lambda: memory.fit(16), "needs a model"),
        (ValueError, lambda: memory.fit(16, "layers", TINY), "'layers'.*batch_size, seq_len, r"),
        (TypeError, lambda: memory.fit(16, "batch_size", TINY, batch_size=4), "batch_size=4"),
        (ValueError, lambda: memory.fit(16, "r", TINY, method="full"), "no rank"),
        (ValueError, lambda: memory.fit(16, config=TINY, seq_len=301), "301"),
        (ValueError, lambda: memory.fit(16, config="lama-3.1-8b"), "llama-3.1-8b"),
        (ValueError, lambda: memory.cheapest_method(-1, TINY), "budget_gb=-1: choose"),
        (ValueError, lambda: memory.cheapest_method(16, TINY, seq_len=301), "301"),
        (ValueError, lambda: memory.fit(float("inf"), config=TINY), "budget_gb=inf"),
        (ValueError, lambda: memory.fit(10**400, config=TINY), "at most 1e"),
        (ValueError, lambda: memory.cheapest_method(1e300, TINY), "at most 1e"),
        (TypeError, lambda: memory.fit([16], config=TINY), "\\[16\\]"),
        (TypeError, lambda: memory.cheapest_method(TINY, TINY), "budget_gb=LlamaConfig .* must be a number"),
        (TypeError, lambda: memory.cheapest_method(16, 16), "from a int"),
        (TypeError, lambda: memory.cheapest_method(16, TINY, method="lora"), "method was given"),
        (TypeError, lambda: memory.cheapest_method(16, TINY, checkpointing=True), "checkpointing was given"),
        (ValueError, lambda: memory.fit(16, ["r"], TINY), "cannot solve for"),
        (ValueError, lambda: memory.estimate(TINY, ["lora"]), "unknown method"),
        (ValueError, lambda: memory.estimate(TINY, block_size=64.0), "unknown block_size 64.0"),
        (ValueError, lambda: memory.estimate(TINY, block_size=True), "unknown block_size True"),
        (ValueError, lambda: memory.estimate(TINY, batch_size=10**400), "batch_size=a number of over 40 digits"),
        (TypeError, lambda: memory.estimate(TINY, batch_size=2.0), "batch_size=.* must be an integer"),
        (TypeError, lambda: memory.estimate(TINY, seq_len=True), "seq_len=.* must be an integer"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(error, call, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["batch_size", "seq_len", "r", "accumulation", "chunked_loss"])
def test_numbers_of_numpy_are_kept_as_those_of_python(name):
    setup = memory.Setup(TINY, **({"seq_len": 7} | {name: np.int64(7)}))
    assert type(getattr(setup, name)) is int
    found = memory.estimate(setup.config, **({"seq_len": 7} | {name: np.int64(7)}))
    assert found == memory.estimate(TINY, **({"seq_len": 7} | {name: 7})) and json.dumps(
        [found.peak_bytes, found.trainable_params]
    )


def test_a_budget_may_be_a_number_of_numpy():
    for budget in (np.int64(1), np.float32(0.5)):
        same = float(budget)
        assert memory.fit(budget, config=TINY, seq_len=64) == memory.fit(same, config=TINY, seq_len=64)
        wanted = memory.cheapest_method(same, TINY, seq_len=64)
        assert memory.cheapest_method(budget, TINY, seq_len=64) == wanted
        with pytest.warns(FutureWarning):
            assert memory.cheapest_method(TINY, budget, seq_len=64) == wanted


def test_the_old_order_of_cheapest_method_is_understood_with_a_warning_that_names_the_new_one():
    wanted = memory.cheapest_method(0.02, TINY, seq_len=64)
    with pytest.warns(FutureWarning, match=r"write cheapest_method\(budget_gb, config\)") as warned:
        assert memory.cheapest_method(TINY, 0.02, seq_len=64) == wanted
    assert warned[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_the_new_order_warns_of_nothing():
    memory.cheapest_method(0.02, TINY, seq_len=64)
    memory.cheapest_method(config=TINY, budget_gb=0.02, seq_len=64)


def test_the_options_of_the_keyword_functions_are_the_fields_of_a_setup():
    options = settings.Options.__required_keys__ | settings.Options.__optional_keys__
    assert options == {field.name for field in fields(memory.Setup)} - {"config", "method"}
