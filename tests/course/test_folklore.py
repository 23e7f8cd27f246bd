"""The table of folklore is what its script computes, and the script computes what its rows are known for."""

import functools
import re

import folklore
import pytest

from tests.helpers.lessons import MASTERS

NUMBER = re.compile(r"\d[\d,]*\.?\d*")


def test_the_committed_table_is_what_the_script_writes():
    """In words, and in numbers up to the rounding of another processor's last digit."""
    committed, written = folklore.PATH.read_text(encoding="utf-8"), folklore.text()
    assert NUMBER.sub("#", committed) == NUMBER.sub("#", written), "run python course/folklore.py"
    values = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (committed, written)]
    assert values[0] == pytest.approx(values[1], rel=0.03)


@functools.cache
def said(row):
    """What a row computes, and where it is shown."""
    return row()


def test_every_row_is_a_claim_with_a_computed_answer_and_a_place():
    for row in folklore.ROWS:
        truth, where = said(row)
        assert (row.__doc__ or "").strip() and truth and where
        assert any(map(str.isdigit, truth)) or row in (folklore.zero_factor, folklore.not_reproducible)


def test_a_claim_quotes_the_page_where_it_stands_or_says_that_it_is_an_exercise():
    for row in folklore.ROWS:
        claim = row.__doc__ or ""
        linked = re.findall(r"\]\(https://[^)\s]+\)", claim)
        assert bool(linked) != claim.strip().endswith("(exercise)"), claim
        assert not linked or "“" in claim or row is folklore.zero_factor, f"quote it: {claim}"


def test_where_it_is_shown_is_a_cell_or_a_section_of_a_lesson_or_a_place_in_the_library():
    for row in folklore.ROWS:
        _, where = said(row)
        found = folklore.lesson_and_cell(where)
        assert found or where in ("computed here", "arithmetic") or re.fullmatch(r"`(memory|quant)\.\w+`", where), where
        if found and (master := MASTERS / f"{found[0]}.py").exists():
            kind, _, name = found[1].partition("-")
            wanted = f"# ## {kind}. " if kind.isdecimal() else f'"{kind}:{name}"'
            assert wanted in master.read_text(encoding="utf-8"), f"{row.__name__}: {found[0]} has no {found[1]}"


def test_the_known_answers_come_out():
    known = {
        folklore.lora_parameters: "41,943,040",
        folklore.llama_2_attention: "16,777,216, which is 0.249%",
        folklore.total_with_adapters: "41,943,040 of 8,072,204,288",
        folklore.rank_256: "are linear in r: r = 256 has 8 times the parameters of r = 32",
        folklore.adapter_size: "27.3 MB for attention in bf16; all linears 83.9 MB in bf16, 167.8 MB in fp32",
        folklore.double_quantization: "At 70 billion: from 4.375 GB to 1.111 GB",
        folklore.eighty_four_gb: "107.8 GB; bf16 8 bytes per parameter, 53.9 GB",
        folklore.doubled_alpha: "2.0 times under Adam, as if only B's rate had doubled, and 4.0 times",
        folklore.a_terabit: "16 Tbit",
        folklore.as_many_negative: "8 positive ones and no zero. NF4 has 7 negative, zero, 8 positive",
    }
    for row, words in known.items():
        assert words in said(row)[0], row.__doc__
