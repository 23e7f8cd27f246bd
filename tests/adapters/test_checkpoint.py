"""Adapters on disk: what is damaged, foreign or half-written must be refused by name, and harm nothing."""

import copy
import itertools
import json
import os
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel
from transformers import LlamaForCausalLM

from lora_lab import lora, quant
from lora_lab.disk import atomic_folder
from lora_lab import patterns
from lora_lab.adapters import folder
from lora_lab.lora import LoRAConfig
from tests.helpers.models import IDS, assert_same, randomise, snapshot, tiny_llama


@pytest.fixture
def saved(tmp_path):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    return lora.save_adapter(model, tmp_path / "adapter")


def edit_config(folder, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder, change) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(folder, words, error=ValueError) -> None:
    model = tiny_llama()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        lora.load_adapter(model, folder)
    assert_same(model, before)
    assert all(p.requires_grad for p in model.parameters())


def test_the_keys_are_those_of_peft(saved, tmp_path):
    twin = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    twin.save_pretrained(tmp_path / "peft")
    ours, theirs = (
        load_file(saved / "adapter_model.safetensors"),
        load_file(tmp_path / "peft" / "adapter_model.safetensors"),
    )
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_dora", True),
        ("bias", "some"),
        ("layers_pattern", "layers"),
        ("peft_type", "LOHA"),
        *(("init_lora_weights", init) for init in ("pissa_niter_16", "olora", "loftq", "eva", "corda", "mica")),
        ("layer_replication", [[0, 2]]),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["experts.w"]),
        ("lora_bias", True),
        ("an_option_of_next_year", True),
    ],
)
def test_an_option_we_do_not_implement_is_refused_by_name(saved, option, value):
    edit_config(saved, **{option: value})
    refused(saved, option)


