"""Word error rate, with both texts brought to one form first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from media.speakable import speakable


@dataclass(frozen=True, slots=True)
class WordErrors:
    """How far what was heard is from what was said.

    Attributes:
        errors: words inserted, left out or mistaken.
        words: that were said.
    """

    errors: int
    words: int

    @property
    def percent(self) -> float:
        """0 where nothing was said and nothing heard."""
        return 100.0 * self.errors / max(1, self.words)


def spoken_words(text: str) -> list[str]:
    """English as words in lower case, figures and abbreviations written out."""
    return re.findall(r"[a-z']+", speakable(text, "en").lower().replace("-", " "))


def word_errors(said: str, heard: str) -> WordErrors:
    """Compares two English texts."""
    reference, hypothesis = spoken_words(said), spoken_words(heard)
    return WordErrors(_edits(reference, hypothesis), len(reference))


def total(parts: Iterable[WordErrors]) -> WordErrors:
    """Of many texts together."""
    errors = words = 0
    for part in parts:
        errors, words = errors + part.errors, words + part.words
    return WordErrors(errors, words)


def _edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(hypothesis) + 1))
    for index, said in enumerate(reference, start=1):
        diagonal, row[0] = row[0], index
        for column, heard in enumerate(hypothesis, start=1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (said != heard)),
            )
    return row[-1]
