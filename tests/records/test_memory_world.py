"""What the record of measured runs must show for an estimate to claim what it claims, run by run."""

import importlib
import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from lora_lab import records
from lora_lab.memory.stacks import STACKS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Row = dict[str, Any]
RECORD = records.load("memory_world")
ROWS: list[Row] = RECORD["rows"]
T4 = [row for row in ROWS if row["gpu"] == "T4"]


def errors(rows: list[Row], side: str = "as_run") -> list[float]:
    """Sizes of the errors, as shares of what was measured."""
    assert rows
    return [abs(row[side] / row["measured"] - 1) for row in rows]


def of(source: str, *words: str) -> list[Row]:
    return [row for row in ROWS if row["source"] == source and all(word in row["id"].split() for word in words)]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("memory_world")


def test_the_record_is_what_the_estimates_of_today_say(script):
    assert script.record() == RECORD


def test_every_published_run_is_in_the_record_and_names_where_it_stands():
    t4, others = (json.loads((BENCHMARKS / "published" / f"{name}.json").read_text()) for name in ("t4", "others"))
    assert len(T4) == len(t4["rows"]) == 39
    assert "Anas Bouzid" in (BENCHMARKS / "published" / "t4.LICENSE.txt").read_text()
    assert {row["id"] for row in others["rows"]} <= {row["id"] for row in ROWS}
    for row in others["rows"]:
        assert others["sources"][row["source"]]["address"].startswith("https://")
    assert all(left["why"] for left in others["left_out"])


@pytest.mark.parametrize(
    ("method", "attention", "worst", "middle"),
    [("lora", "sdpa", 0.02, 0.01), ("qlora", "sdpa", 0.025, 0.01), ("lora", "eager", 0.05, 0.02),
     ("qlora", "eager", 0.05, 0.02)],
)  # fmt: skip
def test_a_t4_run_of_which_all_is_known_is_met(method, attention, worst, middle):
    off = errors(of("fitcheck-llm", method, attention))
    assert max(off) <= worst and median(off) <= middle


def test_a_t4_run_is_met_from_what_a_user_types_with_the_stack_of_a_plain_loop():
    off = errors(T4, "typed")
    assert max(off) <= 0.08 and median(off) <= 0.02
    assert {row["stack"] for row in T4} == {"peft-loop"}


def test_a_t4_process_is_inside_a_range_no_wider_than_a_third():
    inside = [row["range"][0] <= row["held"] <= row["range"][1] for row in T4]
    assert sum(inside) >= 0.95 * len(inside)
    assert max(row["range"][1] / row["range"][0] for row in T4) <= 1.35


def test_torchtunes_8b_runs_on_a_4090_are_met_as_run_and_as_typed():
    rows = of("torchtune README")
    assert len(rows) == 3 and max(errors(rows)) <= 0.08 and max(errors(rows, "typed")) <= 0.08


def test_litgpts_runs_are_met_with_what_its_layers_keep_besides():
    rows = [row for row in of("litgpt") if row["measured"]]
    assert len([row for row in rows if "nf4" in row["id"]]) == 4 and max(errors(rows)) <= 0.12


def test_a_run_that_its_card_could_not_hold_is_not_expected_to_fit(script):
    lost = [row for row in ROWS if row["kind"] == "out of memory"]
    assert len(lost) == 2
    assert all(row["range"][0] > script.CARDS[row["gpu"]].usable_bytes for row in lost)


def test_what_was_reserved_under_ddp_is_inside_the_range():
    rows = of("fsdp_qlora", "DDP")
    assert len(rows) == 2 and all(row["range"][0] <= row["held"] <= row["range"][1] for row in rows)


def test_the_loss_alone_is_met_to_the_byte():
    assert errors(of("ml-cross-entropy")) == [0, 0]


def test_each_stack_is_summed_up_from_its_own_runs():
    assert set(RECORD["stacks"]) == set(STACKS)
    for name, said in RECORD["stacks"].items():
        rows = [row for row in ROWS if row["stack"] == name]
        assert said["runs"] == len(rows) and said["worst"] == pytest.approx(max(errors(rows, "typed")), abs=1e-4)
        assert said["median"] == pytest.approx(median(errors(rows, "typed")), abs=1e-4)


def test_each_method_of_a_stack_is_summed_up_from_its_own_runs_on_known_cards(script):
    runs = script.rows()
    assert RECORD["methods"] == script.methods(runs)
    for stack, own in RECORD["methods"].items():
        for method, said in own.items():
            rows = [run for run in runs if (run["stack"], run.get("method")) == (stack, method)]
            known = [run for run in rows if run["gpu"] != "unstated"]
            assert said["runs"] == len(known) and said["worst"] == pytest.approx(max(errors(known, "typed")), abs=1e-4)
            assert said.get("unstated", {"runs": 0})["runs"] == len(rows) - len(known)
    assert set(RECORD["methods"]["peft"]) == {"qlora"}


def test_large_models_on_an_h100_are_met_within_five_percent():
    rows = [row for row in of("results/gpu.json") if row["id"].startswith("llama")]
    assert len(rows) == 16 and max(errors(rows)) <= 0.05
    assert max(errors(of("results/gpu.json"))) <= 0.06  # of a model of 1.1 GB, cuBLAS' workspaces are 6 %


def test_the_tables_of_the_benchmarks_are_of_this_record(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    written = importlib.import_module("world_report").markdown(RECORD)
    assert written in (BENCHMARKS / "README.md").read_text(encoding="utf-8")
