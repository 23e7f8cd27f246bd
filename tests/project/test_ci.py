"""The workflow, the hooks and .ci/run do what the test run does, with nothing that can change under them."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests import run

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
GROUPS = {"check", "all", "release", *run.PARTS}


def workflow() -> dict[Any, Any]:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def jobs() -> dict[str, dict[str, Any]]:
    return workflow()["jobs"]


def hooks() -> list[dict[str, Any]]:
    [repository] = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"  # any other is fetched, at a version of its own
    return repository["hooks"]


def pythons(job: dict[str, Any]) -> list[str]:
    """The versions that a job runs on, spelt out."""
    cells = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
    [asked] = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    return [cell.get("python", asked) for cell in cells]


# ── the workflow ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_workflow_runs_everything_on_the_oldest_python_and_a_check_on_all_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = [f"3.{minor}" for minor in range(8, 30) if f"3.{minor}" in SpecifierSet(project["requires-python"])]
    everything, check = jobs()["everything"], jobs()["check"]
    assert pythons(everything) == supported[:1]
    assert sorted(set(pythons(check))) == supported[1:]
    assert [step["run"] for step in everything["steps"] if "run" in step][-1] == "bash .ci/run"
    assert [step["run"] for step in check["steps"] if "run" in step][-1] == "python tests/run.py check"
    systems = {cell["system"].split("-")[0] for cell in check["strategy"]["matrix"]["include"]}
    assert systems == {"ubuntu", "windows", "macos"}


def test_without_make_the_set_up_is_what_the_readme_says() -> None:
    install = next(step["run"] for step in jobs()["check"]["steps"] if "pip install" in step.get("run", ""))
    assert install.removeprefix("python ") in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("job", jobs())
def test_a_job_ends_and_sees_the_tags(job: str) -> None:
    assert 0 < jobs()[job]["timeout-minutes"] <= 120
    first = jobs()[job]["steps"][0]
    assert "checkout" in first["uses"] and first["with"] == {"fetch-depth": 0, "persist-credentials": False}
    kept = [step["with"]["cache-dependency-path"].split() for step in jobs()[job]["steps"] if "cache" in str(step)]
    assert kept and all((ROOT / file).is_file() for files in kept for file in files)


def test_actions_are_pinned_to_a_commit_and_no_secret_is_within_reach() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action, _ in used)
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", said) for _, said in used)
    assert "secrets" not in text and workflow()["permissions"] == {"contents": "read"}


# ── the hooks ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_is_a_part_of_the_test_run(hook: dict[str, Any]) -> None:
    words = shlex.split(hook["entry"])
    assert words[:2] == ["sh", ".ci/hook"] and hook["language"] == "system" and hook["pass_filenames"] is False
    if words[2] == "tests/run.py":
        assert words[3:] and set(words[3:]) <= set(run.PARTS)
    else:
        assert words[2:4] == ["-m", "pytest"] and all((ROOT / each).is_file() for each in words if each.endswith(".py"))


def test_the_hooks_are_the_quick_parts_of_a_check_and_the_masters() -> None:
    parts = {word for hook in hooks() for word in shlex.split(hook["entry"])[3:] if "tests/run.py" in hook["entry"]}
    assert parts == {*run.CHECK, "drift"} - {"unit"}


@pytest.mark.parametrize(
    ("hook", "file"),
    [
        ("drift", "course/masters/lessons/01_svd.py"),
        ("drift", "course/repository.toml"),
        ("drift", "notebooks/01_svd.ipynb"),
        ("drift", "lora_lab/exercises/generated/01_svd.json"),
        ("drift", "lora_lab/authoring/editions.py"),
        ("types", "lora_lab/units.py"),
        ("types", "tests/run.py"),
    ],
)
def test_a_hook_runs_for_the_files_that_it_is_about(hook: str, file: str) -> None:
    [pattern] = [each["files"] for each in hooks() if each["id"] == hook]
    assert (ROOT / file).is_file() and re.search(pattern, file)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_hook_takes_the_checkouts_python_or_says_how_to_make_one(tmp_path: Path) -> None:
    hook = ["sh", str(ROOT / ".ci" / "hook"), "-c", "print('here')"]
    without = subprocess.run(hook, cwd=tmp_path, capture_output=True, text=True)
    assert without.returncode == 1 and "make setup" in without.stderr and not without.stdout
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert subprocess.run(hook, cwd=tmp_path, capture_output=True, text=True).stdout == "here\n"


# ── the run from a clean clone ──────────────────────────────────────────────────────────────────────────────────────


def test_a_release_asks_for_all_that_a_clean_clone_asks_for() -> None:
    [asked] = re.findall(r"LORA_LAB_REQUIRE=(\S+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert run.REQUIRED == asked


def test_a_test_that_hangs_ends_its_part_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        run.subprocess, "run", lambda command, **_: asked.append(command) or SimpleNamespace(returncode=0)
    )
    for name in run.PARTS:
        run.run(name)
    for command in asked:
        patient = {"faulthandler_timeout=1800", "faulthandler_exit_on_timeout=true"} <= set(command)
        assert patient == ("pytest" in command)


def test_every_part_that_the_makefile_names_exists() -> None:
    named = re.findall(r"tests/run\.py (.+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert named and {part for line in named for part in line.split()} <= GROUPS
