"""Sweeps over rates: how a rate is chosen from a record, and that the two recorded ones were searched to the end."""

import json

import pytest

from lora_lab import records

ROWS = [
    {"run": "lora", "seed": 0, "lr": 0.01, "validation": 0.5, "exact": 0.9},
    {"run": "lora", "seed": 0, "lr": 0.02, "validation": 0.4, "exact": 0.2},
    {"run": "lora", "seed": 0, "lr": 0.04, "validation": None, "exact": 0.0},
    {"run": "lora", "seed": 1, "lr": 0.01, "validation": 0.1, "exact": 0.8},
    {"run": "lora", "seed": 1, "lr": 0.02, "validation": 0.3, "exact": 0.3},
    {"run": "full", "seed": 0, "lr": 0.01, "validation": None, "exact": 0.0},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "sweep.json").write_text(json.dumps({"rows": ROWS}))
    monkeypatch.setattr(records, "FOLDER", tmp_path)


def test_the_rate_of_least_validation_loss_with_seed_0_is_chosen_for_every_seed(folder):
    assert records.chosen("sweep", run="lora") == [ROWS[1], ROWS[4]]
    assert records.tried("sweep", run="lora", seed=1) == ROWS[3:5]


def test_what_no_row_has_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="no row with.*'dora'"):
        records.chosen("sweep", run="dora")
    with pytest.raises(ValueError, match="no finished row.*'full'"):
        records.chosen("sweep", run="full")


def points(name: str, *columns: str) -> dict[tuple, list[dict]]:
    """The rows of a record by these columns; rows that lack one are left out."""
    found: dict[tuple, list[dict]] = {}
    for row in records.load(name)["rows"]:
        if all(column in row for column in columns):
            found.setdefault(tuple(row[column] for column in columns), []).append(row)
    return found


COLUMNS = [("intrinsic", ("task", "run", "size")), ("rates", ("task", "r", "scaling"))]


@pytest.mark.parametrize("name, columns", COLUMNS)
def test_the_chosen_rate_has_a_worse_neighbour_on_both_sides(name, columns):
    for point, rows in points(name, *columns).items():
        losses = {row["lr"]: row["validation"] for row in rows if row["seed"] == 0}
        best = min((lr for lr in losses if losses[lr] is not None), key=lambda lr: losses[lr])
        assert {best / 2, best * 2} <= set(losses) or best * 2 > 1, f"{point}: {sorted(losses)} around {best}"


def test_every_point_has_three_seeds_at_its_chosen_rate():
    compared = list(points("intrinsic", "task", "run", "size"))
    keys = [("intrinsic", dict(zip(("task", "run", "size"), point))) for point in compared]
    keys += [("rates", {"task": "new_facts", "r": r, "scaling": 2.0}) for r in (0, 1, 4, 16, 64)]
    for name, key in keys:
        assert sorted(row["seed"] for row in records.chosen(name, **key)) == [0, 1, 2], key


def test_a_record_of_a_sweep_names_its_machine_and_what_was_run():
    for name in ("intrinsic", "rates"):
        record = records.load(name)
        assert record["machine"]["processor"] and record["settings"]["new_facts"]["steps"]
        assert record["settings"]["new_facts"] == records.load("rates")["settings"]["new_facts"]


def test_a_random_z_of_the_trained_length_answers_nothing():
    controls = [row["control"] for row in records.load("intrinsic")["rows"] if "control" in row]
    assert len(controls) > 10 and max(controls) <= 0.05
