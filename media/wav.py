"""Sound as bytes that travel: WAV, and bare samples, read as they come."""

from __future__ import annotations

import io
import struct
import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from media.audio import Audio
from media.errors import EngineError

_RIFF = b"RIFF"
_ENDLESS_BYTES = 0x7FFF_0000
"""Who streams a WAV does not know its length, and writes 0 or as much as there can be."""

_LONGEST_HEADER_BYTES = 64 * 1024

_PCM = 1
_FLOAT = 3
_EXTENSIBLE = 0xFFFE
"""Formats of the `fmt ` chunk; the last names its own further behind."""


def wav_bytes(samples: npt.NDArray[np.int16], rate_hz: int) -> bytes:
    """A WAV file, mono, 16-bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate_hz)
        wav.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def endless_wav_header(rate_hz: int) -> bytes:
    """What a WAV file of 16-bit mono samples begins with whose length is not known yet."""
    endless = 0xFFFF_FFFF
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate_hz, 2 * rate_hz, 2, 16)
    return struct.pack("<4sI4s", _RIFF, endless, b"WAVE") + fmt + struct.pack("<4sI", b"data", endless)


@dataclass(frozen=True, slots=True)
class _Format:
    """How samples lie in the bytes."""

    rate_hz: int
    channels: int = 1
    dtype: str = "<i2"


class SoundReader:
    """Turns bytes, cut anywhere, into mono samples: a WAV file's, or bare ones (16-bit, little-endian).

    Args:
        rate_hz: of bare samples.
    """

    def __init__(self, rate_hz: int) -> None:
        self._bare = _Format(rate_hz)
        self._format: _Format | None = None
        self._unread = b""
        self._missing_bytes: int | None = None
        """Of a file that says how long it is."""

    def push(self, piece: bytes) -> Audio | None:
        """Takes the next bytes; gives the whole samples among them, None as long as there are none.

        Raises:
            EngineError: a WAV file in a format that is not read here.
        """
        self._unread += piece
        if self._format is None:
            self._begin()
        if self._format is None:
            return None
        if self._missing_bytes is not None:
            self._unread = self._unread[: self._missing_bytes]
        dtype = np.dtype(self._format.dtype)
        whole = len(self._unread) // (dtype.itemsize * self._format.channels)
        if not whole:
            return None
        size = whole * dtype.itemsize * self._format.channels
        samples = np.frombuffer(self._unread[:size], dtype).reshape(-1, self._format.channels)
        self._unread = self._unread[size:]
        if self._missing_bytes is not None:
            self._missing_bytes -= size
        if dtype.kind == "f":
            return Audio(samples.mean(axis=1, dtype=np.float32), self._format.rate_hz)
        if self._format.channels == 1:
            return Audio(samples[:, 0].astype(np.int16), self._format.rate_hz)
        return Audio(np.rint(samples.mean(axis=1)).astype(np.int16), self._format.rate_hz)

    def _begin(self) -> None:
        """Finds out what comes, once enough of it is there."""
        if not self._unread.startswith(_RIFF[: len(self._unread)]):
            self._format = self._bare
        elif len(self._unread) >= 12:
            self._read_chunks()
        if self._format is None and len(self._unread) > _LONGEST_HEADER_BYTES:
            raise EngineError("A WAV file without samples was sent.")

    def _read_chunks(self) -> None:
        """The chunks before the samples, if all of them are there."""
        at, read = 12, None
        while len(self._unread) >= at + 8:
            name, size = struct.unpack_from("<4sI", self._unread, at)
            at += 8
            if name == b"data":
                if read is None:
                    raise EngineError("A WAV file that does not say how its samples lie was sent.")
                self._format, self._unread = read, self._unread[at:]
                self._missing_bytes = size if 0 < size < _ENDLESS_BYTES else None
                return
            if len(self._unread) < at + size:
                return
            if name == b"fmt ":
                read = _format(self._unread[at : at + size])
            at += size + size % 2


def _format(chunk: bytes) -> _Format:
    """Raises: EngineError."""
    if len(chunk) < 16:
        raise EngineError("A WAV file with a broken header was sent.")
    kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        (kind,) = struct.unpack_from("<H", chunk, 24)
    dtype = {(_PCM, 16): "<i2", (_FLOAT, 32): "<f4"}.get((kind, bits))
    if dtype is None or not channels or not rate_hz:
        raise EngineError(f"A WAV file of {bits}-bit samples in format {kind} was sent; 16-bit PCM is read.")
    return _Format(rate_hz, channels, dtype)
