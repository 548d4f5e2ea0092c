"""Sound as Voxtral listens to it: log-mel windows of 30 s."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.log_mel import HOP_SAMPLES, WINDOW_SAMPLES, log_mel
from media.errors import CallerError
from media.resampler import resample

MEL_BANDS = 128
WINDOW_S = 30
WINDOW_FRAMES = WINDOW_S * SPEECH_RATE_HZ // HOP_SAMPLES

_SILENT_LEVEL = -1.5
"""What log-mel makes of digital silence, (-10 + 4) / 4, unless something else is 80 dB louder."""
_RANGE = 2.0
"""80 dB of log-mel: nothing is further below the loudest."""


def prepared(audio: Audio, *, longest_s: float) -> npt.NDArray[np.float32]:
    """The samples at 16 kHz in [-1, 1].

    Raises:
        CallerError: there are none, some are no numbers, or there are too many.
    """
    if not len(audio):
        raise CallerError("The recording is empty.", code="invalid_audio", param="audio")
    if audio.duration_s > longest_s:
        raise CallerError(
            f"The recording takes {audio.duration_s:.0f} s; at most {longest_s:.0f} s are heard at once.",
            code="invalid_audio",
            param="audio",
        )
    if not np.isfinite(audio.samples).all():
        raise CallerError(
            "The recording holds samples that are no numbers.", code="invalid_audio", param="audio"
        )
    if audio.rate_hz != SPEECH_RATE_HZ:
        audio = resample(audio, SPEECH_RATE_HZ)
    return np.clip(audio.as_float32(), -1.0, 1.0)


def mel_windows(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The log-mel spectrogram in windows of 30 s, silence behind the sound: shape (windows, 128, 3000).

    As `transformers.WhisperFeatureExtractor` makes it of the padded sound, without computing the padding.
    """
    windows = max(1, -(-len(samples) // (WINDOW_S * SPEECH_RATE_HZ)))
    whole = windows * WINDOW_S * SPEECH_RATE_HZ
    # One window of silence behind the last sample, for all frames that still hear it.
    heard = min(whole, -(-(len(samples) + WINDOW_SAMPLES) // HOP_SAMPLES) * HOP_SAMPLES)
    padded = np.zeros(heard, np.float32)
    padded[: len(samples)] = samples
    levels = log_mel(padded, bands=MEL_BANDS)
    mel = np.full(
        (MEL_BANDS, windows * WINDOW_FRAMES), max(_SILENT_LEVEL, float(levels.max()) - _RANGE), np.float32
    )
    mel[:, : levels.shape[1]] = levels
    return np.ascontiguousarray(mel.reshape(MEL_BANDS, windows, WINDOW_FRAMES).transpose(1, 0, 2))


def hum() -> npt.NDArray[np.float32]:
    """A second of sound at 16 kHz, by which a model is warmed up."""
    sound: npt.NDArray[np.float32] = np.sin(np.arange(SPEECH_RATE_HZ, dtype=np.float32) * np.float32(0.1))
    return sound
