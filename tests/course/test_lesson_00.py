"""Lesson 00: its own code is the library's, its control is a fair one, and its links lead somewhere."""

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from lora_lab import data, lora, memory, models, quant, records, show, train
from lora_lab.authoring import percent
from lora_lab.data.scores import Example, score_json
from lora_lab.disk import parse_json
from tests.helpers.lessons import MASTERS, cells, function

LESSON = "00_start_here"
ROOT = Path(__file__).resolve().parents[2]
QUIET = {"show": show, "guesses": lambda **_: None}

SIZES = {"torch": torch, "quant": quant, "lora": lora, "show": show,
         "lora_16": memory.estimate("llama-3.1-8b", "lora", r=16), "weights": 8_030_261_248}  # fmt: skip


def cell(line: str) -> str:
    """The source of the one code cell that holds a line which begins so."""
    (source,) = [source for source in cells(LESSON) if f"\n{line}" in f"\n{source}"]
    return source


def run(source: str, **names: Any) -> dict[str, Any]:
    """Run lines of the lesson with these names defined; return all names."""
    exec(compile(source, "lesson 00", "exec"), names)
    return names


def test_the_lessons_two_calls_make_the_model_that_train_prepare_makes_bit_for_bit():
    model, _ = models.load_embedded()
    run(cell("def megabytes"), model=model, **SIZES)
    wanted = train.prepare(models.load_embedded()[0], "qlora", seed=0)
    assert list(model.state_dict()) == list(wanted.state_dict())
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    trains = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trains == [name for name, parameter in wanted.named_parameters() if parameter.requires_grad]


def test_the_sizes_in_the_table_are_the_bytes_of_the_tensors():
    model, _ = models.load_embedded()
    names = run(cell("def megabytes"), model=model, **SIZES)
    assert names["dense"] == pytest.approx(4 * 1_771_200 / 1e6, abs=0.001)  # and a few bytes of rotary frequencies
    adapter = names["megabytes"](model) - names["packed"]
    assert adapter == pytest.approx(4 * lora.count_parameters(model).trainable / 1e6, abs=1e-9)


def test_what_a_customer_costs_is_the_size_of_a_saved_adapter_in_16_bits():
    config = memory.load_config("llama-3.1-8b")
    shapes = [shape for shape in memory.linears(config) if shape.name != "lm_head"]
    parameters = sum(16 * (shape.d_in + shape.d_out) * shape.count for shape in shapes)
    assert memory.estimate(config, "lora", r=16).trainable_params == parameters == 41_943_040
    assert memory.estimate(config, "full").trainable_params == 8_030_261_248  # published


ANSWERS = [
    '{"name": "Ada Bron", "born": 1901}',
    '{"born": 1901, "name": "Ada Bron", "town": "Woliby"}',
    '{"name": "Ada Bron", "born": "1901"}',
    '{"name": "Ada Brom"}',
    '["Ada Bron", 1901]',
    '{"name": "Ada Bron", "born": 19',
    "",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_learners_count_is_the_librarys_score(answer):
    example = Example("", '{"name": "Ada Bron", "born": 1901}')
    fields_of = function(LESSON, "fields_of", parse_json=parse_json)
    known = {"fields_right": function(LESSON, "fields_right"), "fields_of": fields_of}
    content = function(LESSON, "content", parse_json=parse_json, **known)
    assert content(example, answer) == score_json([example], [answer])["fields"]


def test_the_control_gives_every_passage_another_persons_json_and_changes_nothing_else():
    task = data.tasks.open_book(train=301, heldout=2)
    source = cell("answers = ")
    before_training = source[source.index("answers = ") : source.index("\nother = ")]
    swapped = run(before_training, task=task, replace=replace)["swapped"]
    assert [example.prompt for example in swapped] == [example.prompt for example in task.train]
    assert Counter(example.answer for example in swapped) == Counter(example.answer for example in task.train)
    assert all(wrong.answer != right.answer for wrong, right in zip(swapped, task.train, strict=True))


def test_both_models_are_trained_alike():
    calls = [source for source in cells(LESSON) if "train.finetune(" in source]
    options = [re.search(r'"qlora", (lr=.*?batch_size=\d+)', source)[1] for source in calls]
    assert len(options) == 2 and options[0] == options[1]


def test_a_blind_guess_is_as_good_as_the_lesson_says():
    lines = [line for line in cell("kinds = ").split("\n") if line.startswith(("kinds = ", "blind = "))]
    blind = run("\n".join(lines), data=data)["blind"]
    world, hits, people = data.world, 0, 20_000
    rng = random.Random(1)
    for _ in range(people):
        truth, guessed = world.stranger(rng, "heldout"), world.stranger(rng, "heldout")
        hits += sum(truth.fact(field) == guessed.fact(field) for field in world.FIELDS)
    assert blind == pytest.approx(hits / (6 * people), abs=0.0015)


def test_every_rung_of_the_ladder_was_measured_with_three_seeds():
    source = cell("asked, withheld, looked_up, trained")
    source = source[source.index("def recorded") :]
    names = run(source, records=records)
    groups = {group: names[group] for group in ("asked", "withheld", "looked_up", "trained")}
    assert [len(rungs) for rungs in groups.values()] == [4, 2, 2, 4]
    for group, rungs in groups.items():
        for rung, rows in rungs.items():
            assert sorted(row["seed"] for row in rows) == [0, 1, 2], (group, rung)


def test_the_ladder_can_be_drawn_with_as_many_seeds_as_the_record_has():
    rows = records.load("real_finetune")["rows"]
    more = [{**row, "seed": seed} for row in rows for seed in (0, 1, 2) if row["seed"] == 0]
    source = cell("asked, withheld, looked_up, trained")
    for of_run in (rows, more):
        loaded = {"rows": of_run}
        stand_in = SimpleNamespace(load=lambda name, of=loaded: of if name == "real_finetune" else records.load(name))
        names = run(source[source.index("def recorded") :], records=stand_in)
        fig, _ = show.ladder({"asked": names["asked"], "fine-tuned": names["trained"]})
        once = sum(label.get_text().endswith("(one seed)") for label in fig.axes[0].get_yticklabels())
        assert once == sum(len(rung) == 1 for group in ("asked", "trained") for rung in names[group].values())
        plt.close(fig)


def test_a_lessons_link_leads_to_a_lesson_or_to_one_that_is_not_written():
    text = (MASTERS / f"{LESSON}.py").read_text(encoding="utf-8")
    written = {path.stem for path in MASTERS.glob("*.py") if path.stem < "15"}  # of the first two acts
    numbers = {name[:2] for name in written}
    linked = set(re.findall(r"\]\((\d\d_\w+)\.ipynb\)", text))
    assert {name for name in linked if name[:2] in numbers} == written - {LESSON}
    for name in linked - written:
        assert name[:2] not in numbers, f"{name} has another name now"


def test_the_lesson_links_to_files_that_are_there():
    text = "\n".join(each.source for each in percent.parse((MASTERS / f"{LESSON}.py").read_text(encoding="utf-8")))
    for link in re.findall(r"\]\((\.\./[^)#]+)\)", text):
        assert (ROOT / "notebooks" / link).resolve().is_file(), link


def test_each_lesson_of_the_first_two_acts_is_linked_or_named_as_planned():
    text = (MASTERS / f"{LESSON}.py").read_text(encoding="utf-8")
    written = {path.stem[:2] for path in MASTERS.glob("*.py")}
    planned = re.findall(r"\b(\d\d)(?=(?:, \d\d)* planned)", text)
    linked = set(re.findall(r"\]\((\d\d)_\w+\.ipynb\)", text))
    assert sorted([*planned, *linked]) == [f"{number:02}" for number in range(1, 15)]
    assert not set(planned) & written


def recorded(part, **key):
    return records.tried("start_here", part=part, steps=100, **key)


def test_the_clip_of_the_live_run_is_the_one_whose_worst_seed_is_best_on_validation():
    worst = {}
    for clip in (1.0, 0.3, 0.1):
        losses = [row["validation"] for row in recorded("search", lr=5e-3, clip=clip)]
        assert len(losses) == 3
        worst[clip] = max(losses)
    assert f"lr=5e-3, clip={min(worst, key=worst.get)}, steps=100" in cell("def look")


def test_three_seeds_of_three_learn_and_read():
    rows = recorded("report", run="qlora", clip=0.1)
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    assert min(row["exact"] for row in rows) > 0.95 and min(row["reading"] for row in rows) > 0.9


def test_with_the_usual_clip_two_seeds_of_three_lack_one_field_as_the_lesson_says():
    fields = {row["seed"]: row["fields"] for row in recorded("report", run="qlora", clip=1.0)}
    assert all(0.8 < fields[seed] < 0.87 for seed in (1, 2))
    rows = [row for row in records.load("qlora")["rows"] if row["run"] == "as in 00"]  # the same, an older run
    assert {row["seed"]: f"{row['exact']:.0%}" for row in rows} == {0: "98%", 1: "9%", 2: "9%"}


def test_the_minutes_at_the_top_are_those_of_the_sections():
    text = (MASTERS / f"{LESSON}.py").read_text(encoding="utf-8")
    (said,) = re.findall(r"^# \|[^|]+\| (\d+) minutes \|", text, re.MULTILINE)
    assert int(said) == sum(int(minutes) for minutes in re.findall(r'"minutes:(\d+)"', text))
