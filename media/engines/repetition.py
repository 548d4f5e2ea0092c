"""Transcripts that say the same thing again and again, which no caller did."""

from __future__ import annotations

from collections.abc import Sequence

_FASTEST_WORDS_PER_S = 5.0
"""Few people are as fast in a whole sentence, and nobody who says it twice."""

_SHORTEST_TWICE = 3
"""Words. "Bye bye" is said in half a second."""

_LOOP_TOKENS = 24
_LONGEST_ROUND = 8
"""Tokens. Nobody says a phrase of so many, or fewer, for 24 tokens on end; a card number is shorter."""


def cut_repetition(text: str) -> str:
    """The text with a run of words that closes it again and again said once."""
    words = text.split()
    for run in range(1, len(words) // 2 + 1):
        kept = len(words)
        while kept >= 2 * run and words[kept - run : kept] == words[kept - 2 * run : kept - run]:
            kept -= run
        if len(words) - kept >= 2 * run:
            return " ".join(words[:kept])
    return text


def said_once(text: str, duration_s: float) -> str:
    """The text's beginning, where the rest only repeats it and the speech is too short for all of that.

    Whisper now and then says a question of 3 s over and over, in a window of any length.
    """
    words = text.split()
    if len(words) <= _FASTEST_WORDS_PER_S * duration_s:
        return text
    bare = ["".join(filter(str.isalnum, word)).lower() for word in words]
    for once in range(_SHORTEST_TWICE, len(words) // 2 + 1):
        if bare[once:] == bare[:-once]:
            return " ".join(words[:once])
    return text


def runs_in_circles(tokens: Sequence[int]) -> bool:
    """Whether a decoder that has written these tokens goes round and round at their end."""
    tail = tokens[-_LOOP_TOKENS:]
    if len(tail) < _LOOP_TOKENS:
        return False
    return any(tail[around:] == tail[:-around] for around in range(1, _LONGEST_ROUND + 1))
