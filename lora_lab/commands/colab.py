"""What the set-up cell looks at in Colab, once the course is installed: do the packages fit, must the kernel restart?

Colab's kernel lives longer than a cell: what it has imported stays loaded, whatever is installed after that. Light, so
that a kernel which must be restarted has loaded nothing more.
"""

import sys
from collections.abc import Iterator

from packaging.requirements import Requirement

from lora_lab.commands import installed

RESTART = "Choose Runtime > Restart session, then run this cell again"
_ASKED_ONCE = (
    ("peft", "peft.import_utils", "is_bnb_available"),
    ("transformers", "transformers.utils.import_utils", "is_bitsandbytes_available"),
)
"""Who looks for bitsandbytes a single time, when it first needs to know, and the function that remembers."""


def check(stop: type[Exception]) -> None:
    """Print a line for each package that does not fit the course, and stop where the kernel must be restarted.

    Raises:
        stop: with one sentence, if what is loaded in this process is not what is installed.
    """
    if stale := list(_stale()):
        raise stop(f"This session has to be restarted: {'; '.join(stale)}. {RESTART}.")
    for line in _unfit():
        print(line)


def _stale() -> Iterator[str]:
    """What this process loaded before it was replaced, or before what it looks for was installed."""
    for name in (installed.DISTRIBUTION, *(need.name for need in _needs())):
        loaded = getattr(sys.modules.get(name), "__version__", None)
        on_disk = installed.version(name)
        if loaded is not None and on_disk is not None and not installed.same_version(str(loaded), on_disk):
            yield f"{name} {on_disk} is installed, and {loaded} is loaded"
    if installed.version("bitsandbytes") is not None:
        for name, module, asks in _ASKED_ONCE:
            if module in sys.modules and not getattr(sys.modules[module], asks, lambda: True)():
                yield f"{name} looked for bitsandbytes before it was installed, and will not look again"


def _unfit() -> Iterator[str]:
    """What the course needs and Colab does not have, or has in a version that it was not tested with."""
    for need in _needs():
        on_disk = installed.version(need.name)
        wanted = f"{need.name}{need.specifier}"
        if on_disk is None:
            yield f'The course needs {wanted}, and it is not here: run %pip install "{wanted}", then this cell again.'
        elif not installed.satisfied(need, on_disk):
            yield (
                f"{need.name} {on_disk} is here, and the course was made for {need.specifier}. If a cell fails, "
                "choose another version of Colab: Runtime > Change runtime type > Runtime version."
            )


def _needs() -> list[Requirement]:
    """What the course needs to run, and of what is optional that which is here."""
    optional = (need for extra in ("lab", "gpu") for need in installed.optional(extra))
    here = {need.name: need for need in optional if installed.version(need.name) is not None}
    return [*installed.requirements(), *here.values()]
