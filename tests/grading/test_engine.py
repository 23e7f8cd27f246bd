"""The engine: processes die, are killed and started again, and no submission is lost or graded twice."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import pytest

from lora_lab.grading import cluster, engine, exercise, installing, pool, processor
from lora_lab.grading.cache import Cache
from lora_lab.grading.engine import grade_all
from lora_lab.grading.exercise import Sources
from lora_lab.grading.submissions import collect
from lora_lab.grading.verdict import Verdict
from tests.grading.classroom import believe, folder_of, notebook

ROOT = Path(__file__).resolve().parents[2]


def graded(place, course, cache, **options):
    submissions = collect(place, course).submissions
    return dict(grade_all(submissions, course, Sources((), "x"), Cache(cache), grade=believe, **options))


def status(results):
    return {one.submission.student: one.outcome.trouble or one.outcome.verdicts[0].status for one in results.values()}


def class_that(tmp_path, **says):
    files = {f"{student}/01_svd.ipynb": notebook("cut", "energy", says=word) for student, word in says.items()}
    return folder_of(tmp_path / "in", files)


def test_whoever_kills_its_process_is_said_and_costs_nobody_else(tmp_path, course):
    place = class_that(tmp_path, al="die", bo="right", cy=f"once {tmp_path / 'x'}", di="wrong", ed="right", fo="right")
    found = graded(place, course, tmp_path / "cache", jobs=2)
    said = status(found)
    assert "died, also when it was tried again alone" in said.pop("al")
    assert said == {"bo": "right", "cy": "right", "di": "wrong", "ed": "right", "fo": "right"}


def test_a_second_run_grades_only_what_changed(tmp_path, course):
    (tmp_path / "log").mkdir()
    place = class_that(tmp_path, al=f"count {tmp_path / 'log'}", bo=f"count {tmp_path / 'log'} ")
    first = graded(place, course, tmp_path / "cache", jobs=1)
    assert len(os.listdir(tmp_path / "log")) == 2 and not any(one.before for one in first.values())
    (place / "al" / "01_svd.ipynb").write_bytes(notebook("cut", says=f"count {tmp_path / 'log'}"))
    second = graded(place, course, tmp_path / "cache", jobs=1)
    assert len(os.listdir(tmp_path / "log")) == 3
    assert {one.submission.student for one in second.values() if one.before} == {"bo"}
    assert status(first)["bo"] == status(second)["bo"]


def test_notebooks_that_are_the_same_are_graded_once_and_count_for_each(tmp_path, course):
    (tmp_path / "log").mkdir()
    same = f"count {tmp_path / 'log'}"
    found = graded(class_that(tmp_path, al=same, bo=same, cy="right"), course, tmp_path / "cache", jobs=1)
    assert status(found) == {"al": "right", "bo": "right", "cy": "right"} and len(os.listdir(tmp_path / "log")) == 1
    assert [found[number].submission.student for number in range(3)] == ["al", "bo", "cy"]


def test_a_score_that_is_no_number_is_none_and_a_judge_that_fails_is_trouble(course, monkeypatch):
    judge = types.SimpleNamespace(grade=lambda content, paper: [Verdict("cut", "right", 1.0, score=math.nan)])
    monkeypatch.setattr(engine, "_warm", lambda trusted: judge)
    outcome = engine.grade_one(engine.Job(b"", course[0], Sources((), "x"), 7))
    assert judge.seed == 7 and outcome.verdicts == (Verdict("cut", "right", 1.0),) and not outcome.trouble
    judge.grade = lambda content, paper: 1 / 0
    assert "ZeroDivisionError" in engine.grade_one(engine.Job(b"", course[0], Sources((), "x"), 7)).trouble


def test_each_outcome_is_kept_as_soon_as_it_is_there(tmp_path, course):
    place = class_that(tmp_path, al="right", bo="slow 600")
    results = grade_all(
        collect(place, course).submissions, course, Sources((), "x"), Cache(tmp_path / "cache"), jobs=2, grade=believe
    )
    number, one = next(results)
    assert one.submission.student == "al" and len(list((tmp_path / "cache").glob("?" * 64 + ".json"))) == 1
    results.close()
    assert not multiprocessing.active_children()


def test_a_grader_that_fails_is_no_students_fault_and_is_tried_again_the_next_time(tmp_path, course):
    place = class_that(tmp_path, al="raise", bo="right")
    found = status(graded(place, course, tmp_path / "cache", jobs=1))
    assert "the grader failed (RuntimeError: a judge that is broken)" == found["al"] and found["bo"] == "right"
    again = graded(place, course, tmp_path / "cache", jobs=1)
    assert {one.submission.student for one in again.values() if one.before} == {"bo"}


def test_a_machine_without_a_sandbox_ends_the_run(tmp_path, course):
    with pytest.raises(OSError, match="install bubblewrap"):
        graded(class_that(tmp_path, al="no sandbox"), course, tmp_path / "cache", jobs=1)


def test_a_process_that_never_answers_is_ended(tmp_path, course, monkeypatch):
    monkeypatch.setattr(pool.Processes, "patience", 1)
    found = status(graded(class_that(tmp_path, al="slow 900"), course, tmp_path / "cache", jobs=1))
    assert "died" in found["al"] and not multiprocessing.active_children()


class Scripted:
    """A place in which nothing ends until it is waited for, and some jobs take all that are at work with them."""

    lost, patience, tries_alone, width = (BrokenExecutor,), 0, 2, 3

    def __init__(self, killers):
        self.killers, self.together, self.at_work = killers, [], {}

    def submit(self, function, job):
        future = Future()
        future.set_running_or_notify_cancel()
        self.at_work[future] = job
        return future

    def stop(self):
        self.together.append("".join(sorted(self.at_work.values())))
        dies = self.killers & set(self.at_work.values())
        for future, job in self.at_work.items():
            future.set_exception(BrokenExecutor()) if dies else future.set_result(job)
        self.at_work = {}


def test_a_suspect_is_tried_alone():
    """So nobody dies of another's, and who dies alone is said."""
    place = Scripted({"c"})
    results = dict(pool._run(str, "abcdef", place))
    assert isinstance(results.pop(2), pool.Died)
    assert results == {0: "a", 1: "b", 3: "d", 4: "e", 5: "f"}
    assert sorted(place.together) == ["a", "abc", "b", "c", "c", "def"]


