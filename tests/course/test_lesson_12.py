"""Lesson 12: what the learner types, and what the record says of four bits, of the controls, and of forgetting."""

import math
import statistics

import pytest

from lora_lab import records, show
from tests.helpers import lessons

LESSON = "12_qlora_finetune"
SEARCHED = ("full", "lora", "qlora", "qlora, 2 bits")
RUINED = "qlora, 2 bits, LoRA's rate"  # the positive control


def column(task: str, run: str, name: str = "exact") -> list[float]:
    rows = records.tried("qlora", part="report", task=task, run=run)
    return [row[name] for row in sorted(rows, key=lambda row: row["seed"])]


def difference(task: str, run: str, name: str = "exact") -> tuple[float, float]:
    """Minus LoRA's, on the JSON task LoRA's at QLoRA's rate, as in the lesson: the mean, and half of the interval."""
    ours = column(task, run, name)
    theirs = column(task, "lora at QLoRA's rate" if task == "open_book" else "lora", name)[: len(ours)]
    return show.paired(ours, theirs, show.STUDENT[len(ours)])


@pytest.mark.parametrize("task", ["new_facts", "open_book"])
@pytest.mark.parametrize("run", SEARCHED)
def test_every_run_reports_at_the_rate_that_validation_chose_with_a_worse_neighbour_on_both_sides(task, run):
    tried = {row["lr"]: row["validation"] for row in records.tried("qlora", part="search", task=task, run=run)}
    best = min(tried, key=lambda lr: math.inf if tried[lr] is None else tried[lr])
    assert {best / 2, best * 2} <= set(tried)
    assert {row["lr"] for row in records.tried("qlora", part="report", task=task, run=run)} == {best}


def test_a_searchs_rows_have_not_looked_at_the_held_out_examples():
    assert all("exact" not in row and "loss" not in row for row in records.tried("qlora", part="search"))


def test_a_report_repeats_the_searchs_run_to_the_last_digit():
    for task in ("new_facts", "open_book"):
        for run in SEARCHED:
            (row,) = records.tried("qlora", part="report", task=task, run=run, seed=0)
            (there,) = records.tried("qlora", part="search", task=task, run=run, lr=row["lr"])
            assert row["validation"] == there["validation"]


def test_the_papers_table_4_is_the_lessons_and_tells_nf4_from_fp4_also_by_size():
    (source,) = (cell for cell in lessons.cells(LESSON) if cell.startswith("table_4"))
    table = eval(source.split("table_4 = ")[1].split("\npairs")[0])
    means = {run: sum(scores) / 8 for run, scores in table.items()}
    assert list(means.values()) == pytest.approx([53.0, 52.2, 53.1], abs=0.12), (
        "the paper's last column, by its rounding"
    )
    sixteen, fp4, nf4 = table.values()
    assert show.paired(nf4, fp4, show.STUDENT[8]).mean > show.paired(nf4, fp4, show.STUDENT[8]).half
    sizes = [[(a + b) / 2 for a, b in zip(scores[::2], scores[1::2])] for scores in (sixteen, fp4, nf4)]
    fine, lost, apart = (show.paired(sizes[a], sizes[b], show.STUDENT[4]) for a, b in ((2, 0), (1, 0), (2, 1)))
    assert abs(fine.mean) < fine.half < 1.1 and abs(lost.mean) < lost.half
    assert (round(apart.mean, 2), round(apart.half, 2)) == (0.8, 0.56)


def test_qlora_is_lora_on_the_facts_within_an_interval_that_is_wide():
    mean, half = difference("new_facts", "qlora")
    assert len(column("new_facts", "qlora")) == 8 and abs(mean) < 0.03 and 0.1 < half < 0.2


def test_a_seed_that_is_lucky_for_lora_is_not_for_qlora():
    for name in ("exact", "loss"):
        ours, theirs = column("new_facts", "qlora", name), column("new_facts", "lora", name)
        assert statistics.correlation(ours, theirs) < 0


def test_a_pair_differs_in_the_bases_format_alone():
    for task, dense in (("new_facts", "lora"), ("open_book", "lora at QLoRA's rate")):
        for run in ("qlora", RUINED):
            for ours in records.tried("qlora", part="report", task=task, run=run):
                records.tried("qlora", part="report", task=task, run=dense, seed=ours["seed"], lr=ours["lr"])


def test_the_facts_see_full_fine_tuning():
    mean, half = difference("new_facts", "full", "loss")
    assert (round(mean, 2), round(half, 2)) == (-0.34, 0.29)


