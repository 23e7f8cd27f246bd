"""PEFT as the oracle: with the same tensors the same outputs and gradients, whatever the options; folders both ways."""

import copy
import json

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig
from tests.helpers.models import IDS, randomise, tiny_llama

# What PEFT warns of: keys that miss, PiSSA that it could not convert to plain LoRA, and a deprecation in transformers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


class Block(nn.Module):
    def __init__(self, d: int, inner: int) -> None:
        super().__init__()
        self.q, self.v = nn.Linear(d, inner), nn.Linear(inner, d, bias=False)

    def forward(self, x):
        return x + self.v(torch.tanh(self.q(x)))


class Net(nn.Module):
    """Modules called model.layers.0.q, model.layers.0.v, … and head."""

    def __init__(self, d: int = 11, inner: int = 7, layers: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(Block(d, inner) for _ in range(layers))
        self.head = nn.Linear(d, 5)

    def forward(self, x):
        for layer in self.model.layers:
            x = layer(x)
        return self.head(x)


def as_peft(config: LoRAConfig) -> peft.LoraConfig:
    target_modules = config.target_modules
    return peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        target_modules=target_modules if isinstance(target_modules, str) else list(target_modules),
        lora_dropout=config.dropout,
        use_rslora=config.use_rslora,
        rank_pattern=dict(config.rank_pattern),
        alpha_pattern=dict(config.alpha_pattern),
        exclude_modules=list(config.exclude_modules) or None,
        layers_to_transform=config.layers_to_transform and list(config.layers_to_transform),
        init_lora_weights=True if config.init == "kaiming" else config.init,
    )


def peft_layers(theirs: nn.Module) -> dict[str, LoraLayer]:
    return {
        name.removeprefix("base_model.model."): module
        for name, module in theirs.named_modules()
        if isinstance(module, LoraLayer)
    }


