"""Several adapters in one model: each is what it would be alone, and one is in use at a time."""

import copy
import io
import json

import peft
import pytest
import torch
from torch import nn

from lora_lab import lora
from lora_lab.adapters import checkpoint, copies, register
from lora_lab.lora import LoRAConfig
from tests.helpers.families import IDS, tiny_bert, tiny_classifier, tiny_gpt2
from tests.helpers.models import assert_same, moved, snapshot, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

A = LoRAConfig(r=3, alpha=10, target_modules=("query", "intermediate.dense"), init="gaussian")
B = LoRAConfig(r=2, target_modules=("query", "value"), bias="all", dropout=0.25)
CONFIGS = {"default": A, "b-2": B}


class Net(nn.Module):
    """What training can move: factors, biases, a head, statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.norm, self.head = nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.norm(self.q(x)))


X = torch.randn(6, 7, generator=torch.Generator().manual_seed(5))
FULL = LoRAConfig(r=2, target_modules="q", modules_to_save="head", bias="lora_only")
PLAIN = LoRAConfig(r=3, target_modules=("q", "head"))


def two(make=tiny_classifier, first=A, second=B) -> nn.Module:
    """Both moved, the second in use."""
    model = moved(lora.inject(make(), first), seed=1)
    return moved(lora.inject(model, second, name="b-2"), seed=2)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, n: int, seed: int) -> None:
    """A few steps with dropout, so that also the order of random numbers must be the same."""
    torch.manual_seed(seed)
    model.train()
    for _ in range(n):
        out = model(IDS).logits if hasattr(model, "config") else model(X)
        optimizer.zero_grad()
        (out**2).mean().backward()
        optimizer.step()
    model.eval()


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def state(model: nn.Module) -> dict[str, object]:
    """Everything by which a model with adapters differs from another: tensors by identity, flags, names, modes."""
    layers = {name: lora.adapters(model, name) for name in lora.names(model)}
    return {
        "names": lora.names(model),
        "active": lora.active(model),
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "tensors": [(name, id(t), t.requires_grad, t.detach().clone()) for name, t in model.named_parameters()],
        "buffers": [(name, id(t), t.clone()) for name, t in model.named_buffers()],
        "layers": {(a, name): (id(layer), layer.active) for a in layers for name, layer in layers[a].items()},
        "attributes": sorted(vars(model)),
    }


def assert_unchanged(model: nn.Module, before: dict[str, object]) -> None:
    after = state(model)
    for what in ("names", "active", "modules", "layers", "attributes"):
        assert after[what] == before[what], what
    for what in ("tensors", "buffers"):
        assert [each[:-1] for each in after[what]] == [each[:-1] for each in before[what]]
        assert all(torch.equal(one[-1], other[-1]) for one, other in zip(after[what], before[what]))


# ---- one at a time -------------------------------------------------------------------------------------------------


def test_the_last_that_was_put_in_is_in_use_until_another_is_chosen():
    model = two()
    assert lora.names(model) == ["default", "b-2"] and lora.active(model) == "b-2"
    assert lora.use(model, "default") is model and lora.active(model) == "default"
    assert lora.names(model) == ["default", "b-2"]
    assert len(lora.adapters(model, "default")) == len(lora.adapters(model, "b-2")) == 4
    assert lora.adapters(model, "default").keys() != lora.adapters(model, "b-2").keys()
    assert lora.adapters(model).keys() == lora.adapters(model, "default").keys()
    assert all(layer.name == "b-2" for layer in lora.adapters(model, "b-2").values())


def test_switched_off_no_adapter_computes_and_afterwards_the_same_one_does():
    model, plain = two(), tiny_classifier()
    for name in ("default", "b-2"):
        logits = lora.use(model, name)(IDS).logits
        with lora.disabled(model):
            assert torch.equal(model(IDS).logits, plain(IDS).logits)
        assert lora.active(model) == name and torch.equal(model(IDS).logits, logits)


@pytest.mark.parametrize("make", [tiny_classifier, tiny_bert])
def test_only_the_one_in_use_requires_a_gradient_and_is_counted(make):
    alone = {name: lora.count_parameters(lora.inject(make(), config)).trainable for name, config in CONFIGS.items()}
    model = two(make)
    plain = sum(parameter.numel() for parameter in make().parameters())
    factors = sum(
        layer.lora_A.numel() + layer.lora_B.numel() for n in alone for layer in lora.adapters(model, n).values()
    )
    for name in ("default", "b-2", "default"):
        lora.use(model, name)
        count = lora.count_parameters(model)
        assert count.trainable == alone[name] and count.total == plain + factors
        for other in alone:
            for layer in lora.adapters(model, other).values():
                assert layer.lora_A.requires_grad == layer.lora_B.requires_grad == (other == name)


@pytest.mark.parametrize(
    ("make", "first", "second"),
    [
        (tiny_classifier, A, B),
        (tiny_classifier, B, A),
        (Net, FULL, PLAIN),
        (Net, PLAIN, FULL),
        (tiny_gpt2, LoRAConfig(r=2, target_modules="c_attn", init="pissa"), LoRAConfig(target_modules="all-linear")),
    ],
)
def test_trained_in_turns_each_is_bit_for_bit_as_if_alone(make, first, second):
    wanted, optimizers = {}, {}
    for name, config in (("default", first), ("b-2", second)):
        model = make()
        torch.manual_seed(6)
        moved(lora.inject(model, config, name), seed=1)
        optimizer = torch.optim.AdamW(trainable(model), lr=1e-2)
        steps(model, optimizer, 2, seed=3)
        steps(model, optimizer, 2, seed=4)
        wanted[name] = (lora.count_parameters(model).trainable, model)
    both = make()
    for name, config in (("default", first), ("b-2", second)):
        torch.manual_seed(6)
        moved(lora.inject(both, config, name), seed=1)
        optimizers[name] = torch.optim.AdamW(trainable(both), lr=1e-2)
    for seed in (3, 4):
        for name in ("b-2", "default"):
            steps(lora.use(both, name), optimizers[name], 2, seed=seed)
    for name, (count, alone) in wanted.items():
        lora.use(both, name)
        assert lora.count_parameters(both).trainable == count
        x = IDS if hasattr(both, "config") else X
        out = [model(x).logits if hasattr(both, "config") else model(x) for model in (both, alone)]
        assert torch.equal(*out)
        mine, theirs = lora.adapters(both), lora.adapters(alone)
        for where in mine:
            assert torch.equal(mine[where].lora_A, theirs[where].lora_A)
            assert torch.equal(mine[where].lora_B, theirs[where].lora_B)
    for name in ("default", "b-2"):  # whichever goes first, the other stays what it was
        rest = copy.deepcopy(both)
        other = next(each for each in wanted if each != name)
        lora.use(lora.remove(rest, name), other)
        assert_same(rest, snapshot(wanted[other][1]))
        assert_same(lora.remove(rest), snapshot(make()))
    assert_same(lora.remove(both), snapshot(make()))


def test_another_starts_from_the_model_s_own_tensors_and_not_from_what_the_first_has_learnt(tmp_path):
    model = moved(lora.inject(Net(), FULL))
    model.train()(X)
    assert not torch.equal(model.eval()(X), Net().eval()(X))
    lora.inject(model, LoRAConfig(r=2, target_modules=("q", "head"), init="pissa", bias="all"), "pissa")
    assert torch.equal(model(X), Net().eval()(X))
    alone = lora.inject(Net(), LoRAConfig(r=2, target_modules="head", init="pissa"))
    assert torch.equal(lora.adapters(model)["head"].start_A, lora.adapters(alone)["head"].start_A)
    lora.save_adapter(lora.inject(Net(), FULL), tmp_path)
    lora.load_adapter(lora.use(model, "default"), tmp_path, "loaded")
    assert torch.equal(model(X), Net().eval()(X))
    assert_same(lora.remove(model), snapshot(Net()))


def test_what_is_used_again_trains_again_after_the_model_was_frozen():
    model = two(Net, FULL, PLAIN)
    for name in ("default", "b-2", "default"):
        count = lora.count_parameters(lora.use(model, name)).trainable
        model.requires_grad_(False)
        assert lora.count_parameters(lora.use(model, name)).trainable == count > 0


def test_running_statistics_belong_to_the_adapter_that_moved_them():
    model = lora.inject(Net(), PLAIN, "a")
    lora.inject(model, PLAIN, "b").train()(X)
    moved_by_b = model.norm.running_mean.clone()
    lora.use(model, "a")
    assert torch.equal(model.norm.running_mean, torch.zeros(5)) and model.norm.num_batches_tracked == 0
    lora.use(model, "b")
    assert torch.equal(model.norm.running_mean, moved_by_b) and model.norm.num_batches_tracked == 1


def test_taking_out_the_one_in_use_leaves_none_in_use():
    model = two()
    lora.remove(model, "b-2")
    assert lora.names(model) == ["default"] and lora.active(model) is None
    assert torch.equal(model(IDS).logits, tiny_classifier()(IDS).logits)
    assert lora.count_parameters(model).trainable == 0
    lora.inject(model, A, "b-2")  # the name is free again
    lora.remove(model, "default")  # and taking out another leaves it in use
    assert lora.active(model) == "b-2" and trainable(model)


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", ".", "a.b", "é", "a\n", "a" + "\x00"])
def test_what_is_no_name_is_refused(name, tmp_path):
    lora.save_adapter(lora.inject(tiny_classifier(), A), tmp_path)
    model = lora.inject(tiny_classifier(), A)
    before = state(model)
    for call in (lambda: lora.inject(model, A, name), lambda: lora.load_adapter(model, tmp_path, name)):
        with pytest.raises(ValueError, match="is no name of an adapter: use letters"):
            call()
    assert_unchanged(model, before)


@pytest.mark.parametrize("name", [None, 3, b"a", ("a",)])
def test_a_name_that_is_no_string_is_refused(name):
    with pytest.raises(TypeError, match="must be a string"):
        lora.inject(tiny_classifier(), A, name)


def test_a_name_that_is_taken_is_refused_and_the_way_out_works(tmp_path):
    model = two()
    lora.save_adapter(model, tmp_path)
    before = state(model)
    for name in ("default", "b-2"):
        for call in (lambda name: lora.inject(model, A, name), lambda name: lora.load_adapter(model, tmp_path, name)):
            with pytest.raises(ValueError, match=rf"adapter named '{name}' already: .*lora.remove\(model, '{name}'\)"):
                call(name)
    assert_unchanged(model, before)
    lora.inject(lora.remove(model, "b-2"), A, "b-2")


@pytest.mark.parametrize(
    "call",
    [
        lambda model, _: lora.use(model, "c"),
        lambda model, _: lora.remove(model, "c"),
        lambda model, folder: lora.save_adapter(model, folder / "out", "c"),
        lambda model, _: lora.adapters(model, "c"),
    ],
    ids=["use", "remove", "save", "adapters"],
)
def test_a_name_that_no_adapter_has_is_refused_with_those_that_are_there(call, tmp_path):
    model = two()
    before = state(model)
    with pytest.raises(ValueError, match="'c' is no adapter's: the model has default, b-2"):
        call(model, tmp_path)
    assert_unchanged(model, before)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="has none|no adapters"):
        call(tiny_classifier(), tmp_path)


def test_with_none_in_use_what_needs_one_says_which_there_are():
    model = lora.remove(lora.inject(two(), A, "c"), "c")
    for call in (lora.merge, lora.merge_and_remove):
        with pytest.raises(ValueError, match="no adapter is in use: .* one of default, b-2|has the adapters"):
            call(model)


def test_an_injection_that_fails_leaves_the_other_in_use():
    model = two()
    before = state(model)
    for config, words in (
        (LoRAConfig(target_modules="nothing"), "nothing"),
        (LoRAConfig(r=99, target_modules="query", init="pissa"), "r=99"),
        (LoRAConfig(target_modules="query", modules_to_save="nothing"), "modules_to_save names 'nothing'"),
        (LoRAConfig(target_modules="query", modules_to_save="attention"), "is a target and in modules_to_save"),
    ):
        with pytest.raises(ValueError, match=words):
            lora.inject(model, config, "c")
        assert_unchanged(model, before)


# ---- merging -------------------------------------------------------------------------------------------------------


def test_one_is_merged_while_the_others_stay():
    model = two()
    logits = {name: lora.use(model, name)(IDS).logits for name in ("default", "b-2")}
    lora.use(model, "default")
    lora.merge(model)
    torch.testing.assert_close(model(IDS).logits, logits["default"])
    lora.use(model, "b-2")  # the merged one is not in use, and stays merged
    assert torch.equal(model(IDS).logits, logits["b-2"])
    model.train()(IDS).logits.sum().backward()  # and training another is no training of a merged one
    model.eval().zero_grad()
    lora.merge(model)
    torch.testing.assert_close(model(IDS).logits, logits["b-2"])
    lora.use(model, "default")
    with pytest.raises(RuntimeError, match="merged already"):
        lora.merge(model)
    torch.testing.assert_close(model(IDS).logits, logits["default"])
    lora.unmerge(model)  # both of them
    for name in logits:
        assert torch.equal(lora.use(model, name)(IDS).logits, logits[name])
    assert_same(lora.remove(lora.merge(model)), snapshot(tiny_classifier()))


def test_a_merge_does_not_fold_another_adapter_in():
    """The layer below is the model's own, also for the outer of two adapters."""
    model = two(tiny_gpt2, *(LoRAConfig(r=r, target_modules=("c_attn", "c_fc")) for r in (2, 3)))
    plain = {name: layer.weight.T.clone() for name, layer in tiny_gpt2().named_modules() if name.endswith("c_attn")}
    for name in ("default", "b-2"):
        layers = lora.adapters(lora.merge(lora.use(model, name)))
        for where, weight in plain.items():
            layer = layers[where]
            torch.testing.assert_close(layer.weight, weight + layer.scaling * layer.lora_B @ layer.lora_A)
            assert torch.equal(lora.adapters(model, "default")[where].base.weight.T, weight)


