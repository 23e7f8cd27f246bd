"""What the records of lesson 05 must hold for the lesson to compare what it compares."""

import pytest

from lora_lab import records, train
from lora_lab.show.choices import by_chance, worth

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


@pytest.mark.parametrize(
    "task, runs", [("new_facts", PLACES), ("cipher", [*PLACES[:3], PLACES[4]]), ("new_facts", STARTS)]
)
def test_three_seeds_cannot_tell_the_places_apart_nor_the_starts_on_new_facts(task, runs):
    found = [exact(task, run) for run in runs if (task, run) in RUNS]
    assert len(found) >= 4 and all(overlap(one, other) for one in found for other in found)


def test_on_the_cipher_query_and_value_part_from_attention_alone():
    few = exact("cipher", "query and value")
    assert min(exact("cipher", "attention")) > max(few)
    assert all(overlap(few, exact("cipher", place)) for place in ("all linears", "MLP", "last block only"))


def test_on_the_cipher_gaussian_pissa_and_orthogonal_lie_above_kaiming_with_every_seed():
    better = exact("cipher", "gaussian") + exact("cipher", "PiSSA") + exact("cipher", "orthogonal")
    assert min(better) > max(exact("cipher", "all linears"))
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


LITTLE = records.load("little_data")["rows"]


def answers(examples: int, dropout: float, key: str = "exact_last") -> list[float]:
    return [row[key] for row in LITTLE if (row["examples"], row["dropout"]) == (examples, dropout)]


def test_few_and_many_examples_have_three_seeds_with_and_without_dropout():
    points = sorted((row["examples"], row["dropout"], row["seed"]) for row in LITTLE)
    assert points == [(n, dropout, seed) for n in (16, 256) for dropout in (0.0, 0.2) for seed in (0, 1, 2)]


def test_more_examples_paid_with_every_seed_and_dropout_lost_with_many():
    assert min(answers(256, 0.0)) > max(answers(16, 0.0) + answers(256, 0.2))
    assert overlap(answers(16, 0.0), answers(16, 0.2))


def test_the_step_of_the_lowest_loss_never_answers_better_than_the_last_and_once_far_worse():
    assert all(row["exact_best"] <= row["exact_last"] for row in LITTLE)
    lost = [
        (row["examples"], row["dropout"], row["seed"]) for row in LITTLE if row["exact_last"] > row["exact_best"] + 0.1
    ]
    assert lost == [(16, 0.0, 1)]


def test_in_seven_runs_the_lowest_loss_is_the_last_and_in_four_more_both_score_alike():
    last = [row for row in LITTLE if row["best_step"] == 120]
    alike = [row for row in LITTLE if row not in last and row["exact_last"] - row["exact_best"] < 0.025]
    assert (len(last), len(alike), len(LITTLE)) == (7, 4, 12)


def test_the_one_bad_stop_comes_before_the_rate_has_decayed_and_its_loss_falls_twice():
    bad = next(row for row in LITTLE if (row["examples"], row["dropout"], row["seed"]) == (16, 0.0, 1))
    losses = dict(zip(range(10, 121, 10), bad["curve"]))
    assert bad["best_step"] == 30 and losses[30] < losses[60] < losses[50] < losses[40]
    assert min(losses[step] for step in losses if step > 60) > losses[60]
    assert train.learning_rate(30, 120, 1.0, 10) > 0.9


def test_with_16_examples_one_loss_of_three_ends_far_above_its_lowest():
    curves = {row["seed"]: row["curve"] for row in LITTLE if (row["examples"], row["dropout"]) == (16, 0.0)}
    assert [seed for seed, curve in curves.items() if curve[-1] > 1.1 * min(curve)] == [1]
    assert {row["seed"]: row["best_step"] for row in LITTLE if row["curve"] in curves.values()} == {0: 80, 1: 30, 2: 70}


def test_three_seeds_choose_another_rate_on_the_cipher_than_seed_0():
    losses = {
        lr: [seeds[seed]["validation"] for seed in (0, 1, 2)]
        for lr, seeds in by_rate("cipher", "all linears").items()
        if len(seeds) == 3
    }
    assert min(losses, key=lambda lr: losses[lr][0]) == 6e-3 and min(losses, key=lambda lr: sum(losses[lr])) == 1.2e-2
    assert overlap(exact("cipher", "all linears", 6e-3), exact("cipher", "all linears", 1.2e-2))
    assert by_rate("cipher", "all linears")[3e-3][0]["exact"] == 0, "too cold"


def test_gaussian_and_pissa_lie_above_all_six_runs_of_kaiming_at_its_two_better_rates():
    kaiming = exact("cipher", "all linears", 6e-3) + exact("cipher", "all linears", 1.2e-2)
    assert min(exact("cipher", "gaussian") + exact("cipher", "PiSSA")) > max(kaiming)


@pytest.mark.parametrize("task", ["new_facts", "cipher"])
def test_the_places_are_worth_about_what_luck_makes_them(task):
    places = {place: exact(task, place) for place in PLACES}
    assert worth(places) == pytest.approx(by_chance(places), abs=0.05)


def test_batch_2_has_a_lower_best_rate_and_loses_at_that_of_batch_8():
    rates = {run: chosen("new_facts", run)[0]["lr"] for run in ("batch 2", "all linears", "batch 32")}
    assert list(rates.values()) == [3e-3, 1.2e-2, 2.4e-2]
    assert by_rate("new_facts", "batch 2")[1.2e-2][0]["exact"] == 0.1


def test_patience_2_stops_one_run_at_a_bump_after_which_its_loss_falls_further():
    curve = next(row["curve"] for row in LITTLE if (row["examples"], row["dropout"], row["seed"]) == (16, 0.2, 1))
    assert min(curve[3], curve[4]) > curve[2] and min(curve[5:]) < curve[2]
