"""The table of folklore is what its script computes, and the script computes what its rows are known for."""

import re

import folklore
import pytest


NUMBER = re.compile(r"\d[\d,]*\.?\d*")


def test_the_committed_table_is_what_the_script_writes():
    """In words, and in numbers up to the rounding of another processor's last digit."""
    committed, written = folklore.PATH.read_text(encoding="utf-8"), folklore.text()
    assert NUMBER.sub("#", committed) == NUMBER.sub("#", written), "run python course/folklore.py"
    values = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (committed, written)]
    assert values[0] == pytest.approx(values[1], rel=0.03)


def test_every_row_is_a_claim_with_a_computed_answer_and_a_place():
    for row in folklore.ROWS:
        truth, where = row()
        assert (row.__doc__ or "").strip() and truth and where
        assert any(map(str.isdigit, truth)) or row in (folklore.zero_factor, folklore.not_reproducible)


def test_the_known_answers_come_out():
    known = {
        folklore.lora_parameters: "41,943,040",
        folklore.llama_2_attention: "16,777,216, which is 0.249%",
        folklore.total_with_adapters: "41,943,040 of 8,072,204,288",
        folklore.rank_256: "8 times",
        folklore.adapter_size: "27.3 MB for attention in bf16; all linears 83.9 MB in bf16, 167.8 MB in fp32",
        folklore.double_quantization_at_70b: "from 4.375 GB to 1.111 GB",
        folklore.eighty_four_gb: "107.8 GB; bf16 8 bytes per parameter, 53.9 GB",
        folklore.doubled_alpha: "2.0 times under Adam, as if only B's rate had doubled, and 4.0 times",
        folklore.a_terabit: "16 Tbit",
        folklore.as_many_negative: "7 negative, zero, 8 positive",
    }
    for row, words in known.items():
        assert words in row()[0], row.__doc__
