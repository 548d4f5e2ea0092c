"""In which pieces a clause is made, and how urgent each is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from media.clock import thread_time_s
from media.engines.g2p import PronouncedWord
from media.engines.inference import Urgency
from media.engines.kokoro_clause import ClauseSound
from media.engines.kokoro_parts import FRAME_SAMPLES
from media.engines.kokoro_plan import Pace, Piece, pieces_of, plausible
from media.engines.kokoro_runs import Run

SIZES = (16, 32, 64, 96)
PHONEMES = "həlˈO ðˈɛɹ."
AMPLE_S = 600.0


@dataclass(frozen=True)
class Shape:
    """A clause that sounds from its beginning to its end."""

    durations: npt.NDArray[np.float32]

    @property
    def frames(self) -> int:
        return 2 * int(self.durations.sum())

    @property
    def loudness(self) -> npt.NDArray[np.float32]:
        return np.zeros(self.frames, np.float32)


def sound(*, first: int = 0) -> ClauseSound:
    shape = Shape(np.full(len(PHONEMES) + 2, 20, np.float32))
    run = Run((PronouncedWord("hello", PHONEMES[:7]), PronouncedWord("there.", PHONEMES[7:])))
    return ClauseSound(shape, run, "af_heart", 1.0, 0.0, first=first, end=2)


def made(clause: ClauseSound, *, lead_s: float, pace: Pace | None = None) -> list[Piece]:
    """The pieces, each handed over at once as a tone."""
    pieces = []
    needed_at_s = thread_time_s() + lead_s
    for piece in pieces_of(clause, pace or Pace(), needed_at_s, sizes=SIZES, relaxed_s=0.4):
        pieces.append(piece)
        if not piece.is_whole:
            frames = piece.stop - piece.first + (not piece.is_last)
            tone = np.sin(np.arange(frames * FRAME_SAMPLES, dtype=np.float32) * 0.05) * np.float32(0.5)
            clause.window(piece.first, tone, last=piece.is_last)
    return pieces


def test_with_time_it_is_made_whole() -> None:
    clause = sound()
    assert made(clause, lead_s=AMPLE_S) == [
        Piece(0, clause.clause.frames, is_last=True, is_whole=True, urgency=Urgency.SOON)
    ]


@pytest.mark.parametrize("first", [0, 1])
def test_else_in_windows_of_the_sizes_that_there_are(first: int) -> None:
    clause = sound(first=first)
    pieces = made(clause, lead_s=0.0)
    assert len(pieces) > 1
    assert (pieces[0].first, pieces[-1].stop) == clause.frames_heard
    assert [piece.first for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert {piece.stop - piece.first for piece in pieces[:-1]} <= set(SIZES)
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_the_first_sound_is_urgent_and_what_is_not_yet_needed_is_less_so() -> None:
    pieces = made(sound(), lead_s=0.0, pace=Pace(window=0.05))
    assert pieces[0].urgency is Urgency.NOW
    # The tones were there at once: by now more than 0.4 s of them is still unheard.
    assert pieces[-1].urgency is Urgency.SOON


def test_a_clause_whose_first_words_were_heard_is_never_made_whole() -> None:
    assert not any(piece.is_whole for piece in made(sound(first=1), lead_s=AMPLE_S))


def test_what_cannot_be_speech() -> None:
    assert plausible(np.array([0.9, -1.1], np.float32))
    assert not plausible(np.array([0.1, 1.3], np.float32))
    assert not plausible(np.array([0.1, np.nan], np.float32))
    assert plausible(np.zeros(0, np.float32))
