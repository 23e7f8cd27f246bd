"""What is installed: ranges, pins, the conda route and Colab's versions agree; nothing undeclared is imported."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import lora_lab

ROOT = Path(__file__).resolve().parents[2]
EXTRAS_IN_TEXT = re.compile(r"\.\[([a-z, ]+)\]")

# What Colab shipped in August 2026. Its kernel has already imported some of them: an install must replace none.
COLAB_PYTHON = "3.13"
COLAB = {
    "torch": "2.11.0",
    "transformers": "5.15.0",
    "peft": "0.20.0",
    "numpy": "2.1.3",
    "matplotlib": "3.10.0",
    "ipywidgets": "7.7.1",
    "ipython": "7.34",
    "ipykernel": "6.17.1",
}


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def extras() -> dict[str, list[str]]:
    return project()["optional-dependencies"]


def ranges() -> list[Requirement]:
    return [Requirement(text) for texts in [project()["dependencies"], *extras().values()] for text in texts]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, Version] = {}
    for line in filter(None, (line.split("#")[0].strip() for line in lines)):
        name, version = line.split("==")  # anything but an exact pin fails here
        assert canonicalize_name(name) not in found, f"{name} is pinned twice"
        found[canonicalize_name(name)] = Version(version)
    return found


# ── ranges, pins, Colab ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("need", ranges(), ids=str)
def test_every_range_holds_its_pin(need: Requirement) -> None:
    pin = pins().get(canonicalize_name(need.name))
    assert pin is not None, f"constraints.txt does not pin {need.name}"
    assert need.specifier.contains(pin)


def test_pins_can_be_installed_anywhere() -> None:
    assert [f"{name} {version}" for name, version in pins().items() if version.local] == []  # such as torch 2.13.0+cpu


@pytest.mark.parametrize(("name", "version"), COLAB.items())
def test_colabs_version_is_inside_every_range(name: str, version: str) -> None:
    needs = [need for need in ranges() if canonicalize_name(need.name) == name]
    assert needs
    assert all(need.specifier.contains(version) for need in needs)


def test_a_package_named_twice_has_one_range() -> None:
    by_name: dict[str, set[str]] = {}
    for need in ranges():
        by_name.setdefault(canonicalize_name(need.name), set()).add(str(need.specifier))
    assert {name: found for name, found in by_name.items() if len(found) > 1} == {}


def test_no_requirement_is_an_exact_pin() -> None:
    assert [str(need) for need in ranges() if any(part.operator in ("==", "===") for part in need.specifier)] == []


@pytest.mark.parametrize("python", ["3.11", "3.12", COLAB_PYTHON, "3.14"])
def test_supported_pythons_are_inside_the_range(python: str) -> None:
    assert python in SpecifierSet(project()["requires-python"])


def test_the_makefile_asks_for_the_same_pythons() -> None:
    lower, upper = re.findall(r"\(3, (\d+)\)", (ROOT / "Makefile").read_text(encoding="utf-8"))[:2]
    assert SpecifierSet(project()["requires-python"]) == SpecifierSet(f">=3.{lower},<3.{upper}")


# ── the conda route ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_conda_brings_python_and_pip_only_and_pip_the_pinned_rest() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, from_pip = environment["dependencies"]
    names = [re.split(r"[=<>]", spec)[0] for spec in conda]
    assert names == ["python", "pip"]  # a conda torch beside pip's would be loaded in its place
    assert conda[0].split("=")[1] in SpecifierSet(project()["requires-python"])
    assert from_pip == {"pip": ["-c constraints.txt", "-e .[lab,test]"]}


# ── what the texts and the code refer to ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "Makefile", "environment.yml", "constraints.txt"])
def test_every_extra_that_a_command_names_exists(name: str) -> None:
    named = EXTRAS_IN_TEXT.findall((ROOT / name).read_text(encoding="utf-8"))
    assert {extra.strip() for group in named for extra in group.split(",")} <= set(extras())


def test_every_make_target_that_a_text_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")]
    code = [part for text in texts for part in re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL)]
    named = {target for part in code for target in re.findall(r"(?:^|`)make ([a-z-]+)", part, re.MULTILINE)}
    assert named and named <= targets


def imported(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every top-level package that a file under the folder imports, at whatever depth the statement stands."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield path, (node.module or "").split(".")[0]


def test_the_library_imports_only_what_it_declares() -> None:
    used_where_installed = ("lab", "gpu", "real", "cluster")
    optional = [text for extra in used_where_installed for text in extras()[extra]]
    declared = {canonicalize_name(Requirement(text).name) for text in [*project()["dependencies"], *optional]}
    found = {(path.name, name) for path, name in imported(ROOT / "lora_lab") if name not in sys.stdlib_module_names}
    assert {(path, name) for path, name in found if canonicalize_name(name) not in declared | {"lora-lab"}} == set()


def test_importing_the_package_alone_is_light() -> None:
    code = "import sys, lora_lab; print(sorted({'torch', 'transformers', 'numpy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


# ── one version ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    repository = tomllib.loads((ROOT / "course" / "repository.toml").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == lora_lab.__version__
    assert repository["ref"] in ("main", f"v{lora_lab.__version__}")  # between releases, and in one
    assert f"## {lora_lab.__version__}" in changes


def test_a_release_that_notebooks_point_to_holds_them() -> None:
    """A badge or an install that leads to a tag without them fails in Colab, where nobody here sees it."""
    ref = tomllib.loads((ROOT / "course" / "repository.toml").read_text(encoding="utf-8"))["ref"]
    tags = subprocess.run(["git", "tag", "--list", ref], cwd=ROOT, capture_output=True, text=True)
    if tags.returncode or ref not in tags.stdout.split():
        pytest.skip(f"no tag {ref} in this repository yet")
    listed = subprocess.run(["git", "ls-tree", "-r", "--name-only", ref], cwd=ROOT, capture_output=True, text=True)
    folders = ("notebooks", "course/workbook")
    here = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).glob("*.ipynb")}
    assert here - set(listed.stdout.splitlines()) == set()


def test_the_address_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    repository = tomllib.loads((ROOT / "course" / "repository.toml").read_text(encoding="utf-8"))
    assert citation["repository-code"] == project()["urls"]["Homepage"] == repository["address"]
