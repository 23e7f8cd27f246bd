"""Lesson 08: its solutions against PyTorch's own formats, and its record against what the lesson says."""

import ast
import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from lora_lab import quant, records
from lora_lab.exercises.topics.number_formats import FLOATS
from tests.helpers import lessons
from tests.helpers.data import normal

LESSON = "08_number_formats"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "course" / "records" / "rounding.py"
    monkeypatch.syspath_prepend(str(path.parent))  # where `sweep` stands
    spec = importlib.util.spec_from_file_location("rounding", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FLOATS)
def test_the_lessons_decode_reads_every_finite_code_as_torch_does(name: str) -> None:
    dtype, e, m = FLOATS[name]
    decode, width = lessons.function(LESSON, "decode"), 1 + e + m
    codes = torch.arange(2**width, dtype=torch.int32)
    theirs = codes.to(torch.uint8 if width == 8 else torch.int16).view(dtype).double()
    seen = 0
    for code in range(0, 2**width, 1 if width == 8 else 37):
        if torch.isfinite(theirs[code]):
            assert decode(f"{code:0{width}b}", e, m) == float(theirs[code])
            seen += 1
    assert seen > 240


def test_the_lessons_decode_reads_fp32_as_torch_does() -> None:
    decode, dice = lessons.function(LESSON, "decode"), random.Random(0)
    for code in (1, 2**23 - 1, 2**23, 2**31 + 5, *(dice.getrandbits(31) for _ in range(200))):
        bits = f"{code:032b}"
        if bits[1:9] != "1" * 8:
            whole = torch.tensor([code - 2**32 if code >= 2**31 else code], dtype=torch.int32)
            assert decode(bits, 8, 23) == float(whole.view(torch.float32))


def test_the_bits_of_a_tenth_are_those_of_torch() -> None:
    (source,) = (source for source in lessons.cells(LESSON) if "\nTENTH = " in source)
    tenth = next(
        node for node in ast.parse(source).body if isinstance(node, ast.Assign) and node.targets[0].id == "TENTH"
    )
    names = ast.literal_eval(tenth.value)
    decode = lessons.function(LESSON, "decode")
    dtypes = {"FP32": (torch.float32, 8, 23), "FP16": (torch.float16, 5, 10), "BF16": (torch.bfloat16, 8, 7),
              "E5M2": (torch.float8_e5m2, 5, 2), "E4M3": (torch.float8_e4m3fn, 4, 3)}  # fmt: skip
    for name, (dtype, e, m) in dtypes.items():
        assert [len(part) for part in names[name].split()] == [1, e, m]
        assert decode(names[name].replace(" ", ""), e, m) == float(torch.tensor(0.1).to(dtype).double())
    assert int(names["INT8"].split()[1], 2) == round(0.1 * 127) and int(names["INT4"].split()[1], 2) == round(0.1 * 7)


@pytest.mark.parametrize(("bits", "book"), [(4, quant.INT4), (8, quant.INT8)])
def test_the_lessons_blocks_are_those_of_the_library(bits: int, book: quant.Codebook) -> None:
    blocks = normal(37, 64)
    codes, restored = lessons.function(LESSON, "round_blocks")(blocks, bits)
    theirs = book.decode(book.encode(blocks / blocks.abs().amax(1, keepdim=True))) * blocks.abs().amax(1, keepdim=True)
    torch.testing.assert_close(restored, theirs, rtol=1e-5, atol=1e-6)
    assert codes.abs().max() == 2 ** (bits - 1) - 1


def test_two_bits_have_three_levels() -> None:
    codes, _ = lessons.function(LESSON, "round_blocks")(normal(50, 64), 2)
    assert codes.unique().tolist() == [-1, 0, 1]


def test_training_through_the_rounding_computes_with_rounded_weights_and_moves_the_floats(script: ModuleType) -> None:
    layer = nn.Linear(64, 3, bias=False)
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", script.Rounding(2, straight=True))
    torch.testing.assert_close(layer.weight, script.rounded(before, 2))
    layer(torch.ones(1, 64)).sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, torch.ones(3, 64))


def test_without_straight_through_only_the_largest_weight_of_a_block_gets_a_gradient(script: ModuleType) -> None:
    layer = nn.Linear(64, 3, bias=False)
    parametrize.register_parametrization(layer, "weight", script.Rounding(2, straight=False))
    layer(torch.ones(1, 64)).sum().backward()
    gradient = layer.parametrizations.weight.original.grad
    assert [(row != 0).nonzero().flatten().tolist() for row in gradient] == [
        [int(row.abs().argmax())] for row in layer.parametrizations.weight.original
    ]


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("run", ["trained through rounding", "trained, then rounded"])
def test_each_rate_was_chosen_on_validation_between_two_worse_ones(run: str) -> None:
    rows = records.tried("rounding", run=run, steps=60, seed=0)
    loss, best = {row["lr"]: row["validation"] for row in rows}, records.chosen("rounding", run=run, steps=60)[0]["lr"]
    assert loss[best] < loss[best / 2] and loss[best] < loss[2 * best]


def test_every_run_has_three_seeds() -> None:
    runs = ("trained through rounding", "trained, then rounded", "without straight-through", "text about other people")
    for run in runs:
        assert [row["seed"] for row in records.chosen("rounding", run=run, steps=60)] == [0, 1, 2]
    assert [row["seed"] for row in records.tried("rounding", steps=240)] == [0, 1, 2]


def test_what_the_lesson_says_of_the_record_holds() -> None:
    recall = {bits: records.tried("rounding", bits=bits)[0]["recall"] for bits in (32, 8, 4, 3, 2)}
    assert min(recall[bits] for bits in (32, 8, 4, 3)) > 0.99 and recall[2] < 0.01
    through = [row["recall"] for row in records.chosen("rounding", run="trained through rounding", steps=60)]
    longer = [row["recall"] for row in records.tried("rounding", steps=240)]
    floats = [row["recall"] for row in records.chosen("rounding", run="trained, then rounded", steps=60)]
    assert sum(through) / 3 > 0.4 and 0.87 < sum(longer) / 3 < 0.9 and f"{sum(floats) / 3:.0%}" == "1%"
    others = records.chosen("rounding", run="text about other people", steps=60)
    assert f"{sum(through) / 3:.0%}" == "43%" and f"{sum(row['recall'] for row in others) / 3:.0%}" == "7%"
    through = records.chosen("rounding", run="trained through rounding", steps=60)
    two = records.tried("rounding", bits=2) * 3
    assert [f"{sum(row['heldout'] for row in runs) / 3:.2f}" for runs in (two, through, others)] == [
        "5.19",
        "1.04",
        "1.14",
    ]
    loss = {bits: records.tried("rounding", bits=bits)[0]["heldout"] for bits in (32, 4, 3)}
    assert [f"{loss[bits] / loss[32] - 1:.1%}" for bits in (4, 3)] == ["0.4%", "2.5%"]


def test_the_text_about_other_people_names_none_who_are_asked_for(script: ModuleType) -> None:
    asked, shown = ({person.name for person in world.people} for world in (script.WORLD, script.OTHER_WORLD))
    assert len(asked) == len(shown) == 64 and not asked & shown
