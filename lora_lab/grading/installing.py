"""An instructor's checks, as text, made those that count in this process; what they are about was drawn with them."""

import sys
from types import ModuleType

from lora_lab.grading.exercise import Sources
from lora_lab.units import first_line

_installed: set[str] = set()
_PREFIX = "lora_lab_private_"


def install(sources: Sources) -> None:
    """Make the checks of an instructor those that count, in place of the course's of the same names.

    Raises:
        ValueError: if one of them cannot be loaded.
    """
    if not sources.files or sources.digest in _installed:
        return
    from lora_lab.exercises import private, tasks

    known = tasks.load()
    before = dict(known)
    private.drawn.clear()
    private.drawn.update(sources.drawn)
    known.clear()  # two files may check one task: those of the course give way
    try:
        for name, source in sources.files:
            _run(name, source)
        own = dict(known)
    finally:
        known.clear()
        known.update(before)
    known.update(own)
    _installed.clear()
    _installed.add(sources.digest)


def _run(name: str, source: str) -> None:
    """As a module that stays."""
    module = sys.modules[_PREFIX + name] = ModuleType(_PREFIX + name)
    try:
        exec(compile(source, f"<{name}.py>", "exec"), vars(module))  # the instructor's own code
    except Exception as error:
        raise ValueError(
            f"the checks in {name}.py cannot be loaded ({type(error).__name__}: {first_line(error)}): "
            "run them with your own solutions first"
        ) from error
