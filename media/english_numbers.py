"""Numbers in English words."""

from __future__ import annotations

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_MAX_NAMED = 10**15

LARGEST_CARDINAL = _MAX_NAMED - 1


def cardinal(number: int) -> str:
    """`1234` → `one thousand two hundred thirty-four`; digit by digit beyond `LARGEST_CARDINAL`."""
    if number < 0:
        return f"minus {cardinal(-number)}"
    if number >= _MAX_NAMED:
        return digits(str(number))
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    for scale, name in _SCALES:
        if number >= scale:
            count, rest = divmod(number, scale)
            return f"{cardinal(count)} {name}" + (f" {cardinal(rest)}" if rest else "")
    raise AssertionError("every number has a scale")


def ordinal(number: int) -> str:
    """`22` → `twenty-second`."""
    words = cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    before, last = words[:cut], words[cut:]
    if last in _IRREGULAR_ORDINALS:
        return before + _IRREGULAR_ORDINALS[last]
    return before + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def digits(text: str) -> str:
    """`007` → `zero zero seven`; what is no digit is left out."""
    return " ".join(_SMALL[int(letter)] for letter in text if letter in "0123456789")


def decimal(text: str) -> str:
    """`1,234.50` → `one thousand two hundred thirty-four point five zero`; a minus sign is read."""
    whole, _, fraction = text.replace(",", "").partition(".")
    sign = "minus " if whole[:1] in ("-", "−") else ""
    whole = whole.lstrip("-−")
    words = sign + (cardinal(int(whole)) if whole else "zero")
    return f"{words} point {digits(fraction)}" if fraction else words


def year(number: int) -> str:
    """`1999` → `nineteen ninety-nine`, `2005` → `two thousand five`, `1900` → `nineteen hundred`."""
    century, rest = divmod(number, 100)
    if not 10 <= century <= 99 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def decade(number: int) -> str:
    """`1990` → `nineteen nineties`, `80` → `eighties`."""
    words = year(number) if number >= 1000 else cardinal(number)
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
