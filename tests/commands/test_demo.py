"""The demo from end to end, cut short: what it prints, what it saves, and the verdict in its exit status."""

import io
import os
import sys
from dataclasses import replace

import pytest
from safetensors import SafetensorError

from lora_lab import lora, models, train
from lora_lab.commands import cli, demo
from lora_lab.models.tiers import TIERS


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_a_demo_that_is_cut_short_saves_its_work_and_reports_failure(method, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TIERS, "cpu", replace(TIERS["cpu"], steps=3, heldout=8))
    assert demo.run(method=method, tier="cpu", out=tmp_path) == 1
    said = capsys.readouterr().out
    assert "NOT reached" in said and "exact match, held out" in said and "NF4+DQ" in said
    if method == "full":
        assert (tmp_path / "model.safetensors").is_file()
    else:
        assert "the same answers to 8 of 8 prompts" in said
        assert lora.adapters(lora.load_adapter(models.load_base("cpu")[0], tmp_path))


def test_the_sizes_are_those_of_the_formats():
    sizes = demo.base_bytes(models.load_base("cpu")[0])
    assert sizes["fp32"] == 4 * 1_771_200 and sizes["bf16"] == 2 * 1_771_200
    embeddings_and_norms = 1024 * 192 + 9 * 192
    linears = 1_771_200 - embeddings_and_norms
    assert sizes["NF4+DQ"] - 2 * embeddings_and_norms == pytest.approx(4.127 / 8 * linears, rel=2e-3)


@pytest.fixture
def short(monkeypatch):
    """A demo without its long parts: nothing is trained, and each measurement notes that it was asked for."""
    monkeypatch.setitem(TIERS, "cpu", replace(TIERS["cpu"], steps=2, heldout=2, batch_size=1))
    report = train.Report({"exact": 1.0, "valid": 1.0, "fields": 1.0}, 0.0, 1.0, ["a", "b"])
    monkeypatch.setattr(demo, "_measured", lambda *_: report)
    monkeypatch.setattr(train, "finetune", lambda *_, **__: train.History(losses=[1.0], seconds=[1.0]))
    monkeypatch.setattr(demo, "_read_back", lambda *_: True)
    return monkeypatch


def saved(folder):
    return any(folder.glob("*.safetensors"))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_was_trained_is_saved_before_it_is_measured_or_printed(short, tmp_path, method):
    def report(model, tokenizer, task, when):
        if when == "after":
            assert saved(tmp_path)
            raise KeyboardInterrupt
        return train.Report({"exact": 0.0, "valid": 0.0, "fields": 0.0}, 0.0, 0.0, [])

    short.setattr(demo, "_measured", report)
    with pytest.raises(KeyboardInterrupt, match=f"after the training: (adapter|model) saved in {tmp_path}"):
        demo.run(method, tier="cpu", out=tmp_path)
    assert saved(tmp_path)


def test_an_adapter_that_answers_otherwise_when_it_is_read_is_a_failure(short, tmp_path, capsys):
    short.setattr(demo, "_read_back", lambda *_: False)
    assert demo.run("lora", tier="cpu", out=tmp_path) == 1
    assert ": reached." in capsys.readouterr().out  # it is not the score


def test_a_model_takes_the_place_of_the_adapter_that_was_there(short, tmp_path):
    """transformers would put the old adapter onto the new model."""
    assert demo.run("lora", tier="cpu", out=tmp_path) == demo.run("full", tier="cpu", out=tmp_path) == 0
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"model.safetensors"}
    assert not (tmp_path / "adapter_config.json").exists()


def test_training_that_goes_astray_is_one_sentence(short, tmp_path, capsys):
    def astray(*_, **__):
        raise FloatingPointError("the loss is nan at step 7: lower lr")

    short.setattr(train, "finetune", astray)
    assert cli.main(["demo", "--method", "lora", "--tier", "cpu", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "lora-lab: the loss is nan at step 7: lower lr"


def test_printing_that_fails_costs_no_adapter(short, tmp_path):
    short.setattr(demo, "_score_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.run("lora", tier="cpu", out=tmp_path)
    assert saved(tmp_path)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_no_encoding_costs_the_demo_its_exit_status_or_its_adapter(short, tmp_path, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    short.setattr(sys, "stdout", out)
    assert cli.main(["demo", "--method", "lora", "--tier", "cpu", "--out", str(tmp_path / "with space")]) == 0
    assert saved(tmp_path / "with space") and b"reached" in out.buffer.getvalue()


def test_a_reader_that_went_away_costs_the_demo_nothing(short, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    short.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(writing, "wb"), encoding="utf-8", write_through=True))
    short.setattr(sys, "stderr", None)
    assert cli.main(["demo", "--method", "lora", "--tier", "cpu", "--out", str(tmp_path)]) == 0
    assert saved(tmp_path)


def test_the_model_is_chosen_by_its_name(short, tmp_path, capsys):
    asked, load = [], models.load
    short.setattr(models, "load", lambda name: asked.append(name) or load(name))
    assert cli.main(["demo", "--method", "lora", "--model", "embedded", "--out", str(tmp_path)]) == 0
    assert asked == ["embedded"] and capsys.readouterr().out.startswith("embedded · lora · tier cpu")
    assert cli.main(["demo", "--model", "smollm", "--out", str(tmp_path)]) == 2
    assert "lora-lab: no model is named 'smollm'" in capsys.readouterr().err


def test_an_interruption_of_the_training_says_how_far_it_came(short, tmp_path, capsys):
    def interrupted(*_, on_step, **__):
        on_step(1, 0.5)
        raise KeyboardInterrupt

    short.setattr(train, "finetune", interrupted)
    assert cli.main(["demo", "--method", "lora", "--tier", "cpu", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "lora-lab: interrupted after 1 of 2 steps of training: nothing was saved"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device (os error 28)")],
)
def test_a_full_disk_keeps_the_old_model_and_is_one_sentence(short, tmp_path, error):
    (tmp_path / "model.safetensors").write_bytes(b"old")

    def full(self, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    short.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(OSError, match="cannot write .*No space left on device") as caught:
        demo.run("full", tier="cpu", out=tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "model.safetensors").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("error", "options", "words"),
    [
        (ValueError, {"method": "qlorra"}, "unknown method 'qlorra'"),
        (ValueError, {"seed": -1}, "seed=-1"),
        (ValueError, {"seed": 10**40}, "seed="),
        (TypeError, {"seed": True}, "seed=.* must be an integer"),
        (TypeError, {"seed": "1"}, "seed=.* must be an integer"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_loaded(monkeypatch, tmp_path, error, options, words):
    monkeypatch.setattr(models, "load_base", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(error, match=words):
        demo.run(**{"tier": "cpu", "out": tmp_path, **options})


def test_a_tier_is_asked_whether_it_can_be_trained_by_that_method_before_its_model_is_loaded(monkeypatch, tmp_path):
    def refuse(*asked):
        raise ValueError(f"asked: {asked}")

    monkeypatch.setattr(models, "load_base", refuse)
    with pytest.raises(ValueError, match=r"asked: \('t4', 'lora'\)"):
        demo.run("lora", tier="t4", out=tmp_path)
