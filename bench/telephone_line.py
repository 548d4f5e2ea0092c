"""What telephones do to a voice: half the band, eight bits a sample, and any loudness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.g711 import Law, decoded, encoded
from media.level_control import LevelControl
from media.resampler import resample

PHONE_RATE_HZ = 8000
FRAME_SAMPLES = SPEECH_RATE_HZ // 50
_LOWEST_HZ, _HIGHEST_HZ = 300.0, 3400.0
_EDGE_HZ = 100.0


@dataclass(frozen=True, slots=True)
class Line:
    """One way to a telephone.

    Attributes:
        name: for the tables.
        law: of G.711; None: wideband, nothing is done.
        level_db: added to the voice before it is coded; what is too loud is clipped.
        band: 300 to 3400 Hz, as of a line of copper or a mobile telephone.
        raised: the server raises quiet voices, as it does in telephone calls.
    """

    name: str
    law: Law | None = None
    level_db: float = 0.0
    band: bool = False
    raised: bool = False


WIDEBAND = Line("wideband, 16 kHz")
MU_LAW = Line("G.711 µ-law, 8 kHz", "mu")
LINES = (
    WIDEBAND,
    MU_LAW,
    Line("G.711 A-law, 8 kHz", "a"),
    Line("µ-law, 300 to 3400 Hz", "mu", band=True),
    Line("µ-law, 300 to 3400 Hz, 20 dB quieter", "mu", -20.0, band=True),
    Line("the same, raised by the server", "mu", -20.0, band=True, raised=True),
    Line("µ-law, 300 to 3400 Hz, 12 dB louder", "mu", 12.0, band=True),
)


def in_one_call(clips: Sequence[Audio], line: Line, most_db: float) -> list[Audio]:
    """All of them as they come over the line one after the other, as the server listens to them.

    Args:
        clips: at 16 kHz.
        line: to the telephone.
        most_db: by which quiet voices are raised at most, where they are.
    """
    control = LevelControl(most_db if line.raised else 0.0)
    heard = []
    for clip in clips:
        came = as_phoned(clip, line).as_int16()
        starts = range(0, len(came), FRAME_SAMPLES)
        frames = [control.push(Audio(came[at : at + FRAME_SAMPLES], SPEECH_RATE_HZ)) for at in starts]
        heard.append(concatenate(frames, SPEECH_RATE_HZ))
    return heard


def as_phoned(audio: Audio, line: Line) -> Audio:
    """A voice at 16 kHz as it comes over the line, at 16 kHz again."""
    if line.law is None:
        return audio
    narrow = resample(audio, PHONE_RATE_HZ).as_float32() * np.float32(10 ** (line.level_db / 20))
    if line.band:
        spectrum = np.fft.rfft(narrow)
        hz = np.fft.rfftfreq(len(narrow), 1 / PHONE_RATE_HZ)
        rising = np.clip((hz - _LOWEST_HZ) / _EDGE_HZ + 0.5, 0, 1)
        falling = np.clip((_HIGHEST_HZ - hz) / _EDGE_HZ + 0.5, 0, 1)
        narrow = np.fft.irfft(spectrum * rising * falling, len(narrow)).astype(np.float32)
    carried = decoded(encoded(Audio(narrow, PHONE_RATE_HZ).as_int16(), line.law), line.law)
    came = resample(Audio(carried, PHONE_RATE_HZ), SPEECH_RATE_HZ).as_int16()
    return Audio(np.resize(came, len(audio)), SPEECH_RATE_HZ)
