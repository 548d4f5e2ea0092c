"""Opus for one speaker: straight to the rate that is wanted, with concealment and in-band FEC.

libopus is called directly, since what FFmpeg makes of it has neither concealment nor FEC in its decoder, and
knows 48 kHz only. PyAV's wheels carry it; else the system's is taken. Where there is none at all, PyAV's
own codec is the fallback: it decodes and encodes, and what is lost becomes silence.

The calls keep Python's lock (`PyDLL`): a packet takes some 20 µs to decode, and whoever lets go of the lock
may wait a whole switch interval for it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import weakref
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final

import av
import numpy as np
from pydantic import Field

from media.audio import Audio
from media.codecs import PacketError, PacketFormat, Samples16, VoiceDecoder, VoiceEncoder
from media.resampler import StreamResampler
from media.section import Section

RTP_RATE_HZ: Final = 48_000
"""Opus over RTP counts at this rate, whatever it carries (RFC 7587, section 4.1)."""

LONGEST_PACKET_MS: Final = 120
LARGEST_PACKET_BYTES: Final = 1275
"""Of one frame (RFC 6716, section 3.2.1)."""

# From opus_defines.h: part of libopus's ABI.
_APPLICATION_VOIP = 2048
_SET_BITRATE = 4002
_SET_MAX_BANDWIDTH = 4004
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_RESET_STATE = 4028
_BANDWIDTH_SUPERWIDEBAND = 1104

log = logging.getLogger(__name__)


class OpusSettings(Section):
    """The part of section `audio` that says how the voice is encoded."""

    opus_bitrate_bps: int = Field(32_000, ge=6_000, le=128_000)
    """Of the sound alone, without the headers of its packets."""
    opus_complexity: int = Field(1, ge=0, le=10)
    """What the encoder spends on each frame. At 32 kbit/s, 4 takes three times as long as 1, for nothing."""
    opus_expected_loss_percent: int = Field(10, ge=0, le=100)
    """From 2 % on each packet carries a coarse copy of the one before it (in-band FEC); 0 for none."""


class OpusError(PacketError):
    """libopus cannot take this packet."""


def opus_decoder(rate_hz: int) -> VoiceDecoder:
    """A decoder to mono at 8, 12, 16, 24 or 48 kHz."""
    library = _libopus()
    return _PyavDecoder(rate_hz) if library is None else _LibopusDecoder(library, rate_hz)


def opus_encoder(settings: OpusSettings, rate_hz: int = RTP_RATE_HZ) -> VoiceEncoder:
    """An encoder of mono at 24 or 48 kHz, frames of 2.5, 5, 10, 20, 40 or 60 ms.

    Nothing above 12 kHz is encoded: no voice here has it.
    """
    library = _libopus()
    return _PyavEncoder(settings, rate_hz) if library is None else _LibopusEncoder(library, settings, rate_hz)


def packet_samples(payload: bytes) -> int:
    """How much sound a packet holds, in samples at 48 kHz, by its first bytes (RFC 6716, section 3.1).

    0 for an empty payload, or one that is cut short.
    """
    if not payload:
        return 0
    toc = payload[0]
    frames: int
    match toc & 3:
        case 0:
            frames = 1
        case 3:
            frames = payload[1] & 0x3F if len(payload) > 1 else 0
        case _:
            frames = 2
    return frames * _FRAME_SAMPLES[toc >> 3]


OPUS_PACKETS: Final = PacketFormat(RTP_RATE_HZ, packet_samples, opus_decoder)


def pause_packet(last_payload: bytes) -> bytes:
    """A packet of no sound: the encoder's way to say that nothing is sent for a while (DTX).

    Its one frame is empty, and as long as those of the packet before it (RFC 6716, section 3.1).
    """
    return bytes([last_payload[0] & 0xFC])


def _frame_samples() -> tuple[int, ...]:
    """Samples at 48 kHz of a frame, by the packet's configuration (RFC 6716, table 2)."""
    silk = [480, 960, 1920, 2880] * 3
    hybrid = [480, 960] * 2
    celt = [120, 240, 480, 960] * 4
    return tuple(silk + hybrid + celt)


_FRAME_SAMPLES: Final = _frame_samples()


@cache
def _libopus() -> ctypes.PyDLL | None:
    """libopus with its functions declared, or None with a warning."""
    for name in _library_names():
        try:
            library = ctypes.PyDLL(name)
            _declare(library)
        except (OSError, AttributeError) as error:
            log.debug("not a libopus", extra={"library": name, "error": str(error)})
            continue
        return library
    log.warning("no libopus is found: lost packets will be silent")
    return None


def _library_names() -> list[str]:
    """PyAV's own first: `av.libs` in wheels for Linux and Windows, `.dylibs` in those for macOS."""
    package = Path(av.__file__).parent
    folders = (package.parent / "av.libs", package / ".dylibs")
    bundled = [str(path) for folder in folders for path in sorted(folder.glob("*opus*"))]
    system = ctypes.util.find_library("opus")
    return [*bundled, system] if system else bundled


def _declare(library: ctypes.PyDLL) -> None:
    """Raises: AttributeError, where a function is missing."""
    pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int32
    error = ctypes.POINTER(ctypes.c_int)
    library.opus_decoder_create.argtypes = (long, integer, error)
    library.opus_decoder_create.restype = pointer
    library.opus_decoder_destroy.argtypes = (pointer,)
    library.opus_decoder_destroy.restype = None
    library.opus_decode.argtypes = (pointer, ctypes.c_char_p, long, pointer, integer, integer)
    library.opus_encoder_create.argtypes = (long, integer, integer, error)
    library.opus_encoder_create.restype = pointer
    library.opus_encoder_destroy.argtypes = (pointer,)
    library.opus_encoder_destroy.restype = None
    library.opus_encode.argtypes = (pointer, pointer, integer, pointer, long)
    # These take more arguments, each as its request says; ctypes passes them as variadic.
    library.opus_decoder_ctl.argtypes = (pointer, integer)
    library.opus_encoder_ctl.argtypes = (pointer, integer)
    library.opus_strerror.argtypes = (integer,)
    library.opus_strerror.restype = ctypes.c_char_p


