"""The one audio type: mono samples that know their rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.int16] | npt.NDArray[np.float32]

SPEECH_RATE_HZ = 16_000
"""What every engine that listens takes."""

SILENCE_DBFS = -120.0
"""What `Audio.level_dbfs` gives for digital silence."""


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Mono audio.

    Attributes:
        samples: shape (n,), int16, or float32 in [-1, 1].
        rate_hz: samples a second.

    Raises:
        ValueError: another shape, another dtype, or a rate that is not positive.
    """

    samples: Samples
    rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(f"audio is mono, shape (n,); got shape {self.samples.shape}")
        if self.samples.dtype not in (np.int16, np.float32):
            raise ValueError(f"audio is int16 or float32; got {self.samples.dtype}")
        if self.rate_hz <= 0:
            raise ValueError(f"a sample rate is positive; got {self.rate_hz}")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    def as_float32(self) -> npt.NDArray[np.float32]:
        """The samples as float32 in [-1, 1]; a view where they are that already."""
        if self.samples.dtype == np.float32:
            return self.samples  # type: ignore[return-value]
        return self.samples.astype(np.float32) / np.float32(32768.0)

    def as_int16(self) -> npt.NDArray[np.int16]:
        """The samples as int16, clipped rather than wrapped; a view where they are that already."""
        if self.samples.dtype == np.int16:
            return self.samples  # type: ignore[return-value]
        scaled = np.rint(self.samples * np.float32(32768.0))
        return np.clip(scaled, -32768, 32767).astype(np.int16)  # type: ignore[no-any-return]

    def level_dbfs(self) -> float:
        """RMS level in dB relative to full scale; `SILENCE_DBFS` for digital silence or no samples."""
        if not len(self.samples):
            return SILENCE_DBFS
        power = float(np.mean(np.square(self.as_float32(), dtype=np.float64)))
        return max(SILENCE_DBFS, 10.0 * float(np.log10(power))) if power > 0 else SILENCE_DBFS

    def slice_s(self, start_s: float, end_s: float | None = None) -> Audio:
        """The part between two times, clamped to what is there."""
        start = max(0, round(start_s * self.rate_hz))
        end = len(self.samples) if end_s is None else max(start, round(end_s * self.rate_hz))
        return Audio(self.samples[start:end], self.rate_hz)


def silence(duration_s: float, rate_hz: int) -> Audio:
    """Digital silence, int16."""
    return Audio(np.zeros(round(duration_s * rate_hz), dtype=np.int16), rate_hz)


def concatenate(parts: Sequence[Audio], rate_hz: int) -> Audio:
    """One after the other, as int16.

    Raises:
        ValueError: a part has another rate.
    """
    for part in parts:
        if part.rate_hz != rate_hz:
            raise ValueError(f"cannot join audio at {part.rate_hz} Hz to audio at {rate_hz} Hz")
    if not parts:
        return silence(0, rate_hz)
    return Audio(np.concatenate([part.as_int16() for part in parts]), rate_hz)
