import copy
import gc
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import GPT2Config, LlamaConfig, MixtralConfig, Qwen2Config, masking_utils

from lora_lab import lora, memory
from lora_lab.memory.settings import ATTENTIONS, METHODS, OPTIMIZERS, PRECISIONS
from lora_lab.memory.step import _chunked_loss, build_model
from lora_lab.memory.storages import Storages, weights_by_component
from lora_lab.quant import Linear4bit

pytestmark = pytest.mark.usefixtures("one_thread", "readable_path")

LLAMA = LlamaConfig(
    vocab_size=1501, hidden_size=192, intermediate_size=500, num_hidden_layers=2, num_attention_heads=6,
    num_key_value_heads=6, max_position_embeddings=512,
)  # fmt: skip
QWEN = Qwen2Config(
    vocab_size=2003, hidden_size=224, intermediate_size=612, num_hidden_layers=2, num_attention_heads=7,
    num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True,
)  # fmt: skip
GPT2 = GPT2Config(
    vocab_size=2503, n_embd=160, n_layer=3, n_head=5, n_positions=256, bos_token_id=None, eos_token_id=None
)


def step_of(config, **options) -> tuple:
    """One that the simulated and the measured step are compared on."""
    return config, options


QUICK = [
    step_of(LLAMA, method="lora", batch_size=2, seq_len=130),
    step_of(LLAMA, method="qlora", precision="bf16", checkpointing=True, seq_len=200),
    step_of(QWEN, method="full", checkpointing=True, batch_size=3, seq_len=70),
    step_of(GPT2, method="full", precision="fp32", batch_size=2, seq_len=90),
    step_of(GPT2, method="lora", target_modules="c_attn", batch_size=2, seq_len=150),
    step_of(GPT2, method="qlora", precision="bf16", checkpointing=True, batch_size=2, seq_len=150),
]
SLOW = [
    *(
        step_of(config, method=method, precision=precision, checkpointing=checkpointing, batch_size=batch, seq_len=150)
        for config, batch in ((LLAMA, 2), (QWEN, 1))
        for method in METHODS
        for precision, checkpointing in (("fp32", True), ("mixed", False), ("bf16", False))
    ),
    *(step_of(GPT2, method="full", precision=precision, checkpointing=True, seq_len=180) for precision in PRECISIONS),
    step_of(QWEN, method="qlora", upcast_frozen=True, batch_size=2, seq_len=130),
    step_of(QWEN, method="qlora", upcast_frozen=True, checkpointing=True, seq_len=130),
    step_of(QWEN, method="qlora", double_quant=False, block_size=256, target_modules=("q_proj", "v_proj"), seq_len=90),
    step_of(LLAMA, method="lora", adapter_dtype="bf16", target_modules="down_proj", batch_size=3, seq_len=150),
    step_of(LLAMA, method="lora", accumulation=3, keep_outputs=True, batch_size=2, seq_len=90),
    step_of(QWEN, method="full", accumulation=2, precision="fp32", batch_size=2, seq_len=90),
    step_of(LLAMA, method="lora", attention="eager", batch_size=2, seq_len=170),
    step_of(LLAMA, method="lora", chunked_loss=100, batch_size=2, seq_len=170),
    step_of(QWEN, method="full", chunked_loss=64, checkpointing=True, batch_size=2, seq_len=170),
    step_of(LLAMA, method="full", optimizer="sgd", batch_size=2, seq_len=90),
    step_of(QWEN, method="full", optimizer="adafactor", batch_size=2, seq_len=90),
    step_of(LLAMA, method="lora", r=64, optimizer="adafactor", checkpointing=True, batch_size=2, seq_len=150),
]


def named(case) -> str:
    config, options = case
    return "-".join([config.model_type, *(f"{name}={value}" for name, value in options.items() if name != "seq_len")])


def compare(config, options) -> None:
    options = {**options, "device": "cpu"}  # where the step that is measured runs
    simulated = memory.simulate(config, **options)
    measured = memory.measure(*memory.real_step(memory.Setup(config, **options)))
    assert simulated.peak_phase == measured.peak_phase
    assert simulated.trainable_params == measured.trainable_params
    for phase, measured_bytes in measured.phases.items():
        assert abs(simulated.phases[phase] / measured_bytes - 1) < 0.01, (phase, simulated.phases, measured.phases)


