"""The demo from end to end, cut short: what it prints, what it saves, and the verdict in its exit status."""

from dataclasses import replace

import pytest

from lora_lab import demo, lora, models
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
