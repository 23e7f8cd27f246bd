"""One finding of the doctor, and how a question is asked that may itself break."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from lora_lab.units import first_line

REINSTALL = 'pip install -c constraints.txt -e ".[lab,test]"'


@dataclass(frozen=True)
class Check:
    """One finding.

    `status` is `"ok"`, `"warn"` (the course runs, but not at its best) or `"fail"` (it will not run).
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def ask(name: str, probe: Callable[[], Check | Iterable[Check] | None]) -> Iterator[Check]:
    """What a probe finds; one that itself breaks is a failed check, never a traceback."""
    try:
        found = probe()
        yield from [found] if isinstance(found, Check) else found or ()
    except (Exception, SystemExit) as error:  # a broken install can fail in any way, and we are asked just then
        yield Check(name, "fail", f"{type(error).__name__}: {first_line(error)}", REINSTALL)
