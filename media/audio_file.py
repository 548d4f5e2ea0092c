"""Sound from and to files."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError

from media.audio import Audio
from media.errors import CallerError


def read_audio(source: Path | BinaryIO, rate_hz: int | None = None) -> Audio:
    """A file's sound as mono: WAV, or anything else that FFmpeg reads.

    Args:
        source: its path, or the open file.
        rate_hz: the rate to convert it to; None keeps its own.

    Raises:
        CallerError: it is not there or holds no sound.
    """
    name = str(source) if isinstance(source, Path) else "The recording"
    try:
        with av.open(str(source) if isinstance(source, Path) else source, "r") as container:
            if not container.streams.audio:
                raise CallerError(f"{name} holds no sound.", code="no_audio")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
            frames = [mono for frame in container.decode(audio=0) for mono in resampler.resample(frame)]
            frames += resampler.resample(None)
    except (OSError, FFmpegError) as error:
        raise CallerError(f"{name} cannot be read: {error.strerror}.", code="unreadable_file") from error
    if not frames:
        raise CallerError(f"{name} holds no sound.", code="no_audio")
    samples = np.concatenate([np.asarray(frame.to_ndarray(), dtype=np.int16).reshape(-1) for frame in frames])
    return Audio(samples, frames[0].sample_rate)


def write_wav(path: Path, audio: Audio) -> None:
    """Writes 16-bit PCM.

    Raises:
        CallerError: it cannot be written.
    """
    try:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(audio.rate_hz)
            file.writeframes(audio.as_int16().astype("<i2").tobytes())
    except OSError as error:
        raise CallerError(f"{path} cannot be written: {error.strerror}.", code="unwritable_file") from error
