"""English that a voice can read: figures, dates, money, units, abbreviations and symbols in words."""

from __future__ import annotations

import re

from media.english_amounts import AMOUNT_RULES
from media.english_dates import AMERICAN_SLASHED_DATE, BRITISH_SLASHED_DATE, DATE_RULES
from media.text_rules import Rule, any_of, rewritten, rule

_FRACTION_SIGNS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅛": "1/8"}

_ABBREVIATIONS = {
    "Dr": "Doctor",
    "Mr": "Mister",
    "Mrs": "Missus",
    "Ms": "Miz",
    "Prof": "Professor",
    "Rev": "Reverend",
    "Gen": "General",
    "Col": "Colonel",
    "Sgt": "Sergeant",
    "Capt": "Captain",
    "Lt": "Lieutenant",
    "Gov": "Governor",
    "Sen": "Senator",
    "Jr": "Junior",
    "Sr": "Senior",
    "Mt": "Mount",
    "Ave": "Avenue",
    "Blvd": "Boulevard",
    "Rd": "Road",
    "Inc": "Incorporated",
    "Ltd": "Limited",
    "Corp": "Corporation",
    "Co": "Company",
    "Dept": "Department",
    "e.g": "for example",
    "i.e": "that is",
    "eg": "for example",
    "ie": "that is",
    "etc": "et cetera",
    "vs": "versus",
    "approx": "approximately",
    "Fig": "Figure",
    "Vol": "Volume",
    "Ph.D": "PhD",
}
"""What is written with a full stop that ends no sentence."""


def _abbreviation(found: re.Match[str]) -> str:
    # At the very end its full stop ends the sentence, too.
    return _ABBREVIATIONS[found["word"]] + ("." if found["end"] is not None else "")


_ABBREVIATION_RULES: tuple[Rule, ...] = (
    rule(r"\bSt\. (?=[A-Z])", "Saint "),
    rule(r"\bSt\.", "Street"),
    rule(rf"\b(?P<word>{any_of(_ABBREVIATIONS)})\.(?P<end>\s*$)?", _abbreviation),
    rule(r"\b([A-Z])\. (?=[A-Z])", r"\1 "),  # initials
    rule(r"\bw/o\b", "without"),
    rule(r"\bw/(?=\s?\w)", "with "),
)

_SYMBOL_RULES: tuple[Rule, ...] = (
    rule(r"\s*&\s*", " and "),
    rule(r"\s+\+\s+|\+(?=\s|$)", " plus "),
    rule(r"\s*(?:→|->|=>)\s*", " to "),
    rule(r"\s*≥\s*|\s>=\s", " at least "),
    rule(r"\s*≤\s*|\s<=\s", " at most "),
    rule(r"\s*[=≈]\s*", " equals "),
    rule(r"\s>\s", " greater than "),
    rule(r"\s<\s", " less than "),
    rule(r"\s*×\s*", " times "),
    rule(r"\s*÷\s*", " divided by "),
    rule(r"(?<!\w)~(?=\w)", "about "),
    rule(r"(?<=\w)\s?@\s?(?=\w)", " at "),
    rule(r"(?<=[A-Za-z])/(?=[A-Za-z])", " "),
    rule(r"°", " degrees"),
    rule(r"[©®™]", ""),
    rule(r"_", " "),
)


def in_english_words(text: str, language: str) -> str:
    """The text with its figures, symbols and abbreviations written out.

    Args:
        text: without Markdown, emoji and links.
        language: `en-us` or `en-gb`: which number of `5/6/2024` is the month.
    """
    for sign, fraction in _FRACTION_SIGNS.items():
        text = re.sub(rf"(?<=\d){sign}", f" {fraction}", text).replace(sign, fraction)
    slashed = BRITISH_SLASHED_DATE if language == "en-gb" else AMERICAN_SLASHED_DATE
    return rewritten(text, (slashed, *DATE_RULES, *AMOUNT_RULES, *_ABBREVIATION_RULES, *_SYMBOL_RULES))
