"""`lora-lab finetune`: what it refuses, what it says first, what it saves whatever happens, and how it goes on."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lora_lab import memory, models, train
from lora_lab.commands import cli, finetune, finetune_plan, finetune_report, finetune_room, reporting
from lora_lab.commands.finetune_base import Base
from lora_lab.data.batches import CHAT_TEMPLATE
from lora_lab.data.jsonl import Line
from lora_lab.models import hub, real

WORDS = ("ant", "bee", "cow", "dog", "elk", "fox")


def pairs(n: int = 24, start: int = 0) -> list[dict]:
    numbers = range(start, start + n)
    return [{"prompt": f"What is {WORDS[i % 6]} {i}?", "answer": f"{WORDS[i % 6]} {i % 4}"} for i in numbers]


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A folder with a Llama of one layer that knows nothing, and the embedded base's tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(models.EMBEDDED_FOLDER)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=96, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    return write(tmp_path / "data.jsonl", pairs())


class Command:
    """The command with its base, data and folder; a call gives the exit status."""

    def __init__(self, base, data, out):
        self.base, self.data, self.out = base, data, out

    def words(self, *more, base=None, data=None):
        given = [str(base or self.base), "--data", str(data or self.data), "--out", str(self.out)]
        defaults = [] if "--steps" in more or "--epochs" in more else ["--steps", "6"]
        return ["finetune", *given, *defaults, "--batch-size", "4", *map(str, more)]

    def __call__(self, *more, **others):
        return cli.main(self.words(*more, **others))

    def report(self):
        return json.loads((self.out / "finetune.json").read_text(encoding="utf-8"))

    def adapter(self):
        return load_file(self.out / "adapter_model.safetensors")


@pytest.fixture
def command(base, data, tmp_path) -> Command:
    return Command(base, data, tmp_path / "out")


def sentence(capsys) -> str:
    """The last line on stderr, which is the command's."""
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("lora-lab")
    return last


# ---- what comes out ------------------------------------------------------------------------------------------------


def test_verdict_plan_scores_samples_and_the_way_to_load_it_are_said_in_this_order(command, capsys):
    assert command("--lr", "0.01") == 0
    said = capsys.readouterr().out
    order = ["\nmemory ", "fits", "\ndata ", "16 to train on", "\nprompts ", "\ntraining ", "6 steps of 4 examples",
             "\ntrains ", "\nresult ", "validation loss", "\nheld out", "exact, of 4", "wanted", "Adapter saved",
             "PeftModel", "improved."]  # fmt: skip
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert not (command.out / finetune.KEPT).exists()


def test_the_report_holds_what_a_repetition_needs_and_a_repetition_is_bit_for_bit_the_same(command, base):
    assert command("--lr", "0.01", "--seed", "3") == 0
    report, adapter = command.report(), command.adapter()
    assert report["settings"]["lr"] == 0.01 and report["settings"]["seed"] == 3 and report["settings"]["r"] == 16
    assert len(report["losses"]) == report["steps_done"] == 6 and report["model"] == base.name
    assert report["data"]["train"] == 16 and len(report["data"]["heldout"]) == 4
    assert report["versions"]["torch"] == torch.__version__ and len(report["data"]["sha256"]["data"]) == 64
    assert report["after"]["loss"] < report["before"]["loss"] and len(report["answers"]) == 4
    shutil.rmtree(command.out)
    assert command("--lr", "0.01", "--seed", "3") == 0
    again = command.adapter()
    assert all(torch.equal(value, again[key]) for key, value in adapter.items())
    assert command.report()["losses"] == report["losses"] and command.report()["after"] == report["after"]


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])  # which imports peft
def test_what_is_printed_loads_what_was_saved_and_answers_as_the_report_says(command, capsys, method):
    assert command("--method", method, "--lr", "0.02", "--steps", "20") == 0
    said = capsys.readouterr().out
    start = said.index("To load it:\n") + len("To load it:\n")
    scope = {}
    exec(said[start : said.index("\nHeld-out loss")], scope)
    report = command.report()
    number = {f"{command.data.name}:{i + 1}": pair for i, pair in enumerate(pairs())}
    asked = [Line(number[each["line"]]["prompt"], each["wanted"]) for each in report["answers"]]
    tokenizer = AutoTokenizer.from_pretrained(command.base)
    scores = finetune_report.measure(scope["model"].eval(), tokenizer, asked, 4, "again")
    assert scores.loss == pytest.approx(report["after"]["loss"], abs=1e-4)
    assert scores.answers == [each["after"] for each in report["answers"]]


