"""From P(speech) window by window to the start of speech and the first hint of a pause. Sans-IO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.section import Section


class VadSettings(Section):
    """`vad` in `config.yaml`: what counts as speech."""

    engine: Literal["silero"] = "silero"
    """The voice-activity engine."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """P(speech) from which a 32 ms window counts as speech."""
    release: float = Field(0.15, ge=0, lt=1)
    """How far below `threshold` P(speech) must fall for speech to pause, at most to its half: hysteresis."""
    start_ms: int = Field(96, ge=32, le=1000)
    """Speech must last this long to count: a click does not."""
    pause_ms: int = Field(128, ge=32, le=2000)
    """Silence after which a pause is suspected and the work for an answer begins."""
    padding_ms: int = Field(300, ge=0, le=2000)
    """Audio before the first speech window that is transcribed too, so that no first sound is lost."""


_FAINT_DB = 40.0
"""So much quieter than the loudest window of the speech, a window seems to be its end ..."""
_FAINT_AT_MOST = 0.98
"""... if it also is a little less surely speech than the middle of it. In recordings the two together come
26 ms (p50) sooner than the network's own doubt, and are wrong once in 4.5 s of speech, not once in 7."""


_FAINT_WINDOWS = 2
"""If the network does not doubt by then, somebody mumbles on: that is to be transcribed as well."""


@dataclass(frozen=True, slots=True)
class GateStarted:
    """Speech began at this sample (of all that was pushed), noticed only now."""

    start_sample: int


@dataclass(frozen=True, slots=True)
class GatePaused:
    """The last speech ended at this sample, noticed only now."""

    end_sample: int


class VadGate:
    """Hysteresis and minimum lengths over the windows of one call."""

    def __init__(self, settings: VadSettings, window_ms: float = VAD_WINDOW_SAMPLES / 16.0) -> None:
        self.threshold = settings.threshold
        self._release = settings.release
        self._start_windows = max(1, round(settings.start_ms / window_ms))
        self._pause_windows = max(1, round(settings.pause_ms / window_ms))
        self._index = 0
        self._speaking = False
        self._run = 0
        """Windows in a row that speak for a change: speech while silent, silence while speaking."""
        self._loudest_dbfs = -math.inf
        self._faint_windows = 0

    @property
    def samples(self) -> int:
        """How many samples were pushed."""
        return self._index * VAD_WINDOW_SAMPLES

    @property
    def speaking(self) -> bool:
        """Whether the caller is speaking, as far as has been noticed."""
        return self._speaking

    @property
    def fading(self) -> bool:
        """Whether the caller seems to stop: the last window held no speech, or next to none."""
        return self._speaking and (self._run > 0 or 0 < self._faint_windows <= _FAINT_WINDOWS)

    @property
    def rising(self) -> bool:
        """Whether the caller seems to begin: the last window held speech, which is too short yet to count."""
        return not self._speaking and self._run > 0

    def push(self, probability: float, level_dbfs: float | None = None) -> GateStarted | GatePaused | None:
        """The change that the next window brings, if any.

        Args:
            probability: P(speech) of it.
            level_dbfs: its level, by which `fading` is noticed sooner; it changes nothing else.
        """
        self._index += 1
        faint = False
        if level_dbfs is not None:
            self._loudest_dbfs = max(self._loudest_dbfs, level_dbfs) if self._speaking else level_dbfs
            faint = level_dbfs < self._loudest_dbfs - _FAINT_DB and probability < _FAINT_AT_MOST
        self._faint_windows = self._faint_windows + 1 if faint else 0
        if self._speaking:
            changes = probability < max(self.threshold / 2, self.threshold - self._release)
        else:
            changes = probability >= self.threshold
        self._run = self._run + 1 if changes else 0
        if self._run < (self._pause_windows if self._speaking else self._start_windows):
            return None
        turning_point = (self._index - self._run) * VAD_WINDOW_SAMPLES
        self._run = 0
        self._speaking = not self._speaking
        return GateStarted(turning_point) if self._speaking else GatePaused(turning_point)

    def reset(self) -> None:
        """Nobody is speaking; who goes on speaking will be noticed anew. The count of samples goes on."""
        self._speaking, self._run = False, 0

    def force_pause(self) -> GatePaused | None:
        """The audio stopped coming: whoever was speaking is not heard any more."""
        if not self._speaking:
            return None
        self._speaking, self._run = False, 0
        return GatePaused(self.samples)