@pytest.mark.parametrize("case", QUICK, ids=named)
def test_each_phase_of_the_simulated_step_is_within_one_percent_of_the_measured_one(case):
    compare(*case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=named)
def test_each_phase_is_within_one_percent_over_methods_precisions_and_options(case):
    compare(*case)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (QWEN, {"method": "full"}),
        (LLAMA, {"method": "full", "precision": "bf16"}),
        (QWEN, {"method": "lora", "r": 5}),
        (LLAMA, {"method": "qlora", "target_modules": ("k_proj", "down_proj")}),
        (LLAMA, {"method": "qlora", "double_quant": False, "block_size": 128, "precision": "bf16"}),
        (QWEN, {"method": "qlora", "upcast_frozen": True}),
        (GPT2, {"method": "lora", "target_modules": "c_proj"}),
        (GPT2, {"method": "qlora", "double_quant": False}),
    ],
)
def test_what_is_there_at_rest_is_exact_to_the_byte(config, options):
    estimate = memory.simulate(config, seq_len=7, **options)
    at_rest = dict(zip(memory.COMPONENTS, estimate.timeline[0].bytes))
    setup = memory.Setup(config, seq_len=7, **options)
    model, _ = memory.real_step(setup)
    for component, tensors in weights_by_component(model).items():
        assert at_rest[component] == sum(tensor.nbytes for tensor in tensors), component
    trained = [p for p in model.parameters() if p.requires_grad]
    numel = sum(p.numel() for p in trained)
    assert estimate.trainable_params == numel
    assert at_rest["optimizer states"] == 2 * numel * setup.trainable_dtype.itemsize + 4 * len(trained)  # + the steps
    assert at_rest["activations"] == 2 * 8 * 7  # ids and labels
    assert at_rest["gradients"] == at_rest["logits and loss"] == at_rest["workspace"] == 0
    end_of_backward = [moment for moment in estimate.timeline if moment.phase == "optimizer step"][0]
    assert dict(zip(memory.COMPONENTS, end_of_backward.bytes))["gradients"] == numel * setup.trainable_dtype.itemsize


@pytest.mark.parametrize(("precision", "of_a_parameter"), [("mixed", 16), ("fp32", 16), ("bf16", 8)])
def test_full_fine_tuning_with_adamw_needs_16_bytes_a_parameter_and_8_in_pure_bf16(precision, of_a_parameter):
    estimate = memory.simulate(LLAMA, "full", precision=precision, seq_len=1)
    assert estimate.phases["optimizer step"] == pytest.approx(of_a_parameter * estimate.trainable_params, rel=1e-3)


def test_a_step_ends_with_what_it_began_with_and_passes_all_phases_in_order():
    for options in (
        {"method": "full"},
        {"method": "qlora", "checkpointing": True, "accumulation": 2, "chunked_loss": 9},
    ):
        timeline = memory.simulate(QWEN, seq_len=20, **options).timeline
        assert timeline[0] == timeline[-1]
        order = [moment.phase for moment in timeline]
        assert list(dict.fromkeys(order)) == list(memory.PHASES)


def test_the_estimate_is_the_peak_of_its_timeline():
    estimate = memory.simulate(LLAMA, "lora", seq_len=33)
    assert estimate.peak_bytes == max(moment.total for moment in estimate.timeline)
    assert sum(estimate.components.values()) == estimate.peak_bytes == estimate.phases[estimate.peak_phase]


def test_kept_outputs_cost_the_logits_during_the_backward_pass():
    sizes = {"batch_size": 2, "seq_len": 50}
    freed, kept = (memory.simulate(LLAMA, "lora", keep_outputs=keep, **sizes).phases for keep in (False, True))
    assert kept["optimizer step"] - freed["optimizer step"] == 2 * LLAMA.vocab_size * 100


def test_upcasting_the_frozen_weights_costs_two_bytes_for_each_that_is_not_4_bit():
    plain, upcast = (memory.simulate(QWEN, "qlora", seq_len=5, upcast_frozen=on) for on in (False, True))
    dense = sum(p.numel() for p in weights_by_component(memory.real_step(memory.Setup(QWEN, "qlora", seq_len=5))[0])
                ["frozen weights"] if p.dtype == torch.bfloat16)  # fmt: skip
    assert dense > QWEN.vocab_size * QWEN.hidden_size
    assert upcast.phases["at rest"] - plain.phases["at rest"] == 2 * dense


