"""The docs say what the code does, and point at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate_diagrams import PAGE, with_diagrams

ROOT = PAGE.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_diagrams_are_the_tables() -> None:
    page = PAGE.read_text()
    assert with_diagrams(page) == page, "run: python docs/generate_diagrams.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []
