"""Numbers in English words."""

from __future__ import annotations

import pytest

from media.english_numbers import LARGEST_CARDINAL, cardinal, decade, decimal, ordinal, year


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (1234, "one thousand two hundred thirty-four"),
        (1_000_001, "one million one"),
        (-5, "minus five"),
        (10**15, "one " + " ".join(["zero"] * 15)),
    ],
)
def test_cardinal(number: int, words: str) -> None:
    assert cardinal(number) == words


def test_largest_cardinal_is_said_in_words() -> None:
    assert cardinal(LARGEST_CARDINAL).startswith("nine hundred ninety-nine trillion")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "first"),
        (2, "second"),
        (12, "twelfth"),
        (20, "twentieth"),
        (23, "twenty-third"),
        (100, "one hundredth"),
    ],
)
def test_ordinal(number: int, words: str) -> None:
    assert ordinal(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1066, "ten sixty-six"),
        (1900, "nineteen hundred"),
        (1905, "nineteen oh five"),
        (1999, "nineteen ninety-nine"),
        (2000, "two thousand"),
        (2005, "two thousand five"),
        (2024, "twenty twenty-four"),
        (476, "four hundred seventy-six"),
    ],
)
def test_year(number: int, words: str) -> None:
    assert year(number) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3.14", "three point one four"),
        ("1,234.50", "one thousand two hundred thirty-four point five zero"),
        ("-0.5", "minus zero point five"),
    ],
)
def test_decimal(text: str, words: str) -> None:
    assert decimal(text) == words


def test_decade() -> None:
    assert [decade(1990), decade(80), decade(2010)] == ["nineteen nineties", "eighties", "twenty tens"]
