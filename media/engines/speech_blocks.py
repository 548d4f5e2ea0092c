"""A turn's audio in blocks, and where in it something begins after a pause.

For transcribers that stream: what is said after a pause can begin a stream of its own, so that none grows
until it is slow or full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.speech_pieces import SILENT_DBFS

ROTATE_AFTER_S = 30.0
"""From then on the next pause begins a new stream."""

LONGEST_STREAM_S = 90.0
"""Speech without a pause is cut here."""

_PAUSE_S = 0.3
"""Shorter ones are within words, or between two of them that belong together."""

_BLOCK_SAMPLES = 512
_BELOW_SPEECH_DB = 25.0
"""So much softer than speech was is a pause: breath and room, but no syllable."""
_FADES_DB_PER_S = 1.0
"""What was once loud counts less and less."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some 32 ms.

    Attributes:
        samples: 16 kHz.
        is_quiet: nobody speaks in it.
        after_pause: somebody begins to speak in it, who did not for a while.
    """

    samples: npt.NDArray[np.int16]
    is_quiet: bool
    after_pause: bool


class SpeechBlocks:
    """Follows one turn."""

    def __init__(self) -> None:
        self._speech_dbfs = SILENT_DBFS
        self._quiet_samples = 0
        self._was_spoken = False

    def push(self, samples: npt.NDArray[np.int16]) -> Iterator[Block]:
        """The blocks of what came next; each is taken before the next one."""
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            yield self._block(samples[start : start + _BLOCK_SAMPLES])

    def _block(self, samples: npt.NDArray[np.int16]) -> Block:
        level_dbfs = Audio(samples, SPEECH_RATE_HZ).level_dbfs()
        is_quiet = level_dbfs < max(SILENT_DBFS, self._speech_dbfs - _BELOW_SPEECH_DB)
        faded_dbfs = self._speech_dbfs - _FADES_DB_PER_S * len(samples) / SPEECH_RATE_HZ
        self._speech_dbfs = max(level_dbfs, faded_dbfs)
        if is_quiet:
            self._quiet_samples += len(samples)
            return Block(samples, is_quiet=True, after_pause=False)
        after_pause = self._was_spoken and self._quiet_samples >= _PAUSE_S * SPEECH_RATE_HZ
        self._quiet_samples, self._was_spoken = 0, True
        return Block(samples, is_quiet=False, after_pause=after_pause)