def test_checkpointing_keeps_one_hidden_state_a_layer():
    def forward(layers: int) -> int:
        config = copy.deepcopy(LLAMA)
        config.num_hidden_layers = layers
        estimate = memory.simulate(config, "full", precision="bf16", optimizer="sgd", checkpointing=True, seq_len=100)
        return next(moment for moment in estimate.timeline if moment.phase == "loss").bytes[5]

    assert memory.COMPONENTS[5] == "activations"
    assert forward(4) - forward(2) == 2 * 2 * 100 * LLAMA.hidden_size


def test_4_bit_weights_are_dequantized_whole_for_a_moment():
    wide = copy.deepcopy(LLAMA)
    wide.intermediate_size, wide.num_hidden_layers = 19_968, 1  # 192 x 19,968 values, in whole blocks: several slabs
    estimate = memory.simulate(wide, "qlora", seq_len=3)
    forward = [dict(zip(memory.COMPONENTS, m.bytes)) for m in estimate.timeline if m.phase == "forward"]
    assert 2 * 192 * 19_968 <= max(moment["workspace"] for moment in forward) < 2.3 * 192 * 19_968
    assert forward[-1]["workspace"] == 0


def test_a_4_bit_base_keeps_the_same_activations_as_a_16_bit_one():
    kept = []
    for method in ("lora", "qlora"):
        timeline = memory.simulate(LLAMA, method, target_modules="q_proj", seq_len=100).timeline
        kept.append(max(dict(zip(memory.COMPONENTS, m.bytes))["activations"] for m in timeline))
    assert kept[0] == kept[1] > 2 * 2 * 100 * (3 * LLAMA.intermediate_size + 8 * LLAMA.hidden_size)


def test_adapters_on_the_head_alone_have_no_backward_pass_through_the_layers():
    estimate = memory.simulate(LLAMA, "lora", target_modules="lm_head", seq_len=30)
    assert "backward" not in estimate.phases
    assert estimate.components["activations"] < memory.simulate(LLAMA, seq_len=30).components["activations"]


def test_an_8b_model_is_a_matter_of_seconds_and_its_parts_are_the_published_ones():
    config = LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=2, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=8192,
    )  # fmt: skip
    estimate = memory.simulate(config, "qlora", checkpointing=True, seq_len=4096)
    tokens_times_vocab = 4096 * 128256
    assert estimate.trainable_params == 2 * 41_943_040 // 32
    assert estimate.peak_phase == "loss"
    assert estimate.components["logits and loss"] == pytest.approx(12 * tokens_times_vocab, rel=0.02)


