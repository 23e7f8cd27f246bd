"""The memory of a machine, and of a container on it."""

import pytest

from lora_lab import ram


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A machine of 16 KiB, of which 8 can be taken; this process holds 2. Returns the folder of its control group."""
    (tmp_path / "meminfo").write_text("MemTotal:  16 kB\nMemFree:  1 kB\nMemAvailable:  8 kB\n")
    (tmp_path / "status").write_text("Name:\ta: b\nVmRSS:\t  5 kB\nRssAnon:\t  2 kB\n")
    for name, file in {"_HOST": "meminfo", "_OWN": "status", "_GROUP": "group"}.items():
        monkeypatch.setattr(ram, name, tmp_path / file)
    (tmp_path / "group").mkdir()
    return tmp_path / "group"


def limit(group, most, used, files=0):
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 7\ninactive_file {files}\nactive_file {files}\n")


def test_a_machines_memory_is_what_its_system_says(system):
    assert ram.Memory.now() == ram.Memory(16 * 1024, 8 * 1024, 2 * 1024) and ram.free_memory() == 8 * 1024


def test_a_container_has_what_its_limit_leaves_and_the_files_it_has_read_give_way(system):
    limit(system, 5000, 4000, files=300)
    assert ram.Memory.now() == ram.Memory(5000, 1600, 2 * 1024) and ram.free_memory() == 1600


@pytest.mark.parametrize("most", ["max", 10**9, "?"])
def test_a_limit_that_is_none_or_beyond_the_machine_changes_nothing(system, most):
    limit(system, most, 4000)
    assert ram.Memory.now() == ram.Memory(16 * 1024, 8 * 1024, 2 * 1024)


def test_a_system_that_does_not_say_it_is_not_guessed(system, monkeypatch):
    monkeypatch.setattr(ram, "_OWN", system / "none")
    assert ram.Memory.now().own == 0
    monkeypatch.setattr(ram, "_HOST", system / "none")
    assert ram.Memory.now() is None and ram.free_memory() is None