def test_merging_for_good_wants_the_others_taken_out_first():
    model = two()
    before = state(model)
    with pytest.raises(ValueError, match=r"has the adapters default, b-2: take out all but one by lora.remove"):
        lora.merge_and_remove(model)
    assert_unchanged(model, before)
    logits = model(IDS).logits
    plain = lora.merge_and_remove(lora.remove(model, "default"))
    torch.testing.assert_close(plain(IDS).logits, logits)
    assert lora.names(plain) == [] and lora.active(plain) is None and not trainable(plain)
    assert plain.state_dict().keys() == tiny_classifier().state_dict().keys()


# ---- folders -------------------------------------------------------------------------------------------------------


def test_all_are_saved_in_peft_s_layout_and_peft_reads_each(tmp_path):
    """Without biases, of which PEFT keeps one set for all adapters."""
    model = two(second=LoRAConfig(r=2, target_modules=("query", "value"), use_rslora=True))
    logits = {name: lora.use(model, name)(IDS).logits for name in ("default", "b-2")}
    assert lora.save_adapter(model, tmp_path) == tmp_path
    files = {"adapter_config.json", "adapter_model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == files | {"b-2"}
    assert {path.name for path in (tmp_path / "b-2").iterdir()} == files
    theirs = peft.PeftModel.from_pretrained(tiny_classifier(), tmp_path).eval()
    theirs.load_adapter(tmp_path / "b-2", "b-2")
    for name in ("b-2", "default"):
        theirs.set_adapter(name)
        torch.testing.assert_close(theirs(IDS).logits, logits[name])


def test_peft_s_folders_of_several_adapters_are_read_by_name(tmp_path):
    options = {"lora_alpha": 12, "task_type": "SEQ_CLS"}
    theirs = peft.get_peft_model(tiny_classifier(), peft.LoraConfig(r=3, target_modules=["query"], **options))
    theirs.add_adapter("b-2", peft.LoraConfig(r=2, target_modules=["query", "value"], **options))
    for seed, name in enumerate(("default", "b-2")):
        theirs.set_adapter(name)
        moved(theirs, seed)
    theirs.save_pretrained(tmp_path)
    ours = tiny_classifier()
    for name in ("b-2", "default"):
        lora.load_adapter(ours, tmp_path, name)
    for name in ("default", "b-2"):
        theirs.set_adapter(name)
        torch.testing.assert_close(lora.use(ours, name)(IDS).logits, theirs.eval()(IDS).logits)
    again = lora.load_adapter(tiny_classifier(), tmp_path / "b-2", "other")
    lora.use(ours, "b-2")
    assert torch.equal(again(IDS).logits, ours(IDS).logits) and lora.names(again) == ["other"]


def test_one_is_saved_alone_and_loaded_under_any_name(tmp_path):
    model = two()
    lora.save_adapter(model, tmp_path, "b-2")
    assert [path.name for path in tmp_path.iterdir()] == ["b-2"]
    with pytest.raises(FileNotFoundError, match="holds no adapter named 'default': give the name of one, b-2"):
        lora.load_adapter(tiny_classifier(), tmp_path)
    for folder, name in ((tmp_path, "b-2"), (tmp_path / "b-2", "default"), (tmp_path / "b-2", "x")):
        loaded = lora.load_adapter(tiny_classifier(), folder, name)
        assert lora.names(loaded) == [name] and torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_saving_does_not_depend_on_which_is_in_use_nor_on_the_order(tmp_path):
    model = two(Net, FULL, PLAIN)
    model.train()(X)
    for name in ("default", "b-2"):
        lora.save_adapter(lora.use(model, name), tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors", "b-2/adapter_config.json"):
        assert (tmp_path / "default" / file).read_bytes() == (tmp_path / "b-2" / file).read_bytes()
    alone = lora.load_adapter(Net(), tmp_path / "default")
    lora.use(model, "default")
    assert torch.equal(alone.eval()(X), model.eval()(X))


def test_a_second_save_replaces_what_it_names_and_keeps_the_rest(tmp_path):
    model = two()
    lora.save_adapter(model, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    lora.save_adapter(moved(model), tmp_path, "b-2")
    changed = [path for path, content in before.items() if path.read_bytes() != content]
    assert changed == [tmp_path / "b-2" / "adapter_model.safetensors"]


def test_an_adapter_that_cannot_be_written_keeps_all_from_being_written(tmp_path):
    model = two()
    next(iter(lora.adapters(model, "b-2").values())).lora_B.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        lora.save_adapter(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- what people do with models ------------------------------------------------------------------------------------


def pickled(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize(("make", "first", "second"), [(tiny_classifier, A, B), (Net, FULL, PLAIN), (Net, PLAIN, FULL)])
def test_a_copy_has_all_adapters_and_shares_nothing(copied, make, first, second):
    model = two(make, first, second)
    x = IDS if make is tiny_classifier else X
    logits = {name: lora.use(model, name)(x) for name in ("default", "b-2")}
    twin = copied(model)
    mine = {tensor.data_ptr() for tensor in model.parameters()}
    assert not mine & {tensor.data_ptr() for tensor in twin.parameters()}
    for name in logits:
        got, wanted = lora.use(twin, name)(x), logits[name]
        assert torch.equal(*(each.logits if make is tiny_classifier else each for each in (got, wanted)))
    moved(twin, seed=9)
    assert_same(lora.remove(twin), snapshot(make()))
    assert lora.names(model) == ["default", "b-2"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_cast_reaches_what_is_not_in_use_when_it_is_used(dtype):
    model = two(Net, FULL, PLAIN).to(dtype)
    for name in ("default", "b-2", "default"):
        lora.use(model, name)
        out = model(X.to(dtype))
        assert out.dtype == dtype
        assert {t.dtype for t in (*model.head.parameters(), *model.norm.parameters())} <= {dtype, torch.float32}
        wanted = {name: lora.use(two(Net, FULL, PLAIN), name)(X) for name in ("default", "b-2")}[name]
        torch.testing.assert_close(out.float(), wanted, rtol=0.05, atol=0.05)
    alone = lora.remove(model)
    assert_same(
        alone, {key: value.to(dtype) if value.is_floating_point() else value for key, value in snapshot(Net()).items()}
    )


def test_a_state_of_two_adapters_goes_into_another_model_with_both():
    configs = [LoRAConfig(r=r, target_modules=("query", "dense"), modules_to_save=()) for r in (2, 3)]
    model, other = two(tiny_bert, *configs), tiny_bert(seed=7)
    lora.inject(lora.inject(other, configs[0]), configs[1], "b-2")
    other.load_state_dict(model.state_dict())
    for name in ("default", "b-2"):
        assert torch.equal(lora.use(other, name)(IDS).logits, lora.use(model, name)(IDS).logits)


def test_a_compiled_model_computes_with_whichever_is_in_use():
    torch._dynamo.reset()
    model = two(Net, FULL, PLAIN)
    compiled = torch.compile(model, backend="eager")
    for name in ("default", "b-2", "default"):
        lora.use(compiled, name)
        assert lora.active(model) == name
        torch.testing.assert_close(compiled(X), model(X))
    with lora.disabled(compiled):
        torch.testing.assert_close(compiled(X), Net().eval()(X) if not model.training else Net()(X))
    lora.remove(compiled, "b-2")
    assert lora.names(compiled) == ["default"]


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, pytest.param(lambda model: torch.compile(model, backend="eager"), marks=pytest.mark.slow)],
    ids=["DataParallel", "compile"],
)
def test_behind_a_wrapper_names_and_folders_are_those_of_the_plain_model(wrap, tmp_path):
    model = two()
    lora.save_adapter(model, tmp_path / "plain")
    wrapped = wrap(model)
    lora.save_adapter(lora.use(wrapped, "default"), tmp_path / "wrapped")
    for file in ("adapter_config.json", "b-2/adapter_config.json", "b-2/adapter_model.safetensors"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "wrapped" / file).read_bytes()
    loaded = wrap(tiny_classifier())
    for name in ("default", "b-2"):
        lora.load_adapter(loaded, tmp_path / "plain", name)
        assert lora.adapters(loaded, name).keys() == lora.adapters(model, name).keys()
    assert torch.equal(loaded(IDS).logits, lora.use(model, "b-2")(IDS).logits)
    lora.remove(loaded)
    assert_same(loaded, snapshot(wrap(tiny_classifier())))


def inject_another(model: nn.Module, _: str) -> None:
    torch.manual_seed(8)
    lora.inject(model, PLAIN, "c")


@pytest.mark.parametrize(
    "inside",
    [
        lambda model: lora.use(model, "default"),
        lambda model: lora.remove(model),
        lambda model: lora.inject(model, FULL, "c"),
        lambda model: lora.merge_and_remove(lora.remove(model, "default")),
    ],
    ids=["use", "remove", "inject", "merge and remove"],
)
def test_while_they_are_switched_off_nothing_that_would_mix_them_up_is_done(inside):
    for first, second in ((FULL, PLAIN), (PLAIN, FULL), (FULL, FULL)):
        model = two(Net, first, second).eval()
        output, before = model(X), snapshot(model)
        with lora.disabled(model):
            with pytest.raises(RuntimeError, match="leave the block of lora.disabled"):
                inside(model)
        assert lora.names(model) == ["default", "b-2"] and lora.active(model) == "b-2"
        assert torch.equal(model(X), output)
        assert_same(model, before)


def test_a_copy_made_while_they_are_switched_off_is_in_no_block():
    model = two(Net, FULL, PLAIN).eval()
    wanted = {name: lora.use(model, name)(X) for name in ("default", "b-2")}
    with lora.disabled(model):
        other = copy.deepcopy(model)
    for name, output in wanted.items():
        assert torch.equal(lora.use(other, name)(X), output)
    assert_same(lora.remove(other), snapshot(Net()))


def test_a_removal_that_fails_takes_nothing_out():
    model = Net()
    model.extra = torch.nn.Linear(2, 2)
    moved(lora.inject(model, FULL))
    lora.inject(model, LoRAConfig(r=2, target_modules="q", modules_to_save="extra"), "b-2")
    output, extra = model.eval()(X), model.extra
    model.extra = torch.nn.Identity()
    with pytest.raises(ValueError, match="no longer has extra.* put it back first"):
        lora.remove(model)
    assert lora.names(model) == ["default", "b-2"] and torch.equal(model(X), output)
    model.extra = extra
    assert lora.active(model) == "b-2" and torch.equal(lora.use(lora.use(model, "default"), "b-2")(X), output)


def test_what_is_frozen_keeps_no_gradient_and_a_failed_injection_gives_it_back():
    model = Net()
    model.train()(X).sum().backward()
    gradient = model.q.weight.grad.clone()
    with pytest.raises(ValueError, match="orthogonal|odd|r="):
        lora.inject(model, LoRAConfig(r=1000, target_modules="q", init="pissa"))
    assert torch.equal(model.q.weight.grad, gradient)
    lora.inject(model, PLAIN)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_merge_leaves_the_models_bias_the_models_own():
    model = two(Net, FULL, PLAIN)
    before = snapshot(lora.remove(copy.deepcopy(model)))
    keys = set(model.state_dict())
    lora.merge(model)
    assert set(model.state_dict()) == keys
    lora.unmerge(lora.use(lora.use(model, "default"), "b-2"))
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
    assert_same(lora.remove(model), before)


# ---- interruptions -------------------------------------------------------------------------------------------------


class Interrupt:
    """Ctrl-C in the n-th call of a function."""

    def __init__(self, function, n: int) -> None:
        self.function, self.left = function, n

    def __call__(self, *arguments, **options):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.function(*arguments, **options)


CALLS = {
    "inject": lambda model: lora.inject(model, FULL, "c"),
    "use": lambda model: lora.use(model, "default"),
    "remove": lambda model: lora.remove(model),
    "remove the one in use": lambda model: lora.remove(model, "b-2"),
    "remove the other": lambda model: lora.remove(model, "default"),
    "merge_and_remove": lambda model: lora.merge_and_remove(model),
}
PLACES = [(copies, "_place"), (register, "_train"), (register, "walk"), (copies, "named_places")]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("module", "function"), PLACES, ids=lambda each: each if isinstance(each, str) else "")
def test_an_interruption_leaves_all_as_it_was(call, module, function, monkeypatch):
    for n in range(1, 40):
        model = two(Net, FULL, LoRAConfig(r=2, target_modules="q", modules_to_save="norm"))
        if call == "merge_and_remove":
            lora.remove(model, "default")
        before = state(model)
        with monkeypatch.context() as patch:
            interrupt = Interrupt(getattr(module, function), n)
            patch.setattr(module, function, interrupt)
            try:
                CALLS[call](model)
            except KeyboardInterrupt:
                pass
            else:
                return
        assert_unchanged(model, before)
    raise AssertionError("the call never came to its end")


def test_an_interruption_while_a_folder_is_loaded_leaves_all_as_it_was(tmp_path, monkeypatch):
    model = two()
    lora.save_adapter(model, tmp_path, "default")
    before = state(model)
    monkeypatch.setattr(checkpoint, "_fill", Interrupt(checkpoint._fill, 3))
    with pytest.raises(KeyboardInterrupt):
        lora.load_adapter(model, tmp_path, "c")
    assert_unchanged(model, before)


# ---- folders of the last release -----------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["kaiming", "pissa"])
def test_a_folder_of_the_last_release_is_read(init, tmp_path):
    """It stated neither biases, nor modules to save, nor a task; of a PiSSA the plain LoRA of twice the rank."""
    config = LoRAConfig(
        r=2, target_modules=("q_proj", "down_proj"), init=init, rank_pattern={"layers.1.mlp.down_proj": 3}
    )
    model = moved(lora.inject(tiny_llama(), config))
    lora.save_adapter(model, tmp_path)
    path = tmp_path / "adapter_config.json"
    stored = json.loads(path.read_text())
    new = ("modules_to_save", "task_type", "base_model_name_or_path", "inference_mode", "fan_in_fan_out", "bias")
    old = {option: value for option, value in stored.items() if option not in new}
    for options in (old, old | {"bias": "none", "task_type": "CAUSAL_LM", "fan_in_fan_out": False}):
        path.write_text(json.dumps(options))
        loaded = lora.load_adapter(tiny_llama(), tmp_path)
        torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)
        assert {layer.config.modules_to_save for layer in lora.adapters(loaded).values()} == {()}


@pytest.mark.parametrize("peft_type", ["LOHA", "lora", "", None, 7, ["LORA"], "PROMPT_TUNING"])
def test_an_unknown_method_is_named_beside_those_that_are_there(peft_type, tmp_path):
    lora.save_adapter(lora.inject(tiny_llama(), LoRAConfig()), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "peft_type": peft_type}))
    model = tiny_llama()
    with pytest.raises(ValueError, match="asks for peft_type=.*, which is none of .*LORA.*: import its module first"):
        lora.load_adapter(model, tmp_path)
    assert_same(model, snapshot(tiny_llama()))
