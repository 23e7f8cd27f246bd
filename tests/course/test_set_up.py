"""The set-up cell: what it installs, when it does not, and what it says. `tests/colab` runs it with Colab's packages;
here pip is a stand-in."""

import ast
import builtins
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import lora_lab
from lora_lab.authoring import pages, set_up

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = {"address": "https://github.com/o/r", "ref": "v1"}
COURSE = "lora_lab @ git+https://github.com/o/r@v1"
NETWORK = "Is there a network? Wait a minute, then run this again."
ANEW = "Runtime > Disconnect and delete runtime, then run this again. If it stays, show your instructor."
FROM_PIP = {
    "no such tag": (
        "  error: subprocess-exited-with-error\n      error: pathspec 'v1' did not match any file(s) known to git\n"
        "error: subprocess-exited-with-error\n\nnote: This error originates from a subprocess",
        "There is no release v1 any more: open the lesson anew from https://github.com/o/r.",
        "error: pathspec 'v1' did not match any file(s) known to git",
    ),
    "no network": (
        "  error: subprocess-exited-with-error\n      fatal: unable to access 'https://github.com/o/r/': "
        "Could not resolve host: github.com\nerror: subprocess-exited-with-error",
        NETWORK,
        "fatal: unable to access 'https://github.com/o/r/': Could not resolve host: github.com",
    ),
    "no route": (
        "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No distribution found for x\n",
        NETWORK,
        "ERROR: No distribution found for x",
    ),
    "old Python": (
        "ERROR: Package 'lora_lab' requires a different Python: 3.10.1 not in '<3.15,>=3.11'",
        "This Python is not the course's: Runtime > Change runtime type > Runtime version.",
        "ERROR: Package 'lora_lab' requires a different Python: 3.10.1 not in '<3.15,>=3.11'",
    ),
    "disk full": (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
        ANEW,
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ),
    "no setuptools": (
        "  error: subprocess-exited-with-error\n\n  × Getting requirements to build wheel did not run successfully.\n"
        "      ModuleNotFoundError: No module named 'setuptools'\n      [end of output]\n"
        "error: subprocess-exited-with-error\n\nnote: This error originates from a subprocess\n",
        ANEW,
        "ModuleNotFoundError: No module named 'setuptools'",
    ),
    "no pip": ("/usr/bin/python3: No module named pip\n", ANEW, "/usr/bin/python3: No module named pip"),
    "killed": ("", ANEW, "status -9"),
}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell marks a module that it replaces: for other tests of this process it is not replaced."""
    monkeypatch.setattr(lora_lab, "__version__", lora_lab.__version__)


def run(
    code: tuple[str, ...] = (),
    colab: bool = True,
    there: dict[str, str] | None = None,
    stderr: str | None = None,
    lacks: str | None = None,
) -> Iterator[tuple[str, Any]]:
    """What the cell does, in order: ("import", name), ("pip", its arguments), ("checked", the exception to raise).

    Args:
        code: the notebook's other cells.
        colab: whether it runs there.
        there: installed distributions → what their direct_url.json says.
        stderr: of a pip that fails; it was killed if it said nothing.
        lacks: a module that is not there.
    """
    events: list[tuple[str, Any]] = []

    def pip(command: list[str], **options: Any) -> SimpleNamespace:
        events.append(("pip", command[1:]))
        assert options == {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
        return SimpleNamespace(returncode={None: 0, "": -9}.get(stderr, 1), stderr=stderr or "")

    def distributions(name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(read_text=lambda _: there[name] or None)] if name in (there or {}) else []

    checks = SimpleNamespace(check=lambda stop: events.append(("checked", stop)))
    fakes = {
        "os": SimpleNamespace(environ={"COLAB_RELEASE_TAG": "release"} if colab else {}),
        "subprocess": SimpleNamespace(run=pip),
        "importlib.metadata": SimpleNamespace(distributions=distributions),
        "lora_lab": SimpleNamespace(models=SimpleNamespace(tier_in_words=lambda: "No GPU")),
        "lora_lab.commands": SimpleNamespace(colab=checks),
    }

    def recording_import(name: str, *arguments: Any) -> Any:
        events.append(("import", name))
        if name == lacks:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return fakes[name] if name in fakes else __import__(name, *arguments)

    cell = set_up.source(REPOSITORY, list(code))
    exec(cell, {"__builtins__": {**vars(builtins), "__import__": recording_import}, "__name__": "cell"})
    yield from events


def installs(**options: Any) -> list[list[str]]:
    return [what for event, what in run(**options) if event == "pip"]


def direct_url(ref: str, address: str = REPOSITORY["address"]) -> str:
    return f'{{"url": "{address}", "vcs_info": {{"commit_id": "0a1b", "requested_revision": "{ref}", "vcs": "git"}}}}'


def test_outside_colab_the_cell_only_imports() -> None:
    assert list(run(colab=False)) == [("import", "os"), ("import", "sys"), ("import", "lora_lab")]


def test_a_kernel_without_the_course_is_one_sentence_that_names_the_kernel() -> None:
    with pytest.raises(Exception) as failed:
        list(run(colab=False, lacks="lora_lab"))
    assert failed.value._render_traceback_() == [  # type: ignore[attr-defined]
        f"{sys.executable}, which this notebook runs in, has no lora_lab: choose the kernel of the course's .venv, "
        "or see https://github.com/o/r#readme"
    ]


def test_in_colab_one_install_without_dependencies_comes_before_any_import_of_the_course() -> None:
    events = list(run(code=("import bitsandbytes",)))
    names = [event if event != "import" else what for event, what in events]
    assert names.index("pip") < names.index("lora_lab.commands") < names.index("checked") < names.index("lora_lab")
    assert installs() == [["-m", "pip", "install", "--quiet", "--no-deps", COURSE]]


@pytest.mark.parametrize(
    "code",
    [
        "import bitsandbytes.functional as bnb",
        "def same():\n    from bitsandbytes.functional import get_4bit_type",
        "try:\n    import bitsandbytes\nexcept ImportError:\n    pass",
        "model = load(quantization_config=transformers.BitsAndBytesConfig(load_in_4bit=True))",
    ],
)
def test_bitsandbytes_is_installed_where_the_code_uses_it(code: str) -> None:
    assert installs(code=("x = 1", code)) == [
        ["-m", "pip", "install", "--quiet", "--no-deps", COURSE, set_up.BITSANDBYTES]
    ]


@pytest.mark.parametrize(
    "code",
    [
        "# import bitsandbytes",
        "quant.save_bitsandbytes(model, folder)",
        'row["bitsandbytes + PEFT"]',
        "from_bitsandbytes()",
    ],
)
def test_bitsandbytes_is_not_installed_where_the_code_only_names_it(code: str) -> None:
    assert installs(code=(code,)) == [["-m", "pip", "install", "--quiet", "--no-deps", COURSE]]


def test_each_notebook_of_the_course_installs_bitsandbytes_exactly_if_it_imports_it() -> None:
    installing, importing = set(), set()
    for page in pages.pages(ROOT):
        cells, _ = page.read()
        code = [cell.source for cell in cells if cell.kind == "code"]
        if f'"{set_up.BITSANDBYTES}"' in set_up.source(REPOSITORY, code):
            installing.add(page.label)
        nodes = [node for source in code for node in ast.walk(ast.parse(source))]
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        if any(module.split(".")[0] == "bitsandbytes" for module in modules):
            importing.add(page.label)
    assert installing == importing and importing


def test_what_is_there_is_not_installed_again() -> None:
    there = {"lora_lab": direct_url("v1"), "bitsandbytes": ""}
    assert installs(code=("import bitsandbytes",), there=there) == []


@pytest.mark.parametrize(
    "said", ["", direct_url("v0"), direct_url("v11"), direct_url("v1", "https://github.com/o/r2")], ids=str
)
def test_another_release_or_another_place_is_replaced(said: str) -> None:
    assert installs(there={"lora_lab": said}) == [["-m", "pip", "install", "--quiet", "--no-deps", COURSE]]


def test_bitsandbytes_alone_is_installed_where_the_course_is_there() -> None:
    there = {"lora_lab": direct_url("v1")}
    assert [command[-1] for command in installs(code=("import bitsandbytes",), there=there)] == [set_up.BITSANDBYTES]
    assert "git" not in str(installs(code=("import bitsandbytes",), there=there))


@pytest.mark.parametrize(("stderr", "way", "last"), FROM_PIP.values(), ids=FROM_PIP)
def test_what_fails_ends_in_one_sentence_with_the_way_out_and_pips_last_line(stderr: str, way: str, last: str) -> None:
    with pytest.raises(Exception) as failed:
        list(run(stderr=stderr))
    sentence = f"{COURSE} could not be installed. {way} (pip: {last})"
    assert failed.value._render_traceback_() == [sentence]  # type: ignore[attr-defined]


def test_what_could_not_be_installed_is_named() -> None:
    with pytest.raises(Exception, match=rf"^{re.escape(COURSE)} and bitsandbytes>=0.50,<1 could not be installed"):
        list(run(code=("import bitsandbytes",), stderr="no"))
    with pytest.raises(Exception, match="^bitsandbytes>=0.50,<1 could not be installed"):
        list(run(code=("import bitsandbytes",), there={"lora_lab": direct_url("v1")}, stderr="no"))


def test_bitsandbytes_is_asked_for_in_the_range_of_the_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set_up.BITSANDBYTES in extras["gpu"]


@pytest.mark.parametrize("loaded", ["another", "the same"])
def test_what_was_loaded_before_it_was_replaced_is_marked(monkeypatch: pytest.MonkeyPatch, loaded: str) -> None:
    """Two commits of one version cannot be told apart by it."""
    module = ModuleType("lora_lab")
    module.__version__ = "1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lora_lab", module)
    list(run(there={"lora_lab": direct_url("v0" if loaded == "another" else "v1")}))
    assert module.__version__ == ("an older one" if loaded == "another" else "1")


def test_installing_bitsandbytes_does_not_mark_the_course(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lora_lab")
    module.__version__ = "1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lora_lab", module)
    list(run(code=("import bitsandbytes",), there={"lora_lab": direct_url("v1")}))
    assert module.__version__ == "1"


def test_the_cell_is_short() -> None:
    lines = set_up.source(REPOSITORY, ["import bitsandbytes"]).splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 120


def test_the_cell_replaces_nothing_that_colab_ships() -> None:
    named = re.findall(r'wanted .*= .*\["([\w-]+)[^"]*"\]', set_up.source(REPOSITORY, ["import bitsandbytes"]))
    assert set(named) <= {"bitsandbytes"}