def test_nothing_outside_has_changed_afterwards_even_if_the_model_cannot_be_simulated(monkeypatch):
    before = masking_utils.is_tracing, LLAMA.to_dict(), torch.get_rng_state()
    memory.simulate(LLAMA, "qlora", attention="eager", seq_len=4)
    needs_values = MixtralConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2, experts_implementation="eager",
    )  # fmt: skip
    with pytest.raises(ValueError, match="MixtralForCausalLM does not run on fake tensors .* memory.estimate"):
        memory.simulate(needs_values, "lora", seq_len=4)
    after = masking_utils.is_tracing, LLAMA.to_dict(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert type(torch.ones(1)) is torch.Tensor


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "dora"}, ValueError, r"method 'dora': choose one of full, lora, qlora"),
        ({"optimizer": "lion"}, ValueError, "unknown optimizer 'lion'"),
        ({"precision": "fp8"}, ValueError, "unknown precision 'fp8': .*choose one of mixed, bf16, fp16, fp32"),
        ({"attention": "flash"}, ValueError, "unknown attention"),
        ({"offload": "disk"}, ValueError, "unknown offload"),
        ({"block_size": 100}, ValueError, "unknown block_size 100"),
        ({"adapter_dtype": "fp8"}, ValueError, "unknown adapter_dtype"),
        ({"batch_size": 0}, ValueError, "batch_size=0: choose from 1 to"),
        ({"seq_len": -3}, ValueError, "seq_len=-3"),
        ({"accumulation": 2.0}, TypeError, "accumulation=2.0 must be an integer"),
        ({"batch_size": True}, TypeError, "batch_size=.* must be an integer"),
        ({"chunked_loss": 0}, ValueError, "chunked_loss=0"),
        ({"checkpointing": 1}, TypeError, "checkpointing=1 must be True or False"),
        ({"r": 0}, ValueError, "r=0"),
        ({"r": 1.5}, TypeError, "r=.* must be an integer"),
        ({"target_modules": ()}, ValueError, "target_modules"),
        ({"seq_len": 513}, ValueError, "seq_len=513 is longer than the 512 positions .* at most 512"),
        ({"upcast_frozen": True}, ValueError, "upcast_frozen=True .*method='lora'"),
        ({"method": "qlora", "precision": "bf16", "upcast_frozen": True}, ValueError, "upcast_frozen=True .*'bf16'"),
        ({"method": "full", "adapter_dtype": "bf16"}, ValueError, "adapter_dtype='bf16' with method='full'"),
        ({"keep_outputs": True, "chunked_loss": 8}, ValueError, "keep_outputs=True .* chunked_loss=8"),
        ({"ranks": 3}, TypeError, "ranks"),
        # what a Setup can say, but a step cannot do:
        ({"optimizer": "paged_adamw8bit"}, ValueError, "'paged_adamw8bit' is not one of torch's.*memory.estimate"),
        ({"offload": "weights"}, ValueError, "offload='weights' needs a second device.*memory.estimate"),
        ({"target_modules": "proj"}, ValueError, "'proj' matches no module"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(options, error, words):
    with pytest.raises(error, match=words) as caught:
        memory.simulate(LLAMA, **{"seq_len": 8, **options})
    assert len(str(caught.value).splitlines()) == 1


def test_a_setup_knows_a_preset_by_its_name():
    assert memory.Setup("Llama-3.1-8B").sizes.layers == 32


@given(
    method=st.sampled_from(METHODS), precision=st.sampled_from(PRECISIONS), upcast_frozen=st.booleans(),
    adapter_dtype=st.sampled_from([None, "fp32", "bf16"]), optimizer=st.sampled_from(OPTIMIZERS),
    attention=st.sampled_from(ATTENTIONS),
)  # fmt: skip
@settings(max_examples=150)
def test_every_setup_is_refused_or_says_consistently_where_16_bits_are_enough(**options):
    try:
        setup = memory.Setup(LLAMA, seq_len=8, **options)
    except ValueError:
        assert options["upcast_frozen"] or options["adapter_dtype"]
        return
    widths = [dtype.itemsize for dtype in (setup.compute_dtype, setup.weight_dtype)]
    assert setup.autocast == (widths[0] < widths[1])
    assert setup.adapted or setup.trainable_dtype == setup.weight_dtype
    if setup.precision in ("bf16", "fp32"):
        assert widths[0] == widths[1] == (4 if setup.precision == "fp32" else 2)


@pytest.mark.parametrize(("precision", "width"), [("mixed", 4), ("fp16", 2)])
def test_eager_attention_on_cuda_takes_one_tensor_of_the_scores_more_than_on_a_cpu(precision, width):
    """Simulated as in closed form: few logits at a time and repeated layers leave the peak to a layer's attention."""
    setup = {"attention": "eager", "checkpointing": True, "chunked_loss": 16, "batch_size": 2, "seq_len": 250}
    for count in (memory.simulate, memory.estimate):
        on_cuda, on_cpu = (
            count(LLAMA, "lora", precision=precision, device=device, **setup) for device in ("cuda", "cpu")
        )
        scores = 2 * LLAMA.num_attention_heads * 250**2
        assert on_cuda.peak_phase == "backward" and on_cuda.peak_bytes - on_cpu.peak_bytes == width * scores
    without = {**setup, "attention": "sdpa"}
    assert len({memory.simulate(LLAMA, "lora", device=each, **without).peak_bytes for each in ("cuda", "cpu")}) == 1


def test_storages_count_shared_bytes_once_and_forget_the_dead():
    with Storages() as storages:
        x = torch.zeros(3, 5)
        y = x.view(15)[2:].t()
        assert storages.bytes == {"all": 60}
        y += 1
        z = y * 2
        assert storages.bytes == {"all": 60 + z.untyped_storage().nbytes()}
        storages.hold([z], "kept")
        assert storages.bytes == {"all": 60, "kept": 4 * 13}
        del x
        assert storages.bytes["all"] == 60  # y is a view of it
        del y, z
        gc.collect()
        assert storages.bytes == {"all": 0, "kept": 0}


def test_constants_are_told_from_weights_and_tied_weights_count_once():
    model, _ = memory.real_step(memory.Setup(QWEN, "qlora", r=3, seq_len=5))
    found = weights_by_component(model)
    tensors = [tensor for tensors in found.values() for tensor in tensors]
    assert len({t.data_ptr() for t in tensors}) == len(tensors) == len([*model.parameters(), *model.buffers()])
    assert sum(p.numel() for p in found["trainable weights"]) == lora.count_parameters(model).trainable
    blocks = sum(math.ceil(m.in_features * m.out_features / 64) for m in model.modules() if isinstance(m, Linear4bit))
    assert blocks < sum(t.nbytes for t in found["quantization constants"]) < 1.05 * blocks


def parts(**changes) -> dict:
    return {
        "how": "simulated", "known_error": "none", "peak_bytes": 3_000_000_000, "peak_phase": "loss",
        "phases": {"forward": 10, "loss": 3_000_000_000},
        "components": {"activations": 1_000_000_000, "logits and loss": 2_000_000_000}, "trainable_params": 7,
        **changes,
    }  # fmt: skip


def test_an_estimate_that_contradicts_itself_is_refused():
    memory.MemoryEstimate(**parts())
    for changes in (
        {"components": {"activations": 3}},
        {"peak_phase": "forward"},
        {"peak_phase": "backward"},
        {"phases": {"loss": 3_000_000_000, "backward": 4_000_000_000}},
    ):
        with pytest.raises(ValueError, match="peak"):
            memory.MemoryEstimate(**parts(**changes))


def test_the_table_names_the_units_the_phase_the_known_error_and_the_way():
    text = memory.MemoryEstimate(**parts(process={"reserved by the allocator": 3_221_225_472})).table()
    assert "3.000 GB (2.794 GiB)" in text.splitlines()[0]
    assert "loss" in text.splitlines()[0] and "Simulated" in text.splitlines()[0]
    assert text.splitlines()[1] == "Known error: none"
    rows = {line.rsplit(maxsplit=3)[0]: line.split()[-3:] for line in text.splitlines() if line.endswith("%")}
    assert rows["logits and loss"] == ["2.000", "1.863", "66.7%"]
    assert [line.split()[-2:] for line in text.splitlines() if line.startswith("reserved")] == [["3.221", "3.000"]]
    small = memory.MemoryEstimate(**parts(peak_bytes=3, phases={"loss": 3}, components={"activations": 3})).table()
    assert " MB " in small and " MiB" in small and "GB" not in small
    assert all(line == line.rstrip() for line in text.splitlines())


def test_accumulation_takes_the_mean_over_its_passes():
    weights = []
    for passes in (1, 3):  # of one and the same batch
        setup = memory.Setup(QWEN, "full", precision="fp32", optimizer="sgd", seq_len=12, accumulation=passes)
        model, step = memory.real_step(setup)
        step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    before = torch.cat([p.detach().flatten() for p in memory.real_step(setup)[0].parameters()])
    assert (weights[0] - before).norm() > 0
    assert (weights[0] - weights[1]).norm() < 1e-3 * (weights[0] - before).norm()


def test_the_chunked_loss_is_the_models_own():
    setup = memory.Setup(QWEN, "full", precision="fp32", seq_len=31, batch_size=2)
    torch.manual_seed(0)
    model = build_model(setup, "cpu")
    nn.init.normal_(model.base_model.embed_tokens.weight)  # far from uniform
    ids = torch.randint(0, QWEN.vocab_size, (2, 31))
    batch = {"input_ids": ids, "labels": ids}
    wanted = model(**batch, use_cache=False).loss
    for size in (1, 7, 62, 1000):
        loss = _chunked_loss(model, batch, size)
        assert torch.allclose(loss, wanted, rtol=1e-5)
    gradients = []
    for each in (wanted, loss):
        each.backward()
        gradients.append(model.base_model.embed_tokens.weight.grad.clone())
        model.zero_grad()
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)
