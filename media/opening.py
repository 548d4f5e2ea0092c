"""A reply in pieces for the voice: its clauses, the first of which may be heard before it is written.

The first clause takes the LLM longer to write than the voice needs to begin it. So its first words are spoken
as soon as two more are there, from which the voice takes how to say them; the rest of the clause follows,
spoken as what it is: the end of a clause that was begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from media.clauses import ClauseSplitter, StreamingSettings

LOOKAHEAD_WORDS = 2
"""With two words to come a voice says the present one as in the whole sentence, as good as always. The second
may have only begun: hardly any does, and its beginning tells the voice enough."""

_PLAIN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*,?")
"""A word that is spoken as it is written, whatever stands around it; a comma ends no clause so short."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What the voice is given at once.

    Attributes:
        text: as the LLM wrote it, white space included.
        before: the words of the same clause that were spoken before it.
        after: words of the same clause that come after it.
    """

    text: str
    before: str = ""
    after: str = ""


class PieceSplitter:
    """Takes the deltas of one reply, gives its pieces, which are the text, one after the other.

    Where the first clause comes whole, in one delta, it is one piece.
    """

    def __init__(self, settings: StreamingSettings) -> None:
        self._clauses = ClauseSplitter(settings)
        self._least_letters = settings.opening_letters
        self._text = ""
        """What was written of the first clause."""
        self._opening = ""
        self._may_open = self._least_letters > 0
        self._first = True

    @property
    def amid_clause(self) -> bool:
        """Whether a clause was begun whose end is still to come."""
        return bool(self._opening)

    def push(self, text: str) -> list[Piece]:
        """More of the reply; the pieces that it completes."""
        pieces = self._pieces(self._clauses.push(text))
        if self._first and self._may_open:
            self._text += text
            pieces = self._open()
        return pieces

    def finish(self) -> list[Piece]:
        """The reply has ended; what is left of it."""
        return self._pieces(self._clauses.finish())

    def _pieces(self, clauses: list[str]) -> list[Piece]:
        pieces = [Piece(clause) for clause in clauses]
        if pieces:
            self._first = False
            opening, self._opening = self._opening, ""
            if opening:
                pieces[0] = Piece(clauses[0][len(opening) :], before=" ".join(opening.split()))
        return pieces

    def _open(self) -> list[Piece]:
        """The first words, once they are enough and two more are there."""
        words = self._text.split()
        if not all(_PLAIN.fullmatch(word) and (len(word) == 1 or not word.isupper()) for word in words):
            self._may_open = False
            return []
        opening = words[: max(0, len(words) - LOOKAHEAD_WORDS)]
        if sum(map(len, opening)) < self._least_letters:
            return []
        self._may_open = False
        end = 0
        for word in opening:
            end = self._text.index(word, end) + len(word)
        self._opening = self._text[:end]
        return [Piece(self._opening, after=" ".join(words[len(opening) :]))]
