"""What a request asks of Kokoro: its words in their context, those that are to be heard, its speed."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from media.engines.g2p import PronouncedWord
from media.engines.kokoro_runs import Run, runs_of
from media.engines.protocols import TtsRequest
from media.errors import CallerError

MIN_SPEED, MAX_SPEED = 0.5, 2.0

_SEAMS_KEPT = 32
"""Some KB each: more than there are answers under way at once."""


def require_speed(speed: float) -> None:
    """Raises:
    CallerError: it is out of range.
    """
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise CallerError(f"The speed is {speed:g}; it can be {MIN_SPEED:g} to {MAX_SPEED:g}.", param="speed")


def in_context(request: TtsRequest) -> str:
    """The text with what was spoken of its clause before it, and with what will be after it."""
    return " ".join(filter(None, (request.before, request.text, request.after)))


def heard_runs(request: TtsRequest, words: list[PronouncedWord]) -> Iterator[tuple[Run, int, int]]:
    """The runs of which something is to be heard, and which of their words: the first, and that behind the
    last.

    Args:
        request: what is to be heard.
        words: of `in_context`.
    """
    first = _words_of(request.before, words)
    # A run may hold more words than it was given: parts of one that no run can hold.
    end = len(words) - _words_of(request.after, reversed(words)) if request.after else sys.maxsize
    at = 0
    for run in runs_of(words):
        from_here, to_here = max(0, first - at), min(len(run.words), end - at)
        if from_here < to_here:
            yield run, from_here, to_here
        at += len(run.words)


class Seams:
    """What the sound of clauses' beginnings would have gone on with, by voice, speed and words."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, float, str], npt.NDArray[np.float32]] = OrderedDict()

    def before(self, request: TtsRequest) -> npt.NDArray[np.float32] | None:
        """What the sound before the request's own goes on with, if that is known."""
        return self._kept.get((request.voice, request.speed, request.before))

    def keep(self, request: TtsRequest, seam: npt.NDArray[np.float32]) -> None:
        self._kept[request.voice, request.speed, f"{request.before} {request.text}".strip()] = seam
        while len(self._kept) > _SEAMS_KEPT:
            self._kept.popitem(last=False)


def _words_of(text: str, words: Iterable[PronouncedWord]) -> int:
    """How many of the words, from the first one on, are the text's: one may be several written ones."""
    written = len(text.split())
    count = 0
    for word in words:
        if written <= 0:
            break
        written -= len(word.text.split())
        count += 1
    return count
