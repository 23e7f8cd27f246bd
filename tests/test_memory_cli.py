"""`lora-lab memory` and the explorable: an answer in words and in bytes, or one sentence."""

import json

import pytest

from lora_lab import cli, memory, show
from lora_lab.memory_cli import parse_bytes
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
        ("gpt2 --seq-len 512", "Conv1D"),
        ("llama-2-7b --target-modules q_prj", "q_proj"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_way_out(capsys, words, said):
    status, out, err = run(capsys, *words.split())
    assert status == 2 and not out and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "count"), [("16GB", 16 * 10**9), ("14.5 GiB", 29 * 2**29), ("900mb", 9 * 10**8), ("1MiB", 2**20)]
)
def test_amounts_of_memory_carry_their_unit(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["16", "GB", "1.2.3GB", "nan GB", "16 TB", ".GB", ""])
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