class _LibopusDecoder:
    def __init__(self, library: ctypes.PyDLL, rate_hz: int) -> None:
        error = ctypes.c_int()
        self._library = library
        self._state = library.opus_decoder_create(rate_hz, 1, ctypes.byref(error))
        _require(library, error.value)
        weakref.finalize(self, library.opus_decoder_destroy, self._state)
        self._longest = rate_hz * LONGEST_PACKET_MS // 1000
        self._pcm = np.zeros(self._longest, dtype=np.int16)
        self._pcm_address = self._pcm.ctypes.data

    def decode(self, payload: bytes) -> Samples16:
        return self._run(payload, self._longest, 0)

    def recover(self, payload: bytes, samples: int) -> Samples16:
        return self._run(payload, samples, 1)

    def conceal(self, samples: int) -> Samples16:
        return self._run(None, samples, 0)

    def silence(self, samples: int) -> Samples16:
        return np.zeros(samples, dtype=np.int16)

    def reset(self) -> None:
        self._library.opus_decoder_ctl(self._state, _RESET_STATE)

    def _run(self, payload: bytes | None, samples: int, fec: int) -> Samples16:
        size = len(payload) if payload else 0
        count = self._library.opus_decode(self._state, payload, size, self._pcm_address, samples, fec)
        _require(self._library, count)
        return self._pcm[:count].copy()


class _LibopusEncoder:
    def __init__(self, library: ctypes.PyDLL, settings: OpusSettings, rate_hz: int) -> None:
        error = ctypes.c_int()
        self._library = library
        self._state = library.opus_encoder_create(rate_hz, 1, _APPLICATION_VOIP, ctypes.byref(error))
        _require(library, error.value)
        weakref.finalize(self, library.opus_encoder_destroy, self._state)
        self._packet = ctypes.create_string_buffer(LARGEST_PACKET_BYTES)
        for request, value in (
            (_SET_BITRATE, settings.opus_bitrate_bps),
            (_SET_COMPLEXITY, settings.opus_complexity),
            (_SET_MAX_BANDWIDTH, _BANDWIDTH_SUPERWIDEBAND),
            (_SET_INBAND_FEC, int(settings.opus_expected_loss_percent > 0)),
            (_SET_PACKET_LOSS_PERC, settings.opus_expected_loss_percent),
        ):
            _require(library, library.opus_encoder_ctl(self._state, request, ctypes.c_int(value)))

    def encode(self, samples: Samples16) -> bytes:
        frame = np.ascontiguousarray(samples, dtype=np.int16)
        size = self._library.opus_encode(
            self._state, frame.ctypes.data, len(frame), self._packet, LARGEST_PACKET_BYTES
        )
        _require(self._library, size)
        return self._packet.raw[:size]


def _require(library: ctypes.PyDLL, result: int) -> None:
    """libopus answers with a negative number where it refuses."""
    if result < 0:
        raise OpusError(library.opus_strerror(result).decode())


class _PyavDecoder:
    """FFmpeg's wrapper of libopus: 48 kHz, and nothing for what is lost."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.reset()

    def decode(self, payload: bytes) -> Samples16:
        packet = av.Packet(payload)
        packet.pts, packet.time_base = self._position, Fraction(1, RTP_RATE_HZ)
        self._position += packet_samples(payload)
        try:
            frames = self._codec.decode(packet)
        except av.FFmpegError as error:
            raise OpusError(str(error)) from error
        parts = [self._converter.push(Audio(_mono(frame), RTP_RATE_HZ)).as_int16() for frame in frames]
        return np.concatenate([np.zeros(0, np.int16), *parts])

    def recover(self, payload: bytes, samples: int) -> Samples16:
        return self.conceal(samples)

    def conceal(self, samples: int) -> Samples16:
        return self.silence(samples)

    def silence(self, samples: int) -> Samples16:
        return np.zeros(samples, dtype=np.int16)

    def reset(self) -> None:
        self._position = 0
        self._converter = StreamResampler(RTP_RATE_HZ, self._rate_hz)
        self._codec = av.AudioCodecContext.create("libopus", "r")
        self._codec.format = av.AudioFormat("s16")
        self._codec.layout = av.AudioLayout("mono")
        self._codec.sample_rate = RTP_RATE_HZ


class _PyavEncoder:
    def __init__(self, settings: OpusSettings, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._position = 0
        self._codec = codec = av.AudioCodecContext.create("libopus", "w")
        codec.bit_rate = settings.opus_bitrate_bps
        codec.format = av.AudioFormat("s16")
        codec.layout = av.AudioLayout("mono")
        codec.sample_rate = rate_hz
        codec.time_base = Fraction(1, rate_hz)
        codec.options = {
            "application": "voip",
            "compression_level": str(settings.opus_complexity),
            "fec": str(int(settings.opus_expected_loss_percent > 0)),
            "packet_loss": str(settings.opus_expected_loss_percent),
        }

    def encode(self, samples: Samples16) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate_hz, self._position
        self._position += len(samples)
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


def _mono(frame: av.AudioFrame) -> Samples16:
    samples: Samples16 = np.asarray(frame.to_ndarray(), dtype=np.int16).reshape(-1)
    return samples
