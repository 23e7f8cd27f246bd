"""What a check does with an object of another process is what it would do with one of its own."""

import collections
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong

VALUES = [
    None, True, 3, -(2**70), 2.5, float("inf"), "a\ud800b", b"\0\xff", [1, [2]], (1, (2.0, "x")), {"a": {"b": None}},
    torch.float16, torch.arange(6).reshape(2, 3), torch.zeros(0, 3), torch.tensor(2.0, dtype=torch.bfloat16),
    torch.ones(3, 4).T, torch.Size([2, 3]), nn.Parameter(torch.ones(2), requires_grad=False), ...,
    SimpleNamespace(a=1, b=torch.ones(1)), torch.device("cpu"),
]  # fmt: skip
LAYER = """
class answer(nn.Module):
    def __init__(self, r):
        super().__init__()
        self.weight, self.scaling = nn.Parameter(torch.full((r, 3), 2.0)), 1 / r
    def forward(self, x):
        return self.scaling * torch.tanh(x @ self.weight.T)
"""


def same(one, other):
    if isinstance(one, torch.Tensor):
        alike = type(one) is type(other) and one.dtype == other.dtype and one.requires_grad == other.requires_grad
        return alike and torch.equal(one, other)
    if isinstance(one, SimpleNamespace):
        return isinstance(other, SimpleNamespace) and same(vars(one), vars(other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_a_value_goes_there_and_back_as_it_is(given):
    answer = given("answer = lambda values: [each for each in values]")
    for sent, found in zip(VALUES, answer(VALUES), strict=True):
        assert same(sent, found), (sent, found)


def test_what_is_given_back_is_what_was_given(given):
    x = torch.randn(2, requires_grad=True)
    assert given("answer = lambda x, items: (items, x)")(x, items=[1])[1] is x


def test_a_tensor_that_requires_a_gradient_gets_the_one_it_would_get_here(given):
    answer = given("def answer(x, w, b):\n    y = torch.tanh(x @ w)\n    return {'a': (y + b).sum(0), 'b': [y * 2]}")
    for leaves in (True, False):
        x, w, b = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 3), (3, 2), (2,)))
        given_x = x if leaves else x * 1
        found = answer(given_x, w, b)
        (found["a"].pow(2).sum() + found["b"][0].sum()).backward()
        mine = [each.grad.clone() for each in (x, w, b)]
        y = torch.tanh(x @ w)
        wanted = torch.autograd.grad((y + b).sum(0).pow(2).sum() + 2 * y.sum(), (x, w, b))
        for one, other in zip(mine, wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_gradients_flow_through_one_call_into_another(given):
    answer = given("answer = lambda x: x**2")
    x = torch.tensor(3.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(answer(answer(x)), x)
    assert gradient == 4 * 27


def test_the_learners_own_parameters_have_their_gradients_afterwards(given):
    layer = given(LAYER)(4)
    x = torch.randn(5, 3)  # which requires none itself
    layer(x).sum().backward()
    weight = torch.full((4, 3), 2.0, requires_grad=True)
    (0.25 * torch.tanh(x @ weight.T)).sum().backward()
    torch.testing.assert_close(dict(layer.named_parameters())["weight"].grad, weight.grad)


def test_without_gradients_there_are_none(given):
    layer = given(LAYER)(4)
    with torch.no_grad():
        assert layer(torch.ones(1, 3)).grad_fn is None
    assert layer(torch.ones(1, 3)).requires_grad


def test_a_layer_is_asked_as_if_it_were_here(given):
    layer = given(LAYER)(2)
    assert layer.scaling == 0.5 and list(layer.state_dict()) == ["weight"] and callable(layer)
    assert callable(getattr(layer, "named_parameters", None)) and getattr(layer, "r", None) is None
    layer.load_state_dict({"weight": torch.zeros(2, 3)})
    assert not layer.weight.any() and layer.eval().training is False
    assert type(layer).__name__ == "answer" and not isinstance(layer, nn.Module)
    with pytest.raises(AttributeError):
        layer.scaling = 3


def test_a_changed_argument_is_changed_here(given):
    answer = given(
        "def answer(x, items, table):\n    x.mul_(2)\n    items.append(x)\n    table['new'] = items.pop(0)\n"
    )
    x, items, table = torch.ones(3), ["a"], {"old": 1}
    answer(x, items, table)
    assert x.tolist() == [2, 2, 2] and items[0] is x and len(items) == 1 and table == {"old": 1, "new": "a"}


@pytest.mark.parametrize("change", ["x += 1", "x.data[0] = 5", "x.resize_(1)", "items.sort()", "items[0][0] = 7"])
def test_untouched_sees_a_change_there(given, change):
    answer = given(f"def answer(x, items):\n    {change}\n")
    x, items = torch.ones(3), [[3], [2]]
    with pytest.raises(Wrong, match="your code changes"), untouched(x=x, items=items):
        answer(x, items)


def test_a_module_of_torchs_own_goes_there_whole(given):
    answer = given("answer = lambda model, x: model(x)")
    parts = [
        nn.Linear(3, 4),
        nn.GELU(),
        nn.LayerNorm(4),
        nn.ModuleList([nn.Embedding(2, 2)]),
        nn.Linear(4, 2, bias=False),
    ]
    parts[3] = nn.Identity()
    model = nn.Sequential(collections.OrderedDict(zip("abcde", parts, strict=True))).eval()
    x = torch.randn(2, 3)
    found = answer(model, x)
    torch.testing.assert_close(found, model(x))
    found.sum().backward()
    torch.testing.assert_close(model.a.weight.grad, torch.autograd.grad(model(x).sum(), model.a.weight)[0])


def test_a_module_that_is_frozen_there_is_frozen_here_and_a_rebuilt_one_is_the_learners(given):
    model = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"a": nn.Linear(2, 3)}))
    assert given("answer = lambda model: model.requires_grad_(False)")(model) is model
    assert not any(each.requires_grad for each in model.parameters())
    rebuilt = given("def answer(model):\n    model[0] = nn.Sequential(model[0], nn.Tanh())\n    return model")(model)
    assert [name for name, _ in rebuilt.named_parameters()][:1] == ["0.0.weight"]


