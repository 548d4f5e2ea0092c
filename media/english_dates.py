"""Dates and times of day in English words."""

from __future__ import annotations

import re

from media.english_numbers import cardinal, ordinal, year
from media.text_rules import Rule, rule

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_MONTH_WORDS = {name.lower(): name for name in _MONTHS} | {name[:3].lower(): name for name in _MONTHS}
_MONTH_WORDS |= {"sept": "September"}

_MONTH = (
    r"(?P<month>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,? (?P<year>[12]\d{3})\b)?"
_HALF = r"(?P<half>[ap]m\b|[AP]M\b|[ap]\.m\.|[AP]\.M\.)(?P<end>\s*$)?"


def _day(number: int, month: int, year_text: str | None, otherwise: str) -> str:
    if not (1 <= month <= 12 and 1 <= number <= 31):
        return otherwise
    return _date_words(_MONTHS[month - 1], number, year_text)


def _date_words(month: str, day: int, year_text: str | None) -> str:
    return f"{month} {ordinal(day)}" + (f", {year(int(year_text))}" if year_text else "")


def _iso_date(found: re.Match[str]) -> str:
    return _day(int(found["day"]), int(found["month"]), found["year"], found[0])


def _american_date(found: re.Match[str]) -> str:
    return _day(int(found[2]), int(found[1]), found[3], found[0])


def _british_date(found: re.Match[str]) -> str:
    return _day(int(found[1]), int(found[2]), found[3], found[0])


def _named_date(found: re.Match[str]) -> str:
    return _date_words(_MONTH_WORDS[found["month"].lower()], int(found["day"]), found["year"])


def _day_first_date(found: re.Match[str]) -> str:
    month = _MONTH_WORDS[found["month"].lower()]
    of = f"the {ordinal(int(found['day']))} of {month}"
    return f"{of}, {year(int(found['year']))}" if found["year"] else of


def _month_and_year(found: re.Match[str]) -> str:
    return f"{_MONTH_WORDS[found['month'].lower()]} {year(int(found['year']))}"


def _time(found: re.Match[str]) -> str:
    hour, minute, half = int(found["hour"]), int(found["minute"]), found["half"]
    if hour > 24 or minute > 59:
        return found[0]
    words = cardinal(hour)
    if minute:
        words += f" oh {cardinal(minute)}" if minute < 10 else f" {cardinal(minute)}"
    elif not half:
        words += " o'clock" if 1 <= hour <= 12 else " hundred hours"
    return words + (_half(found) if half else "")


def _hour(found: re.Match[str]) -> str:
    return cardinal(int(found["hour"])) + _half(found)


def _half(found: re.Match[str]) -> str:
    letters = " A M" if found["half"][0].lower() == "a" else " P M"
    # At the very end the full stop of "p.m." ends the sentence, too.
    return letters + ("." if found["half"].endswith(".") and found["end"] is not None else "")


_SLASHED = r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b"

AMERICAN_SLASHED_DATE = rule(_SLASHED, _american_date)
BRITISH_SLASHED_DATE = rule(_SLASHED, _british_date)

DATE_RULES: tuple[Rule, ...] = (
    rule(r"\b(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)\b", _iso_date),
    rule(rf"\b{_MONTH} {_DAY}\b(?!:){_YEAR}", _named_date),
    rule(rf"\b(?:the )?{_DAY} (?:of )?{_MONTH}(?!\w){_YEAR}", _day_first_date),
    rule(rf"\b{_MONTH},? (?P<year>[12]\d{{3}})\b", _month_and_year),
    rule(rf"\b(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?::\d\d)?(?:\s?{_HALF})?(?!\d)", _time),
    rule(rf"\b(?P<hour>\d{{1,2}})\s?{_HALF}", _hour),
    rule(r"\b24/7\b", "twenty-four seven"),
)
"""In this order, before any rule that takes single figures."""
