"""Exercises where students work: in JupyterLab, in a browser, without network."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "exercises").glob("*.ipynb"))

pytestmark = pytest.mark.browser


def test_an_exercise_says_not_yet_then_what_is_wrong_then_that_it_is_right(
    driver: ModuleType, server: Any, page: Any
) -> None:
    """The first one, worked on by the keyboard; the lesson before it opens by its link."""
    driver.open_notebook(page, server, f"exercises/{NAMES[0]}.ipynb")
    said = json.loads((ROOT / f"lora_lab/exercises/generated/exercises/{NAMES[0]}.json").read_text(encoding="utf-8"))
    first, *others = said["turns"]
    untouched = driver.run_all(page)
    assert driver.problems(untouched) == []
    assert driver.printed(untouched).count("not yet done") == len(said["turns"])

    driver.type_into(page, f"turn-{first}", f"def {first}(*given):\n    return 7")
    wrong = driver.printed(driver.run_all(page))
    assert f"{first}: not right yet: " in wrong and f'check("{first}", {first}, seed=' in wrong

    for name, turn in said["turns"].items():
        driver.type_into(page, f"turn-{name}", turn["solution"])
    solved = driver.run_all(page)
    assert driver.problems(solved) == [] and driver.printed(solved).count(": right.") == len(said["turns"])
    driver.save(page)
    assert driver.pop_ups(page) == []
    kept = json.loads((server.folder / "progress.json").read_text(encoding="utf-8"))["turns"]
    assert all(kept[name]["right"] for name in (first, *others))


@pytest.mark.release
@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_runs_untouched(driver: ModuleType, server: Any, page: Any, name: str) -> None:
    driver.open_notebook(page, server, f"exercises/{name}.ipynb")
    cells = driver.run_all(page)
    assert driver.problems(cells) == [] and "not yet done" in driver.printed(cells)
    assert driver.pop_ups(page) == []