@torch.no_grad()
def move(model: nn.Module, seed: int) -> nn.Module:
    """As if trained: both factors away from where they started, by an update whose size does not depend on alpha."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora.adapters(model).values():
        for factor in (layer.lora_A, layer.lora_B):
            noise = torch.randn(factor.shape, generator=generator, dtype=factor.dtype)
            factor += 0.2 * noise / layer.scaling**0.5
    return model


@torch.no_grad()
def copy_into_peft(ours: nn.Module, theirs: nn.Module) -> None:
    """The same modules must be adapted, with the same ranks and scalings; then the factors are copied.

    PEFT's PiSSA takes the start out of the base; so that both use the same bits, the start is ours.
    """
    layers, twins = lora.adapters(ours), peft_layers(theirs)
    assert layers.keys() == twins.keys()
    for name, layer in layers.items():
        twin = twins[name]
        assert twin.r["default"] == layer.config.r and twin.scaling["default"] == pytest.approx(layer.scaling)
        twin.lora_A["default"].weight.copy_(layer.lora_A)
        twin.lora_B["default"].weight.copy_(layer.lora_B)
        if isinstance(layer, lora.PiSSALinear):
            dtype = layer.lora_A.dtype
            weight = layer.base.dequantize(dtype) if hasattr(layer.base, "dequantize") else layer.base.weight
            twin.base_layer.weight.copy_(weight - layer.scaling * layer.start_B @ layer.start_A)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).norm() <= TOLERANCE[ours.dtype] * theirs.norm()


@st.composite
def configs(draw, net: Net) -> LoRAConfig:
    init = draw(st.sampled_from(["kaiming", "gaussian", "pissa", "orthogonal"]))
    rank = st.integers(1, 4 if init == "pissa" else 9).map(lambda r: 2 * r if init == "orthogonal" else r)
    alpha = st.sampled_from([1, 3, 16, 0.7])
    target_modules = draw(
        st.sampled_from([("q",), ("v", "head"), ("layers.0.q", "v"), ("q", "v"), r".*\.[qv]", "all-linear"])
    )
    exclude = draw(st.sampled_from([(), ("layers.1.v",), ("model.layers.1.v", "layers.1.q")]))
    layers = None if isinstance(target_modules, str) else draw(st.sampled_from([None, 0, (0, 2)]))
    adapted = lora.targets(net, target_modules, exclude, layers)
    patterns = []
    for values in (rank, alpha):
        some = draw(st.lists(st.sampled_from(adapted), unique=True, max_size=3))
        by_kind = draw(st.booleans())  # keys that hit several modules, or one each
        keys = {name.rpartition(".")[2] if by_kind else name.removeprefix("model.") for name in some}
        patterns.append({key: draw(values) for key in sorted(keys)})
    return LoRAConfig(
        r=draw(rank),
        alpha=draw(alpha),
        target_modules=target_modules,
        dropout=draw(st.sampled_from([0.0, 0.4])),
        use_rslora=draw(st.booleans()),
        rank_pattern=patterns[0],
        alpha_pattern=patterns[1],
        exclude_modules=exclude,
        layers_to_transform=layers,
        init=init,
    )


@settings(max_examples=40)
@given(
    st.integers(4, 23),
    st.integers(4, 17),
    st.sampled_from([(3,), (1, 6), (2, 3, 2)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([torch.float64, torch.float32]),
    st.integers(0, 99),
    st.data(),
)
def test_outputs_and_gradients_equal_peft_for_every_option(d, inner, shape, quantized, training, dtype, seed, data):
    dense = Net(d, inner, seed=seed)
    if quantized:
        ours = quant.quantize_model(copy.deepcopy(dense))
        dense = quant.dequantize_model(copy.deepcopy(ours))
    else:
        ours = copy.deepcopy(dense.to(dtype))
    config = data.draw(configs(dense))
    theirs = peft.get_peft_model(dense.float(), as_peft(config)).to(dtype)
    move(lora.inject(ours, config).to(dtype), seed)
    copy_into_peft(ours, theirs)
    x = torch.randn(*shape, d, dtype=dtype)
    weights = torch.randn(*shape, 5, dtype=dtype)
    outputs, gradients = [], []
    for model in (ours, theirs):
        model.train(training)
        given_x = x.clone().requires_grad_()
        torch.manual_seed(seed)  # the same dropout masks
        outputs.append(model(given_x))
        (outputs[-1] * weights).sum().backward()
        gradients.append(given_x.grad)
    assert_close(*outputs)
    assert_close(*gradients)
    twins = peft_layers(theirs)
    for name, layer in lora.adapters(ours).items():
        assert_close(layer.lora_A.grad, twins[name].lora_A["default"].weight.grad)
        assert_close(layer.lora_B.grad, twins[name].lora_B["default"].weight.grad)


@pytest.mark.parametrize("init", ["kaiming", "pissa"])
def test_a_whole_llama_with_patterns_equals_peft(init):
    config = LoRAConfig(
        r=4,
        alpha=10,
        target_modules=("q_proj", "v_proj", "down_proj", "1.mlp.up_proj"),
        use_rslora=True,
        rank_pattern={"v_proj": 3, "layers.0.self_attn.q_proj": 6},
        alpha_pattern={"down_proj": 5},
        exclude_modules=("layers.0.mlp.down_proj",),
        init=init,
    )
    ours = move(lora.inject(tiny_llama().double(), config), seed=3)
    theirs = peft.get_peft_model(tiny_llama(), as_peft(config)).double().eval()
    copy_into_peft(ours, theirs)
    a, b = ours(IDS, labels=IDS), theirs(input_ids=IDS, labels=IDS)
    assert_close(a.logits, b.logits)
    a.loss.backward()
    b.loss.backward()
    for name, twin in peft_layers(theirs).items():
        layer = lora.adapters(ours)[name]
        assert_close(layer.lora_A.grad, twin.lora_A["default"].weight.grad)
        assert_close(layer.lora_B.grad, twin.lora_B["default"].weight.grad)


# ---- folders -------------------------------------------------------------------------------------------------------

X = torch.randn(4, 11, generator=torch.Generator().manual_seed(5))

FOLDERS = {
    "plain": LoRAConfig(r=3, alpha=12, target_modules="all-linear"),
    "rslora, gaussian": LoRAConfig(r=3, alpha=12, target_modules=("q",), use_rslora=True, init="gaussian"),
    "orthogonal": LoRAConfig(r=4, target_modules=("q", "v"), dropout=0.25, init="orthogonal"),
    "patterns": LoRAConfig(
        r=3, target_modules=("q", "v"), rank_pattern={"q": 2, "layers.1.v": 5}, alpha_pattern={"layers.0.q": 4}
    ),
    "patterns, rslora": LoRAConfig(
        r=3, alpha=5, target_modules=("q", "v"), use_rslora=True, rank_pattern={"q": 2}, alpha_pattern={"v": 0.5}
    ),
    "exclude": LoRAConfig(r=3, target_modules=r".*\.[qv]", exclude_modules=("layers.1.v", "model.layers.0.q")),
    "layers": LoRAConfig(r=3, target_modules=("q", "v", "head"), layers_to_transform=(0, 2)),
    "pissa": LoRAConfig(r=3, alpha=12, target_modules=("q", "v"), init="pissa"),
    "pissa, patterns": LoRAConfig(
        r=2, target_modules=("q", "v"), rank_pattern={"q": 3}, alpha_pattern={"layers.0.v": 5}, init="pissa"
    ),
    "pissa, rslora, patterns": LoRAConfig(
        r=2, target_modules=("q", "v"), use_rslora=True, rank_pattern={"q": 3}, alpha_pattern={"v": 5}, init="pissa"
    ),
}


@pytest.mark.parametrize("config", FOLDERS.values(), ids=FOLDERS)
def test_what_we_write_peft_reads_with_equal_outputs_and_writes_with_the_same_keys(config, tmp_path):
    ours = move(lora.inject(Net(), config), seed=3)
    lora.save_adapter(ours, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(Net(), tmp_path / "ours").eval()
    assert peft_layers(theirs).keys() == lora.adapters(ours).keys()
    assert_close(ours.eval()(X), theirs(X))
    theirs.save_pretrained(tmp_path / "theirs")
    written, again = (load_file(tmp_path / who / "adapter_model.safetensors") for who in ("ours", "theirs"))
    assert written.keys() == again.keys() and all(torch.equal(written[key], again[key]) for key in written)
    options = json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())
    for option, value in json.loads((tmp_path / "ours" / "adapter_config.json").read_text()).items():
        same = sorted(options[option]) if option == "target_modules" else options[option]
        assert option in ("base_model_name_or_path", "task_type") or same == value
    back = lora.load_adapter(Net(), tmp_path / "theirs").eval()
    assert_close(back(X), ours(X))
    init = "kaiming" if config.init == "pissa" else config.init
    assert all(layer.config.init == init for layer in lora.adapters(back).values())


@pytest.mark.parametrize("config", FOLDERS.values(), ids=FOLDERS)
def test_what_peft_writes_we_read_with_equal_outputs(config, tmp_path):
    theirs = peft.get_peft_model(Net(), as_peft(config)).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for twin in peft_layers(theirs).values():
            for factor in (twin.lora_A["default"].weight, twin.lora_B["default"].weight):
                factor += 0.2 * torch.randn(factor.shape, generator=generator)
    theirs.save_pretrained(tmp_path)
    ours = lora.load_adapter(Net(), tmp_path).eval()
    assert lora.adapters(ours).keys() == peft_layers(theirs).keys()
    assert_close(ours(X), theirs(X))
    assert all(layer.config.init == config.init for layer in lora.adapters(ours).values())


class Nested(nn.Module):
    """Names that reach further than they should: b.a.q ends in a.q, and the dot of a.q, as a regex, also means a_q."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.ModuleDict({"q": nn.Linear(6, 6)}), nn.Module()
        self.b.a = nn.ModuleDict({"q": nn.Linear(6, 6)})
        self.a_q = nn.Linear(6, 6)

    def forward(self, x):
        return self.a_q(self.b.a["q"](self.a["q"](x)))