SCRIPT = """
import sys
from pathlib import Path
from lora_lab.grading.engine import grade_all
from lora_lab.grading.cache import Cache
from lora_lab.grading.exercise import Exercise, Sources
from lora_lab.grading.submissions import collect
from lora_lab.grading.verdict import Verdict
from tests.grading.classroom import believe

if __name__ == "__main__":
    exercises = [Exercise("01_svd", "", ("cut", "energy"), frozenset(), {"cut": 1.0, "energy": 2.0})]
    submissions = collect(sys.argv[1], exercises).submissions
    for _, one in grade_all(submissions, exercises, Sources((), "x"), Cache(sys.argv[2]), jobs=2, grade=believe):
        print(one.submission.student, one.before, one.outcome.verdicts, flush=True)
"""


def test_a_run_that_is_killed_goes_on_where_it_was_and_leaves_no_process(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    students = {f"s{n}": notebook("cut", says=f"count {log}{' ' * n}") for n in range(12)}
    place = folder_of(tmp_path / "in", {f"{name}/01_svd.ipynb": content for name, content in students.items()})
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), str(place), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as first:
        lines = [first.stdout.readline() for _ in range(3)]
        workers = processor._children(first.pid)
        first.send_signal(signal.SIGKILL)
    assert all(lines) and workers
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    second = subprocess.run(words, env=environment, capture_output=True, text=True).stdout.splitlines()
    whole = subprocess.run([*words[:-1], str(tmp_path / "new")], env=environment, capture_output=True, text=True).stdout
    said = {line.split()[0]: line.split(maxsplit=2)[2] for line in second}
    assert said == {line.split()[0]: line.split(maxsplit=2)[2] for line in whole.splitlines()} and len(said) == 12
    kept = {line.split()[0] for line in second if " True " in line}
    assert {line.split()[0] for line in lines} <= kept


def test_processor_time_counts_children_that_run_and_that_have_ended():
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\n"
    before = processor.seconds()
    with subprocess.Popen([sys.executable, "-c", burn + "input()"], stdin=-1, stdout=-1, text=True) as child:
        child.stdout.readline()
        running = processor.seconds() - before
        child.communicate("\n")
    assert running >= 0.4 and processor.seconds() - before >= 0.4


# Checks of an instructor's own


CHECKS = """
from lora_lab.exercises.private import drawn
from lora_lab.exercises.tasks import Wrong, task

ALLOW = ("lowrank",)
POINTS = {"second": 2.5}


@task(reference=lambda: 1)
def first(value):
    if value != drawn.get("r", 1):
        raise Wrong("another number")


@task(reference=lambda: 2)
def second(value):
    pass
"""


