"""The format of a 4-bit weight, and the meaning of an adapter, travel with a `state_dict` however it is stored."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig
from tests.helpers.models import IDS, assert_same, randomise, snapshot, tiny_llama


def layer(codebook: quant.Codebook = quant.NF4, shape: tuple[int, int] = (64, 48), **options) -> nn.Module:
    """A model of one 4-bit layer, `fc`."""
    torch.manual_seed(0)
    return nn.ModuleDict({"fc": quant.Linear4bit.from_linear(nn.Linear(*shape), codebook, **options)})


def through_safetensors(state: dict, path) -> dict:
    save_file(state, path / "state.safetensors")
    return load_file(path / "state.safetensors")


def through_torch(state: dict, path) -> dict:
    torch.save(state, path / "state.pt")
    return torch.load(path / "state.pt")


STORED = [through_safetensors, through_torch, lambda state, path: dict(state)]
OTHERS = {
    "levels": lambda: layer(quant.FP4_BNB),
    "constants": lambda: layer(double_quant=quant.INT8),
    "plain constants": lambda: layer(double_quant=False),
    "block": lambda: layer(block_size=128),
    "shape": lambda: layer(shape=(48, 64)),
}


@pytest.mark.parametrize("stored", STORED, ids=["safetensors", "torch.save", "dict"])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("other", OTHERS)
def test_a_state_knows_its_format_however_it_is_stored(tmp_path, stored, strict, other):
    state = stored(OTHERS[other]().state_dict(), tmp_path)
    model = layer()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=r"fc was stored as .*, and this layer is \[48, 64\] in NF4, blocks of 64"):
        model.load_state_dict(state, strict=strict)
    assert_same(model, before)


@pytest.mark.parametrize("stored", STORED, ids=["safetensors", "torch.save", "dict"])
def test_a_state_of_the_same_format_loads_strictly(tmp_path, stored):
    state = stored(layer().state_dict(), tmp_path)
    other = nn.ModuleDict({"fc": quant.Linear4bit.from_linear(nn.Linear(64, 48))})
    other.load_state_dict(state)
    assert torch.equal(other["fc"].dequantize(), layer()["fc"].dequantize())


def test_codes_of_constants_that_are_no_level_are_refused(tmp_path):
    model = layer(double_quant=quant.FP8_E4M3)
    state = model.state_dict()
    state["fc.absmax_codes"] = state["fc.absmax_codes"].clone()
    state["fc.absmax_codes"][3] = 253
    before = snapshot(model)
    with pytest.raises(
        RuntimeError, match="fc.absmax_codes holds 253, and FP8_E4M3 has 253 levels: the state is damaged"
    ):
        model.load_state_dict(state)
    other = layer(double_quant=True).state_dict()
    other["fc.absmax_codes"] = torch.full_like(other["fc.absmax_codes"], 255)  # which has 256 levels
    with pytest.raises(RuntimeError, match="fc was stored as .*, and this layer is "):
        model.load_state_dict(other)
    assert_same(model, before)


def mine(power: int, levels: int = 16) -> quant.Codebook:
    return quant.Codebook("mine", torch.linspace(-1, 1, levels).pow(power))


@pytest.mark.parametrize("stored", STORED, ids=["safetensors", "torch.save", "dict"])
@pytest.mark.parametrize("of", ["levels", "constants"])
def test_levels_of_one_name_are_told_apart(tmp_path, stored, of):
    def build(power: int) -> nn.Module:
        return layer(mine(power)) if of == "levels" else layer(double_quant=mine(power, levels=99))

    state = stored(build(1).state_dict(), tmp_path)
    with pytest.raises(RuntimeError, match="stored as .* mine .levels .*, and this layer is .* mine .levels"):
        build(3).load_state_dict(state)
    for same in (build(1), copy.deepcopy(build(1)), pickle.loads(pickle.dumps(build(1)))):
        same.load_state_dict(state)


def test_the_library_s_levels_go_by_their_name_and_others_cannot_take_it():
    for book in (quant.NF4, quant.FP4_BNB, quant.INT4, quant.DYNAMIC8, quant.INT8):
        assert book.label == book.name
    assert quant.Codebook("NF4", quant.NF4.values.clone()).label == "NF4"
    assert quant.Codebook("NF4", quant.INT4.values).label.startswith("NF4 (levels ")


def test_an_older_state_with_its_format_in_the_metadata_or_nowhere_still_loads():
    state = layer().state_dict()
    del state["fc._extra_state"]
    layer().load_state_dict(dict(state))
    state._metadata["fc"]["format"] = layer()["fc"]._format()
    layer().load_state_dict(state)
    with pytest.raises(RuntimeError, match="was stored as .* in NF4"):
        layer(quant.INT4).load_state_dict(state)


def test_half_of_a_weight_or_one_that_was_cast_is_refused():
    state = dict(layer().state_dict())
    lacking = {key: value for key, value in state.items() if key != "fc.absmax_codes"}
    with pytest.raises(RuntimeError, match="fc was stored without absmax_codes"):
        layer().load_state_dict(lacking, strict=False)
    with pytest.raises(RuntimeError, match="fc.absmax_scale was stored as torch.float16"):
        layer().load_state_dict(state | {"fc.absmax_scale": state["fc.absmax_scale"].half()})
    with pytest.raises(RuntimeError, match="fc: its format .* cannot be read"):
        layer().load_state_dict(state | {"fc._extra_state": torch.tensor([200, 300])})
    nothing = layer().load_state_dict({"fc.bias": state["fc.bias"]}, strict=False)
    assert "fc.packed" in nothing.missing_keys


def test_a_state_without_values_loads_by_assignment():
    state = {key: torch.empty_like(value, device="meta") for key, value in layer().state_dict().items()}
    model = layer()
    model.load_state_dict(state, assign=True)
    assert model["fc"].packed.is_meta and model["fc"].absmax_codes.is_meta


def test_a_checkpoint_of_transformers_and_safetensors_load_model_keep_the_format(tmp_path):
    model = lora.inject(quant.quantize_model(tiny_llama()), LoRAConfig(target_modules="all-linear"))
    model.save_pretrained(tmp_path / "trainer")
    state = load_file(tmp_path / "trainer" / "model.safetensors")
    assert any(key.endswith("q_proj.base._extra_state") for key in state)
    other = lora.inject(quant.quantize_model(tiny_llama(seed=5)), LoRAConfig(target_modules="all-linear"))
    other.load_state_dict(state, strict=False)
    assert torch.equal(other(IDS).logits, model(IDS).logits)
    fp4 = quant.quantize_model(tiny_llama(), codebook=quant.FP4_BNB)
    wrong = lora.inject(fp4, LoRAConfig(target_modules="all-linear"))
    with pytest.raises(RuntimeError, match=r"layers.0.self_attn.q_proj.base was stored as"):
        wrong.load_state_dict(state, strict=False)
    save_model(layer(), tmp_path / "one.safetensors")
    load_model(layer(), tmp_path / "one.safetensors")


def test_the_format_costs_no_memory_and_survives_copies_and_conversions():
    model = layer()
    bytes_of = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    assert bytes_of == model["fc"].weight_quantized.nbytes + model["fc"].bias.nbytes
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.half(), layer().to("meta")):
        assert bytes(other.state_dict()["fc._extra_state"].tolist()).decode() == model["fc"]._format()
    fc, x = layer()["fc"], torch.ones(2, 64)
    assert torch.equal(torch.func.functional_call(fc, fc.state_dict(), (x,)), fc(x))


# ---- adapters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (LoRAConfig(alpha=32), "scaling 2, and this layer is LoRA of rank 8 with scaling 4"),
        (LoRAConfig(use_rslora=True), "scaling 2, and this layer is .* scaling 5.65"),
        (LoRAConfig(r=4, alpha=8), "rank 8 .* rank 4"),
        (LoRAConfig(init="pissa"), "stored as LoRA of .* layer is PiSSA"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("stored", STORED, ids=["safetensors", "torch.save", "dict"])
def test_a_state_is_not_loaded_into_an_adapter_that_means_something_else(tmp_path, other, words, strict, stored):
    model = randomise(lora.inject(tiny_llama(tie_word_embeddings=False), LoRAConfig()))
    with pytest.raises(RuntimeError, match=words):
        lora.inject(tiny_llama(tie_word_embeddings=False), other).load_state_dict(
            stored(model.state_dict(), tmp_path), strict=strict
        )


@pytest.mark.parametrize("inits", [("pissa", "kaiming"), ("kaiming", "pissa")])
def test_pissa_s_factors_do_not_load_without_their_start_even_from_safetensors(tmp_path, inits):
    stored, loading = (lora.inject(tiny_llama(), LoRAConfig(init=init)) for init in inits)
    wanted = "PiSSA" if inits[0] == "pissa" else "LoRA"
    stored.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=f"q_proj was stored as {wanted}"):
        loading.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)


def test_one_factor_without_the_other_is_refused():
    model = lora.inject(tiny_llama(), LoRAConfig())
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("lora_B")}
    with pytest.raises(RuntimeError, match="q_proj was stored without lora_B"):
        model.load_state_dict(state, strict=False)


def test_an_older_state_of_an_adapter_still_loads_and_its_metadata_is_still_read():
    model = randomise(lora.inject(tiny_llama(), LoRAConfig()))
    other = lora.inject(tiny_llama(), LoRAConfig())
    state = model.state_dict()
    for key in [key for key in state if key.endswith("_extra_state")]:
        del state[key]
        state._metadata[key.removesuffix("._extra_state")]["format"] = "LoRA of rank 8 with scaling 2"
    other.load_state_dict(dict(state))
    assert torch.equal(other(IDS).logits, model(IDS).logits)
    other.load_state_dict(state)
    with pytest.raises(RuntimeError, match="stored as LoRA of rank 8 with scaling 2"):
        lora.inject(tiny_llama(), LoRAConfig(alpha=32)).load_state_dict(state)