@pytest.mark.parametrize(
    ("target_modules", "rank_pattern"),
    [
        ("a[.]q", {}),
        (("a[.]q", "a_q"), {}),
        ("b.a.q", {}),
        ("all-linear", {"a[.]q": 5}),
        (("a[.]q", "a_q"), {"a_q": 5}),
    ],
)
def test_no_name_that_we_write_reaches_a_second_module_in_peft(target_modules, rank_pattern, tmp_path):
    config = LoRAConfig(r=2, target_modules=target_modules, rank_pattern=rank_pattern, alpha_pattern=rank_pattern)
    ours = move(lora.inject(Nested(), config), seed=1)
    lora.save_adapter(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(Nested(), tmp_path).eval()
    x = torch.randn(3, 6)
    assert peft_layers(theirs).keys() == lora.adapters(ours).keys()
    assert_close(ours(x), theirs(x))
    assert_close(lora.load_adapter(Nested(), tmp_path)(x), ours(x))


@pytest.mark.parametrize(
    ("options", "adapted"),
    [
        ({"target_modules": r".*layers\.[01]\.q"}, {"model.layers.0.q", "model.layers.1.q"}),
        ({"target_modules": ["q"], "exclude_modules": r".*\.[12]\..*"}, {"model.layers.0.q"}),
        ({"target_modules": ["v"], "layers_to_transform": 2}, {"model.layers.2.v"}),
        (
            {"target_modules": ["model.layers.0.q", "v"], "layers_to_transform": [2]},
            {"model.layers.0.q", "model.layers.2.v"},
        ),
        ({"target_modules": ["v"], "layers_to_transform": []}, {f"model.layers.{i}.v" for i in range(3)}),
    ],
)
def test_the_names_in_a_peft_folder_mean_what_they_mean_to_peft(options, adapted, tmp_path):
    peft.get_peft_model(Net(), peft.LoraConfig(r=3, **options)).save_pretrained(tmp_path)
    assert lora.adapters(lora.load_adapter(Net(), tmp_path)).keys() == adapted


def test_entries_that_match_nothing_here_do_not_keep_a_peft_folder_from_loading(tmp_path):
    """The tensors say which modules are adapted, and each must find its place: a miss in the lists loses nothing."""
    theirs = peft.get_peft_model(
        Net(),
        peft.LoraConfig(
            r=3,
            target_modules=["q", "query"],
            exclude_modules=["lm_head"],
            layers_to_transform=[1, 9],
            rank_pattern={"v": 2},
            alpha_pattern={r"layers\.1\.\w": 3},
        ),
    )
    nn.init.normal_(peft_layers(theirs)["model.layers.1.q"].lora_B["default"].weight)
    theirs.save_pretrained(tmp_path)
    ours = lora.load_adapter(Net(), tmp_path)
    assert list(lora.adapters(ours)) == ["model.layers.1.q"]
    assert_close(ours(X), theirs.eval()(X))


def test_peft_sorts_patterns_that_overlap_and_so_changes_the_scaling_where_we_refuse(tmp_path):
    overlapping = {"q": 6, "layers.0.q": 30}
    theirs = peft.get_peft_model(Net(), peft.LoraConfig(r=3, target_modules=["q"], alpha_pattern=overlapping))
    theirs.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(Net(), tmp_path)
    scalings = [peft_layers(model)["model.layers.0.q"].scaling["default"] for model in (theirs, again)]
    assert scalings == [2, 10]
    with pytest.raises(ValueError, match="alpha_pattern gives model.layers.0.q several values"):
        lora.load_adapter(Net(), tmp_path)
    with pytest.raises(ValueError, match="alpha_pattern gives model.layers.0.q several values"):
        lora.inject(Net(), LoRAConfig(target_modules="q", alpha_pattern=overlapping))


def test_a_pissa_folder_of_peft_needs_the_dense_weight(tmp_path):
    theirs = peft.get_peft_model(Net(), peft.LoraConfig(r=3, target_modules=["q"], init_lora_weights="pissa"))
    theirs.save_pretrained(tmp_path)
    model = quant.quantize_model(Net())
    with pytest.raises(ValueError, match="model.layers.0.q: .*pissa.*this is a Linear4bit"):
        lora.load_adapter(model, tmp_path)
    assert not lora.adapters(model)


def test_an_adapter_trained_over_nf4_is_read_by_peft_on_the_dequantized_base(tmp_path):
    ours = randomise(lora.inject(quant.quantize_model(tiny_llama()), LoRAConfig(target_modules="all-linear")))
    lora.save_adapter(ours, tmp_path)
    dense = quant.dequantize_model(quant.quantize_model(tiny_llama()))
    theirs = peft.PeftModel.from_pretrained(dense, tmp_path).eval()
    assert torch.allclose(theirs(input_ids=IDS).logits, ours(IDS).logits, rtol=1e-5, atol=1e-5)
