"""What a caller heard, and when: the pure part of the synthetic caller.

Latency is measured from the last sample of the caller's speech (its energy end, not the file's) to the first
audible frame of the answer, both by the same rule: a 20 ms frame above −45 dBFS, three of five frames active.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from media.audio import Audio

FRAME_S = 0.02
AUDIBLE_DBFS = -45.0
FRAMES_LOOKED_AT = 5
FRAMES_ACTIVE = 3


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """One packet's sound.

    Attributes:
        at_s: when its packet arrived, in loop time: before any jitter buffer.
        position_samples: where it lies on the sender's timeline, at the audio's rate.
        audio: its sound.
        is_active: whether it is loud enough to be noticed.
    """

    at_s: float
    position_samples: int
    audio: Audio
    is_active: bool = field(init=False)

    def __post_init__(self) -> None:
        # Looked at many times while somebody waits for the first sound: measured once.
        object.__setattr__(self, "is_active", _is_active(self.audio))


def first_audible(frames: Sequence[HeardFrame], after_s: float) -> HeardFrame | None:
    """The first frame after a time that somebody would notice: active, as are three of the five from it on.

    Where no frame came, nothing was heard. None where there is none yet. The frames are in the order of their
    arrival.
    """
    recent = frames[bisect_left(frames, after_s, key=lambda frame: frame.at_s) :]
    for index, frame in enumerate(recent):
        if not frame.is_active:
            continue
        end = frame.position_samples + FRAMES_LOOKED_AT * len(frame.audio)
        near = recent[index : index + FRAMES_LOOKED_AT]
        if sum(other.is_active and other.position_samples < end for other in near) >= FRAMES_ACTIVE:
            return frame
    return None


def speech_end_s(audio: Audio) -> float:
    """Where speech ends in a recording, in seconds: the end of its last active frame that is no mere click.

    The recording's own end where nothing in it is active.
    """
    length = round(FRAME_S * audio.rate_hz)
    starts = range(0, len(audio), length)
    active = [_is_active(Audio(audio.samples[start : start + length], audio.rate_hz)) for start in starts]
    for index in range(len(active) - 1, -1, -1):
        first = max(0, index - FRAMES_LOOKED_AT + 1)
        if active[index] and sum(active[first : index + 1]) >= min(FRAMES_ACTIVE, len(active)):
            return min(len(audio), (index + 1) * length) / audio.rate_hz
    return audio.duration_s


def recording(frames: Sequence[HeardFrame], rate_hz: int) -> Audio:
    """All that was heard on the sender's timeline, silence where nothing came."""
    if not frames:
        return Audio(np.zeros(0, dtype=np.int16), rate_hz)
    start = min(frame.position_samples for frame in frames)
    end = max(frame.position_samples + len(frame.audio) for frame in frames)
    timeline = np.zeros(end - start, dtype=np.int16)
    for frame in frames:
        at = frame.position_samples - start
        timeline[at : at + len(frame.audio)] = frame.audio.as_int16()
    return Audio(timeline, rate_hz)


def _is_active(audio: Audio) -> bool:
    return audio.level_dbfs() > AUDIBLE_DBFS