def test_one_file_of_checks_is_an_exercise_and_is_not_executed_to_know_that(tmp_path, course):
    file = tmp_path / "midterm.py"
    file.write_text(CHECKS + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    [paper], sources = exercise.private(file)
    assert (paper.name, paper.tasks, paper.allow) == ("midterm", ("first", "second"), {"lowrank"})
    assert paper.points == {"first": 1.0, "second": 2.5} and not (tmp_path / "ran").exists()
    file.write_text(CHECKS + "\n")
    assert exercise.private(file)[1].digest != sources.digest


def test_a_built_folder_gives_its_exercises_checks_and_what_was_drawn(tmp_path, course):
    for name in ("built", "checks"):
        (tmp_path / "class" / name).mkdir(parents=True)
    (tmp_path / "class" / "checks" / "a.py").write_text(CHECKS)
    said = '{"title": "T", "tasks": {"first": {"points": 3}}, "allow": [], "drawn": {"r": 4}}'
    (tmp_path / "class" / "built" / "01_t.json").write_text(said)
    [paper], sources = exercise.private(tmp_path / "class")
    assert (paper.name, paper.points, sources.drawn) == ("01_t", {"first": 3.0}, {"r": 4})
    assert sources.files == (("a", CHECKS),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "has no check"),
        ("def f(:", "line 1 is no Python"),
        (CHECKS.replace('("lowrank",)', "some()"), "write ALLOW out"),
        (CHECKS.replace('"lowrank"', '"exercises"'), "holds the answers"),
        (CHECKS.replace('"lowrank"', '"nowhere"'), "no room of lora_lab"),
        (CHECKS.replace('"second": 2.5', '"third": 2.5'), "POINTS names 'third'"),
        (CHECKS.replace("2.5", "-1"), "at least 0"),
    ],
)
def test_checks_that_are_none_are_refused_in_one_sentence(tmp_path, course, text, said):
    (tmp_path / "x.py").write_text(text)
    with pytest.raises(ValueError, match=said):
        exercise.private(tmp_path / "x.py")


def test_a_folder_that_was_not_built_says_how_to(tmp_path, course):
    with pytest.raises(ValueError, match="lora-lab exercises build"):
        exercise.private(tmp_path)
    with pytest.raises(FileNotFoundError):
        exercise.private(tmp_path / "no")


def test_an_instructors_checks_count_in_place_of_the_courses(monkeypatch):
    from lora_lab.exercises import tasks

    known = {}
    monkeypatch.setattr(tasks, "_tasks", known)
    monkeypatch.setattr(tasks, "load", lambda: known)
    monkeypatch.setattr(installing, "_installed", set())
    tasks.task(reference=lambda: 0)(first := _named("first"))
    tasks.task(reference=lambda: 0)(_named("third"))
    installing.install(Sources((("a", CHECKS),), "d1", {"r": 8}))
    assert set(known) == {"first", "second", "third"} and known["first"].passes is not first
    known["first"].passes(8)
    with pytest.raises(tasks.Wrong):
        known["first"].passes(1)
    with pytest.raises(ValueError, match="a.py cannot be loaded .ZeroDivisionError"):
        installing.install(Sources((("a", "1 / 0"),), "d2"))
    assert set(known) == {"first", "second", "third"}


def _named(name):
    def passes(value):
        raise AssertionError

    passes.__name__ = name
    return passes


class Slipping:
    """A judge whose checks are at fault."""

    def __init__(self, error):
        self.error, self.seed = error, 0

    def grade(self, *_):
        raise self.error


def job_of(course):
    return engine.Job(notebook("cut"), course[0], Sources((), "d"), 1, False)


def test_a_slip_in_a_check_is_trouble_and_no_mark(course, monkeypatch):
    monkeypatch.setattr(engine, "_judges", {False: Slipping(NameError("name 'wnated' is not defined"))})
    outcome = engine.grade_one(job_of(course))
    assert outcome.trouble == "a check has a slip of its own (NameError: name 'wnated' is not defined)"
    assert outcome.verdicts == ()


def test_a_check_about_what_was_not_drawn_ends_the_run_in_one_sentence(course, monkeypatch):
    from lora_lab.exercises.private import NotDrawn

    monkeypatch.setattr(engine, "_judges", {False: Slipping(NotDrawn("a check asks for 'r'"))})
    with pytest.raises(ValueError, match="asks for 'r': give --checks the folder that was built"):
        engine.grade_one(job_of(course))


def test_only_a_process_of_a_pool_may_be_ended_by_a_check(monkeypatch):
    for begun in (True, False):
        monkeypatch.setattr(engine, "_judges", {})
        monkeypatch.setattr(pool, "_begun", begun)
        assert engine._warm(False).may_end is begun


# A cluster


def test_without_dask_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'lora_lab\[cluster\]'"):
        cluster.Cluster("tcp://127.0.0.1:1")


@pytest.mark.slow
def test_a_cluster_grades_as_processes_do_and_survives_a_worker_that_dies(tmp_path, course, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    dask = pytest.importorskip("dask")
    monkeypatch.setitem(dask.config.config["distributed"]["scheduler"], "allowed-failures", 0)
    place = class_that(tmp_path, al="die", bo="right", cy="wrong 3 < 4", di="right")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as there:
        found = status(graded(place, course, tmp_path / "cache", scheduler=there.scheduler_address))
    assert "died" in found.pop("al") and found == {"bo": "right", "cy": "wrong", "di": "right"}


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_or_has_no_workers_is_said(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    with pytest.raises(OSError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        cluster.Cluster("tcp://127.0.0.1:9")
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as there:
        with pytest.raises(OSError, match="has no workers"):
            cluster.Cluster(there.scheduler_address)


def test_jobs_are_as_many_as_cores_and_the_default_judge_is_ours():
    assert pool.cores() >= 1 and engine.version().startswith("lora_lab ")
