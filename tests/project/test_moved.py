"""What moved since 0.1.0: the old name works, warns where it is written, and hides nothing."""

import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import lora_lab
from lora_lab.moved import GONE, MOVED, NAMES, StandIn

A_NAME = {  # something that stood in the old module, for each of them
    "lora_lab.cli": "main",
    "lora_lab.console": "lasting_output",
    "lora_lab.demo": "base_bytes",
    "lora_lab.doctor": "run",
    "lora_lab.files": "atomic_folder",
    "lora_lab.installed": "version",
    "lora_lab.machine": "describe",
    "lora_lab.memory.estimate": "at_rest",
    "lora_lab.memory.fit": "fit",
    "lora_lab.memory.measure": "measure",
    "lora_lab.memory.simulate": "simulate",
    "lora_lab.memory_cli": "run",
    "lora_lab.naming": "unwrap",
    "lora_lab.quant.lloyd": "lloyd",
    "lora_lab.quant.shards": "Checkpoint",
    "lora_lab.replacing": "files_of",
    "lora_lab.show.shares": "shares",
}


OLD = json.loads(Path(__file__).with_name("names_of_0_1_0.json").read_text(encoding="utf-8"))
"""{module: its public names}, as they stood in 0.1.0: what it defined itself, and what its `__all__` named."""

PAIRS = [(module, name) for module, names in NAMES.items() for name in names]


def named_in(text: str) -> list[object]:
    """What the dotted names of the library in a text stand for; each must be there."""
    found = []
    for dotted in re.findall(r"lora_lab(?:\.\w+)+", text):
        value: object = lora_lab
        for part in dotted.split(".")[1:]:
            modules = {each.name for each in pkgutil.iter_modules(getattr(value, "__path__", ()))}
            value = importlib.import_module(f"{value.__name__}.{part}") if part in modules else getattr(value, part)
        found.append(value)
    return found


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words, *(["-c", code] if code else [])], capture_output=True, text=True)


@pytest.mark.parametrize("old", MOVED)
def test_the_old_name_gives_what_the_new_one_has_and_says_where_it_is(old):
    name = A_NAME.get(old) or next(each for each in dir(importlib.import_module(MOVED[old])) if each[0] != "_")
    scope: dict[str, object] = {}
    with pytest.warns(FutureWarning) as warned:
        exec(compile(f"\n\nfrom {old} import {name}", "theirs.py", "exec"), scope)
    assert scope[name] is getattr(importlib.import_module(MOVED[old]), name)
    assert f"{old} is now {MOVED[old]}" in str(warned[0].message) and len(warned) == 1
    assert (warned[0].filename, warned[0].lineno) == ("theirs.py", 3)


@pytest.mark.parametrize("module", OLD)
def test_every_public_name_of_the_last_release_works_or_says_what_to_use_instead(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        there = importlib.import_module(module)
        lacking = [name for name in OLD[module] if name not in GONE.get(module, ()) and not hasattr(there, name)]
    assert not lacking, f"{module} has no {lacking}: name them in lora_lab.moved, in NAMES or GONE"


@pytest.mark.parametrize(("module", "name"), PAIRS)
def test_a_single_name_is_the_same_object_as_the_new_one_and_says_where_it_is(module, name):
    new, scope = NAMES[module][name], {}
    [there] = named_in(new)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        exec(compile(f"\n\nfrom {module} import {name}", "theirs.py", "exec"), scope)
    assert scope[name] is there
    if name in vars(importlib.import_module(module)):  # the old module uses it still
        assert not warned
        return
    assert [str(each.message).partition(":")[0] for each in warned] == [f"{module}.{name} is now {new}"]
    assert (warned[0].filename, warned[0].lineno, warned[0].category) == ("theirs.py", 3, FutureWarning)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in GONE.items() for name in names])
def test_a_name_that_is_gone_says_what_to_use_instead_and_that_is_there(module, name):
    assert name in OLD[module] and name not in NAMES.get(module, ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImportError, match=f"{module}.{name} is gone: ") as said:
            exec(f"from {module} import {name}")
    instead = str(said.value).partition(" is gone: ")[2]
    assert named_in(instead)


def test_a_module_that_lost_a_name_has_no_other_and_is_loaded_from_its_own_file():
    loop = importlib.import_module("lora_lab.train.loop")
    with pytest.raises(AttributeError, match=r"module 'lora_lab\.train\.loop' has no attribute 'nowhere'"):
        loop.__getattr__("nowhere")
    with pytest.raises(ImportError, match=r"cannot import name 'nowhere' from 'lora_lab\.train\.loop' \(.*loop\.py\)"):
        exec("from lora_lab.train.loop import nowhere")
    assert not hasattr(loop, "__wrapped__") and inspect.getsource(loop.run).startswith("def run(")


@pytest.mark.parametrize("old", MOVED)
def test_nothing_else_has_the_old_name(old):
    package, _, last = old.rpartition(".")
    places = importlib.import_module(package).__path__
    assert importlib.machinery.PathFinder.find_spec(old, list(places)) is None, f"{old} is still there"
    assert importlib.util.find_spec(MOVED[old]) is not None


@pytest.mark.parametrize("name", ["estimate", "fit", "measure", "simulate"])
def test_an_old_name_that_is_imported_hides_no_function(name):
    old = f"lora_lab.memory.{name}"
    scope: dict[str, object] = {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert isinstance(importlib.import_module(old), StandIn)
        exec(f"import lora_lab, {old}\nfrom lora_lab.memory import {name} as one\nother = {old}", scope)
        assert not warned  # nothing that has moved was used
        exec(f"from {old} import {name} as old", scope)
    assert scope["one"] is scope["other"] is scope["old"] and inspect.isfunction(scope["one"])
    assert len(warned) == 1


@pytest.mark.parametrize("statement", ["import lora_lab.files as files", "from lora_lab import files",
                                       "files = lora_lab.files", "from lora_lab.files import *"])  # fmt: skip
def test_every_form_of_import_finds_it(statement):
    used = "atomic_path" if "*" in statement else "files.atomic_path"
    done = run(f"import lora_lab\n{statement}\nprint({used}.__name__)", "-W", "always")
    assert done.stdout == "atomic_path\n" and "lora_lab.files is now lora_lab.disk" in done.stderr
    assert "<string>:" in done.stderr


def test_a_name_that_the_module_never_had_is_an_import_error_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImportError, match="cannot import name 'nowhere' from 'lora_lab.files'"):
            exec("from lora_lab.files import nowhere")
        with pytest.raises(AttributeError, match="nosuchroom"):
            lora_lab.__getattr__("nosuchroom")
        for module in [each for each in sys.modules.values() if isinstance(each, StandIn)]:
            assert not hasattr(module, "__path__") and not hasattr(module, "__file__")


def test_an_old_name_can_be_run():
    done = run("", "-m", "lora_lab.cli", "--help")
    assert done.returncode == 0 and "doctor" in done.stdout
    assert "lora_lab.cli is now lora_lab.commands.cli" in done.stderr


@pytest.mark.slow
def test_the_library_itself_uses_no_old_name():
    """Each room is imported where the warning is an error."""
    code = "import lora_lab\nfor name in dir(lora_lab): getattr(lora_lab, name)"
    done = run(code, "-W", "error::FutureWarning:lora_lab")
    assert done.returncode == 0, done.stderr
