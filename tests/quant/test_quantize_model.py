"""Whole models to four bits, in memory and from a checkpoint tensor by tensor; and the report of their errors."""

import contextlib
import json
import math
import weakref
from pathlib import Path

import accelerate
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from lora_lab import lora, models, quant
from lora_lab.disk import shards
from lora_lab.wrappers import named_modules, named_tensors
from tests.helpers.checkpoints import edit, empty
from tests.helpers.memory import LiveBytes
from tests.helpers.models import IDS, assert_same, snapshot


def config(**options) -> LlamaConfig:
    sizes = {
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 100,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**sizes | options)


def llama(dtype: torch.dtype = torch.float32, **options) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(config(**options)).to(dtype).eval()


def written(model: nn.Module, folder: Path, shard: str = "60KB") -> Path:
    model.save_pretrained(folder, max_shard_size=shard)
    return folder


@pytest.fixture
def whole(tmp_path) -> Path:
    """A checkpoint of one file."""
    return written(llama(), tmp_path / "whole", shard="1GB")


# ---- streaming -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("double_quant", [True, False])
def test_a_streamed_model_is_bit_for_bit_the_one_quantized_in_memory(tmp_path, dtype, tied, double_quant):
    dense = llama(dtype, tie_word_embeddings=tied, attention_bias=True)
    folder = written(dense, tmp_path)
    assert len(list(folder.glob("*.safetensors"))) > 2
    options = {"double_quant": double_quant, "codebook": quant.FP4_BNB, "block_size": 32, "skip": ("lm_head", "v_proj")}
    streamed = quant.quantize_model(empty(dense.config), checkpoint=folder, **options)
    loaded = LlamaForCausalLM.from_pretrained(folder).eval()  # unlike .to(bfloat16), it leaves inv_freq in float32
    wanted = quant.quantize_model(loaded, **options)
    assert_same(streamed, snapshot(wanted))
    assert [type(module) for module in streamed.modules()] == [type(module) for module in wanted.modules()]
    assert (streamed.lm_head.weight is streamed.model.embed_tokens.weight) == tied
    assert torch.equal(streamed(IDS).logits, wanted(IDS).logits)


@pytest.mark.slow
def test_the_embedded_base_is_streamed_as_it_is_quantized_in_memory():
    dense, _ = models.load_base("cpu")
    streamed = quant.quantize_model(empty(dense.config), checkpoint=models.base.EMBEDDED_FOLDER)
    assert_same(streamed, snapshot(quant.quantize_model(dense)))


def test_dtype_is_what_each_tensor_is_converted_to_before_it_is_quantized(tmp_path):
    folder = written(llama(), tmp_path)
    streamed = quant.quantize_model(empty(config()), checkpoint=folder, dtype=torch.bfloat16, device="cpu")
    assert_same(streamed, snapshot(quant.quantize_model(llama(torch.bfloat16))))


@pytest.fixture
def tracked(monkeypatch):
    """Every tensor that is read must be dead before the next one is; the list that grows with each read."""
    handed_out: list[weakref.ref] = []
    read = shards.Checkpoint.read

    def tracking(checkpoint: shards.Checkpoint, name: str) -> torch.Tensor:
        assert all(reference() is None for reference in handed_out), f"another tensor lives while {name} is read"
        tensor = read(checkpoint, name)
        handed_out.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(shards.Checkpoint, "read", tracking)
    return handed_out


@pytest.mark.parametrize("tied", [True, False])
def test_one_tensor_is_in_flight_and_the_peak_is_the_quantized_model_and_a_few_tensors(tmp_path, tracked, tied):
    dense = llama(hidden_size=128, intermediate_size=416, num_hidden_layers=8, vocab_size=64, tie_word_embeddings=tied)
    folder = written(dense, tmp_path, shard="300KB")
    model = empty(dense.config)
    quant.quantize(torch.ones(64))  # tables that are made once
    with LiveBytes() as counter:
        quant.quantize_model(model, checkpoint=folder)
    assert len(tracked) == len(dense.state_dict()) - tied
    final = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    largest = max(parameter.nbytes for parameter in dense.parameters())
    total = sum(parameter.nbytes for parameter in dense.parameters())
    assert counter.peak < final + 6 * largest < total / 2


