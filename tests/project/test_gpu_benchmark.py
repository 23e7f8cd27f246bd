"""`benchmarks/gpu.py` at toy size on the CPU, so that it is not found broken when there is a GPU at last."""

import importlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EACH: dict[str, tuple[int, set[str]]] = {  # rows at least, and what the last of them holds
    "bandwidth": (1, {"what", "mib", "ms", "low", "high", "gb_s"}),
    "quantize": (6, {"codes_that_differ", "constants_that_differ", "copy_gb_s", "bytes", "ways"}),
    "dequantize": (6, {"values_that_differ", "largest_difference", "copy_gb_s", "bytes", "ways"}),
    "one_token": (1, {"shape", "dtype", "weights", "bytes", "copy_gb_s", "ways"}),
    "equal": (10, {"lora_lab", "bitsandbytes + PEFT", "largest_difference", "steps"}),
    "amortise": (2, {"tokens", "slowdown", "ways"}),
    "memory": (5, {"model", "stack", "measured", "estimate", "error_of_estimate", "phase"}),
    "qlora_step": (6, {"model", "stack", "seq_len", "ms", "tokens_per_s", "estimate", "status"}),
    "real": (3, {"method", "seed", "exact_before", "exact_after", "tokens_per_s", "estimate"}),
    "lesson": (2, {"model", "stack", "seed", "losses", "tokens_per_s", "estimate", "heldout_loss", "exact", "status"}),
    "paged": (4, {"optimizer", "short_step", "long_step", "states", "of_them_paged"}),
}


SLOW = {"equal", "memory", "qlora_step", "real", "lesson"}

pytestmark = [  # of what the peers say when they run on a CPU
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


MADE: dict[str, list[dict[str, Any]]] = {}


def rows(gpu: Any, name: str) -> list[dict[str, Any]]:
    """Of one section; measured once for all tests."""
    if name not in MADE:
        module, _, function = gpu.SECTIONS[name][0].partition(":")
        torch.manual_seed(0)
        made = list(getattr(importlib.import_module(module), function)(gpu.Run("cpu", toy=True)))
        json.dumps(made)  # it must be possible to write them
        MADE[name] = made
    return MADE[name]


def test_every_section_is_tried_at_toy_size(gpu: Any) -> None:
    assert set(EACH) | {"kernels"} == set(gpu.SECTIONS)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in EACH])
def test_a_section_gives_rows_of_its_form(gpu: Any, name: str) -> None:
    made = rows(gpu, name)
    least, keys = EACH[name]
    assert len(made) >= least
    reached = [row for row in made if not str(row.get("status", "done")).startswith("not run")]
    assert keys <= set(reached[-1]), keys - set(reached[-1])
    assert not [row for row in reached if str(row.get("status", "done")) != "done"]


def test_kernels_are_measured_or_the_reason_is_given(gpu: Any) -> None:
    try:
        assert all(row["equal"] for row in rows(gpu, "kernels") if "equal" in row)
    except gpu.Skip as reason:
        assert "no kernels" in str(reason)


@pytest.mark.slow
def test_both_stacks_train_the_embedded_base_alike(gpu: Any) -> None:
    """On CPUs whose bitsandbytes computes in bfloat16 inside, only nearly."""
    last = rows(gpu, "equal")[-1]
    assert last["largest_difference"] < 0.02
    assert last["lora_lab"][0] > 0


@pytest.mark.slow
def test_a_lessons_model_starts_at_the_same_place_in_both_stacks_and_what_was_not_run_is_said(gpu: Any) -> None:
    ours, theirs, hub = rows(gpu, "lesson")
    assert abs(ours["losses"][0] - theirs["losses"][0]) < 0.02 and ours["seed"] == theirs["seed"]
    assert abs(ours["heldout_loss"] - theirs["heldout_loss"]) < 0.1  # bitsandbytes may answer in bfloat16 here
    assert hub["status"].startswith("not run: ")
    report = importlib.import_module("gpu_report")
    section = {"status": "done", "on": "none", "date": "2026-01-01", "rows": [ours, theirs, hub]}
    record = {"machine": gpu.describe(toy=True), "command": "…", "sections": {"lesson": section}}
    text = report.markdown(record)
    assert "- the tier's hub model: not run: at toy size" in text and "losses of the two at most" in text


