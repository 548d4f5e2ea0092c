"""Raises a quiet caller's voice to where the ear hears best. Over telephones, voices come at any loudness."""

from __future__ import annotations

from typing import Final

import numpy as np

from media.audio import Audio

TARGET_DBFS: Final = -23.0
"""Where the loudest windows of a voice are to be."""
GATE_DBFS: Final = -56.0
"""What is quieter is no voice: a line's hiss is not to be raised."""
FALLING_DB_S: Final = 12.0
"""How fast the voice is taken to be quieter than it was; that it is louder is believed at once."""
_FRAME_S: Final = 0.02


class LevelControl:
    """Takes one caller's sound piece by piece, gives as much, perhaps raised.

    Args:
        most_db: the gain at most; 0: nothing is changed.
    """

    def __init__(self, most_db: float) -> None:
        self._most_db = most_db
        self._loud_dbfs = TARGET_DBFS
        self._gain = 1.0

    @property
    def gain_db(self) -> float:
        """The gain of what comes next."""
        return min(self._most_db, max(0.0, TARGET_DBFS - self._loud_dbfs))

    def push(self, audio: Audio) -> Audio:
        """The next piece, as long as it was."""
        if self._most_db <= 0 or not len(audio):
            return audio
        frame = round(_FRAME_S * audio.rate_hz)
        for start in range(0, len(audio), frame):
            self._follow(Audio(audio.samples[start : start + frame], audio.rate_hz))
        gain = 10 ** (self.gain_db / 20)
        if gain == self._gain == 1.0:
            return audio
        # From one piece to the next the gain glides: a step would click.
        ramp = np.linspace(self._gain, gain, len(audio), dtype=np.float32)
        self._gain = gain
        raised = Audio(np.clip(audio.as_float32() * ramp, -1.0, 1.0), audio.rate_hz)
        return Audio(raised.as_int16(), audio.rate_hz)

    def _follow(self, frame: Audio) -> None:
        level_dbfs = frame.level_dbfs()
        if level_dbfs >= GATE_DBFS:
            self._loud_dbfs = max(level_dbfs, self._loud_dbfs - FALLING_DB_S * frame.duration_s)
