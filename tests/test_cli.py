"""`lora-lab`: exit statuses, one sentence for bad input, and a doctor that never dies of what it diagnoses."""

import os
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from packaging.requirements import Requirement

from lora_lab import cli, doctor, installed
from lora_lab.models import TIERS, checksums, hub


def lora_lab(*words, cwd=None, code="from lora_lab.cli import main; sys.exit(main(sys.argv[1:]))"):
    path = os.pathsep.join(filter(None, (str(Path(cli.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.fixture
def demo(monkeypatch):
    """Stands in for the demo: notes how it was called, and does what the test tells it."""
    calls = types.SimpleNamespace(seen=None, answer=lambda: 0)

    def run(*arguments):
        calls.seen = arguments
        return calls.answer()

    monkeypatch.setitem(sys.modules, "lora_lab.demo", types.SimpleNamespace(run=run))
    return calls


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda *_: False)


def by_name(name):
    [check] = [check for check in doctor.checks() if check.name == name]
    return check


# The command line


def test_help_answers_without_importing_torch():
    done = lora_lab(
        code="from lora_lab.cli import _parser; print(_parser().format_help()); "
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert "doctor" in done.stdout and "demo" in done.stdout
    assert done.stdout.endswith("[]\n") and done.returncode == 0


@pytest.mark.parametrize(
    "words, named",
    [
        ([], "command"),
        (["dance"], "dance"),
        (["demo", "--method", "dora"], "dora"),
        (["demo", "--seed", "x"], "'x'"),
        (["demo", "--sed", "1"], "--sed"),
        (["doctor", "--loud"], "--loud"),
        (["demmo"], "'demo'"),
        (["demo", "--seed", "-1"], "'-1'"),
        (["demo", "--seed", "9" * 19], "no seed"),
        (["demo", "--seed", "9" * 5000], "no seed"),
        (["demo", "--seed", "٣"], "no seed"),
        (["demo", "--out", ""], "--out"),
        (["demo", "--tier", " "], "--tier"),
        (["demo", "--method", "two\nlines"], "two"),
    ],
)
def test_a_word_that_is_not_understood_is_one_sentence_and_status_2(capsys, words, named):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == ""
    assert named in err and err.count("\n") == 1


def test_the_options_of_the_demo_reach_it(demo):
    assert cli.main(["demo"]) == 0
    assert demo.seen == ("qlora", 0, "auto", Path("out/demo"))
    demo.answer = lambda: 1
    assert cli.main("demo --method lora --seed 7 --tier t4 --out here".split()) == 1
    assert demo.seen == ("lora", 7, "t4", Path("here"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no\nsuch thing"),
        FileNotFoundError("no such thing"),
        ConnectionError("no such thing"),
        PermissionError("no such thing"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(demo, capsys, error):
    def fail():
        raise error

    demo.answer = fail
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr() == ("", "lora-lab: no such thing\n")


def test_an_interrupt_is_status_130_without_traceback(demo, capsys):
    def interrupt():
        raise KeyboardInterrupt

    demo.answer = interrupt
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "lora-lab: interrupted\n"


def test_a_bug_of_ours_keeps_its_traceback(demo):
    demo.answer = lambda: {}["bug"]
    with pytest.raises(KeyError):
        cli.main(["demo"])


@pytest.mark.parametrize(
    "words, named",
    [
        (["--tier", "a10"], ["unknown tier 'a10'", "a100"]),
        (["--tier", "l4"], ["Qwen/Qwen2.5-7B-Instruct", "network", "--tier cpu"]),
        (["--out", "file/out"], ["cannot write in the folder", "choose another folder"]),
        (["--out", "file"], ["cannot write in the folder", "choose another folder"]),
    ],
)
def test_the_real_demo_refuses_bad_input_before_it_works(tmp_path, monkeypatch, capsys, words, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["demo", *words]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and all(word in message for word in named)


# The doctor


def test_the_doctor_finds_this_machine_ready_with_or_without_network(tmp_path):
    done = lora_lab("doctor", cwd=tmp_path)
    names = [line[6:21].strip() for line in done.stdout.splitlines() if line[:5].strip() in ("ok", "warn", "fail")]
    assert {
        "python",
        "torch",
        "transformers",
        "device",
        "tier",
        "dtype",
        "threads",
        "memory",
        "disk",
        "network",
        "hub",
        "embedded base",
    } <= set(names)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines()[-1].startswith("ready: 0 failed")


def test_every_finding_has_a_status_and_every_problem_a_remedy(monkeypatch, no_hub):
    monkeypatch.setattr(doctor, "free_memory", lambda: 10**8)
    found = list(doctor.checks())
    assert {check.status for check in found} <= {"ok", "warn", "fail"}
    for check in found:
        assert check.detail and "\n" not in check.detail
        assert bool(check.remedy) == (check.status != "ok"), check
    assert by_name("memory").status == "warn"


def test_a_missing_network_is_no_problem_without_a_gpu(monkeypatch, no_hub):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("network", "hub"):
        check = by_name(name)
        assert check.status == "ok" and "not needed" in check.detail
    assert by_name("tier").status == "ok"


def test_on_a_gpu_a_model_that_cannot_be_had_is_a_warning(monkeypatch, no_hub, tmp_path):
    monkeypatch.setattr(hub, "cached", lambda model: False)
    monkeypatch.setattr("lora_lab.models.tiers.detect_tier", lambda: "t4")
    check = doctor.tier()
    assert check.status == "warn" and TIERS["t4"].model in check.detail and "--tier cpu" in check.remedy


def test_a_t4_is_described_with_float16_and_the_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: types.SimpleNamespace(total_memory=15 * 10**9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (10**9, 15 * 10**9))
    assert doctor.device().detail == "Tesla T4, compute capability 7.5"
    assert doctor.dtype().detail.startswith("float16: compute capability 7.5")
    assert doctor.gpu_memory().status == "warn" and "1.0 of 15.0 GB" in doctor.gpu_memory().detail


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert doctor.device().status == "warn" and "CUDA build" in doctor.device().remedy


def test_a_version_on_disk_that_is_not_the_one_loaded_asks_for_a_restart(monkeypatch):
    assert doctor.requirement(Requirement("torch")).status == "ok"
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    check = doctor.requirement(Requirement("torch"))
    assert check.status == "fail" and "1.0.0 loaded" in check.detail and "restart the kernel" in check.remedy


@pytest.mark.parametrize("wanted, words", [("torch<1", "needs <1"), ("no-such-package>=1", "not installed, needs >=1")])
def test_a_requirement_that_is_not_met_fails_with_the_range(wanted, words):
    check = doctor.requirement(Requirement(wanted))
    assert check.status == "fail" and words in check.detail and "pip install" in check.remedy


def test_a_package_that_breaks_on_import_is_a_finding(monkeypatch):
    def broken(name):
        raise RuntimeError("undefined symbol\nand more")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    check = doctor.requirement(Requirement("torch"))
    assert check.status == "fail"
    assert "importing it fails: undefined symbol" in check.detail and "\n" not in check.detail


def test_a_check_that_breaks_is_a_failed_check_and_the_others_still_run(monkeypatch, no_hub, capsys):
    def broken(*_):
        raise RuntimeError("driver gone")

    monkeypatch.setattr(torch, "get_num_threads", broken)
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert "fail  threads         RuntimeError: driver gone" in out and "embedded base" in out
    assert out.splitlines()[-1].startswith("not ready: ")


def test_a_damaged_embedded_base_fails_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr("lora_lab.models.base.EMBEDDED_FOLDER", tmp_path)
    check = doctor.embedded_base()
    assert check.status == "fail" and checksums.NAME in check.detail and "lora_lab.train.pretrain" in check.remedy


def test_a_folder_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(doctor.Path, "cwd", lambda: tmp_path / "file")
    assert doctor.disk().status == "warn" and "cannot write" in doctor.disk().detail


def test_free_memory_is_plausible():
    free = doctor.free_memory()
    assert free is None or 10**7 < free < 10**14


# What is installed


def test_requirements_are_read_from_the_package_and_extras_are_kept_apart(monkeypatch):
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda name: [
            "torch>=2",
            "packaging>=1",
            'winonly; sys_platform == "no such"',
            'pytest>=8; extra == "test"',
            'absent-thing; extra == "gpu"',
        ],
    )
    assert [str(need) for need in installed.requirements()] == ["torch>=2", "packaging>=1"]
    assert [need.name for need in installed.optional("test")] == ["pytest"]
    assert doctor.extras().detail == "gpu without absent-thing; test complete"


def test_an_extra_outside_its_range_is_a_warning(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ['pytest<2; extra == "test"'])
    assert doctor.extras().status == "warn" and "(needs <2)" in doctor.extras().detail


def test_without_an_installed_package_the_doctor_still_looks_at_what_it_needs(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert "torch" in [need.name for need in installed.requirements()] and doctor.extras() is None
    monkeypatch.setattr(metadata, "version", absent)
    assert doctor.package().status == "warn" and "pip install" in doctor.package().remedy


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("2.13.0+cpu", "2.13.0", True),
        ("2.13", "2.13.0", True),
        ("2.13.0", "2.13.1", False),
        ("odd", "odd", True),
        ("odd", "2.0", False),
    ],
)
def test_versions_are_compared_as_releases(one, other, same):
    assert installed.same_version(one, other) == same