@pytest.mark.parametrize(("option", "value"), [("layers_pattern", ""), ("layers_pattern", None), ("use_dora", False)])
def test_an_option_that_is_empty_asks_for_nothing(saved, option, value):
    edit_config(saved, **{option: value})
    assert lora.adapters(lora.load_adapter(tiny_llama(), saved))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("r", "4", "r=.* must be an integer"),
        ("target_modules", 5, "target_modules=5, neither"),
        ("target_modules", "q_proj(", "neither a name nor a regular expression"),
        ("rank_pattern", [["q_proj", 2]], "rank_pattern must map"),
        ("alpha_pattern", {"(": 2}, "neither a name nor a regular expression"),
        ("rank_pattern", {"v_proj": 3}, r"v_proj.lora_A.weight has shape \(4, 64\), where \(3, 64\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(saved, option, value, words):
    edit_config(saved, **{option: value})
    refused(saved, words)


def test_adapters_that_one_folder_cannot_describe_are_not_written(tmp_path):
    model = lora.inject(tiny_llama(), LoRAConfig(target_modules="q_proj"))
    attention = model.model.layers[0].self_attn
    attention.v_proj = lora.LoRALinear(attention.v_proj, LoRAConfig(use_rslora=True))
    with pytest.raises(ValueError, match="differ in dropout, use_rslora, init or bias"):
        lora.save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_for_another_model_is_refused(saved):
    edit_config(saved, target_modules=["query"])
    refused(saved, "does not fit this model.*query")


def test_missing_surplus_misshapen_and_damaged_tensors_are_named(saved):
    first = sorted(load_file(saved / "adapter_model.safetensors"))[0]
    original = (saved / "adapter_model.safetensors").read_bytes()
    for change, words in [
        (lambda t: t.pop(first), "lacks .*layers.0"),
        (lambda t: t.update({"base_model.model.other.lora_A.weight": torch.ones(1)}), "no place for .*other"),
        (lambda t: t.update({first: torch.ones(3, 3)}), r"shape \(3, 3\)"),
        (lambda t: t[first].fill_(float("nan")), "NaN"),
    ]:
        (saved / "adapter_model.safetensors").write_bytes(original)
        edit_weights(saved, change)
        refused(saved, words)


def test_truncated_and_missing_files_are_named(saved):
    weights = saved / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(saved, "adapter_model.safetensors is damaged")
    weights.unlink()
    refused(saved, "no adapter_model.safetensors", FileNotFoundError)
    (saved / "adapter_config.json").write_text("{")
    refused(saved, "adapter_config.json is damaged")
    (saved / "adapter_config.json").write_text("[]")
    refused(saved, "adapter_config.json is damaged .an object is expected, not a list")
    (saved / "adapter_config.json").write_text("{}")
    refused(saved, "peft_type")
    (saved / "adapter_config.json").unlink()
    refused(saved, "no adapter_config.json", FileNotFoundError)


def test_loading_onto_a_model_with_adapters_is_refused(saved):
    with pytest.raises(ValueError, match="already"):
        lora.load_adapter(lora.inject(tiny_llama(), LoRAConfig()), saved)


def test_loading_restores_the_function_bit_for_bit(saved):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    assert torch.equal(lora.load_adapter(tiny_llama(), saved)(IDS).logits, model(IDS).logits)


def test_a_failed_save_leaves_the_old_adapter_whole(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def broken(tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(folder, "save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        lora.save_adapter(randomise(lora.inject(tiny_llama(), LoRAConfig(r=2)), seed=9), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        lora.save_adapter(lora.inject(tiny_llama(), LoRAConfig()), tmp_path / "file" / "adapter")


# ---- the two files are of one save ---------------------------------------------------------------------------------


def test_a_reader_never_pairs_the_files_of_two_saves(saved, tmp_path, monkeypatch):
    """Somebody replaces the folder between the look at the configuration and the look at the weights."""
    newer = lora.save_adapter(
        randomise(lora.inject(tiny_llama(), LoRAConfig(r=4, alpha=400)), seed=7), tmp_path / "new"
    )
    real, replaced = folder._read_config, []

    def read_then_replace(path):
        stored = real(path)
        if not replaced:
            replaced.append(True)
            with atomic_folder(saved) as temporary:
                for file in newer.iterdir():
                    shutil.copy(file, temporary / file.name)
        return stored

    monkeypatch.setattr(folder, "_read_config", read_then_replace)
    loaded = lora.load_adapter(tiny_llama(), saved)
    assert torch.equal(loaded(IDS).logits, lora.load_adapter(tiny_llama(), newer)(IDS).logits)
    assert {layer.config.alpha for layer in lora.adapters(loaded).values()} == {400}


def test_files_of_the_same_size_are_told_apart(saved, tmp_path, monkeypatch):
    """As above, but the newer adapter differs in its values alone, and is there before the weights are looked at."""
    newer = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)), seed=7)
    before, config = folder._identity(saved), (saved / "adapter_config.json").read_text()
    lora.save_adapter(newer, saved)
    after = folder._identity(saved)
    assert (saved / "adapter_config.json").read_text() == config
    assert [file[-2] for file in before] == [file[-2] for file in after]  # the sizes
    assert all(one != other for one, other in zip(before, after))


def test_a_folder_that_never_stands_still_is_refused(saved, monkeypatch):
    looks = itertools.count()
    monkeypatch.setattr(folder, "_identity", lambda folder: [(next(looks),)])
    monkeypatch.setattr(folder.time, "sleep", lambda _: None)
    refused(saved, "written again and again", OSError)


def test_an_interrupted_save_is_named_with_the_way_out(saved):
    (saved / "adapter_model.safetensors").rename(saved / ".adapter.0a1b2c3d.tmp")
    refused(saved, "a save was interrupted, or is going on.*0a1b2c3d.tmp: save the adapter again", FileNotFoundError)


def test_a_save_that_is_going_on_is_waited_for(saved, monkeypatch):
    weights, staged = saved / "adapter_model.safetensors", saved / ".adapter.0a1b2c3d.tmp"
    weights.rename(staged)
    monkeypatch.setattr(folder.time, "sleep", lambda _: staged.exists() and staged.rename(weights))
    assert lora.adapters(lora.load_adapter(tiny_llama(), saved))


def test_saving_into_the_current_folder_keeps_it(saved, monkeypatch):
    monkeypatch.chdir(saved)
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=2)))
    lora.save_adapter(model, ".")
    assert os.getcwd() == str(saved) and sorted(os.listdir(".")) == ["adapter_config.json", "adapter_model.safetensors"]
    assert torch.equal(lora.load_adapter(tiny_llama(), ".")(IDS).logits, model(IDS).logits)


def test_weights_and_configuration_have_the_same_mode(saved):
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


# ---- files that nobody should trust --------------------------------------------------------------------------------


