"""Cutting pronounced words into runs that Kokoro takes at once, and finding words among a run's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from media.engines.g2p import PronouncedWord
from media.engines.kokoro_vocabulary import MARKS, MAX_TOKENS, token_ids

_BREAKS = (".!?…", ";:—", ",")
"""Marks at which a long text may be cut, the best first."""


@dataclass(frozen=True, slots=True)
class Run:
    """Words for one run of the model: at most `MAX_TOKENS` tokens."""

    words: tuple[PronouncedWord, ...]

    @property
    def token_ids(self) -> list[int]:
        """Without the pads; one for each phoneme of the words."""
        return token_ids("".join(word.phonemes for word in self.words))


def runs_of(words: Iterable[PronouncedWord]) -> Iterator[Run]:
    """Runs as long as they can be, each ending at the best mark in its second half, or else between words."""
    waiting: list[PronouncedWord] = []
    for word in words:
        for piece in _pieces(word):
            waiting.append(piece)
            while _tokens(waiting) > MAX_TOKENS:
                cut = _best_cut(waiting)
                yield Run(tuple(waiting[:cut]))
                waiting = waiting[cut:]
    if waiting:
        yield Run(tuple(waiting))


def word_spans(words: Sequence[PronouncedWord]) -> list[tuple[int, int]]:
    """For each word, the first and the last of the run's tokens that are sounds of it, marks left out."""
    spans: list[tuple[int, int]] = []
    start = 0
    for word in words:
        sounds = [index for index, phoneme in enumerate(word.phonemes) if phoneme not in MARKS]
        spans.append((start + sounds[0], start + sounds[-1]) if sounds else (start, start))
        start += len(word.phonemes)
    return spans


def _tokens(words: Iterable[PronouncedWord]) -> int:
    return sum(len(word.phonemes) for word in words)


def _pieces(word: PronouncedWord) -> Iterator[PronouncedWord]:
    """The word, or (nobody writes such a one) parts of it that a run can hold."""
    for start in range(0, len(word.phonemes), MAX_TOKENS):
        yield PronouncedWord(word.text if not start else "", word.phonemes[start : start + MAX_TOKENS])


def _best_cut(words: list[PronouncedWord]) -> int:
    """How many of the words, the last of which is one too many, go into a run."""
    cuts = [cut for cut in range(1, len(words)) if _tokens(words[:cut]) >= MAX_TOKENS // 2]
    for marks in _BREAKS:
        for cut in reversed(cuts):
            if words[cut - 1].phonemes.rstrip(' "”)')[-1:] in tuple(marks):
                return cut
    return len(words) - 1
