"""Where replies are cut, and that cutting loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from media.clauses import ClauseSplitter, StreamingSettings

DEFAULTS = StreamingSettings()


def clauses_of(text: str, *, delta_chars: int = 1, streaming: StreamingSettings = DEFAULTS) -> list[str]:
    splitter = ClauseSplitter(streaming)
    clauses: list[str] = []
    for start in range(0, len(text), delta_chars):
        clauses += splitter.push(text[start : start + delta_chars])
    return clauses + splitter.finish()


LATER = "Well, here it is now. "
"""Makes what follows a later clause, which ends at sentences only."""


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("Yes.", ["Yes."]),
        ("Yes. I can do that for you today.", ["Yes.", " I can do that for you today."]),
        ("Well, yes, of course I can.", ["Well, yes, of course I can."]),
        ("Of course I can, if you like.", ["Of course I can,", " if you like."]),
        (
            "The oldest bridge of the town was built when nobody had a car.",
            ["The oldest bridge of the town was built", " when nobody had a car."],
        ),
        (
            "one two three four five six seven eight nine ten eleven twelve thirteen",
            ["one two three four five six seven eight nine ten eleven twelve", " thirteen"],
        ),
        ("Milk\nBread\n\nEggs", ["Milk\n", "Bread\n", "\nEggs"]),
        ("你好，今天天气怎么样？", ["你好，", "今天天气怎么样？"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", " आप कैसे हैं?"]),
        ("مرحبا كيف حالك؟ أنا بخير", ["مرحبا كيف حالك؟", " أنا بخير"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_first_clause_is_short(text: str, clauses: list[str]) -> None:
    assert clauses_of(text) == clauses


@pytest.mark.parametrize(
    "sentence",
    [
        "I asked Dr. Smith about it, and he agreed.",
        "The value of pi is about 3.14 and a bit more.",
        "Take some fruit, e.g. Apples or pears, with you.",
        "The U.S. Government said so at 10:30 in the morning.",
        "The work of J. S. Bach is what I like the most.",
        "You will find it at https://example.com/a?b=1, I hope.",
        'She looked at me and said "Yes." and then she left.',
        "Really, this is “so odd!” she said to the man.",
        "I was thinking about it... and then I forgot.",
        "The answer is in No. 5 of the list that I sent.",
        "It was Smith vs. Jones in the court of the town.",
    ],
)
def test_what_is_no_end_of_a_sentence(sentence: str) -> None:
    assert clauses_of(f"{LATER}{sentence} Then more came.")[1] == f" {sentence}"


@pytest.mark.parametrize(
    "sentence",
    [
        "That is all that I know about it!",
        "Do you want me to go on with it?",
        'He told me "I do not know the man."',
        "We bought apples, pears, nuts, etc.",
        "That was the case in the year 1999.",
        "He said **this is really important.**",
        "I was thinking about it for so long…",
    ],
)
def test_ends_of_sentences(sentence: str) -> None:
    assert clauses_of(f"{LATER}{sentence} Then more came.")[1:] == [f" {sentence}", " Then more came."]


def test_numbered_items_keep_their_numbers() -> None:
    assert clauses_of("1. Take the bread.\n2. Cut it into four slices.\n") == [
        "1. Take the bread.\n",
        "2. Cut it into four slices.\n",
    ]


def test_short_sentences_after_the_first_are_joined() -> None:
    assert clauses_of("Yes. No. Well. I do not know what to say.") == [
        "Yes.",
        " No. Well. I do not know what to say.",
    ]


def test_later_clauses_may_end_at_ever_later_commas() -> None:
    part = " and then we went on to the next one of the old towns,"
    lengths = [len(clause) for clause in clauses_of("We began in Rome," + part * 12 + " and that was it.")]
    assert lengths[0] < lengths[1] < lengths[2]
    assert max(lengths) <= DEFAULTS.clause_max_chars


def test_a_clause_is_given_out_with_the_first_letter_of_the_next() -> None:
    splitter = ClauseSplitter(DEFAULTS)
    assert splitter.push("Of course I can. ") == []
    assert splitter.push("I") == ["Of course I can."]
    assert splitter.push("'ll do it.") == []
    assert splitter.finish() == [" I'll do it."]


def test_a_text_without_spaces_is_cut_at_the_limit() -> None:
    clauses = clauses_of("天" * 500)
    assert [len(clause) for clause in clauses[:2]] == [DEFAULTS.clause_max_chars] * 2


@pytest.mark.parametrize(
    "contradiction",
    [
        {"first_clause_min_words": 9, "first_clause_max_words": 4},
        {"clause_min_chars": 99, "clause_max_chars": 50},
    ],
)
def test_settings_that_contradict_each_other(contradiction: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="is less than"):
        StreamingSettings.model_validate(contradiction)


_PIECES = (
    *(
        " ",
        " ",
        "\n",
        "word",
        "Dr.",
        "The",
        "and",
        "3.14",
        "1.",
        "U.S.",
        "e.g.",
        "?",
        "! ",
        ". ",
        ", ",
        "…",
        "...",
    ),
    *(
        '"',
        "”",
        ")",
        "**",
        "天气",
        "。",
        "，",
        "！」",
        "राम। ",
        "؟ ",
        "x" * 90,
        "😀",
        " — ",
        "http://a.b/c?d",
    ),
)
_TEXTS = st.lists(st.sampled_from(_PIECES) | st.text(max_size=4), max_size=80).map("".join)


@settings(deadline=None)
@given(_TEXTS, st.integers(1, 40))
def test_nothing_is_lost_and_deltas_do_not_matter(text: str, delta_chars: int) -> None:
    whole = clauses_of(text, delta_chars=max(1, len(text)))
    assert clauses_of(text, delta_chars=delta_chars) == whole
    joined = "".join(whole)
    assert text.startswith(joined)
    assert not text[len(joined) :].strip()
    assert all(clause.strip() for clause in whole)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["word", "The", "and", "end.", "so,"]), max_size=150).map(" ".join))
def test_no_clause_of_words_is_over_the_limit(text: str) -> None:
    assert all(len(clause) <= DEFAULTS.clause_max_chars for clause in clauses_of(text))
