"""GPT-2's `Conv1D`, a linear layer with its weight turned round, to four bits and back; bitsandbytes is the oracle."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from bitsandbytes import functional as bnb
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations, prune
from transformers import BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from lora_lab import lora, quant
from lora_lab.wrappers import named_tensors
from lora_lab.quant import linears
from tests.helpers.models import IDS, assert_same, randomise, snapshot

PARTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
NAMES = [f"transformer.h.{i}.{part}" for i in range(2) for part in PARTS]


def config(**options) -> GPT2Config:
    sizes = {"vocab_size": 256, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 16, "n_inner": 160}
    return GPT2Config(**sizes | {"bos_token_id": 0, "eos_token_id": 0} | options)


def gpt2(dtype: torch.dtype = torch.float32, **options) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config(**options))
    for parameter in model.parameters():  # biases start at zero
        nn.init.normal_(parameter, std=0.05)
    return model.to(dtype).eval()


def empty() -> GPT2LMHeadModel:
    with accelerate.init_empty_weights():
        return GPT2LMHeadModel(config()).eval()


def conv1d(d_in: int = 33, d_out: int = 20) -> Conv1D:
    torch.manual_seed(0)
    layer = Conv1D(d_out, d_in)
    nn.init.normal_(layer.bias)
    return layer


def four_bit(model: nn.Module) -> dict[str, quant.Linear4bit]:
    return {name: module for name, module in model.named_modules() if isinstance(module, quant.Linear4bit)}


# ---- one layer -----------------------------------------------------------------------------------------------------


def test_a_conv1d_becomes_the_linear_layer_that_it_computes():
    layer, x = conv1d(), torch.randn(2, 5, 33)
    fine = quant.Linear4bit.from_linear(layer, block_size=16, double_quant=False)
    assert (fine.in_features, fine.out_features) == (33, 20) and fine.bias is layer.bias
    wanted = x.double() @ fine.dequantize(torch.float64).T + layer.bias.double()
    assert torch.allclose(fine(x).double(), wanted, atol=1e-5)
    assert quant.snr_db(layer(x), fine(x)) > 20


@pytest.mark.parametrize("shape", [(33, 20), (7, 7), (64, 3)])
def test_blocks_run_over_the_weight_as_an_nn_linear_keeps_it(shape):
    layer = conv1d(*shape)
    twin = nn.Linear(*shape)
    twin.weight, twin.bias = nn.Parameter(layer.weight.detach().T.contiguous()), layer.bias
    ours, theirs = (quant.Linear4bit.from_linear(each, block_size=32) for each in (layer, twin))
    assert_same(ours, snapshot(theirs))
    assert torch.equal(linears.dense_weight(layer), linears.dense_weight(twin))
    assert linears.dense_shape(layer) == linears.dense_shape(twin) == shape[::-1]


def test_what_a_linear_layer_is():
    class Own(nn.Linear):
        pass

    Theirs = type("Conv1D", (nn.Module,), {})
    for module, exact, derived in [
        (nn.Linear(2, 3), True, True),
        (conv1d(), True, True),
        (Own(2, 3), False, True),
        (type("Sub", (Conv1D,), {})(3, 2), False, True),
        (Theirs(), False, False),
        (nn.Conv1d(2, 3, 1), False, False),
        (nn.Embedding(2, 3), False, False),
        (None, False, False),
    ]:
        assert linears.is_linear(module) == exact and linears.derives_from_linear(module) == derived
        assert linears.is_conv1d(module) == (type(module) is Conv1D)


def test_importing_quant_imports_no_transformers():
    code = "import sys, lora_lab.quant; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- whole models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double_quant", [True, False])
def test_a_gpt2_is_quantized_but_for_its_tied_head_and_what_it_embeds(double_quant):
    dense = gpt2()
    before, report = snapshot(dense), quant.ErrorReport()
    model = quant.quantize_model(dense, double_quant=double_quant, on_layer=report.add)
    assert model is dense and list(four_bit(model)) == NAMES == [row.name for row in report.rows]
    assert model.lm_head.weight is model.transformer.wte.weight and type(model.lm_head) is nn.Linear
    for row, layer in zip(report.rows, four_bit(model).values()):
        weight = before[f"{row.name}.weight"].T
        assert row.shape == tuple(weight.shape) == (layer.out_features, layer.in_features)
        assert row.snr_db == pytest.approx(quant.snr_db(weight, layer.dequantize())) and row.snr_db > 19
    assert quant.snr_db(gpt2()(IDS).logits, model(IDS).logits) > 15
    with pytest.raises(ValueError, match="lm_head.weight is tied: the same tensor is also transformer.wte.weight"):
        quant.quantize_model(gpt2(), skip=())


@pytest.mark.parametrize("made", ["in memory", "streamed", "copied", "bitsandbytes"])
def test_a_gpt2_that_is_made_dense_again_is_a_gpt2_of_its_class(made, tmp_path):
    """`attn.c_proj` is square: were it an `nn.Linear`, a fresh model would load it turned round without a word."""
    if made == "streamed":
        gpt2().save_pretrained(tmp_path)
        model = quant.quantize_model(empty(), checkpoint=tmp_path)
    else:
        model = quant.quantize_model(gpt2())
    if made == "copied":
        model = copy.deepcopy(model)
    if made == "bitsandbytes":
        model = quant.load_bitsandbytes(empty(), quant.save_bitsandbytes(model, tmp_path))
    assert all(layer.conv1d and "conv1d=True" in repr(layer) for layer in four_bit(model).values())
    logits, layers = model(IDS).logits, four_bit(model)
    dense = quant.dequantize_model(model)
    assert torch.allclose(dense(IDS).logits, logits, atol=1e-5)
    for name, layer in layers.items():
        again = dense.get_submodule(name)
        assert type(again) is Conv1D and (again.nx, again.nf) == (layer.in_features, layer.out_features)
        assert torch.equal(again.weight, layer.dequantize().T) and again.weight.is_contiguous()
        assert again.bias is layer.bias and not again.weight.requires_grad
    fresh = GPT2LMHeadModel(config()).eval()
    fresh.load_state_dict(dense.state_dict())
    assert torch.equal(fresh(IDS).logits, dense(IDS).logits)


def test_an_nn_linear_is_made_dense_as_one():
    layer = quant.Linear4bit.from_linear(nn.Linear(33, 20))
    assert not layer.conv1d and "conv1d" not in repr(layer)
    assert type(quant.dequantize_model(nn.Sequential(layer))[0]) is nn.Linear


@pytest.mark.filterwarnings("ignore:rounding back to four bits")
@pytest.mark.parametrize("requantize", [False, True])
def test_a_merged_gpt2_in_four_bits_loads_into_a_fresh_one(requantize):
    targets = ("attn.c_proj", "c_fc", "c_attn")  # square, and not
    model = randomise(lora.inject(quant.quantize_model(gpt2()), lora.LoRAConfig(r=4, target_modules=targets)))
    logits = model(IDS).logits
    merged = quant.dequantize_model(lora.merge_and_remove(model, requantize=requantize))
    fresh = GPT2LMHeadModel(config()).eval()
    fresh.load_state_dict(merged.state_dict())
    assert torch.equal(fresh(IDS).logits, merged(IDS).logits)
    assert requantize or torch.allclose(fresh(IDS).logits, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_streamed_gpt2_is_bit_for_bit_the_one_quantized_in_memory(tmp_path, dtype):
    gpt2().save_pretrained(tmp_path, max_shard_size="60KB")
    reports = quant.ErrorReport(), quant.ErrorReport()
    streamed = quant.quantize_model(empty(), checkpoint=tmp_path, dtype=dtype, on_layer=reports[0].add)
    wanted = quant.quantize_model(gpt2(dtype or torch.float32), on_layer=reports[1].add)
    assert_same(streamed, snapshot(wanted))
    assert reports[0] == reports[1] and len(reports[0].rows) == 8
    assert torch.equal(streamed(IDS).logits, wanted(IDS).logits)


def test_a_checkpoint_of_the_body_with_old_masks_is_streamed_into_the_body(tmp_path):
    body = {name.removeprefix("transformer."): t for name, t in named_tensors(gpt2()) if name.startswith("transformer")}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 16, 16).tril() for i in range(2)}
    save_file({name: tensor.detach() for name, tensor in body.items()} | masks, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="its names lack the prefix 'transformer.', so fill model.transformer"):
        quant.quantize_model(empty(), checkpoint=tmp_path)
    model = empty()
    model.tie_weights()
    quant.quantize_model(model.transformer, checkpoint=tmp_path)
    assert_same(model.transformer, snapshot(quant.quantize_model(gpt2().transformer)))


def test_a_stored_weight_of_the_wrong_way_round_is_refused(tmp_path):
    gpt2().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    key = f"{NAMES[0]}.weight"
    tensors[key] = tensors[key].T.contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"c_attn.weight is stored with shape \(192, 64\), where \(64, 192\)"):
        quant.quantize_model(empty(), checkpoint=tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "mlp.c_fc has no parameter weight: after pruning"),
        (parametrizations.weight_norm, "mlp.c_fc is parametrized"),
        (lambda layer: layer.register_forward_hook(lambda *_: None), "mlp.c_fc has forward hooks"),
        (lambda layer: layer.weight.data.fill_(float("nan")), "mlp.c_fc: .*NaN"),
    ],
)
def test_a_conv1d_that_cannot_be_replaced_is_named_and_the_model_is_unchanged(change, words):
    model = gpt2()
    change(model.transformer.h[1].mlp.c_fc)
    modules = list(model.modules())
    with pytest.raises(ValueError, match=f"transformer.h.1.{words}"):
        quant.quantize_model(model)
    assert list(model.modules()) == modules
    quant.quantize_model(model, skip=("lm_head", "c_fc"))
    assert list(four_bit(model)) == [name for name in NAMES if "c_fc" not in name]


def test_a_conv1d_alone_cannot_be_replaced_in_itself():
    with pytest.raises(ValueError, match="a layer cannot be replaced in itself"):
        quant.quantize_model(conv1d())


# ---- bitsandbytes --------------------------------------------------------------------------------------------------


def theirs(folder: Path, **options) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(folder, **options).train()


def dequantized(model: nn.Module) -> dict[str, torch.Tensor]:
    """As one row, because of rows that are no whole blocks bitsandbytes restores other values on CPUs with AVX-512."""
    layers = {name: m.weight for name, m in model.named_modules() if hasattr(getattr(m, "weight", 0), "quant_state")}
    restored = {}
    for name, weight in layers.items():
        state, shape = copy.copy(weight.quant_state), weight.quant_state.shape
        state.shape = torch.Size((1, shape.numel()))
        restored[name] = bnb.dequantize_4bit(weight.data, state).view(shape)
    return restored


@pytest.mark.parametrize(("kind", "book"), [("nf4", quant.NF4), ("fp4", quant.FP4_BNB)])
@pytest.mark.parametrize("nested", [True, False])
def test_a_gpt2_of_bitsandbytes_has_our_codes_and_goes_both_ways(tmp_path, kind, book, nested):
    gpt2().save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=nested)
    theirs(tmp_path / "dense", quantization_config=how).save_pretrained(tmp_path / "theirs")

    # read: what they quantized is what we quantize, code for code
    read = quant.load_bitsandbytes(empty(), tmp_path / "theirs")
    ours = quant.quantize_model(gpt2(), codebook=book, double_quant=nested)
    assert list(four_bit(read)) == list(four_bit(ours)) == NAMES
    for name, layer in four_bit(read).items():
        assert torch.equal(layer.packed, four_bit(ours)[name].packed)
        assert torch.equal(layer.bias, four_bit(ours)[name].bias)
    assert read.lm_head.weight is read.transformer.wte.weight

    # written: the same names, and they read what we hold
    quant.save_bitsandbytes(ours, tmp_path / "ours")
    stored = [load_file(tmp_path / each / "model.safetensors") for each in ("theirs", "ours")]
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(stored[0][f"{name}.weight"], stored[1][f"{name}.weight"]) for name in NAMES)
    held = dequantized(theirs(tmp_path / "ours"))
    assert list(held) == NAMES
    assert all(torch.equal(held[name], layer.dequantize()) for name, layer in four_bit(ours).items())
    assert_same(quant.load_bitsandbytes(empty(), tmp_path / "ours"), snapshot(ours))
    skipped = json.loads((tmp_path / "ours" / "config.json").read_text())["quantization_config"]
    assert skipped["llm_int8_skip_modules"] == ["lm_head"]


def test_a_linear_layer_where_transformers_has_a_conv1d_is_not_saved_turned_round(tmp_path):
    """`c_proj` is square: nobody who reads it could tell."""
    model = quant.quantize_model(gpt2())
    attention = model.transformer.h[1].attn
    for part, layer in four_bit(attention).items():  # as one would by hand
        attention.set_submodule(part, linears.frozen_linear(layer.dequantize(), layer.bias))
    with pytest.raises(ValueError, match=r"transformer.h.1.attn.c_attn, .*c_proj is nn.Linear where GPT2LMHeadModel"):
        quant.save_bitsandbytes(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    quant.save_bitsandbytes(quant.quantize_model(model), tmp_path / "saved")
