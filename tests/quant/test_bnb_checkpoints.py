"""4-bit checkpoints of transformers and bitsandbytes, both ways, with the real libraries as the oracle.

bitsandbytes is kept in train mode and away from rows that are not whole blocks: in eval mode it repacks its weights for
good on CPUs with AVX-512-BF16, and on AVX-512 it dequantizes such rows wrongly.
"""

import json
from pathlib import Path

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.pytorch_utils import Conv1D

from lora_lab import lora, quant
from lora_lab.disk import shards
from lora_lab.quant import bnb_format
from lora_lab.wrappers import named_tensors
from tests.helpers.checkpoints import edit, empty
from tests.helpers.models import IDS, assert_same, snapshot

GPT2_PARTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
KINDS = {"nf4": quant.NF4, "fp4": quant.FP4_BNB}


def llama(dtype: torch.dtype = torch.bfloat16, **options) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "dtype": dtype,
    }
    model = LlamaForCausalLM._from_config(LlamaConfig(**sizes | options))
    for parameter in model.parameters():  # biases start at zero
        nn.init.normal_(parameter, std=0.05)
    return model.eval()


def theirs(folder: Path, **options) -> nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, **options).train()


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every 4-bit weight as bitsandbytes dequantizes it."""
    layers = {name: m.weight for name, m in model.named_modules() if hasattr(getattr(m, "weight", 0), "quant_state")}
    return {name: bnb.dequantize_4bit(weight.data, weight.quant_state) for name, weight in layers.items()}


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], but: str = "no such key") -> None:
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        assert tensor.dtype == other[key].dtype and tensor.shape == other[key].shape, key
        assert but in key or torch.equal(tensor, other[key]), key


CASES = {
    "nf4 nested bf16": ("nf4", True, torch.bfloat16, torch.bfloat16, {}),
    "fp4 plain fp32": ("fp4", False, torch.float32, torch.float32, {"tie_word_embeddings": False}),
    "nf4 plain fp16": ("nf4", False, torch.float16, torch.float32, {"attention_bias": False}),
    "fp4 nested bf16": ("fp4", True, torch.bfloat16, torch.float32, {}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """kind, nested, the dense model, a folder with it, and one with what bitsandbytes made of it."""
    kind, nested, dtype, compute, options = CASES[request.param]
    folder, dense = tmp_path_factory.mktemp("bnb"), llama(dtype, **options)
    dense.save_pretrained(folder / "dense")
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=nested,
        bnb_4bit_compute_dtype=compute,
    )
    theirs(folder / "dense", quantization_config=how).save_pretrained(folder / "theirs")
    return kind, nested, compute, dense, folder


def test_what_bitsandbytes_wrote_is_read_bit_for_bit(case):
    kind, nested, compute, _, folder = case
    model = quant.load_bitsandbytes(empty(folder / "theirs"), folder / "theirs")
    oracle, tensors = theirs(folder / "theirs"), stored(folder / "theirs")
    wanted = weights_of(oracle)
    assert len(wanted) == 14
    for name, weight in wanted.items():
        layer = model.get_submodule(name)
        assert type(layer) is quant.Linear4bit and layer.codebook == KINDS[kind] and layer.double_quant == nested
        assert layer.compute_dtype == compute and layer.weight_dtype == weight.dtype
        assert torch.equal(layer.dequantize(), weight)
        assert torch.equal(layer.absmax_codes if nested else layer.absmax, tensors[f"{name}.weight.absmax"])
        if nested:
            assert torch.equal(layer.absmax_scale, tensors[f"{name}.weight.nested_absmax"])
        if kind == "nf4":
            assert torch.equal(layer.packed, tensors[f"{name}.weight"].flatten())
    logits, theirs_logits = model(IDS % 96).logits.double(), oracle(IDS % 96).logits.double()
    assert (logits - theirs_logits).norm() / theirs_logits.norm() < (1e-6 if compute == torch.float32 else 1e-2)


def test_what_bitsandbytes_wrote_is_written_again_byte_for_byte(case, tmp_path):
    *_, folder = case
    model = quant.load_bitsandbytes(empty(folder / "theirs"), folder / "theirs")
    again = quant.save_bitsandbytes(model, tmp_path / "again")
    assert_same_tensors(stored(again), stored(folder / "theirs"))
    generation = [(where / "generation_config.json").read_text() for where in (again, folder / "theirs")]
    assert generation[0] == generation[1]
    ours, config = (json.loads((where / "config.json").read_text()) for where in (again, folder / "theirs"))
    assert ours | {"quantization_config": None} == config | {"quantization_config": None}
    wanted = config["quantization_config"] | {"llm_int8_skip_modules": ["lm_head"]}
    assert ours["quantization_config"].items() <= wanted.items()


def test_what_we_quantize_has_the_tensors_of_bitsandbytes_and_transformers_reads_it(case, tmp_path):
    kind, nested, compute, _, folder = case
    model = empty(folder / "dense")
    options = {"codebook": KINDS[kind], "double_quant": nested, "compute_dtype": compute}
    quant.quantize_model(model, checkpoint=folder / "dense", **options)
    quant.save_bitsandbytes(model, tmp_path)
    # Double quantization rounds a few codes to the nearest level where bitsandbytes does not (see test_blockwise.py).
    assert_same_tensors(stored(tmp_path), stored(folder / "theirs"), but=".absmax" if nested else "no such key")
    oracle = theirs(tmp_path)
    for name, weight in weights_of(oracle).items():
        assert torch.equal(weight, model.get_submodule(name).dequantize())
    logits, theirs_logits = model(IDS % 96).logits.double(), oracle(IDS % 96).logits.double()
    assert (logits - theirs_logits).norm() / theirs_logits.norm() < (1e-6 if compute == torch.float32 else 1e-2)
    back = quant.load_bitsandbytes(empty(tmp_path), tmp_path)
    assert_same(back, snapshot(model))


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32])
def test_codes_may_be_stored_as_bytes_of_another_dtype(tmp_path, storage):
    llama().save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=storage)
    theirs(tmp_path / "dense", quantization_config=how).save_pretrained(tmp_path / "theirs")
    assert stored(tmp_path / "theirs")["model.layers.0.mlp.up_proj.weight"].dtype == storage
    model = quant.load_bitsandbytes(empty(tmp_path / "theirs"), tmp_path / "theirs")
    for name, weight in weights_of(theirs(tmp_path / "theirs")).items():
        assert torch.equal(model.get_submodule(name).dequantize(), weight)


def test_a_quantized_head_other_blocks_mixed_kinds_and_dense_layers_survive_transformers(tmp_path):
    model = quant.quantize_model(llama(tie_word_embeddings=False), skip=("v_proj",), block_size=32)
    fp4 = quant.Linear4bit.from_linear(llama().model.layers[0].mlp.down_proj, quant.FP4_BNB, 128, double_quant=False)
    model.model.layers[0].mlp.down_proj = fp4
    quant.save_bitsandbytes(model, tmp_path)
    oracle = theirs(tmp_path)
    wanted = weights_of(oracle)
    assert len(wanted) == 13 and "lm_head" in wanted and type(oracle.model.layers[1].self_attn.v_proj) is nn.Linear
    for name, weight in wanted.items():
        assert torch.equal(weight, model.get_submodule(name).dequantize())
    assert_same(quant.load_bitsandbytes(empty(tmp_path), tmp_path), snapshot(model))


def test_dense_layers_that_transformers_would_convert_are_named_to_it(tmp_path):
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "n_positions": 32, "n_embd": 64, "n_layer": 1, "n_head": 2}
    dense = GPT2LMHeadModel(GPT2Config(**sizes, tie_word_embeddings=False))
    model = quant.quantize_model(dense, skip=("c_fc",))
    oracle = theirs(quant.save_bitsandbytes(model, tmp_path))
    assert set(weights_of(oracle)) == {
        *(f"transformer.h.0.{part}" for part in GPT2_PARTS if "c_fc" not in part),
        "lm_head",
    }
    assert torch.equal(weights_of(oracle)["lm_head"], model.lm_head.dequantize())
    assert type(oracle.transformer.h[0].mlp.c_fc) is type(model.transformer.h[0].mlp.c_fc) is Conv1D
    assert torch.equal(oracle.transformer.h[0].mlp.c_fc.weight, model.transformer.h[0].mlp.c_fc.weight)


def test_shards_are_read_and_a_model_with_weights_is_filled_in_place(tmp_path):
    llama().save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    theirs(tmp_path / "dense", quantization_config=how).save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    model = llama(torch.float32)
    assert quant.load_bitsandbytes(model, tmp_path / "theirs", device="cpu") is model
    assert_same(model, snapshot(quant.load_bitsandbytes(empty(tmp_path / "theirs"), tmp_path / "theirs")))
    assert model.lm_head.weight is model.model.embed_tokens.weight


@settings(max_examples=40)
@given(
    st.sampled_from(["nf4", "fp4"]),
    st.booleans(),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([32, 64, 256]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_the_form_of_any_shape_is_that_of_bitsandbytes(kind, nested, shape, block_size, dtype):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])).to(dtype)
    packed, state = bnb.quantize_4bit(tensor, blocksize=block_size, quant_type=kind, compress_statistics=nested)
    wanted = {"w": packed, **{f"w.{key}": value for key, value in state.as_dict(packed=True).items()}}
    ours = bnb_format.weight_tensors("w", quant.quantize(tensor, KINDS[kind], block_size, nested))
    assert ours.keys() == wanted.keys()
    for key, value in wanted.items():
        assert ours[key].dtype == value.dtype and ours[key].shape == value.shape
        if key not in ("w", "w.absmax"):
            assert torch.equal(ours[key], value), key
    if tensor.numel() % block_size == 0:  # it divides a short block in another way, which may round a code differently
        assert torch.equal(ours["w"], wanted["w"])
    assert nested or torch.equal(ours["w.absmax"], wanted["w.absmax"])


def test_fp4_is_renumbered_one_to_one_and_means_the_same_levels():
    theirs_table = bnb.get_4bit_type("fp4", device="cpu")
    assert torch.equal(bnb_format._quant_map("fp4"), theirs_table)
    assert torch.equal(bnb_format._quant_map("fp4").signbit(), theirs_table.signbit())  # the zeros', too
    every_byte = torch.arange(256, dtype=torch.uint8)
    ours = bnb_format._renumber(every_byte, bnb_format._FP4_OURS)
    assert torch.equal(bnb_format._renumber(ours, bnb_format._FP4_THEIRS), every_byte)
    assert torch.equal(quant.FP4_BNB.decode(quant.unpack(ours, 512)), theirs_table[quant.unpack(every_byte, 512).int()])


# ---- refused on reading --------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path) -> Path:
    return quant.save_bitsandbytes(quant.quantize_model(llama()), tmp_path / "saved")


def refused(folder: Path, words: str, model: nn.Module | None = None, error: type = ValueError) -> None:
    model = llama() if model is None else model
    before = snapshot(model)
    with pytest.raises(error, match=words) as caught:
        quant.load_bitsandbytes(model, folder)
    assert_same(model, before)
    assert "\n" not in str(caught.value)


def edit_state(**changes):
    def change(tensors):
        state = json.loads(bytes(tensors[STATE].tolist())) | changes
        tensors[STATE] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)

    return change


UP = "model.layers.1.mlp.up_proj.weight"
STATE = f"{UP}.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{UP}.absmax"), f"damaged .{UP}.absmax is missing"),
        (lambda t: t.pop(f"{UP}.nested_quant_map"), f"{UP}.nested_quant_map is missing"),
        (lambda t: t.pop(UP), f"{UP} is missing"),
        (lambda t: t.pop(STATE), f"no place for .*{UP}.*"),
        (lambda t: t.pop("model.norm.weight"), "lacks model.norm.weight"),
        (lambda t: t.update({"extra": torch.ones(1)}), "no place for extra"),
        (lambda t: t.update({UP: t[UP][1:].clone()}), r"U8 \(4095, 1\), where U8 \(4096, 1\) is needed"),
        (lambda t: t.update({f"{UP}.absmax": torch.ones(128)}), r"absmax is F32 \(128,\), where U8 \(128,\)"),
        (lambda t: t[f"{UP}.quant_map"].mul_(0.5), "quant_map .* other levels"),
        (lambda t: t[f"{UP}.nested_quant_map"].mul_(0.5), "nested_quant_map .* other levels"),
        (lambda t: t[f"{UP}.nested_absmax"].fill_(float("nan")), f"constants of {UP} hold NaN"),
        (lambda t: t.update({STATE: torch.tensor([1, 2], dtype=torch.uint8)}), f"{STATE} cannot be read"),
        (lambda t: t.update({STATE: torch.tensor(list(b"[]"), dtype=torch.uint8)}), f"{STATE} cannot be read"),
        (lambda t: t.update({STATE[:-3] + "af4": t.pop(STATE)}), "is in af4, and only nf4 and fp4 are read"),
        (edit_state(quant_type="fp4"), "has quant_type='fp4', and only nf4 can"),
        (edit_state(blocksize=48), "has blocksize=48, and only 16, 32"),
        (edit_state(dtype="int8"), "has dtype='int8'"),
        (edit_state(nested_blocksize=64), "has nested_blocksize=64, and only 256"),
        (edit_state(nested_dtype="float16"), "has nested_dtype='float16'"),
        (edit_state(nested_offset="x"), "cannot be read"),
        (edit_state(shape=None), "cannot be read"),
        (edit_state(shape=[64, 128]), r"up_proj is stored with shape \(64, 128\), where \(128, 64\) is needed"),
    ],
)
def test_a_damaged_or_foreign_layer_is_named_and_the_model_is_as_it_was(saved, change, words):
    edit(saved, change)
    refused(saved, words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "LLM.int8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "bitsandbytes", "bnb_4bit_compute_dtype": "int8"}, "bnb_4bit_compute_dtype='int8'"),
        (None, "no quantization_config: quantize_model"),
    ],
)
def test_another_kind_of_checkpoint_is_refused_by_name(saved, config, words):
    content = json.loads((saved / "config.json").read_text()) | {"quantization_config": config}
    (saved / "config.json").write_text(json.dumps(content))
    refused(saved, words)


def test_a_checkpoint_of_llm_int8_written_by_transformers_is_refused_by_name(tmp_path):
    llama().save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(load_in_8bit=True)
    theirs(tmp_path / "dense", quantization_config=how).save_pretrained(tmp_path / "int8")
    refused(tmp_path / "int8", "checkpoint in LLM.int8")


def test_missing_and_damaged_files_are_named(saved):
    (saved / "config.json").rename(saved / "other.json")
    refused(saved, "no config.json", error=FileNotFoundError)
    (saved / "config.json").write_text("{")
    refused(saved, "config.json is damaged")
    (saved / "model.safetensors").write_bytes(b"half")
    refused(saved, "model.safetensors is damaged")
    (saved / "model.safetensors").unlink()
    refused(saved, "no model.safetensors", error=FileNotFoundError)


def test_a_model_of_another_form_is_refused(saved, tmp_path):
    refused(saved, "begin with 'model.', so build the whole model", llama().model)
    refused(saved, r"down_proj is stored with shape \(64, 128\), where \(64, 192\)", llama(intermediate_size=192))
    refused(saved, "no nn.Linear", quant.quantize_model(llama()))
    llama().save_pretrained(tmp_path / "dense")
    (tmp_path / "dense" / "config.json").write_bytes((saved / "config.json").read_bytes())
    refused(tmp_path / "dense", "holds no 4-bit weight")
    untied = quant.quantize_model(llama(tie_word_embeddings=False), skip=())
    refused(quant.save_bitsandbytes(untied, tmp_path / "untied"), "lm_head.weight is tied: .*untied")


def test_a_quantized_checkpoint_is_not_quantized_again(saved):
    with pytest.raises(ValueError, match="stored as U8 .*load_bitsandbytes"):
        quant.quantize_model(empty(saved), checkpoint=saved)


def test_layers_are_read_one_after_the_other(saved, monkeypatch):
    """What was read for one layer belongs to that layer when the next is begun; nothing is gathered first."""
    order = []
    read = shards.Checkpoint.read
    monkeypatch.setattr(shards.Checkpoint, "read", lambda self, name: order.append(name) or read(self, name))
    model = quant.load_bitsandbytes(empty(saved), saved)
    codes = [name for name in order if name.endswith("_proj.weight")]
    assert codes == [f"{n}.weight" for n, m in model.named_modules() if type(m) is quant.Linear4bit]


# ---- refused on writing --------------------------------------------------------------------------------------------


def untied_but_the_config_says_tied() -> nn.Module:
    model = quant.quantize_model(llama())
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    return model


def computing_in_two_dtypes() -> nn.Module:
    model = quant.quantize_model(llama(), compute_dtype=torch.float32)
    model.model.layers[0].mlp.up_proj.compute_dtype = torch.float16
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: quant.quantize_model(llama(), codebook=quant.INT4), "q_proj.weight is in INT4, which bits"),
        (lambda: quant.quantize_model(llama(), codebook=quant.FP4_E3M0), "FP4_E3M0"),
        (lambda: quant.quantize_model(llama(), codebook=quant.FP4_E2M1), "FP4_E2M1"),
        (lambda: quant.quantize_model(llama(), double_quant=quant.FP8_E4M3), "constants of .* are in FP8_E4M3"),
        (lambda: quant.quantize_model(llama(), block_size=16), "blocks of 16: bitsandbytes takes 32 to 4096"),
        (lambda: lora.inject(quant.quantize_model(llama()), lora.LoRAConfig()), "adapter's: .*lora.remove"),
        (lambda: llama(), "no 4-bit layer"),
        (lambda: quant.quantize_model(nn.Sequential(nn.Linear(64, 64))), "no config"),
        (untied_but_the_config_says_tied, "config ties lm_head.weight to model.embed_tokens.weight"),
        (computing_in_two_dtypes, "compute in torch.float16 and torch.float32"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, model, words):
    with pytest.raises(ValueError, match=words):
        quant.save_bitsandbytes(model(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel], ids=["compile", "parallel"])
def test_a_wrapped_model_is_written_and_read_under_its_own_names(tmp_path, wrap):
    model = quant.quantize_model(llama())
    plain = quant.save_bitsandbytes(model, tmp_path / "plain")
    wrapped = quant.save_bitsandbytes(wrap(model), tmp_path / "wrapped")
    for file in ("model.safetensors", "config.json", "generation_config.json"):
        assert (wrapped / file).read_bytes() == (plain / file).read_bytes()
    filled = wrap(empty(plain))
    assert quant.load_bitsandbytes(filled, plain) is filled
    assert_same_tensors(dict(named_tensors(filled)), dict(named_tensors(model)))


def without_a_number(where: str) -> nn.Module:
    model = quant.quantize_model(llama())
    dict(named_tensors(model))[where].data.view(-1)[-1].fill_(torch.nan)
    return model


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("model.norm.weight", "model.norm.weight holds NaN or infinity"),
        ("model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.bias holds NaN or infinity"),
        ("model.layers.0.mlp.up_proj.absmax_mean", "constants of model.layers.0.mlp.up_proj.weight hold NaN"),
        ("model.layers.0.mlp.up_proj.absmax_scale", "constants of model.layers.0.mlp.up_proj.weight hold NaN"),
    ],
)
def test_what_is_not_finite_is_neither_written_nor_read(saved, tmp_path, where, words):
    with pytest.raises(ValueError, match=words):
        quant.save_bitsandbytes(without_a_number(where), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    if "absmax" not in where:
        edit(saved, lambda tensors: tensors[where][0].fill_(torch.inf))
        refused(saved, f"{where} in .* holds NaN or infinity")


def test_a_layer_in_two_places_is_written_twice(tmp_path):
    model = quant.quantize_model(llama())
    model.model.layers[1].mlp = model.model.layers[0].mlp
    filled = quant.load_bitsandbytes(empty(quant.save_bitsandbytes(model, tmp_path)), tmp_path)
    assert_same_tensors(dict(named_tensors(filled)), dict(named_tensors(model)))


def test_tensors_that_share_memory_without_a_tie_in_the_config_are_both_written(tmp_path):
    model = quant.quantize_model(llama(tie_word_embeddings=False))
    model.lm_head.weight = model.model.embed_tokens.weight
    tensors = stored(quant.save_bitsandbytes(model, tmp_path))
    assert torch.equal(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])


def test_dense_tensors_of_two_dtypes_lose_nothing_when_transformers_reads_them(tmp_path):
    model = quant.quantize_model(llama(), compute_dtype=torch.bfloat16)
    model.model.norm.weight = nn.Parameter(torch.full((64,), 1.0001))
    oracle = theirs(quant.save_bitsandbytes(model, tmp_path))
    assert torch.equal(oracle.model.norm.weight, model.model.norm.weight)
    assert oracle.config.dtype == torch.float32


def test_a_failed_save_leaves_the_old_files_whole(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def broken(tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("lora_lab.quant.bnb_checkpoint.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        quant.save_bitsandbytes(quant.quantize_model(llama()), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
