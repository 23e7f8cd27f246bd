"""What the records of lesson 05 must hold for the lesson to compare what it compares."""

from statistics import mean

import pytest

from lora_lab import records

ROWS = records.load("places")["rows"]
RUNS = sorted({(row["task"], row["run"]) for row in ROWS if row["seed"] == 2 and row["run"] != "answers shuffled"})


def by_rate(task: str, run: str) -> dict[float, dict[int, dict]]:
    found: dict[float, dict[int, dict]] = {}
    for row in ROWS:
        if (row["task"], row["run"]) == (task, run):
            found.setdefault(row["lr"], {})[row["seed"]] = row
    return found


def chosen(task: str, run: str) -> list[dict]:
    """The three seeds at the rate where seed 0 has the lowest loss on validation."""
    rates = by_rate(task, run)
    return [row for _, row in sorted(min(rates.values(), key=lambda seeds: seeds[0]["validation"]).items())]


def exact(task: str, run: str, lr: float | None = None) -> list[float]:
    return [row["exact"] for row in (chosen(task, run) if lr is None else by_rate(task, run)[lr].values())]


def overlap(one: list[float], other: list[float]) -> bool:
    return max(min(one), min(other)) <= min(max(one), max(other))


def test_every_run_trains_as_many_numbers_as_the_others_within_two_percent():
    budget = 8 * 4 * (192 + 192 + 2 * (192 + 64) + 192 + 192 + 3 * (192 + 512))  # rank 8 on all linears of four blocks
    assert max(abs(row["trainable"] / budget - 1) for row in ROWS) < 0.02


@pytest.mark.parametrize("task, run", RUNS)
def test_every_rate_was_chosen_between_two_worse_ones_and_has_three_seeds(task, run):
    losses = {lr: seeds[0]["validation"] for lr, seeds in by_rate(task, run).items()}
    best = min(losses, key=losses.__getitem__)
    assert {best / 2, best * 2} <= set(losses)
    assert [row["seed"] for row in chosen(task, run)] == [0, 1, 2]


def test_no_row_stands_twice():
    points = [(row["task"], row["run"], row["lr"], row["seed"]) for row in ROWS]
    assert len(points) == len(set(points))


PLACES = ("all linears", "MLP", "attention", "query and value", "last block only")
STARTS = ("all linears", "gaussian", "orthogonal", "PiSSA", "LoRA+")


@pytest.mark.parametrize("task, runs", [("new_facts", PLACES), ("cipher", PLACES), ("new_facts", STARTS)])
def test_three_seeds_cannot_tell_the_places_apart_nor_the_starts_on_new_facts(task, runs):
    found = [exact(task, run) for run in runs if (task, run) in RUNS]
    assert len(found) >= 4 and all(overlap(one, other) for one in found for other in found)


def test_on_the_cipher_pissa_and_orthogonal_lie_above_kaiming_with_every_seed():
    assert min(exact("cipher", "PiSSA") + exact("cipher", "orthogonal")) > max(exact("cipher", "all linears"))
    assert max(exact("cipher", "all linears", 1.2e-2)) == min(exact("cipher", "orthogonal"))  # at its other rate


def test_batch_2_lies_above_batch_32_and_batch_8_parts_from_neither():
    small, middle, large = (exact("new_facts", run) for run in ("batch 2", "all linears", "batch 32"))
    assert min(small) > max(large) and overlap(small, middle) and overlap(middle, large)


@pytest.mark.parametrize("task", ["new_facts", "cipher"])
def test_a_far_too_hot_rate_loses_with_every_seed_and_the_two_others_overlap(task):
    low, middle, hot = (exact(task, "all linears", lr) for lr in (6e-3, 1.2e-2, 2.4e-2))
    assert [len(seeds) for seeds in (low, middle, hot)] == [3, 3, 3]
    assert max(hot) < min(low + middle) and overlap(low, middle)


def test_one_seed_would_have_crowned_the_place_that_the_two_others_put_near_the_bottom():
    block = exact("new_facts", "last block only")
    others = [score for run in PLACES[:3] for score in exact("new_facts", run)]
    assert block[0] > max(others + exact("new_facts", "query and value")) and max(block[1:]) <= min(others)


def test_pissa_is_ahead_of_kaiming_at_one_common_rate_and_behind_at_another():
    ahead = {
        lr: by_rate("new_facts", "PiSSA")[lr][0]["exact"] - by_rate("new_facts", "all linears")[lr][0]["exact"]
        for lr in (6e-3, 1.2e-2)
    }
    assert ahead[6e-3] > 0.1 and ahead[1.2e-2] < -0.1


def test_shuffled_answers_teach_no_fact():
    assert max(row["exact"] for row in ROWS if row["run"] == "answers shuffled") <= 0.1


def test_neither_stopping_nor_dropout_gained_what_more_examples_did():
    record = records.load("little_data")
    few, many = record["sizes"]
    assert sorted({row["seed"] for row in record["rows"]})[0] == 0

    def score(examples: int, dropout: float, key: str) -> float:
        return mean(r[key] for r in record["rows"] if (r["examples"], r["dropout"]) == (examples, dropout))

    gained = score(many, 0.0, "exact_last") - score(few, 0.0, "exact_last")
    assert gained > score(few, 0.0, "exact_best") - score(few, 0.0, "exact_last") + 0.05
    assert gained > score(few, 0.2, "exact_last") - score(few, 0.0, "exact_last") + 0.05