def test_the_model_does_not_change_when_the_file_is_overwritten_later(whole):
    model = quant.quantize_model(empty(config()), checkpoint=whole)
    before, file = snapshot(model), whole / "model.safetensors"
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    assert_same(model, before)


def test_what_is_skipped_stays_as_stored_and_old_rotary_buffers_are_passed_over(whole):
    edit(whole, lambda t: t.update({f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(16) for i in (0, 1)}))
    model = quant.quantize_model(empty(config()), skip=("lm_head", "down_proj"), checkpoint=whole)
    stored = load_file(whole / "model.safetensors")
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, stored["model.layers.1.mlp.down_proj.weight"])
    assert type(model.model.layers[1].mlp.up_proj) is quant.Linear4bit


def test_a_tied_weight_may_be_stored_under_both_names_if_both_are_the_same(whole):
    edit(whole, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    model = quant.quantize_model(empty(config()), checkpoint=whole)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    edit(whole, lambda t: t["lm_head.weight"].add_(1))
    refused(whole, r"embed_tokens.weight and lm_head.weight are one tensor .* but differ")


def test_a_tied_weight_may_be_stored_under_its_second_name_only(whole):
    edit(whole, lambda t: t.update({"lm_head.weight": t.pop("model.embed_tokens.weight")}))
    assert_same(quant.quantize_model(empty(config()), checkpoint=whole), snapshot(quant.quantize_model(llama())))


def test_buffers_in_the_checkpoint_are_filled_and_train_and_grad_flags_stay(tmp_path):
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(33, 20), nn.BatchNorm1d(20), nn.Linear(20, 7)).eval()

    save_file(net().state_dict(), tmp_path / "model.safetensors")
    with accelerate.init_empty_weights(include_buffers=True):
        model = net()
    model[1].weight.requires_grad_(False)
    quant.quantize_model(model, checkpoint=tmp_path)
    assert_same(model, snapshot(quant.quantize_model(net())))
    assert not model[0].training and model[0].bias.requires_grad and not model[1].weight.requires_grad


# ---- what does not fit is refused before a weight is read -----------------------------------------------------------


def refused(folder: Path, words: str, model: nn.Module | None = None, error: type = ValueError, **options) -> None:
    model = empty(config()) if model is None else model
    before = [(name, tensor.device, id(model.get_submodule(name.rpartition(".")[0]))) for name, tensor in state(model)]
    with pytest.raises(error, match=words) as caught:
        quant.quantize_model(model, checkpoint=folder, **options)
    after = [(name, tensor.device, id(model.get_submodule(name.rpartition(".")[0]))) for name, tensor in state(model)]
    assert before == after and not any(isinstance(module, quant.Linear4bit) for module in model.modules())
    assert "\n" not in str(caught.value)


def state(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return list(model.state_dict().items())


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(UP), "lacks .*layers.1.mlp.up_proj.weight; build the model from"),
        (lambda t: t.pop("model.norm.weight"), "lacks model.norm.weight"),
        (lambda t: t.pop("model.embed_tokens.weight"), "lacks model.embed_tokens.weight"),
        (lambda t: [t.pop(key) for key in list(t) if "layers.1" in key], "and 6 more"),
        (lambda t: t.update({"extra.weight": torch.ones(1)}), "no place for extra.weight"),
        (lambda t: t.update({UP: torch.ones(100, 63)}), r"up_proj.weight is stored with shape \(100, 63\), where"),
        (lambda t: t.update({"model.norm.weight": torch.ones(63)}), r"norm.weight is stored with shape \(63,\)"),
        (lambda t: t.update({UP: torch.ones(100, 64).to(torch.float8_e4m3fn)}), "up_proj.weight is stored as F8_E4M3"),
        (lambda t: t.update({UP: torch.ones(100, 64, dtype=torch.int8)}), "stored as I8 .*load_bitsandbytes"),
    ],
)
def test_what_does_not_fit_is_named_before_any_weight_is_read(whole, tracked, change, words):
    refused(edit(whole, change), words)
    assert not tracked


