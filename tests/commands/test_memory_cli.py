"""`lora-lab memory` and the explorable: an answer in words and in bytes, or one sentence."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest

from lora_lab import memory, show
from lora_lab.commands import cli
from lora_lab.commands.memory import parse_bytes
from lora_lab.show.explorables import describe


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["memory", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_answer_names_peak_phase_units_and_gpus(capsys):
    status, out, _ = run(capsys, *"llama-3.1-8b --method qlora --r 16 --batch-size 1 --seq-len 2048".split())
    wanted = memory.estimate("llama-3.1-8b", "qlora")
    assert status == 0
    assert f"{wanted.peak_bytes / 1e9:.3f} GB ({wanted.peak_bytes / 2**30:.3f} GiB)" in out
    assert wanted.peak_phase in out and "Known error" in out and "Fits on: " in out


def test_json_holds_the_estimate_in_bytes(capsys):
    _, out, _ = run(capsys, "smollm2-135m", "--json", "--target-modules", "q_proj,v_proj", "--budget", "2GiB")
    record = json.loads(out)
    wanted = memory.estimate("smollm2-135m", "qlora", target_modules=("q_proj", "v_proj"))
    assert record["peak_bytes"] == wanted.peak_bytes == sum(record["components"].values())
    assert record["trainable_params"] == wanted.trainable_params
    assert record["budget_bytes"] == 2 * 2**30 and record["unit"] == "bytes"
    assert record["fits"] == (wanted.peak_bytes <= 2 * 2**30)


def test_the_exit_status_says_whether_it_fits_and_the_text_what_would(capsys):
    status, out, _ = run(capsys, *"llama-3.1-8b --method full --gpu t4".split())
    assert status == 1 and "Does not fit" in out and "qlora with checkpointing" in out
    status, out, _ = run(capsys, *"smollm2-135m --gpu t4 --seq-len 256".split())
    assert status == 0 and "Fits into t4" in out and "tokens a second, if it reaches" in out
    status, out, _ = run(capsys, *"llama-3.1-70b --budget 1GB".split())
    assert status == 1 and "Nothing fits" in out


def test_the_plot_is_written_and_a_wrong_format_is_refused(capsys, tmp_path):
    status, out, _ = run(capsys, "smollm2-135m", "--plot", str(tmp_path / "bars.png"))
    assert status == 0 and (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG") and "bars.png" in out
    status, _, err = run(capsys, "smollm2-135m", "--plot", str(tmp_path / "bars.docx"))
    assert status == 2 and "bars.docx" in err and not (tmp_path / "bars.docx").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("llama-3.1-8c", "llama-3.1-8b"),
        ("llama-3.1-8b --gpu t5", "t4"),
        ("llama-3.1-8b --budget 16", "16GB or 14.5GiB"),
        ("llama-3.1-8b --budget=-3GB", "more than 0"),
        ("llama-2-7b --seq-len 5000", "4096"),
        ("llama-2-7b --optimizer adam", "adamw"),
        ("llama-2-7b --target-modules q_prj", "q_proj"),
        ("llama-2-7b --seq-len 0", "--seq-len 0: choose"),
        ("llama-2-7b --batch-size -2", "--batch-size -2: choose"),
        ("llama-2-7b --r 0", "--r 0: choose"),
        ("gemma-2-2b", "--attention 'eager'"),
        ("llama-2-7b --offload weights --method full", "--offload 'weights'"),
        ("llama-2-7b --seq-len 5000", "--seq-len 5000 is longer"),
        ("llama-2-7b --budget 1e400GB", "1e400GB"),
        ("llama-2-7b --budget nan", "nan"),
        ("llama-2-7b --budget 99999999999999GB", "no machine's"),
        ("llama-2-7b --plot bars.xyz", "choose a name in .png, .svg or .pdf"),
        ("llama-2-7b --gpu t5 --seq-len 0 --plot bars.xyz", "t5"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_way_out(capsys, words, said):
    status, out, err = run(capsys, *words.split())
    assert status == 2 and not out and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16GB", 16 * 10**9),
        ("14.5 GiB", 29 * 2**29),
        ("900mb", 9 * 10**8),
        ("1MiB", 2**20),
        ("16 gb", 16 * 10**9),
        (".5GB", 5 * 10**8),
        ("5.GB", 5 * 10**9),
        ("0.000000001GB", 1),
    ],
)
def test_amounts_of_memory_carry_their_unit(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["16", "GB", "1.2.3GB", "nan GB", "16 TB", ".GB", "", "١٦GB", "²GB", "1e3GB", "9" * 400 + "GB", "infGB"]
)
def test_amounts_without_a_number_or_a_known_unit_are_refused(text):
    with pytest.raises(ValueError, match="unit"):
        parse_bytes(text)


def test_the_explorable_shows_what_estimate_says_and_follows_its_controls():
    widget = show.memory_explorer("smollm2-135m", "t4")
    *controls, shown = widget.children
    named = {control.description: control for control in controls}
    peak = memory.estimate("smollm2-135m", "qlora").peak_bytes
    assert f"{peak / 1e9:.2f} GB of tensors" in shown.value and "<img alt=" in shown.value
    named["method"].value = "full"
    peak = memory.estimate("smollm2-135m", "full").peak_bytes
    assert f"{peak / 1e9:.2f} GB of tensors" in shown.value
    named["tokens"].value = 2**17
    assert "Not possible" in shown.value and "8192" in shown.value


def test_the_explorables_verdict_is_that_of_the_catalogue():
    for gpu in ("t4", "h100"):
        estimate = memory.estimate("llama-3.1-8b", "lora", seq_len=512)
        fitting = {fit.gpu.name for fit in memory.gpus_that_fit(estimate)}
        said = describe("llama-3.1-8b", gpu, method="lora", seq_len=512)
        assert ("does not fit" in said) == (gpu not in fitting)


def test_unknown_names_are_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match="smollm2"):
        show.memory_explorer("smolm-135m")
    with pytest.raises(ValueError, match="t4"):
        show.memory_explorer(gpu="t5")


@pytest.mark.parametrize(
    "words",
    [
        ["llama-2-7b", "--gpu", ""],
        ["llama-2-7b", "--budget", " "],
        ["llama-2-7b", "--plot", ""],
        ["llama-2-7b", "--target-modules", ""],
        ["llama-2-7b", "--target-modules", ","],
        ["llama-2-7b", "--optimizer", ""],
        ["llama-2-7b", "--offload", ""],
        [""],
        ["llama-2-7b", "--seq-len", "٣"],
        ["llama-2-7b", "--seq-len", "1_000"],
        ["llama-2-7b", "--seq-len", "9" * 5000],
        ["llama-2-7b", "--gpu", "t4", "--budget", "16GB"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_an_empty_or_odd_word_is_bad_input_in_one_sentence(capsys, words):
    with pytest.raises(SystemExit) as left:
        cli.main(["memory", *words])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and not out and err.count("\n") == 1 and len(err) < 300


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("b.SVG", b"<?xml"), ("c d.pdf", b"%PDF"), ("e", b"\x89PNG")]
)
def test_a_plot_has_the_format_of_its_name_and_the_same_bytes_each_time(capsys, tmp_path, name, begins):
    drawn = []
    for folder in ("one", "new/folder"):
        assert run(capsys, "smollm2-135m", "--plot", str(tmp_path / folder / name))[0] == 0
        drawn.append((tmp_path / folder / name).read_bytes())
    assert drawn[0].startswith(begins) and drawn[0] == drawn[1]


def test_json_with_a_plot_is_still_json(capsys, tmp_path):
    _, out, _ = run(capsys, "smollm2-135m", "--json", "--plot", str(tmp_path / "bars.svg"))
    assert json.loads(out)["unit"] == "bytes" and (tmp_path / "bars.svg").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["TkAgg", "nonsense"])
def test_a_figure_needs_no_screen(tmp_path, backend):
    command = [sys.executable, "-m", "lora_lab.commands.cli"]
    words = [*command, "memory", "smollm2-135m", "--plot", str(tmp_path / "bars.png")]
    root = pathlib.Path(cli.__file__).parents[2]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root, env={**os.environ, "MPLBACKEND": backend})
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "bars.png").is_file()


def test_a_full_disk_keeps_the_old_figure_and_is_one_sentence(capsys, tmp_path, monkeypatch):
    (tmp_path / "bars.png").write_bytes(b"old")

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    status, out, err = run(capsys, "smollm2-135m", "--plot", str(tmp_path / "bars.png"))
    assert status == 2 and not out and "No space left on device" in err and err.count("\n") == 1
    assert (tmp_path / "bars.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_the_way_of_a_figure_is_said(capsys, tmp_path):
    status, out, err = run(capsys, "smollm2-135m", "--plot", str(tmp_path))
    assert status == 2 and not out and err.count("\n") == 1


def test_the_sentences_of_the_library_come_in_flags():
    said = cli.in_flags(
        "seq_len=5 and offload='x', see memory.simulate; checkpointing=True", ["seq_len", "offload", "checkpointing"]
    )
    assert said == "--seq-len 5 and --offload 'x', see --simulate; --checkpointing"
    assert (
        cli.in_flags("leave it out of target_modules, or r=3", ["target_modules", "r"])
        == "leave it out of --target-modules, or --r 3"
    )
    assert cli.in_flags("an offload of my_seq_len", ["offload", "seq_len"]) == "an offload of my_seq_len"


def test_a_config_object_or_a_folder_is_no_start_for_the_explorable(tmp_path):
    with pytest.raises(ValueError, match="begins with a preset"):
        show.memory_explorer(memory.load_config("gpt2"))