def test_weights_as_a_pickle_are_named_with_the_way_out(saved):
    torch.save(load_file(saved / "adapter_model.safetensors"), saved / "adapter_model.bin")
    (saved / "adapter_model.safetensors").unlink()
    refused(saved, "no adapter_model.safetensors.*adapter_model.bin, a pickle.*save_pretrained", FileNotFoundError)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("r", 4.0, "r=4.0 must be an integer"),
        ("r", -4, "r=-4"),
        ("r", True, "r=True must be an integer"),
        ("lora_alpha", "16", "alpha=.* must be a number"),
        ("lora_alpha", 10**400, "does not fit"),
        ("lora_alpha", 1e40, "cannot hold a scaling"),
        ("lora_alpha", 1e-320, "scaling of"),
        ("lora_alpha", 5e-324, "scaling of 0"),
        ("lora_dropout", "0.1", "dropout=.* must be a number"),
        ("use_rslora", "yes", "use_rslora=.* must be True or False"),
        ("target_modules", ["q_proj", 3], "target_modules=.*neither a string nor a list of strings"),
        ("target_modules", {"q_proj": 1}, "target_modules=.*neither a string nor a list of strings"),
        ("target_modules", [], "target_modules=.. names nothing"),
        ("exclude_modules", [None], "exclude_modules=.None., neither"),
        ("exclude_modules", 5, "exclude_modules=5, neither"),
        ("layers_to_transform", "1", "layers_to_transform='1', which is no list of integers"),
        ("layers_to_transform", [0, 1.5], "layers_to_transform=.*no list of integers"),
        ("layers_to_transform", True, "layers_to_transform=True"),
        ("an_option", ["x" * 10**6], "asks for an_option"),
    ],
)
def test_settings_of_the_wrong_kind_are_one_short_sentence(saved, option, value, words):
    edit_config(saved, **{option: value})
    model = tiny_llama()
    with pytest.raises(ValueError, match=words) as caught:
        lora.load_adapter(model, saved)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert not lora.adapters(model) and all(parameter.requires_grad for parameter in model.parameters())


def test_a_configuration_may_have_a_mark_and_ten_thousand_targets(saved):
    path = saved / "adapter_config.json"
    stored = json.loads(path.read_text())
    stored["target_modules"] += [f"layers.{i}.absent" for i in range(10_000)]
    path.write_text(json.dumps(stored), encoding="utf-8-sig")
    assert len(lora.adapters(lora.load_adapter(tiny_llama(), saved))) == 4


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("expression", [r"(.+)+\.x", "(a{1,99999999999})"])
def test_an_expression_that_would_hang_ends_in_a_sentence(saved, key, expression, monkeypatch):
    monkeypatch.setattr(patterns, "_CHILD", patterns._CHILD.replace(f"({patterns.SECONDS}, ", "(1, "))
    edit_config(saved, **{key: {expression: 3} if "pattern" in key else expression})
    refused(saved, "takes too long|neither a name nor a regular expression")


def test_a_value_that_fits_the_file_but_not_the_factor_is_refused(saved):
    first = sorted(load_file(saved / "adapter_model.safetensors"))[0]
    edit_weights(saved, lambda tensors: tensors.update({first: torch.full((4, 64), 1e300, dtype=torch.float64)}))
    refused(saved, r"lora_A reaches 1e\+300, which torch.float32 cannot hold")
    model = tiny_llama().double()
    assert torch.isfinite(next(iter(lora.adapters(lora.load_adapter(model, saved)).values())).lora_A).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_that_is_not_finite_is_not_saved(saved, value):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    with torch.no_grad():
        list(lora.adapters(model).values())[-1].lora_B[0, 0] = value
    with pytest.raises(ValueError, match="layers.1.self_attn.v_proj.lora_B holds NaN or infinity"):
        lora.save_adapter(model, saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_scaling_that_a_folder_cannot_state_is_not_lost(saved):
    model = lora.inject(tiny_llama(), LoRAConfig(r=4))
    next(iter(lora.adapters(model).values())).scaling = 3.0
    with pytest.raises(ValueError, match="q_proj.scaling is 3"):
        lora.save_adapter(model, saved)


def test_what_a_reader_could_not_load_is_not_written(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def another_rank(model):
        layer = model.model.layers[0].self_attn.v_proj
        layer.lora_A, layer.lora_B = (torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 64), (32, 2)))

    def another_dtype(model):
        layer = model.model.layers[0].self_attn.v_proj
        layer.lora_A.data = layer.lora_A.data.to(torch.float8_e4m3fn)

    for change, words in (
        (another_rank, r"v_proj.lora_A has shape \(2, 64\), where its config means \(4, 64\)"),
        (another_dtype, "v_proj.lora_A is in torch.float8_e4m3fn"),
    ):
        model = lora.inject(tiny_llama(), LoRAConfig(r=4))
        change(model)
        with pytest.raises(ValueError, match=words):
            lora.save_adapter(model, saved)
    with pytest.raises(ValueError, match="the model is a LoRALinear itself"):
        lora.save_adapter(lora.LoRALinear(torch.nn.Linear(4, 4), LoRAConfig()), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_layers_that_share_a_factor_are_saved(tmp_path):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(target_modules="q_proj")))
    first, second = lora.adapters(model).values()
    second.lora_A = first.lora_A
    lora.save_adapter(model, tmp_path)
    assert torch.equal(lora.load_adapter(tiny_llama(), tmp_path)(IDS).logits, model(IDS).logits)