def test_the_facts_hardly_see_a_ruined_base_and_the_passages_do():
    (mean, half), (ruin, spread) = (difference(task, RUINED, "loss") for task in ("new_facts", "open_book"))
    assert len(column("new_facts", RUINED)) == 8 and (round(mean, 2), round(half, 2)) == (0.2, 0.21)
    assert round(ruin, 2) == 0.28 and ruin > spread
    assert sum(column("open_book", RUINED, "loss")) / sum(column("open_book", "lora at QLoRA's rate", "loss")) > 3.9
    mean, half = difference("new_facts", "qlora", "loss")
    assert round(mean + half, 2) == 0.19


def test_on_the_passages_qlora_costs_less_than_the_ruin_and_how_much_the_three_pairs_cannot_say():
    ruin, (mean, half) = difference("open_book", RUINED, "loss"), difference("open_book", "qlora", "loss")
    assert abs(mean) < half and mean + half < ruin[0] - ruin[1]
    assert (round(mean, 2), round(half, 2)) == (0.02, 0.11)
    whole = column("open_book", "lora at QLoRA's rate", "loss")
    assert round(sum(whole) / 3, 2) == 0.09 and max(column("open_book", RUINED)) == 0


def test_against_lora_at_its_own_rate_qlora_is_worse_on_the_passages_on_every_seed():
    ours, theirs = (column("open_book", run, "loss") for run in ("qlora", "lora"))
    mean, half = show.paired(ours, theirs, show.STUDENT[3])
    assert all(a > b for a, b in zip(ours, theirs, strict=True))
    assert (round(mean, 3), round(half, 3)) == (0.037, 0.044)
    assert sum(ours) / sum(theirs) == pytest.approx(1.5, abs=0.05)
    assert {row["lr"] for row in records.tried("qlora", part="report", task="open_book", run="lora")} == {0.01}


def test_without_right_answers_5_to_8_percent_of_the_facts_are_right():
    assert {f"{share:.0%}" for share in column("new_facts", "qlora, answers shuffled")} == {"5%", "8%"}


def test_the_rate_alone_costs_each_seed_25_points_of_reading_and_one_seed_more_learns_the_task():
    rows = {
        run: sorted(records.tried("qlora", part="spill", run=run), key=lambda row: row["seed"])
        for run in ("as in 00", "rate 0.007")
    }
    lower, higher = rows["as in 00"], rows["rate 0.007"]
    for low, high in zip(lower, higher, strict=True):
        same = ("seed", "steps", "batch_size")
        assert [low[key] for key in same] == [high[key] for key in same] and low["lr"] < high["lr"]
        assert low["reading"] - high["reading"] >= 0.2499
    learned = [sum(row["exact"] > 0.9 for row in each) for each in (lower, higher)]
    assert len(lower) == 3 and learned == [1, 2]


def test_lora_forgets_more_than_full_fine_tuning_on_the_facts_and_on_the_passages_the_rate_decides():
    mean, half = difference("new_facts", "full", "reading")
    assert (round(mean, 2), round(half, 2)) == (0.18, 0.17)
    ours, theirs = (column("new_facts", run, "reading")[:3] for run in ("full", "lora"))
    assert all(a > b for a, b in zip(ours, theirs, strict=True))
    learned = sum(column("new_facts", "lora")[:3]) / sum(column("new_facts", "full"))
    assert learned == pytest.approx(0.5, abs=0.05)
    reads = [sum(column("open_book", run, "reading")) / 3 for run in ("lora at QLoRA's rate", "lora")]
    assert reads == pytest.approx([0.95, 0.67], abs=0.006)


def test_the_rates_cost_in_reading_is_45_points_within_82():
    low, high = (
        [row["reading"] for row in sorted(records.tried("qlora", part="spill", run=run), key=lambda row: row["seed"])]
        for run in ("rate 0.007", "as in 00")
    )
    mean, half = show.paired(high, low, show.STUDENT[3])
    assert (round(mean, 2), round(half, 2)) == (0.45, 0.82)


def test_rounding_under_a_finished_adapter_costs_nothing_that_three_pairs_see():
    found = [difference("new_facts", "lora, rounded afterwards", name) for name in ("exact", "loss")]
    assert [f"{mean:.3f} ± {half:.3f}" for mean, half in found] == ["-0.000 ± 0.083", "0.014 ± 0.020"]


def test_qlora_took_1_4_times_as_long():
    times = [sum(column("new_facts", run, "seconds")) for run in ("qlora", "lora")]
    assert times[0] / times[1] == pytest.approx(1.4, abs=0.08)


def test_the_report_at_the_ceiling_has_99_to_100_percent_and_the_code_a_gap_of_18_points():
    means = [sum(row["exact"] for row in records.tried("open_book", run=run)) / 3 for run in ("full", "lora", "qlora")]
    assert [f"{mean:.0%}" for mean in means] == ["99%", "100%", "100%"]
    full, lora = (
        sum(row["exact"] for row in records.tried("capacity", task="cipher", run=run)) for run in ("full", "rank 16")
    )
    assert 100 * (full - lora) / 3 == pytest.approx(17.8, abs=0.1)
