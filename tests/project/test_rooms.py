"""The house: rooms on floors, names that hide nothing, imports that stay light."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lora_lab

LIBRARY = Path(lora_lab.__file__).parent
ROOMS = [each.name for each in pkgutil.iter_modules([str(LIBRARY)])]
PACKAGES = [each.name for each in pkgutil.iter_modules([str(LIBRARY)]) if each.ispkg]


@pytest.mark.parametrize("room", PACKAGES)
def test_no_exported_name_hides_a_module(room):
    package = importlib.import_module(f"lora_lab.{room}")
    modules = {each.name for each in pkgutil.iter_modules(package.__path__)}
    hidden = [
        name
        for name in modules & set(getattr(package, "__all__", vars(package)))
        if getattr(package, name) is not importlib.import_module(f"lora_lab.{room}.{name}")
    ]
    assert not hidden, f"lora_lab.{room}.{hidden[0]} is not the module of that name: call the module by a noun"


@pytest.mark.parametrize("room", PACKAGES)
def test_every_exported_name_is_there_and_named_once(room):
    package = importlib.import_module(f"lora_lab.{room}")
    names = getattr(package, "__all__", [])
    assert len(names) == len(set(names)) and all(hasattr(package, name) for name in names)


# What is loaded when


def loaded_after(code: str) -> set[str]:
    """The top-level packages that stand in `sys.modules` after the code has run in a process of its own."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import lora_lab; dir(lora_lab)", {"torch", "transformers", "numpy", "matplotlib"}),
        ("from lora_lab import disk, ranges, units", {"torch", "transformers", "numpy", "matplotlib"}),
        ("import lora_lab.commands.cli", {"torch", "transformers", "numpy", "matplotlib"}),
        ("from lora_lab import memory; memory.estimate('llama-3.1-8b', 'qlora')", {"torch", "transformers", "numpy"}),
        ("import lora_lab.show", {"transformers", "peft", "bitsandbytes"}),
        ("import lora_lab; lora_lab.lora", {"peft", "bitsandbytes", "matplotlib"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(code, heavy):
    assert not loaded_after(code) & heavy


def test_the_rooms_are_listed_and_found_when_asked_for():
    code = "import lora_lab; print(*dir(lora_lab)); print(lora_lab.records.FOLDER.name, lora_lab.units.GB)"
    listed, used = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert {"lora", "quant", "memory", "data", "models", "train", "show", "lowrank", "commands"} <= set(listed.split())
    assert "moved" not in listed.split() and used == "records 1000000000"


def test_an_editor_knows_every_room():
    """Rooms that are found when asked for are invisible to it, so they are listed once more."""
    tree = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    named = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named - {None} == {room for room in dir(lora_lab) if room[0] != "_"}


# Floors


GROUND = {"units", "ranges", "ram", "patterns", "matching", "wrappers", "moved"}
"""What every room may use: no ideas of their own, only the words for them."""

FLOORS = (
    {"disk", "lowrank", "records"},
    {"data", "network"},
    {"quant", "models"},
    {"adapters"},
    {"lora", "methods"},
    {"memory", "train", "serving", "model_merging"},
    {"show"},
    {"exercises"},
    {"authoring", "classroom", "grading"},
    {"commands"},
)
"""From the ground. A room imports from lower floors, never from its own or from above; for annotations only, from its
own too."""

LONG: dict[str, int] = {}  # lines at most
"""Modules of over 300 lines. It is to become shorter, never longer."""


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Every module of the library that a file imports, and whether only for its annotations."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    typing = {id(node) for block in blocks for child in block.body for node in ast.walk(child)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from ((name, id(node) in typing) for name in names if name.startswith("lora_lab."))


def room_of(module: str) -> str:
    return module.split(".")[1]


def floor(room: str) -> int:
    if room in GROUND:
        return -1
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def files() -> list[tuple[str, Path]]:
    """Every file of a room, with its module's name."""
    found = []
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return [(module, path) for module, path in found if module != "lora_lab"]


def test_every_room_stands_on_a_floor():
    standing = GROUND.union(*FLOORS)
    assert {room_of(module) for module, _ in files()} <= standing, "a new room: say in FLOORS where it stands"
    assert sum(map(len, (GROUND, *FLOORS))) == len(standing)


def test_contributing_lists_the_rooms_that_are_there_floor_by_floor():
    """Its table is FLOORS in words, without the rooms that are yet to be built."""
    text = (LIBRARY.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|([\w ]*)\| ((?:`\w+` ?)+)\|", text, re.MULTILINE)
    named: list[set[str]] = []
    for number, rooms in rows:
        if number.strip():
            named.append(set())
        named[-1] |= set(re.findall(r"\w+", rooms))
    there = {room_of(module) for module, _ in files()}
    assert named == [floor & there for floor in (GROUND, *FLOORS) if floor & there]


@pytest.mark.parametrize(("module", "path"), files(), ids=lambda each: each if isinstance(each, str) else "")
def test_a_module_is_one_idea_of_at_most_300_lines(module, path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONG.get(module, 300), f"{module} holds two ideas: split it"


def test_no_import_runs_upwards():
    upward = {
        f"{module} imports {name}"
        for module, path in files()
        for name, for_types in imports(path)
        if (mine := room_of(module)) != (theirs := room_of(name))
        and not (for_types and floor(mine) == floor(theirs))
        and not (mine in GROUND and theirs in GROUND)
        and floor(theirs) >= floor(mine)
    }
    assert not upward


def test_no_modules_import_one_another_in_a_circle():
    """Within a room as between rooms, also by what is imported within a function or for annotations only: two modules
    that need one another are one idea, or have a third below them."""
    known = {module for module, _ in files()}
    edges = {module: {name for name, _ in imports(path) if name in known} - {module} for module, path in files()}
    packages = {module for module, path in files() if path.name == "__init__.py"}
    for module in edges:  # a package hands on what its modules have: those do not import it
        edges[module] -= {each for each in edges[module] & packages if module.startswith(f"{each}.")}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above[above.index(module) :], module))
        if module not in done:
            for each in sorted(edges[module]):
                visit(each, (*above, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_the_rooms_of_one_method_are_unknown_to_what_any_method_shares():
    """`adapters` names neither `lora` nor another method, in no import at whatever depth."""
    shared = [path for module, path in files() if room_of(module) == "adapters"]
    assert not {name for path in shared for name, _ in imports(path) if room_of(name) in ("lora", "methods")}
