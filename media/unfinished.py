"""Do the words sound finished? What the last words of a turn say for and against its being over.

The words are those of a transcript made at the pause. Its punctuation and its numbers count in every
language; which words cannot end a sentence, and which ones close a conversation, is known for English alone.

What was tried and is not here: a full stop (the transcriber puts one after everything), the number of words
(short requests and searches for words are alike), and the language model's P(the sentence ends here), which
costs 60 ms and tells no more.
"""

from __future__ import annotations

import re

_OPEN_MARKS = (",", ":", ";", "-", "–", "—", "...", "…", "，", "、", "：", "；")

_DETERMINERS = "a an the this these those some any every each my your his her its our their no"
_CONJUNCTIONS = """and or but so because if when while although though unless until whether than as
    that which who whose where"""
_PREPOSITIONS = """of to in on at for from with by about into over under between through during without
    within against"""
_AUXILIARIES = """is are was were am be been being do does did has had have will would can could should
    shall may might must"""
_SUBJECTS = """i we they he she i'm you're we're they're it's that's there's i'll you'll we'll they'll
    i'd you'd we'd i've you've we've"""
_FILLERS = "um uh er erm hmm like just very really also not maybe"

_HANGING = frozenset(
    " ".join((_DETERMINERS, _CONJUNCTIONS, _PREPOSITIONS, _AUXILIARIES, _SUBJECTS, _FILLERS)).split()
)
"""Words after which an English sentence goes on."""

_CLOSING = re.compile(
    r"(?:^|\s)(?:bye|goodbye|thanks|thank you(?: very much| so much)?|please)\W*$", re.IGNORECASE
)

_LAST_WORD = re.compile(r"[\w']+(?=\W*$)")

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:[.:]\d+)?|zero|oh|one|two|three|four|five|six|seven|eight|nine)"
_DICTATED = re.compile(rf"\b{_NUMBER}(?:\W+{_NUMBER}){{2,}}\W*$", re.IGNORECASE)
"""Three numbers or more in a row: a telephone number, a code. It sounds complete after each group."""

_AGAINST = -3.0
_DICTATING = -9.0
_FOR = 3.0
"""Log-odds that the turn is over; the turn-end engine's span from -5 to 5."""


def finished_log_odds(text: str, language: str | None) -> float:
    """By how much the words move the log-odds that the turn is over; 0 where they say nothing.

    Args:
        text: the transcript up to the pause.
        language: its BCP-47 primary tag, or None where that is unknown.
    """
    text = text.strip()
    if _DICTATED.search(text):
        return _DICTATING
    log_odds = _AGAINST if text.endswith(_OPEN_MARKS) else 0.0
    if language != "en":
        return log_odds
    if _CLOSING.search(text):
        return log_odds + _FOR
    last = _LAST_WORD.search(text)
    if last and last[0].lower() in _HANGING:
        log_odds += _AGAINST
    return log_odds