def test_the_steps_are_chosen_by_validation_and_the_best_weights_are_kept(command, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 2.5, 9.0])
    real = train.answer_loss

    def scripted(model, tokenizer, examples, batch_size):
        count = len(examples)
        return next(losses) if count == 5 else real(model, tokenizer, examples, batch_size)

    write(command.out.parent / "v.jsonl", pairs(5, 100))
    monkeypatch.setattr(train, "answer_loss", scripted)
    command("--steps", "20", "--patience", "2", "--validation", command.out.parent / "v.jsonl")
    report = command.report()
    assert report["stopped_early"] and report["steps_done"] == 8 and report["best_step"] == 4
    assert report["validation_losses"] == [[2, 3.0], [4, 1.0], [6, 2.0], [8, 2.5]]


def test_a_held_out_loss_that_did_not_improve_is_said_and_status_1(command, monkeypatch, capsys):
    monkeypatch.setattr(train, "answer_loss", lambda *_: 1.0)
    assert command() == 1
    assert "1.000: NOT improved" in capsys.readouterr().out
    assert (command.out / "adapter_model.safetensors").exists()


def test_exact_is_but_for_blanks_at_the_ends(monkeypatch):
    monkeypatch.setattr(train, "answer_loss", lambda *_: 1.0)
    monkeypatch.setattr(train, "answer", lambda *_, **__: [" b1 ", "b 1", "B1"])
    monkeypatch.setattr(finetune_report, "_in_batches", lambda *_: [([2, 0, 1], 5)])
    examples = [Line("p", "b 1\n"), Line("q", "B2"), Line("r", "b1")]
    scores = finetune_report.measure(None, None, examples, 4, "before")
    assert scores.answers == ["b 1", "B1", " b1 "] and scores.exact == pytest.approx(2 / 3)


def test_answers_are_as_long_as_wanted_though_another_prompt_nearly_fills_the_positions(base):
    model, tokenizer = models.load(str(base))
    long_prompt, long_answer = Line("ant " * 25, "a"), Line("p", "bee " * 25)
    batches = finetune_report._in_batches(model, tokenizer, [long_prompt, long_answer])
    assert sorted(i for chosen, _ in batches for i in chosen) == [0, 1]
    for chosen, new in batches:
        for i in chosen:
            example = (long_prompt, long_answer)[i]
            prompt = len(train.evaluate.encode_prompt(tokenizer, example.prompt))
            answer = len(train.evaluate.encode(tokenizer, example.answer)) + 1
            assert answer <= new <= 96 - prompt


