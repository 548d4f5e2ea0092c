"""Symbols in the languages whose G2P reads numbers itself: what espeak-ng leaves out or says in English."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Words:
    """What a language says for a symbol; currencies come after their amount."""

    ampersand: str
    dollars: str
    euros: str
    pounds: str
    rupees: str
    degrees: str
    celsius: str
    fahrenheit: str
    to: str
    units: dict[str, str]


def _units(
    kilometre: str, metre: str, centimetre: str, kilogram: str, gram: str, litre: str
) -> dict[str, str]:
    return {"km": kilometre, "m": metre, "cm": centimetre, "kg": kilogram, "g": gram, "l": litre, "L": litre}


_LANGUAGES = {
    "es": _Words(
        "y", "dólares", "euros", "libras", "rupias", "grados", "Celsius", "Fahrenheit", "a",
        _units("kilómetros", "metros", "centímetros", "kilos", "gramos", "litros"),
    ),
    "fr": _Words(
        "et", "dollars", "euros", "livres", "roupies", "degrés", "Celsius", "Fahrenheit", "à",
        _units("kilomètres", "mètres", "centimètres", "kilos", "grammes", "litres"),
    ),
    "it": _Words(
        "e", "dollari", "euro", "sterline", "rupie", "gradi", "Celsius", "Fahrenheit", "a",
        _units("chilometri", "metri", "centimetri", "chili", "grammi", "litri"),
    ),
    "pt": _Words(
        "e", "dólares", "euros", "libras", "rúpias", "graus", "Celsius", "Fahrenheit", "a",
        _units("quilômetros", "metros", "centímetros", "quilos", "gramas", "litros"),
    ),
    "hi": _Words(
        "और", "डॉलर", "यूरो", "पाउंड", "रुपये", "डिग्री", "सेल्सियस", "फ़ारेनहाइट", "से",
        _units("किलोमीटर", "मीटर", "सेंटीमीटर", "किलो", "ग्राम", "लीटर"),
    ),
}  # fmt: skip

_AMOUNT = r"\d+(?:[.,]\d+)*"


def in_words(text: str, language: str) -> str:
    """The text with its symbols in words; unchanged in a language that has no table here.

    Args:
        text: without Markdown and emoji.
        language: BCP-47 primary tag.
    """
    words = _LANGUAGES.get(language)
    if words is None:
        return text
    for sign, currency in (
        ("R$", "reais"),
        ("$", words.dollars),
        ("€", words.euros),
        ("£", words.pounds),
        ("₹", words.rupees),
    ):
        text = re.sub(
            rf"{re.escape(sign)}\s?({_AMOUNT})|({_AMOUNT})\s?{re.escape(sign)}", rf"\1\2 {currency}", text
        )
    text = re.sub(rf"({_AMOUNT})\s?°\s?C\b", rf"\1 {words.degrees} {words.celsius}", text)
    text = re.sub(rf"({_AMOUNT})\s?°\s?F\b", rf"\1 {words.degrees} {words.fahrenheit}", text)
    text = re.sub(rf"({_AMOUNT})\s?°", rf"\1 {words.degrees}", text)
    text = re.sub(
        rf"({_AMOUNT})\s?({'|'.join(words.units)})\b",
        lambda found: f"{found[1]} {words.units[found[2]]}",
        text,
    )
    text = re.sub(rf"({_AMOUNT})\s?[-–]\s?(?={_AMOUNT})", rf"\1 {words.to} ", text)
    return re.sub(r"\s*&\s*", f" {words.ampersand} ", text)
