"""What goes out: a learner gets nothing that cannot run alone, and a source distribution what a wheel needs."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

from lora_lab.commands.delivery import material

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")


def test_a_learner_gets_no_script_of_the_checkout():
    """It would import what lies beside it here, and stop."""
    assert [file for file in material.files(ROOT) if file.suffix == ".py"] == []


def test_a_source_distribution_holds_what_a_wheel_needs_and_no_script_without_its_modules():
    folders = [f"{folder}/*" for folder in re.findall(r"^graft (.+)$", MANIFEST, re.MULTILINE)]
    single = " ".join(re.findall(r"^include (.+)$", MANIFEST, re.MULTILINE)).split()
    for file in map(str, material.files(ROOT)):
        assert any(fnmatchcase(file, pattern) for pattern in (*folders, *single)), file
    assert not [pattern for pattern in single if pattern.endswith(".py")]
