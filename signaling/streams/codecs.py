"""The codecs of media streams: those of telephones, and uncompressed samples."""

from __future__ import annotations

from typing import Final, assert_never

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.codecs import PacketError, Samples16, VoiceDecoder
from media.frame_resampler import FrameResampler
from media.opus import OpusSettings
from media.resampler import StreamResampler
from media.telephone_codecs import TELEPHONE_CODECS
from signaling.streams.wire import StreamFormat

FRAME_MS: Final = 20


def decoder(format: StreamFormat) -> VoiceDecoder:
    """One stream's, to 16 kHz."""
    match format.encoding:
        case "pcmu" | "pcma" | "g722" | "opus":
            return TELEPHONE_CODECS[format.encoding].packets.decoder(SPEECH_RATE_HZ)
        case "l16-little":
            return _L16Decoder("<i2", format.rate_hz)
        case "l16-big":
            return _L16Decoder(">i2", format.rate_hz)
        case _:
            assert_never(format.encoding)


def _converter(from_hz: int, to_hz: int) -> FrameResampler | StreamResampler:
    """The one that costs half as much, where it can."""
    if from_hz % to_hz and to_hz % from_hz:
        return StreamResampler(from_hz, to_hz)
    return FrameResampler(from_hz, to_hz)


class StreamEncoder:
    """One stream's: 20 ms in, 20 ms out, whatever the rates.

    What a converter holds back at first is made good by silence, so that each frame gives exactly one.
    """

    def __init__(self, format: StreamFormat, from_hz: int, opus: OpusSettings | None = None) -> None:
        self._from_hz = from_hz
        match format.encoding:
            case "pcmu" | "pcma" | "g722" | "opus":
                codec = TELEPHONE_CODECS[format.encoding]
                self._rate_hz, self._encoder = codec.rate_hz, codec.encoder(opus or OpusSettings())
            case "l16-little":
                self._rate_hz, self._encoder = format.rate_hz, _L16Encoder("<i2")
            case "l16-big":
                self._rate_hz, self._encoder = format.rate_hz, _L16Encoder(">i2")
            case _:
                assert_never(format.encoding)
        self._frame_samples = self._rate_hz * FRAME_MS // 1000
        self.reset()

    def reset(self) -> None:
        """What is spoken next does not go on from what was spoken last."""
        self._converter = _converter(self._from_hz, self._rate_hz)
        # At any rate more than any of them holds back, and none of a frame that is whole at once.
        held_back = self._rate_hz // 500 if isinstance(self._converter, StreamResampler) else 0
        self._rest = np.zeros(held_back, dtype=np.int16)

    def encode(self, frame: Audio) -> bytes:
        """20 ms as they are sent."""
        converted = self._converter.push(frame).as_int16()
        samples = np.concatenate([self._rest, converted])
        missing = self._frame_samples - len(samples)
        if missing > 0:
            samples = np.concatenate([np.zeros(missing, dtype=np.int16), samples])
        self._rest = samples[self._frame_samples :]
        return self._encoder.encode(samples[: self._frame_samples])


class _L16Decoder:
    """Samples as they are. What is missing is silence: nobody loses packets of these on purpose."""

    def __init__(self, dtype: str, from_hz: int) -> None:
        self._dtype = dtype
        self._from_hz = from_hz
        self.reset()

    def reset(self) -> None:
        self._converter = _converter(self._from_hz, SPEECH_RATE_HZ)

    def decode(self, payload: bytes) -> Samples16:
        if len(payload) % 2:
            raise PacketError("half a sample")
        samples = np.frombuffer(payload, dtype=self._dtype).astype(np.int16)
        return self._converter.push(Audio(samples, self._from_hz)).as_int16()

    def recover(self, payload: bytes, samples: int) -> Samples16:
        return self.silence(samples)

    def conceal(self, samples: int) -> Samples16:
        return self.silence(samples)

    def silence(self, samples: int) -> Samples16:
        zeros = np.zeros(samples * self._from_hz // SPEECH_RATE_HZ, dtype=np.int16)
        return self._converter.push(Audio(zeros, self._from_hz)).as_int16()


class _L16Encoder:
    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def encode(self, samples: Samples16) -> bytes:
        return samples.astype(self._dtype).tobytes()