# ---- weights that are not there ------------------------------------------------------------------------------------


def on_meta():
    with torch.device("meta"):
        return LlamaForCausalLM(tiny_llama().config)


def test_an_adapter_is_not_lost_on_a_model_without_weights(saved, tmp_path):
    model = on_meta()
    with pytest.raises(ValueError, match="q_proj.lora_A has no values, it is on the meta device"):
        lora.load_adapter(model, saved)
    assert not lora.adapters(model)
    lora.inject(model, LoRAConfig(r=4))  # what memory.simulate does
    with pytest.raises(ValueError, match="q_proj.lora_A has no values"):
        lora.save_adapter(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_an_adapter_is_not_lost_on_a_model_that_accelerate_offloads(saved, where, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = tiny_llama()
    if where == "cpu":
        accelerate.cpu_offload(model, execution_device="cpu")
    else:
        accelerate.disk_offload(model, tmp_path / "offloaded", execution_device="cpu")
    for attempt in (lambda: lora.load_adapter(model, saved), lambda: lora.inject(model, LoRAConfig())):
        with pytest.raises(ValueError, match="q_proj is offloaded by accelerate.*load the model"):
            attempt()
        assert not lora.adapters(model)


# ---- wrapped models ------------------------------------------------------------------------------------------------


def compiled_inside(model):
    for i, layer in enumerate(model.model.layers):
        model.model.layers[i] = torch.compile(layer)
    model.model.layers[0]._orig_mod.self_attn.q_proj = torch.compile(model.model.layers[0]._orig_mod.self_attn.q_proj)
    return model


def checkpointed(model):
    for i, layer in enumerate(model.model.layers):
        model.model.layers[i] = checkpoint_wrapper(layer)
    return model


WRAPPERS = {
    "compile": torch.compile,
    "compiled layers": compiled_inside,
    "DataParallel": torch.nn.DataParallel,
    "average": AveragedModel,
    "checkpointed layers": checkpointed,
    "all": lambda model: torch.compile(torch.nn.DataParallel(compiled_inside(model))),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj"), r".*\.[01]\.mlp\..*_proj"])
def test_a_wrapped_model_has_the_names_of_the_plain_one(wrap, targets, tmp_path):
    config = LoRAConfig(r=4, target_modules=targets)
    plain, wrapped = lora.inject(tiny_llama(), config), lora.inject(wrap(tiny_llama()), config)
    assert lora.targets(wrap(tiny_llama()), targets) == list(lora.adapters(plain)) == list(lora.adapters(wrapped))
    for model in (plain, wrapped):
        randomise(model)
        for layer in lora.adapters(model).values():
            torch.nn.init.constant_(layer.lora_A, 0.01)
    for model, name in ((plain, "plain"), (wrapped, "wrapped")):
        lora.save_adapter(model, tmp_path / name)
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "wrapped"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert [(tmp_path / name / "adapter_config.json").read_text() for name in ("plain", "wrapped")] == [
        (tmp_path / "plain" / "adapter_config.json").read_text()
    ] * 2
    again = lora.load_adapter(wrap(tiny_llama()), tmp_path / "wrapped")
    for name, layer in lora.adapters(again).items():
        assert torch.equal(layer.lora_B, lora.adapters(plain)[name].lora_B)
    lora.remove(again)
    assert not lora.adapters(again)
    lora.merge_and_remove(wrapped)
    assert not lora.adapters(wrapped)


def test_what_was_injected_before_wrapping_is_saved_under_plain_names(tmp_path):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    lora.save_adapter(torch.compile(torch.nn.DataParallel(model)), tmp_path)
    assert torch.equal(lora.load_adapter(tiny_llama(), tmp_path)(IDS).logits, model(IDS).logits)
    theirs = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path).eval()
    assert torch.allclose(theirs(input_ids=IDS).logits, model(IDS).logits, atol=1e-5)


def test_a_folder_that_holds_names_of_a_compiled_model_is_still_read(saved):
    wanted = lora.load_adapter(tiny_llama(), saved)(IDS).logits
    path, prefix = saved / "adapter_model.safetensors", "base_model.model."
    save_file({key.replace(prefix, f"{prefix}_orig_mod.", 1): tensor for key, tensor in load_file(path).items()}, path)
    names = json.loads((saved / "adapter_config.json").read_text())["target_modules"]
    edit_config(saved, target_modules=[f"_orig_mod.{name}" for name in names])
    assert torch.equal(lora.load_adapter(tiny_llama(), saved)(IDS).logits, wanted)


@pytest.mark.parametrize(
    "key", [r"^_orig_mod\.model\.layers\.0\.self_attn\.q_proj", r".*layers\.0\._orig_mod\..*q_proj"]
)
def test_a_rank_under_the_name_of_a_compiled_model_is_still_its_layers(key, tmp_path):
    config = LoRAConfig(r=4, rank_pattern={"layers.0.self_attn.q_proj": 2})
    model = randomise(lora.inject(tiny_llama(), config))
    saved = lora.save_adapter(model, tmp_path)
    edit_config(saved, rank_pattern={key: 2})
    assert torch.equal(lora.load_adapter(tiny_llama(), saved)(IDS).logits, model(IDS).logits)


def test_a_module_that_is_merely_called_module_keeps_its_name():
    model = torch.nn.ModuleDict({"module": torch.nn.ModuleDict({"q_proj": torch.nn.Linear(4, 4)})})
    assert list(lora.adapters(lora.inject(model, LoRAConfig(target_modules="q_proj")))) == ["module.q_proj"]


def test_a_name_part_that_only_ends_in_the_one_of_torch_compile_is_kept(tmp_path):
    def model():
        torch.manual_seed(0)
        return torch.nn.ModuleDict({name: torch.nn.ModuleDict({"q": torch.nn.Linear(4, 4)})
                                    for name in ("my_orig_mod", "a")})  # fmt: skip

    adapted = randomise(lora.inject(model(), LoRAConfig(r=2, target_modules="q", rank_pattern={"a.q": 4})))
    back = lora.load_adapter(model(), lora.save_adapter(adapted, tmp_path))
    assert list(lora.adapters(back)) == ["my_orig_mod.q", "a.q"]
    assert torch.equal(lora.adapters(back)["my_orig_mod.q"].lora_B, lora.adapters(adapted)["my_orig_mod.q"].lora_B)


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_distributed_models_are_saved_by_plain_names_or_refused(saved, tmp_path, one_process):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    lora.save_adapter(torch.nn.parallel.DistributedDataParallel(model), tmp_path / "ddp")
    assert torch.equal(lora.load_adapter(tiny_llama(), tmp_path / "ddp")(IDS).logits, model(IDS).logits)
    ddp = torch.nn.parallel.DistributedDataParallel(tiny_llama())
    for attempt in (lambda: lora.inject(ddp, LoRAConfig()), lambda: lora.load_adapter(ddp, saved)):
        with pytest.raises(ValueError, match="put the adapters in first, and wrap the model then"):
            attempt()
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    sharded = torch.distributed.fsdp.fully_shard(lora.inject(tiny_llama(), LoRAConfig(r=4)), mesh=mesh)
    for attempt in (
        lambda: lora.save_adapter(sharded, tmp_path / "fsdp"),
        lambda: lora.load_adapter(sharded, saved),
        lambda: lora.targets(sharded, "q_proj"),
    ):
        with pytest.raises(ValueError, match="sharded .FSDP."):
            attempt()
    assert not (tmp_path / "fsdp").exists()


# ---- what else was trained -----------------------------------------------------------------------------------------


class Classifier(torch.nn.Module):
    """An encoder with everything that training may move beside the adapters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(12, 8)
        self.q_proj = torch.nn.Linear(8, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.norm.register_buffer("flags", torch.arange(70) % 3 == 0)
        self.norm.register_buffer("steps", torch.arange(70, dtype=torch.int16))
        self.norm.register_buffer("code", torch.arange(70, dtype=torch.int8))
        self.norm.register_buffer("eight", torch.ones(70).to(torch.float8_e4m3fn))
        self.norm.register_buffer("seed", torch.tensor([2**62 + 1, -(2**62) - 3]))
        self.score = torch.nn.Linear(8, 3)
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x):
        return self.score(self.norm(self.q_proj(self.embed(x).mean(1))))


def fresh():
    return lora.inject(Classifier().eval(), LoRAConfig(r=2, target_modules="q_proj"))


def unfreeze(model):
    model.score.requires_grad_(True)


def train_and_freeze(model):
    model.score.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.score.parameters(), lr=1e-4)
    model(torch.arange(12).view(4, 3)).square().sum().backward()
    optimizer.step()
    model.requires_grad_(False)


def run_in_training_mode(model):
    model.train()(torch.arange(12).view(4, 3))


def resize(model):
    model.embed = torch.nn.Embedding(14, 8).requires_grad_(False)


def change_the_base(model):
    with torch.no_grad():
        lora.adapters(model)["q_proj"].base.weight.mul_(1.001)


def add_a_head(model):
    model.head = torch.nn.Linear(3, 2).requires_grad_(False)


def add_a_parameter(model):
    model.score.register_parameter("gain", torch.nn.Parameter(torch.ones(3), requires_grad=False))


def change_buffers(model):
    model.norm.flags.logical_not_()
    model.norm.steps.add_(1)
    model.norm.code.add_(1)
    model.norm.eight.copy_(torch.full((70,), 2.0))


def load_another_base(model):
    model.load_state_dict({k: v + 1 if v.dtype == torch.float32 else v for k, v in model.state_dict().items()})


CHANGES = {"unfrozen": unfreeze, "frozen again": train_and_freeze, "statistics": run_in_training_mode,
           "resized": resize, "head": add_a_head, "parameter": add_a_parameter, "buffers": change_buffers}  # fmt: skip
SHAPES = {
    "resized": resize,
    "head": add_a_head,
    "parameter": add_a_parameter,
}  # a reader's, too


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "wrap", [lambda model: model, torch.nn.DataParallel, copy.deepcopy], ids=["plain", "wrapped", "copy"]
)
def test_what_was_trained_beside_the_adapters_is_saved_and_loaded_and_can_be_taken_out(change, wrap, tmp_path):
    model = randomise(fresh())
    CHANGES[change](model)
    lora.save_adapter(wrap(model), tmp_path / "adapter")
    other = Classifier().eval()
    SHAPES.get(change, lambda model: None)(other)
    before = snapshot(other)
    lora.load_adapter(other, tmp_path / "adapter")
    x = torch.arange(12).view(4, 3)
    assert torch.equal(other.eval()(x), model.eval()(x))
    for key, value in lora.remove(copy.deepcopy(model)).state_dict().items():  # what the output does not show
        there = other.state_dict()[key.replace("q_proj.", "q_proj.base.")]
        assert change in ("unfrozen", "statistics") or torch.equal(there.float(), value.float()), key
    assert_same(lora.remove(other), before)


@pytest.mark.parametrize("change", [change_the_base, load_another_base])
def test_an_adapter_whose_base_has_moved_is_not_saved_as_if_it_fitted_the_old_one(change, tmp_path):
    model = fresh()
    change(model)
    with pytest.raises(ValueError, match=r"q_proj.weight \(has moved.*adapters_only=True"):
        lora.save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    lora.save_adapter(model, tmp_path / "adapter", adapters_only=True)
    assert lora.adapters(lora.load_adapter(Classifier(), tmp_path / "adapter"))


def test_adapters_only_leaves_out_what_the_adapter_was_not_told_to_train(tmp_path):
    model = fresh()
    unfreeze(model)
    for adapters_only in (True, False):
        lora.save_adapter(model, tmp_path, adapters_only=adapters_only)
        stored = load_file(tmp_path / "adapter_model.safetensors")
        assert any("score" in key for key in stored) is not adapters_only
        assert any("norm.running_mean" in key for key in stored)


def test_codes_of_a_4_bit_layer_that_moved_are_refused_by_name(tmp_path):
    model = lora.inject(quant.quantize_model(Classifier(), skip=("q_proj",)), LoRAConfig(r=2, target_modules="q_proj"))
    model.score.packed.data.bitwise_not_()
    with pytest.raises(ValueError, match=r"score.packed \(has moved.* in four bits"):
        lora.save_adapter(model, tmp_path)


def test_rows_of_an_embedding_far_from_its_first_ones_are_never_lost_either(tmp_path):
    def tables():
        torch.manual_seed(0)
        return torch.nn.ModuleDict({"embed": torch.nn.Embedding(600, 8), "q_proj": torch.nn.Linear(8, 8)})

    model = lora.inject(tables(), LoRAConfig(r=2, target_modules="q_proj"))
    with torch.no_grad():
        model["embed"].weight[500:] += 1
    lora.save_adapter(model, tmp_path / "adapter")
    assert torch.equal(lora.load_adapter(tables(), tmp_path / "adapter")["embed"].weight, model["embed"].weight)


def test_what_only_looks_like_training_is_saved(tmp_path):
    def ordinary(model):
        model.train()
        model.norm.eval()
        model(torch.arange(12).view(4, 3)).sum().backward()
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1).step()

    for harmless in (
        ordinary,
        lambda model: model.load_state_dict(model.state_dict()),
        lambda model: model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True),
        lambda model: lora.unmerge(lora.merge(model)),
        lambda model: lora.merge(model),
        lambda model: model.to("cpu").bfloat16(),
        lambda model: model.bfloat16().float(),
        lambda model: model.half().float(),
        lambda model: model.double(),
        lambda model: model.scratch.add_(1),
        lambda model: model.zero_grad(),
        lambda model: quant.quantize_model(model, skip=("score",)),
        lambda model: quant.quantize_model(model),
    ):
        model = fresh()
        harmless(model)
        lora.save_adapter(model, tmp_path)


def test_a_quantized_base_is_not_taken_for_one_that_moved(tmp_path):
    model = lora.inject(quant.quantize_model(tiny_llama(), double_quant=True), LoRAConfig(target_modules="all-linear"))
    model.load_state_dict(model.state_dict())
    lora.save_adapter(model, tmp_path)


def test_a_weight_that_is_no_longer_tied_is_not_new(tmp_path):
    model = lora.inject(tiny_llama(), LoRAConfig(r=2))
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    lora.save_adapter(model, tmp_path)


def test_what_moved_before_the_adapter_was_put_in_is_not_its_own(tmp_path):
    for take_out in (lora.remove, lora.merge_and_remove):
        whole = torch.nn.ModuleDict({"body": Classifier().eval()})
        config = LoRAConfig(r=2, target_modules="q_proj")
        take_out(randomise(lora.inject(whole, config)))
        with torch.no_grad():
            whole["body"].score.weight.add_(1)
        lora.inject(whole["body"], config)
        lora.save_adapter(whole, tmp_path)
        assert not [key for key in load_file(tmp_path / "adapter_model.safetensors") if "score" in key]


def test_adapters_in_a_part_of_a_model_are_saved_from_the_whole(tmp_path):
    whole = torch.nn.ModuleDict({"body": Classifier().eval(), "head": torch.nn.Linear(3, 2).requires_grad_(False)})
    lora.inject(whole["body"], LoRAConfig(r=2, target_modules="q_proj"))
    lora.save_adapter(whole, tmp_path)
    change = whole["body"].score.weight
    with torch.no_grad():
        change.add_(1)
    lora.save_adapter(whole, tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert torch.equal(stored["base_model.model.body.score.weight"], change)
    assert "base_model.model.body.norm.running_mean" in stored


def test_taking_adapters_out_leaves_nothing_behind(tmp_path):
    model = fresh()
    before = set(vars(Classifier()))
    lora.remove(model)
    assert set(vars(model)) == before
