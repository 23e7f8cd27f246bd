"""The poll sheets of the instructor's guide, printed."""

import re
from pathlib import Path

import pytest

COURSE = Path(__file__).resolve().parents[2] / "course"

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", ["polls.html", "poll_answers.html"])
def test_each_lesson_is_one_sheet_of_paper(page, name):
    sheets = (COURSE / name).read_text(encoding="utf-8")
    page.set_content(sheets)
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == sheets.count("<section") > 0