def test_a_prefix_that_differs_is_named_both_ways(whole, tmp_path):
    bare = written(llama().model, tmp_path / "bare")
    refused(bare, r"its names lack the prefix 'model.', so fill model.model with it")
    refused(whole, r"its names begin with 'model.', so build the whole model", empty(config(), LlamaModel))
    whole_model = llama()
    filled = quant.quantize_model(empty(config(), LlamaModel), checkpoint=bare)
    assert_same(filled, snapshot(quant.quantize_model(whole_model.model)))


def test_a_weight_that_is_not_finite_or_of_a_foreign_dtype_is_named(whole):
    edit(whole, lambda t: t[UP][3].fill_(float("nan")))
    refused(whole, "model.layers.1.mlp.up_proj: .*NaN")
    edit(whole, lambda t: t.update({UP: torch.ones(100, 64, dtype=torch.float64)}))
    refused(whole, "model.layers.1.mlp.up_proj: .*float64", error=TypeError)


@pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_dense_tensor_that_is_not_finite_is_named(whole, name, value):
    edit(whole, lambda tensors: tensors[name].view(-1)[1].fill_(value))
    refused(whole, f"{name} in .* holds NaN or infinity")


def test_a_dense_tensor_that_the_dtype_does_not_hold_is_named(whole):
    edit(whole, lambda tensors: tensors["model.norm.weight"][1].fill_(1e30))
    refused(whole, "model.norm.weight in .* has values beyond the range of torch.float16", dtype=torch.float16)
    quant.quantize_model(empty(config()), checkpoint=whole)


def test_a_buffer_may_hold_infinity_but_not_what_only_the_cast_made(tmp_path):
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 4))
        model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        model.register_buffer("scale", torch.tensor([1e30]))
        return model

    model = build()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    quant.quantize_model(filled := build(), skip=(), checkpoint=tmp_path)
    assert torch.equal(filled.mask, model.mask)
    refused(tmp_path, "scale in .* beyond the range", build(), dtype=torch.float16)


def test_a_dtype_that_holds_no_weights_is_refused(whole):
    refused(whole, "dtype=torch.int8 cannot hold weights", dtype=torch.int8)


def test_a_buffer_without_values_is_named(whole):
    with torch.device("meta"):
        model = LlamaForCausalLM(config())
    refused(whole, "inv_freq.*init_empty_weights", model)


def test_damaged_absent_and_foreign_files_are_named(tmp_path, whole):
    (whole / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:-100])
    refused(whole, "model.safetensors is damaged")
    (whole / "model.safetensors").rename(whole / "pytorch_model.bin")
    refused(whole, "no model.safetensors .* can run code", error=FileNotFoundError)
    refused(tmp_path / "nowhere", "nowhere", error=FileNotFoundError)


def test_an_index_that_does_not_agree_with_its_shards_is_refused(tmp_path):
    folder = written(llama(), tmp_path)
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    shard = good["weight_map"][UP]

    def rewritten(**changes: str) -> None:
        index.write_text(json.dumps({"weight_map": good["weight_map"] | changes}))

    rewritten(**{UP: next(file for file in good["weight_map"].values() if file != shard)})
    refused(folder, f"do not belong together, they differ in {UP}")
    rewritten(**{"model.extra": shard})
    refused(folder, "differ in model.extra")
    rewritten(**{UP: "../model.safetensors"})
    refused(folder, "'../model.safetensors' is not the name of a file beside it")
    rewritten()
    (folder / shard).unlink()
    refused(folder, f"lacks the shard {shard}")
    for text, words in [("{", "damaged"), ("[]", "object"), ("{}", "weight_map"), ('{"weight_map": {}}', "weight_map")]:
        index.write_text(text)
        refused(folder, words)


# ---- in memory and streamed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tied_layer_that_is_not_skipped_is_refused_with_the_reason(whole, streamed):
    model = empty(config()) if streamed else llama()
    words = "lm_head.weight is tied: the same tensor is also model.embed_tokens.weight"
    with pytest.raises(ValueError, match=words):
        quant.quantize_model(model, skip=(), checkpoint=whole if streamed else None)
    assert not any(isinstance(module, quant.Linear4bit) for module in model.modules())


@pytest.mark.parametrize("streamed", [False, True])
def test_an_untied_head_can_be_quantized(tmp_path, streamed):
    folder = written(llama(tie_word_embeddings=False), tmp_path)
    model = empty(config(tie_word_embeddings=False)) if streamed else llama(tie_word_embeddings=False)
    quant.quantize_model(model, skip=(), checkpoint=folder if streamed else None)
    assert type(model.lm_head) is quant.Linear4bit


