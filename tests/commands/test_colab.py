"""What the set-up cell says about versions in Colab."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from packaging.requirements import Requirement

from lora_lab.commands import colab, installed

NEEDS = ("torch>=2.9,<3", "transformers>=5.10,<6", "peft>=0.18,<1")
OPTIONAL = ("bitsandbytes>=0.50,<1", "ipywidgets>=7.7,<9")
FITS = {"lora_lab": "0.3.0", "torch": "2.11.0+cu128", "transformers": "5.15.0", "peft": "0.20.0", "ipywidgets": "7.7.1"}


class Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def colabs(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed; nothing of it is loaded."""
    on_disk = dict(FITS)
    monkeypatch.setattr(installed, "version", on_disk.get)
    monkeypatch.setattr(installed, "requirements", lambda: [Requirement(text) for text in NEEDS])
    monkeypatch.setattr(installed, "optional", lambda extra: [Requirement(t) for t in OPTIONAL if extra == "lab"])
    names = {*FITS, *(Requirement(text).name for text in (*NEEDS, *OPTIONAL))}
    others = {name: module for name, module in sys.modules.items() if name.partition(".")[0] not in names}
    monkeypatch.setattr(sys, "modules", others)
    return on_disk


def load(name: str, version: str | None = None, **contents: object) -> None:
    module = ModuleType(name)
    vars(module).update(contents, **({"__version__": version} if version else {}))
    sys.modules[name] = module


def test_what_fits_and_is_loaded_as_installed_is_not_spoken_of(capsys: pytest.CaptureFixture[str]) -> None:
    for name, version in {**FITS, "torch": "2.11.0"}.items():  # a local label is no other release
        load(name, version)
    load("tqdm")
    colab.check(stop=Stop)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["lora_lab", "transformers", "peft", "ipywidgets"])
def test_what_is_loaded_in_another_version_asks_for_a_restart_and_says_how(name: str) -> None:
    load(name, "0.1.0")
    with pytest.raises(Stop) as stopped:
        colab.check(stop=Stop)
    assert str(stopped.value) == (
        f"This session has to be restarted: {name} {FITS[name]} is installed, and 0.1.0 is loaded. "
        "Choose Runtime > Restart session, then run this cell again."
    )


def test_what_a_gpu_needs_is_looked_at_where_it_is_here(
    colabs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installed, "optional", lambda extra: [Requirement("triton>=3.4,<4")] if extra == "gpu" else [])
    monkeypatch.delitem(sys.modules, "triton", raising=False)  # other tests have loaded it
    colab.check(stop=Stop)
    assert capsys.readouterr().out == "", "it is optional"
    colabs["triton"] = "2.1.0"
    colab.check(stop=Stop)
    assert capsys.readouterr().out.startswith("triton 2.1.0 is here, and the course was made for <4,>=3.4.")


def test_a_course_that_was_replaced_under_the_session_asks_for_a_restart() -> None:
    load("lora_lab", "an older one")
    with pytest.raises(Stop, match="lora_lab 0.3.0 is installed, and an older one is loaded"):
        colab.check(stop=Stop)


@pytest.mark.parametrize(("name", "module", "asks"), colab._ASKED_ONCE)
def test_who_looked_for_bitsandbytes_too_early_asks_for_a_restart(
    colabs: dict[str, str], name: str, module: str, asks: str
) -> None:
    load(module, **{asks: lambda: False})
    colab.check(stop=Stop)  # it is not installed, and rightly not found
    colabs["bitsandbytes"] = "0.50.2"
    with pytest.raises(Stop, match=f"{name} looked for bitsandbytes before it was installed"):
        colab.check(stop=Stop)
    sys.modules[module] = SimpleNamespace(**{asks: lambda: True})
    colab.check(stop=Stop)


def test_a_version_outside_its_range_is_named_with_a_way_out(
    colabs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    colabs["transformers"], colabs["ipywidgets"] = "6.0.1", "9.1"
    colab.check(stop=Stop)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("transformers 6.0.1 is here, and the course was made for <6,>=5.10.")
    assert second.startswith("ipywidgets 9.1 is here, and the course was made for <9,>=7.7.")
    assert "Runtime > Change runtime type" in first


def test_what_colab_no_longer_ships_is_named_with_its_install(
    colabs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del colabs["peft"], colabs["ipywidgets"]  # the second is optional
    colab.check(stop=Stop)
    said = (
        'The course needs peft<1,>=0.18, and it is not here: run %pip install "peft<1,>=0.18", then this cell again.\n'
    )
    assert capsys.readouterr().out == said


def test_a_restart_is_asked_for_before_anything_else_is_said(
    colabs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    colabs["torch"] = "3.1"
    load("peft", "0.1")
    with pytest.raises(Stop):
        colab.check(stop=Stop)
    assert capsys.readouterr().out == ""
