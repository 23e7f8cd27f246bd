"""What the recorded tables must show for the lessons and the README to say what they say."""

from statistics import mean

import pytest

from lora_lab import records


def scores(name: str, key: str, **wanted: str) -> dict[str, list[float]]:
    """The values of `key` by run, seed after seed."""
    found: dict[str, list[float]] = {}
    for row in records.load(name)["rows"]:
        if all(row[column] == value for column, value in wanted.items()):
            found.setdefault(row["run"], []).append(row[key])
    return found


def test_every_record_names_its_machine_and_has_three_seeds_a_run():
    for name in ("open_book", "capacity"):
        record = records.load(name)
        assert record["machine"]["processor"] and record["machine"]["torch"] and record["steps"]
        runs = {(row.get("task"), row["run"]) for row in record["rows"]}
        for task, run in runs:
            seeds = [r["seed"] for r in record["rows"] if (r.get("task"), r["run"]) == (task, run)]
            assert sorted(seeds) == [0, 1, 2]


def test_qlora_stays_within_three_points_of_full_fine_tuning_and_the_control_learns_no_content():
    exact = scores("open_book", "exact")
    assert abs(mean(exact["full"]) - mean(exact["qlora"])) <= 0.03 and min(exact["qlora"]) > 0.95
    assert max(exact["qlora, answers shuffled"]) < 0.05
    assert min(scores("open_book", "valid")["qlora, answers shuffled"]) > 0.95


@pytest.mark.parametrize("task", ["cipher", "new_facts"])
def test_two_tasks_have_headroom_between_rank_1_rank_16_and_full_fine_tuning(task):
    exact = scores("capacity", "exact", task=task)
    assert mean(exact["rank 16"]) - mean(exact["rank 1"]) > 0.05
    assert abs(mean(exact["full"]) - mean(exact["rank 16"])) > 0.05


def test_the_real_model_learns_the_job_that_prompting_and_retrieval_alone_do_not_do():
    tuned, prompted = scores("real_finetune", "exact"), scores("real_prompting", "exact")
    assert len(tuned["qlora"]) == 3 and min(tuned["qlora"]) > 0.85
    assert max(prompted["prompt"]) < 0.5 < min(tuned["qlora"])
    found = scores("real_retrieval", "found")
    assert min(found["retrieval, qlora"]) > 0.9 and max(found["passage withheld, qlora"]) == 0
    assert (
        max(scores("real_retrieval", "exact")["passage withheld, qlora"]) < 0.05
    )  # it cannot know what it was not told


def test_an_unknown_record_lists_the_known_ones():
    with pytest.raises(ValueError, match="capacity.*open_book"):
        records.load("speed")
