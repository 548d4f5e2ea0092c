"""Do the words sound finished? What the last words of a turn say for and against its being over.

The words are those of a transcript made at the pause. Its punctuation, its sentences and its numbers count in
every language; which words cannot end a sentence, which ones close a conversation, and how many words are few
for the time that they took, is known for English alone.

What was tried and is not here: a full stop (the transcriber puts one after everything), the number of words
(short requests and searches for words are alike), and the language model's P(the sentence ends here), which
costs 60 ms and tells no more.
"""

from __future__ import annotations

import re

_OPEN_MARKS = (",", ":", ";", "-", "–", "—", "...", "…", "，", "、", "：", "；")

_DETERMINERS = "a an the every my your its our their"
_CONJUNCTIONS = """and or but because if when while although though unless until whether than as
    which who whose where"""
_PREPOSITIONS = """of to in on at for from with by about into over under between through during without
    within against"""
_AUXILIARIES = """is are was were am be been being do does did has had have will would can could should
    shall may might must"""
_SUBJECTS = """i we they he she i'm you're we're they're it's that's there's i'll you'll we'll they'll
    i'd you'd we'd i've you've we've"""
_FILLERS = "um uh er erm hmm just also"

_HANGING = frozenset(
    " ".join((_DETERMINERS, _CONJUNCTIONS, _PREPOSITIONS, _AUXILIARIES, _SUBJECTS, _FILLERS)).split()
)
"""Words after which an English sentence goes on."""

_EITHER = "this these those some any each his her no that so not really like very"
_MAY_STAND = frozenset(_EITHER.split())
"""Words after which it often goes on, and which end one as well: "I would like some", "No", "I think so"."""

_ADVERB = re.compile(r"in|on|over|through")
_WITH_ADVERB = re.compile(
    r"\b(?:turn|switch|put|come|go|move|carry|hold|keep|log|sign|check|plug|call|get)\b"
    r"(?:\W+[\w']+){0,4}$",
    re.IGNORECASE,
)
"""What makes the last preposition an adverb: "Turn the lights on", "Log in"."""

_PREPOSITION, _AUXILIARY = frozenset(_PREPOSITIONS.split()), frozenset(_AUXILIARIES.split())
_ELLIPTIC = re.compile(
    r"\b(?:than|as|what|where|who|how)\b(?:\W+[\w']+){0,2}\W+(?:i|you|he|she|it|we|they|that|this|there)\W+[\w']+$"
    r"|^(?:(?:yes|yeah|no|well|oh)\W+)+(?:i|you|he|she|it|we|they|that|this|there)\W+[\w']+$",
    re.IGNORECASE,
)
"""What lets an auxiliary end a sentence: "Tell me where it is", "better than he was", "Yes, I do"."""

_CLOSING = re.compile(
    r"(?:^|\s)(?:bye|goodbye|thanks|thank you(?: very much| so much)?|please)\W*$", re.IGNORECASE
)

_LAST_WORD = re.compile(r"[\w']+(?=\W*$)")

_AMOUNT = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)")
_NUMBER = r"(?:\d+(?:[.:]\d+)?|zero|oh|one|two|three|four|five|six|seven|eight|nine)"
_DICTATED = re.compile(
    rf"(?:\b{_NUMBER}(?:\W+{_NUMBER}){{2}}|(?<![\d.:,])0\d+|(?<![\d.:,])\d{{6,}}|\d,\d{{4,}}"
    r"|\b[a-z](?:[\s,-]+[a-z]\b){2})\W*$",
    re.IGNORECASE,
)
"""Three numbers or letters or more in a row, a number that begins with a nought, one of six digits: a
telephone number, a code, a name that is spelt. It sounds complete after each group. An amount like 1,250,000
is none of these. Only the last three of a row are looked at: "1.5" is one number or two, and a long row
could be read in 2^n ways, which would hold up the loop."""

_LONE_DIGIT = re.compile(r"\W*(?:\d|zero|oh|one|two|three|four|five|six|seven|eight|nine)\W*", re.IGNORECASE)

_SENTENCE_BEFORE = re.compile(r"[^\W\d_]{3,}[.?!…]+(?=\s)|[。？！](?=.)")
"""The end of a sentence that another follows. The letters keep out "Mr. Smith" and "2. 30"."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d")
"""A digit is spoken as a word."""

_AGAINST = -3.0
_DICTATING = -10.0
_FOR = 3.0
"""Log-odds that the turn is over; the turn-end engine's span from -5 to 5."""

_ANOTHER_SENTENCE = -2.0
_SENTENCES_COUNTED = 2
"""Who has said several sentences without giving up the floor is likely to say one more."""

_FLUENT_WORDS_PER_S = 2.2
_HALTING = -3.0
_HALTING_LIMIT = 1.5
_HALTING_FROM_S = 1.5
"""For each word a second that a turn of this length falls short of a fluent one, pauses included: somebody
looks for words, laughs, or says them one by one. A shorter turn is a word or two, and slow by itself."""


def finished_log_odds(text: str, language: str | None, spoken_s: float = 0.0) -> float:
    """By how much the words move the log-odds that the turn is over; 0 where they say nothing.

    Args:
        text: the transcript up to the pause.
        language: its BCP-47 primary tag, or None where that is unknown.
        spoken_s: how long the turn has lasted, up to the pause.
    """
    text = text.strip()
    if _DICTATED.search(_AMOUNT.sub("amount", text)):
        return _DICTATING
    log_odds = _AGAINST if text.endswith(_OPEN_MARKS) else 0.0
    if language == "en" and _CLOSING.search(text):
        return log_odds + _FOR
    text = _without_new_beginning(text)
    log_odds += _ANOTHER_SENTENCE * min(_SENTENCES_COUNTED, len(_SENTENCE_BEFORE.findall(text)))
    if language != "en":
        return log_odds
    return log_odds + _hanging(text) + _halting(text, spoken_s)


def is_lone_digit(text: str) -> bool:
    """Whether nothing but a digit was said: an answer, or the first of several that are dictated."""
    return _LONE_DIGIT.fullmatch(text) is not None


def _hanging(text: str) -> float:
    """What the last word says for the turn's going on."""
    match = _LAST_WORD.search(text)
    if match is None:
        return 0.0
    last, up_to_it = match[0].lower(), text[: match.end()]
    if last in _MAY_STAND:
        return _AGAINST / 2
    if last not in _HANGING:
        return 0.0
    asked = text.endswith("?") and (last in _PREPOSITION or last in _AUXILIARY)
    adverb = _ADVERB.fullmatch(last) and _WITH_ADVERB.search(up_to_it)
    elliptic = last in _AUXILIARY and _ELLIPTIC.search(up_to_it)
    return 0.0 if asked or adverb or elliptic else _AGAINST


def _without_new_beginning(text: str) -> str:
    """The text without an end that only begins it again: Whisper makes "Book a room. Book a" of silence."""
    words = text.split()
    bare = [word.strip(".,?!").lower() for word in words]
    for again in range(len(words) // 2, 0, -1):
        if bare[-again:] == bare[:again] and (again > 1 or words[-again - 1].endswith((".", "?", "!"))):
            return " ".join(words[:-again])
    return text


def _halting(text: str, spoken_s: float) -> float:
    """What the pace says for it."""
    words = len(_WORD.findall(text))
    if not words or spoken_s < _HALTING_FROM_S:
        return 0.0
    return _HALTING * min(_HALTING_LIMIT, max(0.0, _FLUENT_WORDS_PER_S - words / spoken_s))