def test_a_function_of_the_check_is_called_with_values(given):
    answer = given("def answer(step, x):\n    return [step(x, k=n) for n in range(3)]")
    found = answer(lambda x, k: (x + k, {"k": k}), torch.zeros(2))
    assert [each[1]["k"] for each in found] == [0, 1, 2] and found[2][0].tolist() == [2, 2]


def test_what_a_function_of_the_check_finds_wrong_cannot_be_swallowed(given):
    def step(x):
        raise Wrong("too large")

    answer = given(
        "def answer(step):\n    try:\n        step(3)\n    except Exception as error:\n        return str(error)"
    )
    with pytest.raises(Wrong, match="too large"):
        answer(step)
    assert answer(lambda x: 1 / 0) == "ZeroDivisionError"


def test_a_function_of_the_check_can_look_at_an_object_of_the_learners(given):
    answer = given(LAYER + "\nkind = answer\nanswer = lambda look: look(kind(2))")
    assert answer(lambda layer: layer.scaling) == 0.5


def test_what_can_be_iterated_counted_and_indexed_there_can_be_here(given):
    answer = given(
        "class Row:\n    def __len__(self): return 2\n    def __getitem__(self, k): return [5, 6][k]\nanswer = Row()"
    )
    assert len(answer) == 2 and answer[1] == 6 and answer
    assert given("answer = lambda: (n * n for n in range(4))")() == [0, 1, 4, 9]
    assert list(given("answer = {1, 2}")) == [1, 2] and list(given("answer = map(str, [1])")) == ["1"]
    assert not callable(given("answer = {1, 2}")) and not hasattr(given("answer = object()"), "__len__")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise KeyError('a')", KeyError),
        ("import json; json.loads('{')", ValueError),
        ("raise type('Own', (OSError,), {})(2, 'gone')", OSError),
        ("torch.ones(2) @ torch.ones(3)", RuntimeError),
        ("raise UnicodeDecodeError('utf-8', b'a', 0, 1, 'bad')", ValueError),
        ("raise SyntaxError('a', ('b', 1, 2, 'c'))", SyntaxError),
    ],
)
def test_an_exception_is_of_its_kind_and_has_its_line(given, code, kind):
    with pytest.raises(kind) as caught:
        given(f"def answer():\n    {code}\n")()
    assert caught.value.in_words().startswith(f"your code stopped in line 2 of its cell ({code})")
