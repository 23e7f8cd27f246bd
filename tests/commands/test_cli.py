"""`lora-lab`: exit statuses, one sentence for bad input, and a doctor that never dies of what it diagnoses."""

import io
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

from lora_lab import quant, ram
from lora_lab.commands import cli, doctor, hardware, installed, machine, software, surroundings
from lora_lab.commands.finding import Check, ask
from lora_lab.models import TIERS, checksums, hub, tiers
from lora_lab.network import package_index


def lora_lab(*words, cwd=None, code="from lora_lab.commands.cli import main; sys.exit(main(sys.argv[1:]))"):
    path = os.pathsep.join(filter(None, (str(Path(cli.__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.fixture
def demo(monkeypatch):
    """Stands in for the demo: notes how it was called, and does what the test tells it."""
    calls = types.SimpleNamespace(seen=None, answer=lambda: 0)

    def run(*arguments):
        calls.seen = arguments
        return calls.answer()

    monkeypatch.setitem(sys.modules, "lora_lab.commands.demo", types.SimpleNamespace(run=run))
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
        code="from lora_lab.commands.cli import _parser; print(_parser().format_help()); "
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
    assert demo.seen == ("qlora", 0, "auto", Path("out/demo"), None)
    demo.answer = lambda: 1
    assert cli.main("demo --method lora --seed 7 --tier t4 --out here --model smollm2".split()) == 1
    assert demo.seen == ("lora", 7, "t4", Path("here"), "smollm2")


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
        (["--tier", "a1000"], ["unknown tier 'a1000'", "a100"]),
        (["--tier", "l4"], ["Qwen/Qwen2.5-7B-Instruct", "HF_HUB_OFFLINE", '"embedded" instead']),
        (["--out", "file/out"], ["cannot write in the folder", "choose another folder"]),
        (["--out", "file"], ["which is no folder", "choose another name"]),
    ],
)
def test_the_real_demo_refuses_bad_input_before_it_works(tmp_path, monkeypatch, capsys, words, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tiers, "free_memory", lambda: None)
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
    monkeypatch.setattr(hardware, "free_memory", lambda: 10**8)
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
    monkeypatch.setattr(hub, "cached", lambda *_: False)
    monkeypatch.setattr(tiers, "detect_tier", lambda: "t4")
    monkeypatch.setattr(tiers, "free_memory", lambda: None)
    check = surroundings.tier()
    assert check.status == "warn" and TIERS["t4"].model in check.detail and "--tier cpu" in check.remedy


def test_a_t4_is_described_with_float16_and_the_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: types.SimpleNamespace(total_memory=15 * 10**9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (10**9, 15 * 10**9))
    assert hardware.device().detail == "Tesla T4, compute capability 7.5"
    assert hardware.dtype().detail.startswith("float16: compute capability 7.5")
    found = hardware.gpu_memory()
    assert found.status == "warn" and "1.0 of 15.0 GB are free (other notebooks and programs hold 14.0" in found.detail
    assert "needs 5.3 GB with qlora" in found.detail
    assert "shut down the kernels" in found.remedy and "--tier cpu" in found.remedy
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (9 * 10**9, 15 * 10**9))
    assert hardware.gpu_memory().status == "ok"


@pytest.mark.parametrize(
    ("tier", "card", "words"),
    [
        (
            "t4",
            "Tesla T4",
            "60 steps of 8 x 256 tokens at most: peak 5.3 GB with qlora, 7.2 with lora, minutes not meas",
        ),
        ("a100", "NVIDIA H100 80GB HBM3", "peak 20.4 GB with qlora, 40.0 with lora, about 1 min of training"),
        ("a100", "NVIDIA A100-SXM4-40GB", "minutes not measured on this machine"),
    ],
)
def test_the_doctor_says_what_the_training_of_this_machines_tier_takes(monkeypatch, tier, card, words):
    monkeypatch.setenv("LORA_LAB_TIER", tier)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: card)
    monkeypatch.setattr(hub, "cached", lambda model, revision: (model, revision) == _pinned(tier))
    check = surroundings.tier()
    assert check.status == "ok" and words in check.detail
    assert check.detail.startswith(f"{tier} (LORA_LAB_TIER is set): {TIERS[tier].model}, downloaded before; ")
    monkeypatch.setattr(hub, "cached", lambda *_: False)
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    assert f"{TIERS[tier].weight_bytes / 1e9:.1f} GB will be downloaded" in surroundings.tier().detail


def _pinned(tier):
    return TIERS[tier].model, TIERS[tier].revision


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert hardware.device().status == "warn" and "CUDA build" in hardware.device().remedy


def test_a_version_on_disk_that_is_not_the_one_loaded_asks_for_a_restart(monkeypatch):
    assert software.requirement(Requirement("torch")).status == "ok"
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    check = software.requirement(Requirement("torch"))
    assert check.status == "fail" and "1.0.0 loaded" in check.detail and "restart the kernel" in check.remedy


@pytest.mark.parametrize("wanted, words", [("torch<1", "needs <1"), ("no-such-package>=1", "not installed, needs >=1")])
def test_a_requirement_that_is_not_met_fails_with_the_range(wanted, words):
    check = software.requirement(Requirement(wanted))
    assert check.status == "fail" and words in check.detail and "pip install" in check.remedy


def test_a_package_that_breaks_on_import_is_a_finding(monkeypatch):
    def broken(name):
        raise RuntimeError("undefined symbol\nand more")

    monkeypatch.setattr(software.importlib, "import_module", broken)
    check = software.requirement(Requirement("torch"))
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
    check = surroundings.embedded_base()
    assert check.status == "fail" and checksums.NAME in check.detail and "lora_lab.train.pretrain" in check.remedy


def test_a_folder_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(surroundings.Path, "cwd", lambda: tmp_path / "file")
    assert surroundings.disk().status == "warn" and "cannot write" in surroundings.disk().detail


def test_files_that_were_read_count_as_free_memory_within_a_container(monkeypatch):
    """Loading a model fills the page cache, which counts as used there, and gives way to whoever needs the room."""
    kinds = {"anon": 10**9, "file": 14 * 10**9, "inactive_file": 10**10, "active_file": 4 * 10**9}
    files = {
        "/proc/meminfo": "MemTotal: 99000000 kB\nMemAvailable: 90000000 kB\n",
        "/sys/fs/cgroup/memory.max": "16000000000\n",
        "/sys/fs/cgroup/memory.current": "15000000000\n",
        "/sys/fs/cgroup/memory.stat": "".join(f"{kind} {size}\n" for kind, size in kinds.items()),
    }
    monkeypatch.setattr(ram.Path, "read_text", lambda self, **_: files[str(self)])
    assert ram.free_memory() == 15 * 10**9


def test_free_memory_is_plausible():
    free = ram.free_memory()
    assert free is None or 10**7 < free < 10**14


@pytest.mark.parametrize(
    "name, damage",
    [
        ("python", lambda patch: patch.setattr(installed, "python_range", lambda: ">=x")),
        ("requirements", lambda patch: patch.setattr(metadata, "requires", lambda name: ["no requirement !"])),
        ("torch", lambda patch: patch.setattr(metadata, "version", lambda name: "no version")),
        ("device", lambda patch: patch.setattr(torch.cuda, "is_available", lambda: sys.exit(3))),
        ("threads", lambda patch: patch.setattr(torch, "get_num_threads", lambda: {}["x"])),
        ("disk", lambda patch: patch.setattr(surroundings.shutil, "disk_usage", lambda folder: {}["x"])),
        ("network", lambda patch: patch.setattr(hub, "reachable", lambda url: {}["x"])),
    ],
)
def test_whatever_breaks_is_a_finding_and_every_other_check_still_runs(monkeypatch, no_hub, capsys, name, damage):
    damage(monkeypatch)
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert f"fail  {name}" in out and "embedded base" in out and "Traceback" not in out


def test_an_error_without_a_message_is_named_by_its_type(monkeypatch):
    def silent(name):
        raise RuntimeError

    monkeypatch.setattr(software.importlib, "import_module", silent)
    assert software.requirement(Requirement("torch")).detail.endswith("importing it fails: RuntimeError")
    [check] = ask("silent", lambda: silent(""))
    assert check.detail == "RuntimeError: RuntimeError"


def test_output_that_cannot_encode_a_path_is_no_traceback(monkeypatch, capsys):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(doctor, "checks", lambda: iter([Check("disk", "ok", "12 GB free in /home/zoë → here")]))
    assert doctor.run() == 0
    shown.seek(0)
    assert "/home/zo\\xeb \\u2192 here" in shown.read()


def test_the_doctor_lives_without_home_proc_and_current_folder(monkeypatch, no_hub, tmp_path, capsys):
    def gone(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    for name in ("HOME", "USERPROFILE", "HOMEPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(surroundings.Path, "read_text", gone)
    monkeypatch.setattr(surroundings.Path, "cwd", gone)
    assert hardware.memory().status == "ok" and hardware.memory().detail.startswith("free memory unknown")
    assert surroundings.disk() == Check(
        "disk", "warn", "the current folder was removed", "change to a folder that exists"
    )
    assert machine.describe()["processor"]


def test_the_doctor_warns_of_a_lesson_that_cannot_run_without_numba(monkeypatch):
    assert hardware.kernels().status == "ok"
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: None)
    assert (hardware.kernels().status, hardware.kernels().remedy) == (
        "warn",
        'lesson 33 needs Numba: pip install "lora_lab[fast]"',
    )


@pytest.mark.parametrize(("compiler", "lesson"), [("Numba", True), ("Triton", False)])
def test_the_doctor_warns_of_kernels_that_cannot_serve(compiler, lesson, monkeypatch):
    problem = f"{compiler}'s kernels cannot serve here (OSError: no space): the readable path does that work"
    monkeypatch.setattr(quant.kernels.trial, "problems", [problem])
    found = hardware.kernels()
    assert found.status == "warn" and problem in found.detail
    assert "slower" in found.remedy and ("lesson 33" in found.remedy) is lesson


def test_what_an_interrupted_save_left_is_found_and_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert surroundings.leftovers() is None
    places = (Path(".demo.0a1b2c3d.tmp"), Path("out/.demo.00000000.tmp"), Path("out/demo/.demo.ffffffff.tmp"))
    for place in places:
        place.mkdir(parents=True)
    check = surroundings.leftovers()
    assert check.status == "warn" and all(str(place) in check.detail for place in places) and "delete" in check.remedy
    (tmp_path / ".x.11111111.tmp").write_text("")
    assert "and 1 more" in surroundings.leftovers().detail
    assert by_name("left-overs") == surroundings.leftovers()


@pytest.fixture
def pip_says(monkeypatch):
    """What `pip config list` prints; None: there is no pip."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)

    def says(text, **environment):
        def run(command, **_):
            assert command[1:4] == ["-P", "-m", "pip"] and command[-2:] == ["config", "list"]
            if text is None:
                raise FileNotFoundError("no python")
            return types.SimpleNamespace(stdout=text.encode())

        monkeypatch.setattr(subprocess, "run", run)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return says


@pytest.mark.parametrize(
    "text, environment, index",
    [
        ("", {}, "https://pypi.org/simple"),
        (None, {}, "https://pypi.org/simple"),
        ("global.index-url='https://mirror.example/simple'\n", {}, "https://mirror.example/simple"),
        ("global.index-url='https://a.example'\ninstall.index-url='https://b.example'\n", {}, "https://b.example"),
        (":env:.index-url='https://c.example'\nglobal.index-url='https://a.example'\n", {}, "https://c.example"),
        (None, {"PIP_INDEX_URL": "https://d.example/simple"}, "https://d.example/simple"),
        ("global.index-url='https://zoe:s3cret@e.example:8443/x?token=s3cret'\n", {}, "https://e.example:8443/x"),
        ("global.no-index='true'\n", {}, None),
        (None, {"PIP_NO_INDEX": "1"}, None),
        ("WARNING: odd\nglobal.timeout='60'\nglobal.index-url='https://f.example'", {}, "https://f.example"),
    ],
)
def test_the_package_index_is_the_one_that_pip_asks(pip_says, text, environment, index):
    pip_says(text, **environment)
    assert package_index() == index


@pytest.mark.parametrize(
    "address", ["https://zoe:s3cret@mirror.example/simple", "http://zoe:s3cret@[bad", "zoe:s3cret@nowhere", "//["]
)
@pytest.mark.parametrize("answers", [True, False])
def test_the_index_is_named_without_what_is_secret(pip_says, monkeypatch, address, answers):
    asked = []
    monkeypatch.setattr(hub, "reachable", lambda url: asked.append(url) or answers)
    pip_says(f"global.index-url={address!r}\n")
    check = by_name("network")
    assert "s3cret" not in f"{check} {asked}" and check.status in ("ok", "warn")
    if "mirror" in address:
        assert check.detail.startswith("mirror.example answers" if answers else "mirror.example does not answer")


def test_a_pip_that_asks_no_index_is_not_asked_to(pip_says, monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda url: pytest.fail("an index was asked"))
    pip_says("install.no-index='1'\n")
    assert by_name("network").status == "ok" and "no package index" in by_name("network").detail


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
    assert software.extras().detail == "gpu without absent-thing; test complete"


def test_an_extra_outside_its_range_is_a_warning(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ['pytest<2; extra == "test"'])
    assert software.extras().status == "warn" and "(needs <2)" in software.extras().detail


def test_without_an_installed_package_the_doctor_still_looks_at_what_it_needs(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert "torch" in [need.name for need in installed.requirements()] and software.extras() is None
    monkeypatch.setattr(metadata, "version", absent)
    assert software.package().status == "warn" and "pip install" in software.package().remedy


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("2.13.0+cpu", "2.13.0", True),
        ("2.13", "2.13.0", True),
        ("2.13.0", "2.13.1", False),
        ("2026.10.19.post1", "2026.10.19", True),
        ("2.13.0rc1", "2.13.0", False),
        ("odd", "odd", True),
        ("odd", "2.0", False),
    ],
)
def test_versions_are_compared_as_releases(one, other, same):
    assert installed.same_version(one, other) == same


@pytest.mark.parametrize("words", [["memory", "gpt2", "--seq", "8"], ["demo", "--met", "lora"]])
def test_a_flag_is_written_out(capsys, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err
