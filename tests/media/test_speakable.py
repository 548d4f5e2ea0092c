"""What a voice says for what is written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.speakable import speakable


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("## A **bold** and _soft_ `code`", "A bold and soft code"),
        ("***All*** of __it__ ~~now~~", "All of it now"),
        ("un**believ**able", "unbelievable"),
        ("**Not closed", "Not closed"),
        ("- An item\n", "An item."),
        ("* [x] A task", "A task"),
        ("> A quotation", "A quotation"),
        ("[the page](https://a.b/c) and ![a cat](cat.png)", "the page and a cat"),
        ("A claim[1][^2].", "A claim."),
        ("```python\nprint\n```", "print."),
        ("| red | blue |\n|---|---|\n", "red, blue."),
        ("a<br>b <b>c</b>", "a b c"),
        ("---", ""),
        (r"a \* b", "a * b"),
        ("Hello 👋🏽 you 🏴󠁧󠁢󠁳󠁣󠁴󠁿🇫🇷❤️!", "Hello you!"),
        ("👨‍👩‍👧", ""),
        ("…", ""),
        ("It’s “fine”.", "It's “fine”."),
    ],
)
def test_markdown_and_emoji(written: str, spoken: str) -> None:
    assert speakable(written, "en-us") == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("https://www.example.com/a/b?c=d.", "example dot com."),
        ("(see http://docs.rs:8080/x)", "(see docs dot rs)"),
        ("Write to ann.b@mail.org!", "Write to ann dot b at mail dot org!"),
        ("openai.com is a site", "openai dot com is a site"),
        ("$3.50", "three dollars and fifty cents"),
        ("$0.99", "ninety-nine cents"),
        ("-$5", "minus five dollars"),
        ("£1, €20 and 20 €", "one pound, twenty euros and twenty euros"),
        ("$1.5 million or $2bn", "one point five million dollars or two billion dollars"),
        ("2024-05-06", "May sixth, twenty twenty-four"),
        ("May 6, 2024", "May sixth, twenty twenty-four"),
        ("on the 4th of July", "on the fourth of July"),
        ("6 Dec. 1999", "the sixth of December, nineteen ninety-nine"),
        ("in March 2020", "in March twenty twenty"),
        ("I may go", "I may go"),
        ("May I go? 5 may", "May I go? five may"),
        ("10:30 a.m. or 10:05", "ten thirty A M or ten oh five"),
        ("10:00, 18:45", "ten o'clock, eighteen forty-five"),
        ("At 9pm.", "At nine P M."),
        ("It ends at 9 p.m.", "It ends at nine P M."),
        ("99:99", "ninety-nine:ninety-nine"),
        ("1st, 22nd", "first, twenty-second"),
        ("in 1776 and 1776 men", "in seventeen seventy-six and one thousand seven hundred seventy-six men"),
        ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
        ("50% of 3.5%", "fifty percent of three point five percent"),
        ("5-10 km, 1990–2000", "five to ten kilometers, nineteen ninety to two thousand"),
        ("1/2, 2 1/2, ¾", "one half, two and a half, three quarters"),
        ("20°C, -5 °F, 1°", "twenty degrees Celsius, minus five degrees Fahrenheit, one degree"),
        ("60 mph and 1 kg", "sixty miles per hour and one kilogram"),
        ("5 in the box", "five in the box"),
        (
            "Call (555) 123-4567.",
            "Call five five five, one two three, four five six seven.",
        ),
        (
            "2 + 2 = 4, 10 - 3 = 7, 3 × 4",
            "two plus two equals four, ten minus three equals seven, three times four",
        ),
        ("Dr. Smith vs. Mr. J. Doe", "Doctor Smith versus Mister J Doe"),
        ("St. John, Main St.", "Saint John, Main Street"),
        ("fruit, e.g. pears, etc.", "fruit, for example pears, et cetera."),
        ("No. 5, #3, v2.0.1", "number five, number three, version two point zero point one"),
        ("R&D w/o and/or", "R and D without and or"),
        ("agent 007, MP3", "agent zero zero seven, MP3"),
        ("24/7", "twenty-four seven"),
    ],
)
def test_english(written: str, spoken: str) -> None:
    assert speakable(written, "en-us") == spoken


def test_which_number_is_the_month() -> None:
    assert speakable("5/6/2024", "en-us") == "May sixth, twenty twenty-four"
    assert speakable("5/6/2024", "en-gb") == "June fifth, twenty twenty-four"
    assert speakable("5/16/2024", "en-us") == "May sixteenth, twenty twenty-four"


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("es", "**Cuesta** $5 & 20 °C 🎉", "Cuesta 5 dólares y 20 grados Celsius"),
        ("fr", "Ça va ? 10 € & 5 km", "Ça va ? 10 euros et 5 kilomètres"),
        ("it", "5-10 km, info@a.it", "5 a 10 chilometri, info chiocciola a punto it"),
        ("pt-br", "R$ 5 ou 3 kg", "5 reais ou 3 quilos"),
        ("hi", "₹50 & 5 km", "50 रुपये और 5 किलोमीटर"),
        ("ja", "**こんにちは**😀\n", "こんにちは。"),
        ("zh", "# 你好\n", "你好。"),
    ],
)
def test_other_languages(language: str, written: str, spoken: str) -> None:
    assert speakable(written, language) == spoken


def test_devanagari_keeps_its_joiners() -> None:
    assert speakable("क्‍या", "hi") == "क्‍या"


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(["en-us", "en-gb", "es", "hi", "zh"]))
def test_any_text_gives_one_line_or_nothing(text: str, language: str) -> None:
    spoken = speakable(text, language)
    assert "\n" not in spoken
    assert spoken == "" or any(letter.isalnum() for letter in spoken)
