"""Cutting a reply into clauses while it is being written.

The first clause should be short, so that the answer is heard soon; later ones should be long, since a voice
sounds better the more it sees. Every decision depends only on the text up to the character that allows it, so
the same text gives the same clauses however it arrives.
"""

from __future__ import annotations

import re
from enum import Enum

from pydantic import Field, model_validator

from media.section import Section


class StreamingSettings(Section):
    """How replies are cut into clauses for the voice."""

    opening_letters: int = Field(8, ge=0)
    """The first words are spoken once they have this many letters, and two more words are written, before
    their clause has ended; 0: never."""

    first_clause_min_words: int = Field(3, ge=1)
    """The first clause ends at a comma or the like once it has this many words."""

    first_clause_natural_words: int = Field(7, ge=1)
    """The first clause ends before a conjunction once it has this many words."""

    first_clause_max_words: int = Field(12, ge=1)
    """The first clause ends after this many words, wherever that is."""

    clause_min_chars: int = Field(25, ge=1)
    """A later clause ends at a sentence's end once it has this many characters: "Yes. No." is one clause."""

    clause_comma_chars: int = Field(60, ge=1)
    """The second clause ends at a comma or the like once it has this many characters, the third at twice as
    many and so on: the sound already waiting to be played grows, and with it the time to make the next."""

    clause_max_chars: int = Field(220, ge=20)
    """No clause is longer, in characters, where it has a space."""

    @model_validator(mode="after")
    def _ordered(self) -> StreamingSettings:
        if self.first_clause_max_words < self.first_clause_min_words:
            raise ValueError("first_clause_max_words is less than first_clause_min_words")
        if self.clause_max_chars < self.clause_min_chars:
            raise ValueError("clause_max_chars is less than clause_min_chars")
        return self


class Boundary(Enum):
    """What may lie between two words."""

    NONE = "none"
    CLAUSE = "clause"
    SENTENCE = "sentence"


_SENTENCE_MARKS = "!?؟।॥"
_CLAUSE_MARKS = ",;:—–،؛"
_FULLWIDTH_SENTENCE_MARKS = "。！？．"
_FULLWIDTH_CLAUSE_MARKS = "、，；："
_FULLWIDTH_MARKS = _FULLWIDTH_SENTENCE_MARKS + _FULLWIDTH_CLAUSE_MARKS
_QUOTES = "\"'”’»」』)]）】"
_CLOSERS = _QUOTES + "*_`~"  # Markdown's emphasis closes after the mark, as quotes do


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER_LAST = _words(
    """
    mr mrs ms mx dr prof st rev hon gen col lt sgt capt cmdr gov sen rep pres mt ft
    vs eg e.g ie i.e cf viz approx no nos vol fig figs p pp ch sec ed eds al
    sr sra srta dña m mme mlle dott sig hr fr z.b d.h bzw ca
    """
)
"""Abbreviations that stand before what they belong to: their full stop never ends a sentence."""

_SOMETIMES_LAST = _words(
    """
    etc inc ltd co corp jr a.m p.m pm ph.d jan feb apr jun jul aug sep sept oct nov dec
    mon tue tues wed thu thur thurs fri ave blvd rd dept est min hrs oz lb lbs
    """
)
"""Abbreviations that end a sentence only where a capital follows."""

_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]", re.UNICODE)
_ORDINAL = re.compile(r"\d{1,3}")

_CONJUNCTIONS = _words(
    """
    and but or so because although though while when where which who that if unless until since than
    with for to from in on at by about as
    y o pero porque que et ou mais parce car e ma perché mas und oder aber weil
    """
)
"""Words, prepositions among them, before which a speaker may draw breath."""


