"""Lesson 00: its own code is the library's, its control is a fair one, and its links lead somewhere."""

import random
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from lora_lab import data, lora, models, quant, show, train

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "course"))

from percent import parse  # noqa: E402

CELLS = parse((ROOT / "course/masters/lessons/00_start_here.py").read_text(encoding="utf-8"))


def cell(beginning: str) -> str:
    """The source of the one code cell that holds a line which begins so."""
    (source,) = [each.source for each in CELLS if each.kind == "code" and f"\n{beginning}" in f"\n{each.source}"]
    return source


def run(source: str, **names: Any) -> dict[str, Any]:
    """Run lines of the lesson with these names defined; return all names."""
    exec(compile(source, "lesson 00", "exec"), names)
    return names


def test_the_lessons_two_calls_make_the_model_that_train_prepare_makes_bit_for_bit():
    model, _ = models.load_embedded()
    run(cell("def megabytes"), model=model, torch=torch, quant=quant, lora=lora, show=show)
    wanted = train.prepare(models.load_embedded()[0], "qlora", seed=0)
    assert list(model.state_dict()) == list(wanted.state_dict())
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    trains = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trains == [name for name, parameter in wanted.named_parameters() if parameter.requires_grad]


def test_the_sizes_in_the_table_are_the_bytes_of_the_tensors():
    model, _ = models.load_embedded()
    names = run(cell("def megabytes"), model=model, torch=torch, quant=quant, lora=lora, show=show)
    assert names["dense"] == pytest.approx(4 * 1_771_200 / 1e6, abs=0.001)  # and a few bytes of rotary frequencies
    adapter = names["megabytes"](model) - names["packed"]
    assert adapter == pytest.approx(4 * lora.count_parameters(model).trainable / 1e6, abs=1e-9)


@pytest.mark.parametrize("width", [24, 100, 192])
def test_a_square_layers_adapter_has_the_share_of_parameters_that_the_lesson_computes(width, capsys):
    model, _ = models.load_embedded()
    model.config.hidden_size = width
    run(cell("for width in"), model=model)
    printed = re.search(rf"layer of {width} x {width}: the adapter has ([\d.]+)%", capsys.readouterr().out)
    layer = lora.LoRALinear(torch.nn.Linear(width, width, bias=False), lora.LoRAConfig(r=16))
    share = (layer.lora_A.numel() + layer.lora_B.numel()) / layer.base.weight.numel()
    assert printed and float(printed[1]) == pytest.approx(100 * share, abs=0.051)


def test_the_control_gives_every_passage_another_persons_json_and_changes_nothing_else():
    task = data.tasks.open_book(train=301, heldout=2)
    before_training = cell("answers = ").split("\nother = ")[0]
    swapped = run(before_training, task=task, replace=replace)["swapped"].train
    assert [example.prompt for example in swapped] == [example.prompt for example in task.train]
    assert Counter(example.answer for example in swapped) == Counter(example.answer for example in task.train)
    assert all(wrong.answer != right.answer for wrong, right in zip(swapped, task.train, strict=True))


def test_a_blind_guess_is_as_good_as_the_lesson_says(capsys):
    source = cell("kinds = ")
    run(source[source.index("kinds = ") :], data=data)
    printed = float(re.search(r"([\d.]+)%", capsys.readouterr().out)[1])
    world, hits, people = data.world, 0, 20_000
    rng = random.Random(1)
    for _ in range(people):
        truth, guessed = world.stranger(rng, "heldout"), world.stranger(rng, "heldout")
        hits += sum(truth.fact(field) == guessed.fact(field) for field in world.FIELDS)
    assert printed == pytest.approx(100 * hits / (6 * people), abs=0.15)


def test_every_link_in_the_lesson_and_in_the_syllabus_leads_to_a_file():
    pages = {
        ROOT / "notebooks": "\n".join(each.source for each in CELLS if each.kind == "markdown"),
        ROOT / "course": (ROOT / "course/syllabus.md").read_text(encoding="utf-8"),
    }
    for folder, text in pages.items():
        links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
        assert links
        for link in links:
            assert (folder / link).resolve().is_file(), f"{folder.name}: {link}"


def test_bars_of_shares_have_the_heights_and_the_colours_they_should():
    scores = {"base": {"form": 0.0, "facts": 0.25}, "tuned": {"form": 1.0, "facts": 0.5}}
    fig = show.shares(scores, point="tuned", title="A finding")
    heights = [[bar.get_height() for bar in bars] for bars in fig.axes[0].containers if hasattr(bars, "patches")]
    assert heights == [[0.0, 25.0], [100.0, 50.0]]
    colours = {
        text.get_text(): handle[0].get_facecolor()
        for text, handle in zip(fig.axes[0].get_legend().get_texts(), fig.axes[0].containers, strict=True)
    }
    assert plt.matplotlib.colors.to_hex(colours["tuned"]).upper() == show.POINT
    assert plt.matplotlib.colors.to_hex(colours["base"]).upper() == show.CONTEXT
    plt.close(fig)


def test_bars_of_shares_refuse_an_unknown_point_and_unequal_scores():
    with pytest.raises(ValueError, match="tuned"):
        show.shares({"base": {"form": 0.0}}, point="tuned", title="A finding")
    with pytest.raises(ValueError, match="facts"):
        show.shares({"base": {"form": 0.0}, "tuned": {"facts": 1.0}}, point="tuned", title="A finding")
