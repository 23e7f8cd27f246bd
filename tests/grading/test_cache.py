"""What is graded already: kept under all that a verdict depends on, and never believed when it is damaged."""

import dataclasses

import pytest

from lora_lab import disk
from lora_lab.grading import cache as caches
from lora_lab.grading.cache import Cache
from lora_lab.grading.exercise import Exercise, Sources
from lora_lab.grading.outcome import Outcome
from lora_lab.grading.verdict import Verdict

PAPER = Exercise("01_svd", "SVD", ("cut", "energy"), frozenset({"lowrank"}), {"cut": 1.0, "energy": 2.0})
CHECKS = Sources((), "a" * 64)
OUTCOME = Outcome((Verdict("cut", "right", 1.0), Verdict("energy", "wrong", 0.0, "2 × too <large>", 3.5)), 1.5, 0.75)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "grades.cache")


def test_what_was_put_in_comes_out_also_in_the_next_run(cache):
    cache.put("k", OUTCOME)
    assert cache.get("k", PAPER.tasks) == OUTCOME == Cache(cache.folder).get("k", PAPER.tasks)
    assert cache.get("other", PAPER.tasks) is None


def test_the_key_changes_with_all_that_a_verdict_depends_on(cache, monkeypatch):
    keys = {
        cache.key("s" * 64, PAPER, CHECKS, False),
        cache.key("t" * 64, PAPER, CHECKS, False),
        cache.key("s" * 64, PAPER, CHECKS, True),
        cache.key("s" * 64, PAPER, dataclasses.replace(CHECKS, digest="b" * 64), False),
        cache.key("s" * 64, dataclasses.replace(PAPER, points={"cut": 1.0, "energy": 3.0}), CHECKS, False),
        cache.key("s" * 64, dataclasses.replace(PAPER, allow=frozenset()), CHECKS, False),
        cache.key("s" * 64, dataclasses.replace(PAPER, tasks=("cut",)), CHECKS, False),
        cache.key("s" * 64, dataclasses.replace(PAPER, stubs={"cut": "cut = ..."}), CHECKS, False),
    }
    monkeypatch.setattr(caches.lora_lab, "__version__", "9.9.9")
    keys.add(cache.key("s" * 64, PAPER, CHECKS, False))
    assert len(keys) == 9
    assert cache.key("s" * 64, PAPER, CHECKS, False) in keys


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("verdicts"),
        lambda said: said["verdicts"].pop(),
        lambda said: said["verdicts"][0].update(status="perfect"),
        lambda said: said["verdicts"][0].update(task="other"),
        lambda said: said["verdicts"][0].update(more=1),
        lambda said: said.update(cpu=None),
        lambda said: said["verdicts"][0].update(points="3"),
        lambda said: said["verdicts"][0].update(points=-1),
        lambda said: said["verdicts"][0].update(points=True),
        lambda said: said["verdicts"][1].update(points=2.0),
        lambda said: said["verdicts"][1].update(score="many"),
        lambda said: said["verdicts"][1].update(why=["a"]),
    ],
)
def test_what_is_damaged_is_graded_again(cache, change):
    cache.put("k", OUTCOME)
    file = cache.folder / "k.json"
    said = disk.read_json(file, "")
    change(said)
    disk.write_json(file, said)
    assert cache.get("k", PAPER.tasks) is None
    file.write_text("{")
    assert cache.get("k", PAPER.tasks) is None


def test_trouble_of_the_grader_is_tried_again(cache):
    cache.put("k", Outcome(trouble="its process died"))
    assert cache.get("k", PAPER.tasks) is None and not (cache.folder / "k.json").exists()


def test_seeds_stay_in_one_folder_and_cannot_be_foreseen_from_outside(cache, tmp_path):
    assert cache.seed("k") == Cache(cache.folder).seed("k") != cache.seed("l")
    assert 0 <= cache.seed("k") < 2**63 and (cache.folder / "salt.json").stat().st_mode & 0o077 == 0
    assert Cache(tmp_path / "other").seed("k") != cache.seed("k")


def test_a_folder_that_cannot_be_written_in_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="choose another"):
        Cache(tmp_path / "file")