class ClauseSplitter:
    """Takes the deltas of one reply, gives its clauses.

    The clauses, one after the other, are the text, but for white space at its very end.
    """

    def __init__(self, settings: StreamingSettings) -> None:
        self._settings = settings
        self._text = ""
        """What was written since the last clause."""
        self._clauses = 0
        """How many were given out."""
        self._soft_cut = 0
        """The last place of `_text` where a comma or the like would have allowed a cut."""
        self._last_gap = 0
        """The end of the last whole word of `_text`."""

    def push(self, text: str) -> list[str]:
        """More of the reply; the clauses that it completes."""
        clauses: list[str] = []
        for character in text:
            clauses.extend(self._write(character))
        return clauses

    def finish(self) -> list[str]:
        """The reply has ended; what is left of it."""
        rest = self._text
        self._cut(len(rest))
        return [rest] if rest.strip() else []

    def _write(self, character: str) -> list[str]:
        before = self._text
        self._text += character
        if character == "\n":
            return [self._cut(len(self._text))] if _has_words(before) else []
        if character.isspace():
            return self._after_word(before) if before and not before[-1].isspace() else []
        if before and before[-1].isspace():
            return self._at_word(before.rstrip(), character)
        if character not in _CLOSERS + _FULLWIDTH_MARKS and _bare(before)[-1:] in tuple(_FULLWIDTH_MARKS):
            return self._at_boundary(len(before), _fullwidth_boundary(before))
        if (
            len(self._text) > self._settings.clause_max_chars
            and not character.isascii()
            and not self._last_gap
        ):
            return [self._cut(len(before))]  # a script without spaces
        return []

    def _after_word(self, head: str) -> list[str]:
        """White space follows `head`: its last word is complete, and may be a conjunction."""
        if self._clauses:
            return []
        last_word = head.rsplit(maxsplit=1)[-1]
        if last_word.lower() not in _CONJUNCTIONS:
            return []
        before = head[: -len(last_word)].rstrip()
        if len(before.split()) < self._settings.first_clause_natural_words:
            return []
        return [self._cut(len(before))]

    def _at_word(self, head: str, initial: str) -> list[str]:
        """A word begins after `head` and white space."""
        boundary = _boundary(head, initial)
        too_many_words = not self._clauses and len(head.split()) >= self._settings.first_clause_max_words
        if too_many_words and boundary is Boundary.NONE and _has_words(head):
            return [self._cut(len(head))]
        return self._at_boundary(len(head), boundary)

    def _at_boundary(self, at: int, boundary: Boundary) -> list[str]:
        """Cuts at a place between words, or at an earlier one where the clause is too long, or not."""
        head = self._text[:at]
        if len(head) > self._settings.clause_max_chars and self._last_gap:
            early = self._soft_cut or self._last_gap
            return [self._cut(early), *self._at_boundary(at - early, boundary)]
        self._last_gap = at
        if boundary is Boundary.NONE or not _has_words(head):
            return []
        if self._is_long_enough(head, boundary):
            return [self._cut(at)]
        self._soft_cut = at
        return []

    def _is_long_enough(self, head: str, boundary: Boundary) -> bool:
        settings = self._settings
        if boundary is Boundary.SENTENCE:
            return not self._clauses or len(head.strip()) >= settings.clause_min_chars
        if not self._clauses:
            return len(head.split()) >= settings.first_clause_min_words or _is_unspaced(head)
        return len(head.strip()) >= settings.clause_comma_chars * self._clauses

    def _cut(self, at: int) -> str:
        clause, self._text = self._text[:at], self._text[at:]
        self._clauses += 1
        self._soft_cut = self._last_gap = 0
        return clause


def _has_words(text: str) -> bool:
    """It holds something to say, other than the marker of a list's item."""
    return any(letter.isalnum() for letter in text) and not _is_list_marker(text)


def _is_list_marker(text: str) -> bool:
    """`1.`, `2)` or `-` at the start of a line."""
    return _ORDINAL.fullmatch(text.strip().rstrip(".)")) is not None and text.strip()[-1] in ".)"


def _is_unspaced(text: str) -> bool:
    """A script that writes no spaces, where words cannot be counted."""
    return text.rstrip()[-1:] in tuple(_FULLWIDTH_CLAUSE_MARKS)


def _bare(text: str) -> str:
    return text.rstrip(_CLOSERS)


def _fullwidth_boundary(head: str) -> Boundary:
    return Boundary.SENTENCE if _bare(head)[-1] in _FULLWIDTH_SENTENCE_MARKS else Boundary.CLAUSE


def _boundary(head: str, initial: str) -> Boundary:
    """What lies between `head` and a word that begins with `initial`."""
    bare = _bare(head)
    quoted = any(closer in _QUOTES for closer in head[len(bare) :])
    last = bare[-1:]
    if not last:
        return Boundary.NONE
    if last in _FULLWIDTH_MARKS:
        return _fullwidth_boundary(head)
    if last in _CLAUSE_MARKS or bare.endswith((" -", " --")):
        return Boundary.CLAUSE
    if last == "…" or bare.endswith("..."):
        return Boundary.CLAUSE if initial.islower() else Boundary.SENTENCE
    if last in _SENTENCE_MARKS:
        # '"Really?" she asked' goes on.
        return Boundary.NONE if quoted and initial.islower() else Boundary.SENTENCE
    if last == ".":
        if quoted and initial.islower():
            return Boundary.NONE
        return _boundary_at_full_stop(bare[:-1], initial)
    return Boundary.NONE


def _boundary_at_full_stop(head: str, initial: str) -> Boundary:
    """As `_boundary`, for what lies before a full stop."""
    before, _, word = head.replace("\n", " ").rpartition(" ")
    word = word.lstrip("\"'“‘([*_")
    plain = word.lower()
    if plain in _NEVER_LAST and (plain != "no" or initial.isdigit()):
        return Boundary.NONE
    if plain in _SOMETIMES_LAST:
        return Boundary.SENTENCE if initial.isupper() else Boundary.NONE
    if _ACRONYM.fullmatch(word) or (len(word) == 1 and word.isupper() and word != "I"):
        return Boundary.NONE  # "the U.S. economy", "J. S. Bach"
    if _ORDINAL.fullmatch(word) and (not before.strip() or before.rstrip()[-1] in ".!?:"):
        return Boundary.NONE  # "1. item"
    return Boundary.SENTENCE
