"""Every word of the glossary is linked from the lesson that uses it first, and every such link arrives."""

import re
from itertools import pairwise

import glossary
import pytest

from lora_lab.commands.delivery import material
from tests.helpers.lessons import MASTERS

TERMS = glossary.terms()
LINKED = glossary.linked()
WRITTEN = {master.stem for master in MASTERS.glob("[0-9][0-9]_*.py")}
ENTRY = '<a id="rank"></a>**rank**, r: a number. (lesson [00](workbook/00_start_here.ipynb))'


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.anchor)
def test_a_term_names_its_lesson_and_that_lesson_is_the_first_to_link_to_it(term):
    name = term.link.removeprefix("workbook/").removesuffix(".ipynb")
    assert name.startswith(term.number)
    if name in WRITTEN:
        first = LINKED.get(term.anchor, ["none"])[0]
        assert first == name, f"{first} links to {term.term!r} first: run python course/glossary.py"


@pytest.mark.parametrize("anchor", sorted(LINKED))
def test_a_link_from_a_lesson_leads_to_an_entry(anchor):
    assert anchor in {term.anchor for term in TERMS}, f"course/glossary.md has no entry with the anchor {anchor}"


def test_a_lesson_links_to_a_word_once():
    for anchor, names in LINKED.items():
        assert len(names) == len(set(names)), f"{names[0]} links to {anchor} twice"


def test_the_entries_stand_in_the_order_of_their_terms_each_once():
    for before, after in pairwise(TERMS):
        assert _sorts(before.term) < _sorts(after.term), f"{after.term!r} stands after {before.term!r}"
    assert len({term.anchor for term in TERMS}) == len(TERMS)


def test_an_entry_is_short_and_plain():
    for term in TERMS:
        words = term.words.lstrip(",: ")
        assert 20 <= len(words) and len(words.split()) <= 60, term.term
        assert words.rstrip().endswith((".", ")")) and "](" not in words, term.term


def test_a_paragraph_that_is_no_entry_is_refused():
    (term,) = glossary.terms(f"# Glossary\n\nWords.\n\n{ENTRY}\n")
    assert (term.anchor, term.term, term.number) == ("rank", "rank", "00")
    for wrong in (ENTRY.replace("lesson ", ""), ENTRY.replace("**", ""), "Some words."):
        with pytest.raises(ValueError, match="no entry"):
            glossary.terms(f"# Glossary\n\nWords.\n\n{wrong}\n")


def test_the_first_use_is_found_in_prose_and_what_is_not_folded_comes_first():
    (term,) = glossary.terms(f"# Glossary\n\nWords.\n\n{ENTRY}\n")
    lines = [
        "# %% [markdown]", "# ## A rank in a heading", "# `rank` and [rank](01_svd.ipynb) and low-rank",
        "# %%", "# rank in code", '# %% [markdown] tags=["hint:x"]', "# **A first hint.** The rank.",
        "# %% [markdown]", "# <details><summary>More</summary>its rank", "# of rank 2</details>", "# Two ranks are",
    ]  # fmt: skip
    assert glossary.first_use(lines, term) == (10, 6, 11)
    assert glossary.first_use(lines[:10], term) == (6, 24, 28), "else what is folded"
    assert glossary.first_use(lines[:5], term) is None


def test_a_learner_gets_the_glossary_and_its_links_lead_to_what_the_learner_gets():
    names = {item.name for item in material.items(MASTERS.parents[2])}
    assert {"glossary.md", "syllabus.md", "folklore.md"} <= names
    for term in TERMS:
        assert term.link in names or term.link[9:-6] not in WRITTEN


def _sorts(term: str) -> str:
    return re.sub(r"[^a-z0-9 +]", "", term.replace("α", "alpha").lower())
