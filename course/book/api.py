"""A page for each public room of the library, which Sphinx's autodoc fills from docstrings.

A name is described in the room in which it is written. A room that hands on the names of another lists them.
"""

import ast
import importlib
import inspect
import pkgutil
from itertools import pairwise
from pathlib import Path
from types import ModuleType

ROOMS = ("lora", "methods", "adapters", "lowrank", "quant", "memory", "models", "data", "train", "show", "exercises",
         "disk", "network")  # fmt: skip
"""What a reader of the lessons meets first, first; what is for the course's own making is left out."""


def pages() -> dict[str, str]:
    """The text of each page, by its name, and of the one that lists them, "index"."""
    rows = [f"- [`lora_lab.{room}`]({room}.md): {_headline(_module(room))}" for room in ROOMS]
    tree = ["```{toctree}", ":hidden:", "", *ROOMS, "```"]
    index = [
        "# The library",
        "",
        "Each idea once, in code that reads like its equation. The first line of each room:",
        "",
    ]
    return {"index": "\n".join([*index, *rows, "", *tree, ""]), **{room: page(room) for room in ROOMS}}


def page(room: str) -> str:
    """The page of one room, in Markdown with directives of reStructuredText."""
    module = _module(room)
    names = list(getattr(module, "__all__", None) or _defined(module))
    comments = _comments(module)
    described = {name: _directive(module, name, comments) for name in names}
    own = [_under_its_heading(module, name) + _rst(lines) for name, lines in described.items() if lines]
    handed_on = [name for name, lines in described.items() if not lines]
    parts = [f"# lora_lab.{room}", _rst([f".. automodule:: {module.__name__}", "   :no-members:"]), *own]
    if handed_on:
        parts.append(f"## Handed on\n\nAlso under `lora_lab.{room}`, and described where they are written:\n")
        parts.append(", ".join(_link(module, name) for name in handed_on))
    return "\n\n".join(parts) + "\n"


def _directive(module: ModuleType, name: str, comments: dict[str, list[str]]) -> list[str]:
    """What has Sphinx describe a name; nothing for one that is described elsewhere."""
    thing, full = getattr(module, name), f"{module.__name__}.{name}"
    if inspect.ismodule(thing):
        return [f".. automodule:: {full}", "   :members:"]
    if inspect.isclass(thing) or inspect.isfunction(thing):
        kind = "class" if inspect.isclass(thing) else "function"
        return [f".. auto{kind}:: {full}"] if _home(module, name) == full else []
    if name not in comments and callable(thing):  # an alias of a type, such as a Literal
        return []
    value = repr(thing)
    tells = len(value) < 100 and "<" not in value and not isinstance(thing, Path)  # a path is one of this machine
    shown = [f"   :value: {value}"] if tells else []
    return [
        f".. py:data:: {name}",
        f"   :module: {module.__name__}",
        *shown,
        "",
        *(f"   {line}" for line in comments.get(name, [])),
    ]


def _under_its_heading(module: ModuleType, name: str) -> str:
    return f"## {name}\n\n" if inspect.ismodule(getattr(module, name)) else ""


def _home(module: ModuleType, name: str) -> str:
    """Under which name a class or function is described: of a module that its room exports, else of its room."""
    thing = getattr(module, name)
    for other in filter(inspect.ismodule, (getattr(module, each) for each in getattr(module, "__all__", ()))):
        if vars(other).get(name) is thing and name in getattr(other, "__all__", [name]):
            return f"{other.__name__}.{name}"
    return ".".join([*thing.__module__.split(".")[:2], name])


def _link(module: ModuleType, name: str) -> str:
    known = inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name))
    return f"{{py:obj}}`{name} <{_home(module, name)}>`" if known else f"`{name}`"


def _comments(module: ModuleType) -> dict[str, list[str]]:
    """The docstrings that stand under constants, in the room and in the modules of it."""
    found = {}
    below = pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}.")
    for part in [module.__name__, *(each.name for each in below)]:
        body = ast.parse(inspect.getsource(importlib.import_module(part))).body
        for line, under in pairwise(body):
            if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(under, ast.Expr):
                name = ast.unparse(line.targets[0] if isinstance(line, ast.Assign) else line.target)
                found[name] = inspect.cleandoc(ast.literal_eval(under.value)).splitlines()
    return found


def _defined(module: ModuleType) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]


def _module(room: str) -> ModuleType:
    return importlib.import_module(f"lora_lab.{room}")


def _headline(module: ModuleType) -> str:
    return " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())


def _rst(lines: list[str]) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])