def test_a_model_from_the_hub_is_measured_only_where_its_revision_lies_in_the_cache(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson, tiers = importlib.import_module("on_gpu.lesson"), importlib.import_module("lora_lab.models.tiers")
    t4, asked = tiers.TIERS["t4"], []
    monkeypatch.setattr(lesson.hub, "cached", lambda *of: asked.append(of) or False)
    run = gpu.Run("cpu", toy=False)
    (row,) = lesson._from_the_hub(run, t4)
    assert row["model"] == t4.model and row["status"].startswith("not run: the hub's cache on this machine")
    assert asked == [(t4.model, t4.revision)]
    monkeypatch.setattr(lesson.hub, "cached", lambda *of: True)
    (row,) = lesson._from_the_hub(gpu.Run("cpu", toy=False, seconds=30), t4)
    assert "were left of the section's time" in row["status"]
    monkeypatch.setattr(lesson, "_both", lambda run, case: iter([{"ran": case.name}]))
    assert list(lesson._from_the_hub(run, t4)) == [{"ran": t4.model}]
    assert list(lesson._from_the_hub(run, tiers.TIERS["cpu"])) == []


def test_of_each_shape_one_layer_is_quantized_and_all_layers_have_bytes_of_their_own(gpu: Any) -> None:
    stacks, steps = (importlib.import_module(f"on_gpu.{name}") for name in ("stacks", "steps"))
    model = stacks.build(steps.toy_config(), stacks.OURS, "qlora", "cpu")
    first, second = (layer.self_attn.q_proj.base for layer in model.model.layers)
    assert torch.equal(first.packed, second.packed)
    assert first.packed.data_ptr() != second.packed.data_ptr()
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_both_stacks_train_the_same_parameters(gpu: Any) -> None:
    stacks, steps = (importlib.import_module(f"on_gpu.{name}") for name in ("stacks", "steps"))
    counts = {
        sum(p.numel() for p in stacks.build(steps.toy_config(), stack, "qlora", "cpu").parameters() if p.requires_grad)
        for stack in (stacks.OURS, stacks.PEFT)
    }
    assert len(counts) == 1


def test_a_section_runs_in_a_process_of_its_own_and_is_written(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--toy", "--only", "bandwidth", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["sections"]["bandwidth"]["status"] == "done"
    assert record["sections"]["bandwidth"]["rows"][0]["gb_s"] > 0
    assert {"gpu", "torch", "bitsandbytes", "peft", "threads"} <= set(record["machine"])


def test_what_fails_says_why_and_loses_no_row(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "breaking.py").write_text(
        "def rows(run):\n    yield {'n': 1}\n    raise RuntimeError('no more\\nat all')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(gpu.SECTIONS, "paged", ("breaking:rows", 5))
    gpu._measure("paged", gpu.Run("cpu", toy=True))
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert said == [{"row": {"n": 1}}, {"status": "failed: RuntimeError: no more"}]


def test_joining_keeps_what_a_later_run_skipped(gpu: Any) -> None:
    def record(**status: str) -> dict[str, Any]:
        return {"command": "unread", "sections": {name: {"status": said} for name, said in status.items()}}

    whole = gpu.joined([record(real="done", equal="done"), record(real="skipped: no", equal="failed: x")])
    assert {name: section["status"] for name, section in whole["sections"].items()} == {
        "real": "done",
        "equal": "failed: x",
    }


def test_the_command_that_is_kept_names_sections_and_no_folder_of_a_machine(gpu: Any, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    gpu.main(["--toy", "--only", "kernels", "--seconds", "0.01", "--real", str(tmp_path), "--out", str(out)])
    assert str(tmp_path) not in out.read_text()
    assert json.loads(out.read_text())["command"] == "python benchmarks/gpu.py --only kernels"
    assert gpu.command(gpu.SECTIONS) == "python benchmarks/gpu.py --real FOLDER"
    assert gpu.joined([{"sections": {"real": {}}}, {"sections": {"equal": {}}}])["command"] == (
        "python benchmarks/gpu.py --only real --real FOLDER; python benchmarks/gpu.py --only equal"
    )


@pytest.mark.parametrize(
    ("option", "content", "sentence"),
    [
        ("--join", None, "name a file that gpu.py wrote"),
        ("--join", "{", "is damaged"),
        ("--join", "[]", "an object is expected, not a list"),
        ("--join", '{"sections": {"x": 1}}', "has no sections with a status each: name a file"),
        ("--out", "{", "is damaged"),
        ("--out", "{}", "has no sections with a status each: name a file"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named_in_one_sentence(
    gpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, content: str | None, sentence: str
) -> None:
    path = tmp_path / "earlier.json"
    if content is not None:
        path.write_text(content)
    rest = ["--out", str(tmp_path / "out.json")] if option == "--join" else ["--only", "kernels", "--toy"]
    assert gpu.main([option, str(path), *rest]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gpu.py: ") and sentence in said and path.name in said and said.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seconds", "-3"], "-3 is no time"),
        (["--seconds", "nan"], "nan is no time"),
        (["--seconds", "0"], "0 is no time"),
        (["--seconds", "soon"], "invalid"),
        (["--real", "/nowhere/at/all"], "--real: there is no folder '/nowhere/at/all'"),
        (["--out", "."], "--out: '.' is a folder"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_measured(
    gpu: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match="^2$"):
        gpu.main(["--toy", *arguments])
    assert sentence in capsys.readouterr().err


def test_what_cannot_be_written_is_known_before_anything_is_measured(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(gpu, "_run", lambda *arguments: pytest.fail("something was measured"))
    assert gpu.main(["--toy", "--only", "kernels", "--out", str(tmp_path / "file" / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("gpu.py: ")


def test_a_disk_that_fills_ends_a_section_at_once_and_leaves_no_timer(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(out: Path, record: object) -> None:
        raise OSError("no space left")

    row = "import time; print('{\"row\": {}}', flush=True); time.sleep(60)"
    children, popen = [], subprocess.Popen
    monkeypatch.setattr(gpu, "_write", full)
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda *a, **k: children.append(popen([sys.executable, "-c", row], **k)) or children[0]
    )
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="no space left"):
        gpu._run("kernels", {"sections": {}, "machine": {"gpu": "none"}}, tmp_path / "out.json", 300, True, None)
    assert children[0].returncode not in (0, None), "the section's process goes on"
    for timer in set(threading.enumerate()) - before:
        timer.join(5)
    assert set(threading.enumerate()) <= before


def test_the_status_is_that_of_the_sections_just_run(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text(json.dumps({"sections": {"equal": {"status": "stopped after 3 s"}}}))

    for status, code in (("done", 0), ("failed: x", 1)):
        ran = {"status": status}
        monkeypatch.setattr(gpu, "_run", lambda name, record, *rest, ran=ran: record["sections"].update({name: ran}))
        assert gpu.main(["--toy", "--only", "kernels", "--out", str(out)]) == code
    assert gpu.main(["--join", str(out), "--out", str(out)]) == 1


@pytest.mark.parametrize(
    "names",
    [("bandwidth", "quantize", "amortise", "paged"), pytest.param(("qlora_step", "memory"), marks=pytest.mark.slow)],
)
def test_the_tables_hold_every_section_and_say_what_was_not_reached(gpu: Any, names: tuple[str, ...]) -> None:
    report = importlib.import_module("gpu_report")
    lost = {"model": "llama-3.1-70b", "stack": "lora_lab", "seq_len": 2048, "status": "did not fit: no room"}
    made = {name: rows(gpu, name) for name in names}
    made["qlora_step"] = [*made.get("qlora_step", []), lost]
    sections = {name: {"status": "done", "on": "none", "date": "2026-01-01", "rows": made[name]} for name in made}
    sections["real"] = {"status": "skipped: no folder", "on": "none", "date": "2026-01-01", "rows": []}
    text = report.markdown({"machine": gpu.describe(toy=True), "command": "…", "sections": sections})
    assert "- llama-3.1-70b lora_lab 2048: did not fit: no room" in text
    assert "skipped: no folder" in text
    assert all(report.TITLES[name] in text for name in sections)
    assert set(report.TITLES) == set(report.TABLES) == set(gpu.SECTIONS)


def test_what_a_step_takes_from_the_host_stands_beside_its_optimizer(gpu: Any) -> None:
    report = importlib.import_module("gpu_report")
    paged = importlib.import_module("on_gpu.paged")
    host = {"what": paged.HOST, "optimizer": "PagedAdamW", "short": 16, "ms": 1234.5}
    lines = report._paged([*rows(gpu, "paged"), host]).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.endswith("| 1234 |")] == ["PagedAdamW"]
