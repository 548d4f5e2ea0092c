"""The codecs of telephones: G.711 in both laws and G.722, with concealment, and Opus beside them.

Each decoder makes 8 or 16 kHz of its packets, through one converter that remembers; each encoder takes the
rate that its codec samples at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final, TypeAlias

import av
import numpy as np

from media.audio import Audio
from media.codecs import (
    G722_CLOCK_RATE_HZ,
    CodecName,
    PacketError,
    PacketFormat,
    Samples16,
    VoiceDecoder,
    VoiceEncoder,
)
from media.concealment import PitchConcealment
from media.frame_resampler import FrameResampler
from media.g711 import G711_RATE_HZ, Law, decoded, encoded
from media.opus import OPUS_PACKETS, RTP_RATE_HZ, OpusSettings, opus_encoder

G722_RATE_HZ: Final = 16_000

_Raw: TypeAlias = Callable[[bytes], Samples16]


@dataclass(frozen=True, slots=True)
class TelephoneCodec:
    """What is to be known of a codec to agree on it and to speak it.

    Attributes:
        name: ours.
        encoding: SDP's, in lower case.
        channels: as SDP has them: Opus says 2 whatever it carries (RFC 7587, section 7).
        static_type: its payload type where it has had one since RFC 3551, else None.
        packets: how they are read.
        rate_hz: what its encoder takes.
        encoder: makes one.
    """

    name: CodecName
    encoding: str
    channels: int
    static_type: int | None
    packets: PacketFormat
    rate_hz: int
    encoder: Callable[[OpusSettings], VoiceEncoder]


class _ConcealingDecoder:
    """A codec's own decoder, with what it lacks."""

    def __init__(self, make_raw: Callable[[], _Raw], raw_hz: int, rate_hz: int) -> None:
        self._make_raw = make_raw
        self._raw = make_raw()
        self._raw_hz, self._rate_hz = raw_hz, rate_hz
        self._concealment = PitchConcealment(raw_hz)
        self._converter = FrameResampler(raw_hz, rate_hz)

    def decode(self, payload: bytes) -> Samples16:
        return self._converted(self._concealment.heard(self._raw(payload)))

    def recover(self, payload: bytes, samples: int) -> Samples16:
        return self.conceal(samples)

    def conceal(self, samples: int) -> Samples16:
        return self._converted(self._concealment.conceal(samples * self._raw_hz // self._rate_hz))

    def silence(self, samples: int) -> Samples16:
        self._concealment.reset()
        return self._converted(np.zeros(samples * self._raw_hz // self._rate_hz, dtype=np.int16))

    def reset(self) -> None:
        self._raw = self._make_raw()
        self._concealment.reset()

    def _converted(self, samples: Samples16) -> Samples16:
        if self._raw_hz == self._rate_hz:
            return samples
        return self._converter.push(Audio(samples, self._raw_hz)).as_int16()


class _G711Encoder:
    def __init__(self, law: Law) -> None:
        self._law = law

    def encode(self, samples: Samples16) -> bytes:
        return encoded(samples, self._law)


class _G722Decoder:
    """FFmpeg's: each byte is two samples, at once."""

    def __init__(self) -> None:
        self._codec = av.AudioCodecContext.create("g722", "r")
        self._codec.sample_rate = G722_RATE_HZ
        self._codec.layout = av.AudioLayout("mono")

    def __call__(self, payload: bytes) -> Samples16:
        try:
            frames = self._codec.decode(av.Packet(payload))
        except av.FFmpegError as error:
            raise PacketError(str(error)) from error
        parts = [np.asarray(frame.to_ndarray(), dtype=np.int16).reshape(-1) for frame in frames]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int16), *parts])


class _G722Encoder:
    """FFmpeg's; the filter that splits the bands delays by 22 samples, and there is no other delay."""

    def __init__(self) -> None:
        self._position = 0
        self._codec = codec = av.AudioCodecContext.create("g722", "w")
        codec.format = av.AudioFormat("s16")
        codec.layout = av.AudioLayout("mono")
        codec.sample_rate = G722_RATE_HZ
        codec.time_base = Fraction(1, G722_RATE_HZ)

    def encode(self, samples: Samples16) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = G722_RATE_HZ, self._position
        self._position += len(samples)
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


def _g711_decoder(law: Law, rate_hz: int) -> VoiceDecoder:
    return _ConcealingDecoder(lambda: partial(decoded, law=law), G711_RATE_HZ, rate_hz)


def _g722_decoder(rate_hz: int) -> VoiceDecoder:
    return _ConcealingDecoder(_G722Decoder, G722_RATE_HZ, rate_hz)


def _g711(name: CodecName, law: Law, static_type: int) -> TelephoneCodec:
    packets = PacketFormat(G711_RATE_HZ, len, partial(_g711_decoder, law))
    return TelephoneCodec(name, name, 1, static_type, packets, G711_RATE_HZ, lambda _: _G711Encoder(law))


_G722_PACKETS: Final = PacketFormat(G722_CLOCK_RATE_HZ, len, _g722_decoder)
"""A byte is one tick of its clock."""

TELEPHONE_CODECS: Final[dict[CodecName, TelephoneCodec]] = {
    "pcmu": _g711("pcmu", "mu", 0),
    "pcma": _g711("pcma", "a", 8),
    "g722": TelephoneCodec("g722", "g722", 1, 9, _G722_PACKETS, G722_RATE_HZ, lambda _: _G722Encoder()),
    "opus": TelephoneCodec("opus", "opus", 2, None, OPUS_PACKETS, RTP_RATE_HZ, opus_encoder),
}
