"""The docs say what the code does."""

from __future__ import annotations

from docs.generate_diagrams import PAGE, with_diagrams


def test_the_diagrams_are_the_tables() -> None:
    page = PAGE.read_text()
    assert with_diagrams(page) == page, "run: python docs/generate_diagrams.py"