def test_one_layer_in_two_places_is_refused():
    shared = nn.Linear(8, 8)
    with pytest.raises(ValueError, match=r"0.weight is tied: the same tensor is also 1.weight"):
        quant.quantize_model(nn.Sequential(shared, shared))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"skip": "lm_head"}, "one string"),
        (
            {"skip": ("lm_head", "mlp")},
            "skip names 'mlp', which is of type LlamaMLP, no nn.Linear .* are called q_proj, k_proj",
        ),
        ({"skip": [f"{part}_proj" for part in "q k v o gate up down".split()] + ["lm_head"]}, "no nn.Linear"),
        ({"dtype": torch.bfloat16}, "dtype and device are for a checkpoint"),
        ({"device": "cpu"}, "dtype and device are for a checkpoint"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        quant.quantize_model(llama(), **options)


def test_a_model_without_weights_and_without_a_checkpoint_is_refused():
    with pytest.raises(ValueError, match="q_proj was built without weights: .*checkpoint="):
        quant.quantize_model(empty(config()))


def test_a_callback_that_fails_leaves_the_model_as_it_was(whole):
    def broken(name, weight, layer):
        raise RuntimeError("full")

    model = llama()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="full"):
        quant.quantize_model(model, on_layer=broken)
    assert_same(model, before)
    with contextlib.suppress(RuntimeError):
        quant.quantize_model(model := empty(config()), checkpoint=whole, on_layer=broken)
    assert all(parameter.is_meta for parameter in model.parameters())


# ---- the report ----------------------------------------------------------------------------------------------------


def test_the_report_measures_every_layer_against_what_replaced_it():
    dense, report = llama(torch.bfloat16), quant.ErrorReport()
    before = snapshot(dense)
    model = quant.quantize_model(dense, on_layer=report.add)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, quant.Linear4bit)}
    assert [row.name for row in report.rows] == list(layers)
    signal = noise = 0.0
    for row in report.rows:
        weight, restored = before[f"{row.name}.weight"].double(), layers[row.name].dequantize().double()
        signal, noise = signal + weight.norm() ** 2, noise + (weight - restored).norm() ** 2
        assert row.snr_db == pytest.approx(20 * math.log10(weight.norm() / (weight - restored).norm()))
        assert row.snr_db == quant.snr_db(weight, restored) and row.shape == tuple(weight.shape)
        assert row.bits_per_param == layers[row.name].weight_quantized.bits_per_param
    assert report.total.snr_db == pytest.approx(10 * math.log10(signal / noise))
    stored = sum(layer.weight_quantized.nbytes for layer in layers.values())
    assert report.total.bits_per_param == 8 * stored / sum(m.in_features * m.out_features for m in layers.values())


def test_the_report_of_a_streamed_model_is_the_same_and_keeps_no_weight(whole, tracked):
    memory, streamed = quant.ErrorReport(), quant.ErrorReport()
    quant.quantize_model(llama(), on_layer=memory.add)
    quant.quantize_model(empty(config()), checkpoint=whole, on_layer=streamed.add)
    assert streamed == memory and all(reference() is None for reference in tracked)


def test_the_report_shows_the_total_and_then_the_worst_layer_first():
    report = quant.ErrorReport()
    assert str(report) == "no layer has been quantized yet"
    with pytest.raises(ValueError, match="empty"):
        _ = report.total
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(64, 32) for _ in range(25)))
    with torch.no_grad():
        net[7].weight.fill_(0.86)[:, 0] = 1  # NF4 has nothing between 0.72 and 1
    quant.quantize_model(net, on_layer=report.add)
    lines = str(report).splitlines()
    assert lines[0].split() == "layer shape SNR (dB) bits per parameter".split()
    assert lines[1].startswith("all 25 layers") and lines[2].startswith("7 ")
    assert len(lines) == 23 and lines[-1].startswith("… and 5 better ones, up to ")
    assert len(report.table().splitlines()) == 27
    assert len({len(line) for line in lines[:-1]}) == 1


@settings(max_examples=30)
@given(st.lists(st.integers(1, 7), max_size=3), st.floats(-60, 60), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_snr_is_the_ratio_of_energies_in_decibels_whatever_the_scale(shape, decibels, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, error = torch.randn([2, *shape], generator=generator).double()
    error *= weight.norm() / error.norm() * 10 ** (-decibels / 20)
    assert quant.snr_db(scale * weight, scale * (weight + error)) == pytest.approx(decibels, abs=1e-6)


def test_snr_of_exact_values_and_of_zeros():
    zeros, ones = torch.zeros(3, 5), torch.ones(3, 5)
    assert quant.snr_db(ones, ones) == quant.snr_db(zeros, zeros) == math.inf
    assert quant.snr_db(zeros, ones) == -math.inf
    assert quant.snr_db(ones, zeros) == 0
    assert quant.snr_db(torch.full((3,), 1e-30), torch.full((3,), 1.1e-30)) == pytest.approx(20, abs=0.01)


def test_snr_sums_in_float64_without_a_copy_in_float64():
    big = torch.ones(2**21 + 7)
    restored = 1.1 * big
    with LiveBytes() as counter:
        assert quant.snr_db(big, restored) == pytest.approx(20, abs=1e-4)
    assert counter.peak < 2 * big.nbytes + big.nbytes / 2  # both are seen as they are split


@pytest.mark.parametrize(
    ("weight", "restored", "words"),
    [
        (torch.ones(2, 3), torch.ones(3, 2), r"shape \(2, 3\) with shape \(3, 2\)"),
        (torch.tensor([math.nan]), torch.ones(1), "NaN"),
        (torch.ones(1), torch.tensor([math.inf]), "infinity"),
    ],
)
def test_snr_of_what_cannot_be_compared_is_refused(weight, restored, words):
    with pytest.raises(ValueError, match=words):
        quant.snr_db(weight, restored)


def test_dequantize_model_undoes_quantize_model_up_to_the_error(tmp_path):
    dense = llama(torch.bfloat16, attention_bias=True)
    before = snapshot(dense)
    restored = quant.dequantize_model(quant.quantize_model(dense)).state_dict()
    assert list(restored) == list(before)
    for name, tensor in restored.items():
        assert tensor.dtype == torch.bfloat16
        floor = 19 if "proj.weight" in name else math.inf
        assert quant.snr_db(before[name], tensor) >= floor


# ---- layers that another cannot stand in for ------------------------------------------------------------------------


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))


def pruned(model: nn.Module) -> None:
    prune.l1_unstructured(model[2], "weight", 0.5)


def pruned_bias(model: nn.Module) -> None:
    prune.l1_unstructured(model[2], "bias", 0.5)


def hooked(model: nn.Module) -> None:
    model[2].register_forward_hook(lambda *_: None)


def hooked_before(model: nn.Module) -> None:
    model[2].register_forward_pre_hook(lambda *_: None)


def hooked_behind(model: nn.Module) -> None:
    model[2].register_full_backward_hook(lambda *_: None)


def with_its_own_forward(model: nn.Module) -> None:
    model[2].forward = model[2].forward


def without_weight(model: nn.Module) -> None:
    model[2].weight = None


CHANGES = [
    (pruned, "2 has no parameter weight: after pruning .*prune.remove"),
    (pruned_bias, "2 has no parameter bias"),
    (
        lambda m: nn.utils.parametrizations.weight_norm(m[2]),
        "2 is parametrized, so its weight .*remove_parametrizations",
    ),
    (lambda m: nn.utils.parametrizations.spectral_norm(m[2]), "2 is parametrized"),
    (lambda m: m.append(nn.LazyLinear(3)), "3 is lazy and has no weight yet"),
    (hooked, "2 has forward hooks, which the layer in its place"),
    (hooked_before, "2 has forward pre hooks"),
    (hooked_behind, "2 has backward hooks"),
    (with_its_own_forward, "2 has a forward of its own"),
    (without_weight, "2 has no weight"),
    (lambda m: m.append(nn.Linear(4, 0)), r"3: nothing to quantize: .*\(0, 4\)"),
    (lambda m: m.append(nn.Linear(0, 4)), r"3: nothing to quantize: .*\(4, 0\)"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words[:22] for _, words in CHANGES])