def test_a_model_without_a_chat_template_is_given_the_courses_which_is_saved_with_the_adapter(command, base, tmp_path):
    other = tmp_path / "plain"
    shutil.copytree(base, other)
    (other / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((other / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (other / "tokenizer_config.json").write_text(json.dumps(config))
    assert AutoTokenizer.from_pretrained(other).chat_template is None
    assert command(base=other) == 0
    assert AutoTokenizer.from_pretrained(command.out).chat_template == CHAT_TEMPLATE


# ---- before anything is done ---------------------------------------------------------------------------------------


def test_a_dry_run_stops_after_verdict_and_plan_and_writes_nothing(command, monkeypatch, capsys):
    monkeypatch.setattr(models.base, "load", lambda *_: pytest.fail("weights were loaded"))
    assert command("--dry-run") == 0
    said = capsys.readouterr().out
    assert "fits" in said and "trains" in said and "Nothing was done" in said and not command.out.exists()


def test_what_does_not_fit_is_refused_before_weights_are_loaded_with_a_way_out_that_fits(command, monkeypatch, capsys):
    monkeypatch.setattr(models.base, "load", lambda *_: pytest.fail("weights were loaded"))
    roomy = finetune_room.room
    words = command.words("--method", "full", "--batch-size", "64")
    options = cli._parser().parse_args(words)
    base = Base(options.model)
    data = finetune_plan.read_data(options)
    settings = finetune_plan.settle(options, base, 16)
    least = roomy(base, settings, 40).needed[0]
    monkeypatch.setattr(finetune_room, "free_memory", lambda: least - 1)
    assert finetune_plan.encode(base, data.splits, None).longest < 40
    monkeypatch.setattr(finetune_room, "free_memory", lambda: 10**6)
    assert command("--method", "full") == 2
    said = sentence(capsys)
    assert "a step does not fit into memory" in said and "--force" in said and not command.out.exists()


def test_the_way_out_fits(base):
    options = cli._parser().parse_args(["finetune", str(base), "--data", "x", "--batch-size", "64", "--method", "full"])
    model = Base(str(base))
    settings = finetune_plan.settle(options, model, 100)
    whole = finetune_room.room(model, settings, 90).needed[0]
    before = finetune_room.free_memory
    for part in (0.9, 0.7, 0.5):
        try:
            finetune_room.free_memory = lambda part=part: int(part * whole)
            said = finetune_room.way_out(model, settings, 90)
            if "no batch size" in said:
                continue
            words = said.removeprefix("give ").partition(", a smaller")[0].split()
            again = cli._parser().parse_args(["finetune", str(base), "--data", "x", "--batch-size", "64", "--method",
                                              "full", *words])  # fmt: skip
            changed = finetune_plan.settle(again, model, 100)
            assert finetune_room.room(model, changed, 90).fits
            assert changed.batch_size * changed.accumulate == 64 and changed.lr >= settings.lr
        finally:
            finetune_room.free_memory = before


def test_force_trains_though_memory_seems_too_small(command, monkeypatch):
    monkeypatch.setattr(finetune_room, "free_memory", lambda: 10**6)
    assert command("--force") in (0, 1) and (command.out / "adapter_model.safetensors").exists()


def test_the_verdict_counts_the_step_that_is_taken(base, monkeypatch):
    """More than the weights in float32, which is how they are loaded; more with longer examples and larger batches."""
    options = cli._parser().parse_args(["finetune", str(base), "--data", "x"])
    model = Base(str(base))
    settings = finetune_plan.settle(options, model, 100)
    needed = [finetune_room.room(model, settings, n).needed[0] for n in (10, 90)]
    assert 4 * model.parameters < needed[0] < needed[1]
    estimate = memory.estimate(model.config, "qlora", batch_size=8, seq_len=90, precision="fp32")
    assert needed[1] > estimate.peak_bytes and finetune_room.room(model, settings, 90).trainable == (
        estimate.trainable_params
    )


def test_the_verdict_counts_the_copies_of_the_best_weights(base, monkeypatch):
    monkeypatch.setattr(finetune_room, "_BESIDE", (0, 0))
    model = Base(str(base))
    options = cli._parser().parse_args(["finetune", str(base), "--data", "x", "--method", "full"])
    needed = finetune_room.room(model, finetune_plan.settle(options, model, 100), 90).needed[0]
    estimate = memory.estimate(model.config, "full", batch_size=8, seq_len=90, precision="fp32")
    assert needed == estimate.peak_bytes + 4 * model.parameters


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B-Instruct", "smollm2"])
def test_a_model_that_cannot_be_had_is_one_sentence_with_a_way_out_that_this_command_takes(
    command, monkeypatch, capsys, tmp_path, name
):
    for variable in ("LORA_LAB_MODEL", "PIP_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "hub_reachable", lambda *_, **__: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(real.PipSettings, "read", classmethod(lambda kind: kind({"global.no-index": "true"})))
    assert command(base=name) == 2
    said = sentence(capsys)
    assert 'name the model "embedded" instead' in said and "--tier" not in said and "--model" not in said
    assert Base("embedded").load()


@pytest.mark.parametrize("name", ["a" * 300, "me/" + "a" * 300])
def test_a_name_that_is_too_long_for_a_model_is_one_short_sentence(command, capsys, name):
    assert command(base=name) == 2
    said = sentence(capsys)
    assert "no model is named 'a" in said.replace("me/", "") and len(said) < 300


def test_an_architecture_that_cannot_be_counted_is_said_and_not_refused(base, monkeypatch):
    monkeypatch.setattr(finetune_room, "FAMILIES", ())
    monkeypatch.setattr(finetune_room.memory, "simulate", lambda *_, **__: 1 / 0)
    options = cli._parser().parse_args(["finetune", str(base), "--data", "x"])
    model = Base(str(base))
    verdict = finetune_room.room(model, finetune_plan.settle(options, model, 100), 9)
    assert verdict.fits and "cannot be counted beforehand" in str(verdict)


@pytest.mark.parametrize(
    ("options", "examples", "steps"),
    [
        ([], 16, 100),
        ([], 1000, 375),
        (["--epochs", "2"], 100, 25),
        (["--epochs", "0.1"], 16, 1),
        (["--steps", "7"], 16, 7),
        (["--accumulate", "4"], 1000, 100),
    ],
)
def test_steps_are_three_passes_but_at_least_100_or_what_is_asked(base, options, examples, steps):
    given = cli._parser().parse_args(["finetune", str(base), "--data", "x", *options])
    settings = finetune_plan.settle(given, Base(str(base)), examples)
    assert settings.steps == steps and 1 <= settings.evaluate_every <= steps


def test_rates_fall_with_the_size_of_the_model_and_adapters_want_several_times_those_of_all_weights():
    sizes = (1_771_200, 134_515_008, 7 * 10**9, 65 * 10**9)
    adapters, full = ([finetune_plan.default_rate(method, n)[0] for n in sizes] for method in ("qlora", "full"))
    assert adapters == sorted(adapters, reverse=True) and full == sorted(full, reverse=True)
    assert all(4 <= one / other <= 20 for one, other in zip(adapters, full))
    assert adapters == [models.TIERS["cpu"].adapter_lr, 1e-3, models.TIERS["t4"].adapter_lr, 1e-4]
    assert full[0] == models.TIERS["cpu"].full_lr and full[2] == models.TIERS["l4"].full_lr


BAD = [
    (["--data", "none.jsonl"], "no none.jsonl in"),
    (["--data", "-"], "standard input"),
    (["--batch-size", "0"], "--batch-size 0: choose from 1"),
    (["--accumulate", "-1"], "--accumulate -1"),
    (["--steps", "0"], "--steps 0"),
    (["--steps", "x"], "'x' is no whole number"),
    (["--epochs", "0"], "--epochs 0"),
    (["--epochs", "nan"], "'nan' is no number"),
    (["--epochs", "1", "--steps", "2"], "not allowed with"),
    (["--lr", "0"], "--lr 0"),
    (["--lr", "2"], "--lr 2"),
    (["--lr", "fast"], "'fast' is no number"),
    (["--r", "0"], "--r 0"),
    (["--alpha", "-1"], "alpha"),
    (["--target-modules", "q_prj"], "q_prj"),
    (["--target-modules", ","], "names nothing"),
    (["--patience", "0"], "--patience 0"),
    (["--seed", "-1"], "no seed"),
    (["--method", "dora"], "invalid choice"),
    (["--seq-len", "0"], "--seq-len 0"),
    (["--seq-len", "97"], "--seq-len 97: choose from 2 to 96"),
    (["--seq-len", "5"], "data.jsonl, line 1: "),
    (["--seq-len", "5"], "these and 19 more, 24 lines, cannot be used"),
    (["--validation", "data.jsonl"], "the same prompt as data.jsonl, line 1"),
    (["--heldout", "none.jsonl"], "no none.jsonl in"),
    (["--out", ""], "is empty"),
    (["--out", "data.jsonl"], "data.jsonl"),
    (["--resume"], "there is no interrupted run of these settings"),
    (["--learning-rate", "1"], "unrecognized arguments"),
]


@pytest.mark.parametrize(("more", "words"), BAD, ids=[" ".join(more) for more, _ in BAD])
def test_bad_input_is_one_sentence_and_status_2_and_nothing_is_done(
    command, monkeypatch, tmp_path, capsys, more, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models.base, "load", lambda *_: pytest.fail("weights were loaded"))
    try:
        status = command(*more)
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err.splitlines()
    assert status == 2 and len(said) <= 6 and words in "\n".join(said), said
    assert len(said) == 1 or "lines, cannot be used: nothing was done" in said[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["no such folder", "folder-without-config", "", "data.jsonl"])
def test_a_model_that_is_none_is_one_sentence(command, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder-without-config").mkdir()
    words = command.words()
    words[1] = name
    try:
        status = cli.main(words)
    except SystemExit as stop:
        status = stop.code
    assert status == 2 and len(capsys.readouterr().err.splitlines()) == 1 and not command.out.exists()


def test_the_models_own_folder_is_not_written_in(command, base, capsys):
    command.out = base
    before = {path.name for path in base.iterdir()}
    assert command("--method", "full") == 2
    assert "is the model's own folder" in sentence(capsys) and {path.name for path in base.iterdir()} == before


def test_bad_lines_of_all_files_are_counted_together(command, tmp_path, capsys):
    write(command.data, [*pairs(30), "{"])
    write(tmp_path / "h.jsonl", ['{"prompt": "p"}'])
    assert command("--heldout", tmp_path / "h.jsonl") == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("lora-lab: data.jsonl, line 31: no JSON") and "h.jsonl, line 1: no 'answer'" in said[1]
    assert said[2] == "lora-lab: these, 2 lines, cannot be used: nothing was done"


def test_an_example_that_is_too_long_is_named_and_never_cut(command, capsys):
    write(command.data, [*pairs(30), {"prompt": "ant " * 200, "answer": "a"}])
    assert command() == 2
    said = sentence(capsys)
    assert "data.jsonl, line 31: " in said and "tokens, and the model has 96 positions: shorten it" in said


def with_template(base, folder, template) -> Path:
    shutil.copytree(base, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.mark.parametrize(
    "template",
    ["{{ 1 + 'a' }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ 1 / 0 }}", "{% include 'x' %}",
     "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ raise_exception('no system prompt') }}"],
)  # fmt: skip
def test_a_chat_template_that_fails_is_one_sentence_however_it_fails(command, base, tmp_path, capsys, template):
    assert command(base=with_template(base, tmp_path / "other", template)) == 2
    assert re.search(r"data.jsonl, line \d+: the model's chat template refuses it", sentence(capsys))


@pytest.mark.parametrize(
    "template",
    [
        "hello",
        "{% for part in messages[0].content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}",
    ],
)
def test_a_chat_template_that_leaves_the_prompt_out_is_refused(command, base, tmp_path, capsys, template):
    assert command(base=with_template(base, tmp_path / "other", template)) == 2
    assert "leaves prompts of plain text out: give another model" in sentence(capsys) and not command.out.exists()


def test_special_tokens_that_examples_spell_out_are_said(command, base, capsys):
    end = AutoTokenizer.from_pretrained(base).eos_token
    assert command("--dry-run") == 0 and "special tokens" not in capsys.readouterr().out
    write(command.data, [*pairs(30), {"prompt": "Say it.", "answer": f"ant {end} bee"}])
    assert command("--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"examples spell out special tokens, which are read as such: '{end}' in 1" in said


def test_a_model_that_is_quantized_already_is_refused(command, base, tmp_path, capsys):
    """Its layers are no `nn.Linear` of numbers any more: what would be trained is not what was named."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    shutil.copytree(base, tmp_path / "quantized")
    (tmp_path / "quantized" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for more in ((), ("--dry-run",)):
        assert command(*more, base=tmp_path / "quantized") == 2
        assert "is quantized already: name the one that it was made from" in sentence(capsys)


def test_a_hub_model_that_is_quantized_already_is_refused_before_its_weights_come(command, base, tmp_path, monkeypatch):
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setattr(hub, "small_files", lambda *_: tmp_path)
    monkeypatch.setattr(models, "load", lambda *_: pytest.fail("the weights came"))
    with pytest.raises(ValueError, match="^an/other is quantized already: name the model that it was made from$"):
        _ = Base("an/other").config


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("model.safetensors", "has no weights in safetensors; those in pytorch_model.bin"),
        ("config.json", "holds no config.json, and so no model: give the folder that a model was saved to"),
        ("tokenizer.json", "lora-lab: no tokenizer can be read in "),  # and no line of the data is blamed for it
    ],
)
def test_what_a_models_folder_lacks_is_said_by_a_dry_run_already(command, base, tmp_path, capsys, gone, words):
    folder = shutil.copytree(base, tmp_path / "half")
    (folder / gone).unlink()
    assert command("--dry-run", base=folder) == 2
    assert words in sentence(capsys)


# ---- several runs, and what is left of them -------------------------------------------------------------------------


def test_of_two_runs_in_one_folder_the_second_is_refused_and_disturbs_nothing(command, monkeypatch, capsys):
    def second(self, when):
        self.kept.mkdir()
        assert command() == 2 and "another run trains into" in sentence(capsys)
        assert self.kept.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune._Run, "_measure", second)
    assert command() == 130
    monkeypatch.undo()
    assert command() in (0, 1) and not list(command.out.glob(".*"))


def test_what_a_killed_save_left_goes_with_the_next_run(command):
    for name in (".unfinished.0123abcd.tmp", ".another.0123abcd.tmp"):
        (command.out / name / "new").mkdir(parents=True)
        (command.out / name / "new" / "state.safetensors").write_bytes(b"half")
    assert command() in (0, 1)
    assert [path.name for path in command.out.glob(".*")] == [".another.0123abcd.tmp"]


@pytest.mark.parametrize("damage", ['"before": {}', '"before": 5', '"before": {"loss": "low"}'])
def test_a_report_that_is_not_what_was_written_is_one_sentence(command, capsys, damage):
    assert command() in (0, 1)
    report = command.report()
    del report["before"]
    (command.out / "finetune.json").write_text(json.dumps(report)[:-1] + f", {damage}}}")
    assert command("--resume") == 2
    assert "finetune.json is damaged (it is not what was written): leave out --resume" in sentence(capsys)


# ---- interruptions -------------------------------------------------------------------------------------------------


def interrupt_at(monkeypatch, step):
    """Ctrl-C within a step of training."""
    real, count = train.loop.Step.take, 0

    def take(self, *arguments):
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *arguments)

    monkeypatch.setattr(train.loop.Step, "take", take)


def test_ctrl_c_keeps_what_was_trained_and_the_command_that_it_names_ends_as_if_never_interrupted(
    command, monkeypatch, capsys
):
    whole = Command(command.base, command.data, command.out.parent / "whole")
    assert whole("--lr", "0.01", "--steps", "20") == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        assert command("--lr", "0.01", "--steps", "20") == 130
    said = sentence(capsys)
    assert "interrupted; 7 of 20 steps are kept. To go on: lora-lab finetune " in said and said.endswith("--resume")
    assert not (command.out / "adapter_model.safetensors").exists()
    monkeypatch.setattr(finetune._Run, "_measure", measured_once(finetune._Run._measure))
    assert cli.main(said.partition("To go on: lora-lab ")[2].split()) == 0
    assert "going on after 7 of 20 steps" in capsys.readouterr().out
    ours, wanted = command.report(), whole.report()
    for name in ("losses", "validation_losses", "before", "after", "answers", "best_step"):
        assert ours[name] == wanted[name], name
    assert all(torch.equal(value, whole.adapter()[key]) for key, value in command.adapter().items())


def measured_once(real):
    def measure(self, when):
        assert when == "after", "the base was measured before the interruption already"
        return real(self, when)

    return measure


def test_an_interruption_before_the_training_says_that_nothing_was_trained(command, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "answer_loss", stop)
        assert command() == 130
    assert "interrupted before the training: nothing was trained" in sentence(capsys)
    assert command("--resume") == 2  # nothing to go on with
    assert command("--lr", "0.01") in (0, 1)


@pytest.mark.parametrize("more", [(), ("--checkpointing",)])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_memory_that_runs_out_is_one_sentence_with_what_helps(command, monkeypatch, capsys, error, more):
    real = train.loop.Step.take

    def full(self, weighed, number):
        if number == 4:
            raise error
        return real(self, weighed, number)

    with monkeypatch.context() as patch:
        patch.setattr(train.loop.Step, "take", full)
        assert command("--lr", "0.01", *more) == 2
    said = sentence(capsys)
    assert "memory ran out after 3 of 6 steps: " in said and "--method qlora" in said
    assert ("--checkpointing --resume', or begin" in said) == (not more)
    if not more:
        assert cli.main(said.partition("'lora-lab ")[2].partition("'")[0].split()) == 0


def test_another_error_of_the_training_keeps_its_traceback(command, monkeypatch):
    def broken(self, weighed, number):
        raise RuntimeError("a bug")

    monkeypatch.setattr(train.loop.Step, "take", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        command()


def test_training_that_goes_astray_is_one_sentence_and_leaves_nothing_to_go_on_with(command, monkeypatch, capsys):
    real = train.loop.Step.take

    def astray(self, weighed, number):
        if number == 4:
            raise FloatingPointError("the loss is nan at step 4: lower lr")
        return real(self, weighed, number)

    with monkeypatch.context() as patch:
        patch.setattr(train.loop.Step, "take", astray)
        assert command() == 1
    assert "the loss is nan at step 4: lower" in sentence(capsys)
    assert command("--lr", "0.01") == 0


def test_an_interruption_after_the_training_leaves_the_adapter_and_the_report_can_be_made_up_for(
    command, monkeypatch, capsys
):
    real = finetune._Run._measure

    def stop(self, when):
        if when == "after":
            raise KeyboardInterrupt
        return real(self, when)

    with monkeypatch.context() as patch:
        patch.setattr(finetune._Run, "_measure", stop)
        assert command("--lr", "0.01") == 130
    assert f"interrupted after the training: adapter saved in {command.out}" in sentence(capsys)
    adapter = command.adapter()
    monkeypatch.setattr(train.loop.Step, "take", lambda *_: pytest.fail("trained again"))
    assert command("--lr", "0.01", "--resume") == 0
    assert command.report()["steps_done"] == 6
    assert all(torch.equal(value, command.adapter()[key]) for key, value in adapter.items())


def test_a_finished_run_says_so_and_does_nothing(command, monkeypatch, capsys):
    assert command("--lr", "0.01") == 0
    monkeypatch.setattr(models.base, "load", lambda *_: pytest.fail("weights were loaded"))
    assert command("--lr", "0.01", "--resume") == 0
    assert "This run is finished" in capsys.readouterr().out


def test_an_interrupted_run_is_not_overwritten_and_not_gone_on_with_by_another(command, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert command() == 130
    kept = (command.out / finetune.KEPT / "state.safetensors").read_bytes()
    for more, words in (
        ((), "holds a run that was interrupted after 3 steps: go on with it by --resume"),
        (("--resume", "--lr", "0.5"), "was begun with --lr 0.007, and this one has --lr 0.5"),
        (("--resume", "--steps", "9"), "--steps 6, and this one has --steps 9"),
        (("--resume", "--r", "2"), "--r 16, and this one has --r 2"),
        (("--resume", "--method", "lora"), "--method qlora, and this one has --method lora"),
    ):
        capsys.readouterr()
        assert command(*more) == 2
        assert words in sentence(capsys)
    write(command.data, [*pairs(23), {"prompt": "new", "answer": "new"}])
    assert command("--resume") == 2 and "has other lines in --data than this one" in sentence(capsys)
    assert (command.out / finetune.KEPT / "state.safetensors").read_bytes() == kept


# ---- nothing is lost -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_full_disk_costs_no_adapter_it_is_saved_elsewhere_and_can_be_saved_again(
    command, monkeypatch, capsys, tmp_path, method
):
    real = reporting.save

    def full(model, tokenizer, method, out, with_tokenizer=False):
        if out == command.out:
            raise OSError(f"cannot write '{out}' (No space left on device): free some space, or choose another place")
        return real(model, tokenizer, method, out, with_tokenizer)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    with monkeypatch.context() as patch:
        patch.setattr(reporting, "save", full)
        assert command("--method", method, "--lr", "0.01") == 2
    said = sentence(capsys)
    assert "No space left" in said and f"saved in {tmp_path / 'elsewhere'}" in said
    assert list((tmp_path / "elsewhere").glob("*/*.safetensors"))
    monkeypatch.setattr(train.loop.Step, "take", lambda *_: pytest.fail("trained again"))
    assert command("--method", method, "--lr", "0.01", "--resume") == 0
    assert list(command.out.glob("*.safetensors"))


def test_a_report_that_cannot_be_written_says_where_the_adapter_is_and_can_be_made_up_for(command, monkeypatch, capsys):
    real = finetune.write_json

    def full(path, *arguments, **options):
        if Path(path).name == "finetune.json":
            raise OSError(f"cannot write '{path}' (No space left on device): free some space")
        real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "write_json", full)
        assert command("--lr", "0.01") == 2
    said = sentence(capsys)
    assert "No space left" in said and f"the adapter saved in {command.out}, and lora-lab finetune" in said
    assert command("--lr", "0.01", "--resume") == 0 and command.report()["steps_done"] == 6


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_no_encoding_costs_the_result(command, monkeypatch, encoding):
    write(command.data, [{"prompt": f"Größe → {i} 🦙\x1b[31m\x07?", "answer": f"β{i % 3}"} for i in range(24)])
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert command("--lr", "0.01") in (0, 1)
    assert (command.out / "finetune.json").exists() and b"\x1b" not in out.buffer.getvalue()


def test_a_reader_that_went_away_costs_nothing(command, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(writing, "wb"), encoding="utf-8", write_through=True))
    monkeypatch.setattr(sys, "stderr", None)
    assert command("--lr", "0.01") == 0 and (command.out / "finetune.json").exists()


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_no_line_of_the_plan_is_wider_than_the_terminal(command, monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert command("--dry-run") == 0
    rows = capsys.readouterr().out.partition("memory")[2].partition("Nothing")[0].splitlines()
    assert max(map(len, rows)) <= max(30, columns)


@pytest.mark.parametrize(
    ("text", "most", "line"),
    [("a\n b\tc", 9, "a b c"), ("\x1b[31mred\x07", 30, r"\x1b[31mred\x07"), ("x" * 9, 6, "xxx..."), ("", 5, "")],
)
def test_a_sample_is_one_line_that_no_terminal_obeys(text, most, line):
    assert reporting.one_line(text, most) == line


def test_a_model_takes_the_place_of_the_adapter_that_was_there(command):
    assert command("--method", "lora", "--lr", "0.01") == 0
    assert command("--method", "full", "--lr", "0.01") == 0
    assert {path.name for path in command.out.glob("*.safetensors")} == {"model.safetensors"}
    assert not (command.out / "adapter_config.json").exists()
    AutoModelForCausalLM.from_pretrained(command.out)


@pytest.mark.slow
def test_sigterm_in_another_process_keeps_the_run_and_offline_nothing_is_asked_of_the_network(command):
    """As a user would: a process of its own, stopped by the system, and gone on with."""
    path = str(Path(cli.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "cp1252"}
    words = [sys.executable, "-m", "lora_lab.commands.cli", *command.words("--steps", "400", "--lr", "0.01",
                                                                          "--patience", "99")]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                               encoding="cp1252")  # fmt: skip
    for line in process.stdout:
        if "of 400 steps" in line:
            process.terminate()
            break
    _, said = process.communicate()
    assert process.returncode == 130 and "steps are kept. To go on:" in said
    done = subprocess.run([*words, "--resume"], capture_output=True, text=True, env=environment, encoding="cp1252")
    assert done.returncode == 0 and "going on after" in done.stdout and command.report()["steps_done"] == 400
