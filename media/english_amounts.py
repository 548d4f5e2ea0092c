"""Money, measures, fractions, ranges, telephone numbers and plain figures in English words."""

from __future__ import annotations

import re

from media.english_numbers import LARGEST_CARDINAL, cardinal, decade, decimal, digits, ordinal, year
from media.text_rules import Rule, any_of, rule

_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_MAGNITUDES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "tn": "trillion"}

_UNITS = {
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"),
    "mph": ("mile per hour", "miles per hour"),
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "m": ("meter", "meters"),
    "mi": ("mile", "miles"),
    "ft": ("foot", "feet"),
    "kg": ("kilogram", "kilograms"),
    "mg": ("milligram", "milligrams"),
    "g": ("gram", "grams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"),
    "L": ("liter", "liters"),
    "kWh": ("kilowatt hour", "kilowatt hours"),
    "kW": ("kilowatt", "kilowatts"),
    "W": ("watt", "watts"),
    "V": ("volt", "volts"),
    "GHz": ("gigahertz", "gigahertz"),
    "MHz": ("megahertz", "megahertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "Hz": ("hertz", "hertz"),
    "TB": ("terabyte", "terabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "MB": ("megabyte", "megabytes"),
    "KB": ("kilobyte", "kilobytes"),
    "kB": ("kilobyte", "kilobytes"),
    "ms": ("millisecond", "milliseconds"),
    "hrs": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "mins": ("minute", "minutes"),
    "min": ("minute", "minutes"),
    "secs": ("second", "seconds"),
    "sec": ("second", "seconds"),
}
_FRACTION_SIGNS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅛": "1/8"}
_DENOMINATORS = {2: ("half", "halves"), 3: ("third", "thirds"), 4: ("quarter", "quarters")}

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
"""With or without thousands' commas and decimals."""

_SIGNED = rf"(?:(?<!\w)[-−])?{_NUMBER}"
_AMOUNT = rf"(?P<amount>{_NUMBER})"
_SIGNED_AMOUNT = rf"(?P<amount>{_SIGNED})"
_RANGE = rf"(?P<low>{_NUMBER})(?:[-–—]|\s[–—]\s)(?P<high>{_NUMBER})"
_UNIT = any_of(_UNITS)

_SAYS_YEAR = re.compile(r"\b(?:in|since|until|from|by|year|of|after|before|around|circa) $", re.IGNORECASE)


def _money(found: re.Match[str]) -> str:
    singular, plural, small, smalls = _CURRENCIES[found["sign"]]
    amount, magnitude = found["amount"].replace(",", ""), found["magnitude"]
    if magnitude:
        return f"{decimal(amount)} {_MAGNITUDES.get(magnitude.lower(), magnitude)} {plural}"
    whole, _, fraction = amount.partition(".")
    if len(fraction) not in (0, 2):
        return f"{decimal(amount)} {plural}"
    parts: list[str] = []
    if int(whole) or not int(fraction or 0):
        parts.append(f"{cardinal(int(whole))} {singular if int(whole) == 1 else plural}")
    if int(fraction or 0):
        parts.append(f"{cardinal(int(fraction))} {small if int(fraction) == 1 else smalls}")
    return ("minus " if found["minus"] else "") + " and ".join(parts)


def _money_after(found: re.Match[str]) -> str:
    _, plural, *_ = _CURRENCIES[found["sign"]]
    return f"{decimal(found['amount'])} {plural}"


def _unit(found: re.Match[str]) -> str:
    singular, plural = _UNITS[found["unit"]]
    return f"{decimal(found['amount'])} {singular if found['amount'] == '1' else plural}"


def _temperature(found: re.Match[str]) -> str:
    scale = {"C": " Celsius", "F": " Fahrenheit"}.get(found["scale"] or "", "")
    degrees = "degree" if found["amount"].lstrip("-−") == "1" else "degrees"
    return f"{decimal(found['amount'])} {degrees}{scale}"


def _fraction(found: re.Match[str]) -> str:
    whole, over, under = found["whole"], int(found["over"]), int(found["under"])
    if under < 2 or under > 100 or over >= under:
        return f"{f'{whole} ' if whole else ''}{cardinal(over)} over {cardinal(under)}"
    one, many = _DENOMINATORS.get(under, (ordinal(under), f"{ordinal(under)}s"))
    if whole:
        article = "a" if over == 1 else cardinal(over)
        return f"{cardinal(int(whole))} and {article} {one if over == 1 else many}"
    return f"{cardinal(over)} {one if over == 1 else many}"


def _phone(found: re.Match[str]) -> str:
    groups = re.findall(r"\d+", found[0])
    return ("plus " if found[0].startswith("+") else "") + ", ".join(digits(group) for group in groups)


def _range(found: re.Match[str]) -> str:
    low, high = found["low"], found["high"]
    if all(re.fullmatch(r"1[1-9]\d\d|20\d\d", end) for end in (low, high)):
        return f"{year(int(low))} to {year(int(high))}"
    return f"{decimal(low)} to {decimal(high)}"


def _number(found: re.Match[str]) -> str:
    text = found[0]
    if text.lstrip("-−").startswith("0") and len(text) > 1 and "." not in text:
        return digits(text)  # a code: 007
    return decimal(text) if len(text) < len(str(LARGEST_CARDINAL)) else digits(text)


def _year_or_number(found: re.Match[str]) -> str:
    """2024 is a year wherever it stands, 1776 where the word before it says so."""
    number = int(found[0])
    is_year = number >= 1900 or _SAYS_YEAR.search(found.string[: found.start()])
    return year(number) if is_year else found[0]


def _percent(found: re.Match[str]) -> str:
    return f"{decimal(found['amount'])} percent"


def _percent_range(found: re.Match[str]) -> str:
    return f"{_range(found)} percent"


def _unit_range(found: re.Match[str]) -> str:
    return f"{decimal(found['low'])} to {found['high']}"


def _decade(found: re.Match[str]) -> str:
    return decade(int(found["tens"]))


def _ordinal(found: re.Match[str]) -> str:
    return ordinal(int(found[1]))


def _version(found: re.Match[str]) -> str:
    return " point ".join(cardinal(int(part)) for part in found[0].split("."))


AMOUNT_RULES: tuple[Rule, ...] = (
    rule(r"\+\d{1,3}(?:[\s.-]?\(?\d{2,4}\)?){2,5}\b", _phone),
    rule(r"\(\d{3}\)\s?\d{3}[-.\s]\d{4}\b|\b(?:\d{3}[-.])?\d{3}[-.]\d{4}\b", _phone),
    rule(
        rf"(?P<minus>[-−]?)(?P<sign>{any_of(_CURRENCIES)})\s?{_AMOUNT}"
        r"(?:\s?(?P<magnitude>thousand|million|billion|trillion|bn|tn|[kKmMbB])\b)?",
        _money,
    ),
    rule(rf"{_AMOUNT}\s?(?P<sign>[€£¥₹])", _money_after),
    rule(rf"{_RANGE}\s?%", _percent_range),
    rule(rf"{_SIGNED_AMOUNT}\s?%", _percent),
    rule(rf"{_SIGNED_AMOUNT}\s?°\s?(?P<scale>[CF]\b)?", _temperature),
    rule(rf"{_RANGE}(?=\s?(?:{_UNIT})(?![\w/']))", _unit_range),
    rule(rf"(?<![\w.]){_AMOUNT}\s?(?P<unit>{_UNIT})(?![\w/'])", _unit),
    rule(r"'?\b(?P<tens>(?:1[1-9]|20)\d0|(?<=')\d0)'?s\b", _decade),
    rule(r"\b(\d+)(?:st|nd|rd|th)\b", _ordinal),
    rule(r"\b(?:(?P<whole>\d+) )?(?P<over>\d{1,2})/(?P<under>\d{1,3})\b(?!/)", _fraction),
    rule(r"(?<=\d)\s+-\s+(?=\d[\d.,]*\s*=)", " minus "),
    rule(r"(?<=\d)\s?(?:[x×*])\s?(?=\d)", " times "),
    rule(rf"(?<![\w.-]){_RANGE}(?![\w-])", _range),
    rule(r"(?<![\w.,])(?:1[1-9]|20)\d\d\b(?!,?\d|\.\d)", _year_or_number),
    rule(r"\bno\. ?(?=\d)", "number ", re.IGNORECASE),
    rule(r"#(?=\d)", "number "),
    rule(r"\bv(?=\d)", "version "),
    rule(r"(?<![\w.])\d+(?:\.\d+){2,}\b", _version),
    rule(rf"(?<![A-Za-z])(?:(?<![\w)])[-−])?{_NUMBER}", _number),
)
"""In this order: what takes more figures first."""