def test_a_layer_that_cannot_be_replaced_is_named_and_the_model_is_unchanged(change, words):
    model = small()
    change(model)
    before, modules = list(model.state_dict()), list(model.modules())
    with pytest.raises(ValueError, match=words):
        quant.quantize_model(model)
    assert list(model.state_dict()) == before and list(model.modules()) == modules
    name = words.partition(" ")[0].rstrip(":")
    quant.quantize_model(model, skip=(name,))
    assert type(model[0]) is quant.Linear4bit and model[int(name)] in modules


def test_hooks_are_not_lost_on_the_way_back_or_by_a_merge_either():
    model = quant.quantize_model(small())
    handle = model[2].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="2 has forward hooks"):
        quant.dequantize_model(model)
    assert type(model[0]) is quant.Linear4bit
    handle.remove()
    lora.inject(model, lora.LoRAConfig(r=2, target_modules=["0"]))[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="0 has forward hooks"):
        lora.merge_and_remove(model)
    assert lora.adapters(model)


def test_a_4_bit_layer_in_two_places_is_made_dense_in_both():
    layer = quant.Linear4bit.from_linear(nn.Linear(8, 8))
    dense = quant.dequantize_model(nn.Sequential(layer, nn.ReLU(), layer))
    assert type(dense[0]) is nn.Linear and dense[0] is dense[2]
    with pytest.raises(ValueError, match="in itself"):
        quant.dequantize_model(layer)


def test_a_model_that_is_4_bit_already_is_not_streamed_into(whole):
    with pytest.raises(ValueError, match="q_proj is 4-bit already"):
        quant.quantize_model(quant.quantize_model(llama(), skip=("lm_head", "up_proj")), checkpoint=whole)


@pytest.mark.parametrize("skip", [3, ("lm_head", 3), (None,), ("",)])
def test_names_to_skip_are_strings(skip):
    with pytest.raises(TypeError, match="skip"):
        quant.quantize_model(small(), skip=skip)


# ---- wrapped models --------------------------------------------------------------------------------------------------


def compiled_in_place(model: nn.Module) -> nn.Module:
    """Layers, the head and the body, each compiled in its place."""
    model.lm_head = torch.compile(model.lm_head)
    model.model.layers[0].mlp = torch.compile(model.model.layers[0].mlp)
    model.model.layers[1].mlp.up_proj = torch.compile(model.model.layers[1].mlp.up_proj)
    model.model = torch.compile(model.model)
    return model


WRAPPERS = {
    "compile": torch.compile,
    "parallel": nn.DataParallel,
    "in place": compiled_in_place,
    "twice": lambda model: nn.DataParallel(torch.compile(model)),
    "averaged": AveragedModel,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_is_quantized_and_made_dense_under_its_own_names(wrap):
    plain, wrapped = llama(), wrap(llama())
    reports = quant.ErrorReport(), quant.ErrorReport()
    quant.quantize_model(plain, on_layer=reports[0].add)
    assert quant.quantize_model(wrapped, on_layer=reports[1].add) is wrapped
    assert reports[0].rows == reports[1].rows
    for quantized in (True, False):
        ours, theirs = (dict(named_tensors(model)) for model in (wrapped, plain))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        if quantized:
            for model in (wrapped, plain):
                quant.dequantize_model(model)


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, compiled_in_place])  # an average copies, and unties
def test_a_wrapped_model_is_filled_from_a_checkpoint(whole, wrap):
    wanted = quant.quantize_model(empty(config()), checkpoint=whole)
    wrapped = wrap(empty(config()))
    quant.quantize_model(wrapped, checkpoint=whole)
    ours, theirs = (dict(named_tensors(model)) for model in (wrapped, wanted))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_tied_and_skipped_layers_are_found_through_a_wrapper():
    with pytest.raises(ValueError, match=r"^lm_head.weight is tied: the same tensor is also model.embed_tokens.weight"):
        quant.quantize_model(torch.compile(llama(tie_word_embeddings=True)), skip=())
    model = quant.quantize_model(torch.compile(llama()), skip=("lm_head", "mlp.up_proj"))
    assert {type(m) for name, m in named_modules(model) if name.endswith(("up_proj", "lm_head"))} == {nn.Linear}
    with pytest.raises(ValueError, match="a layer cannot be replaced in itself"):
        quant.quantize_model(torch.compile(nn.Linear(4, 4)))
