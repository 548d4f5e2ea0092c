"""What goes to a telephone: a packet every 20 ms, of the voice, of a key, or of silence."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from media.audio import Audio
from media.clock import loop_time_s
from media.codecs import Samples16, VoiceEncoder
from media.errors import ToolError
from media.frame_resampler import FrameResampler
from media.opus import OpusSettings
from media.playout import PLAYOUT_RATE_HZ
from media.telephone_codecs import TelephoneCodec
from signaling.outbound_track import TalkspurtEncoder
from signaling.rtp.comfort_noise import SilenceSuppression
from signaling.rtp.dtmf import EventPacket, press_packets
from signaling.rtp.negotiation import Agreement
from signaling.rtp.rtcp import Sent

_HEADER: Final = struct.Struct("!BBHLL")
_VERSION_2: Final = 0x80
_MARKER: Final = 0x80
_SILENT_TAIL_FRAMES: Final = 2
"""After these the converter and the codec are silent, too."""


@dataclass(slots=True)
class _Press:
    """Keys that are to be pressed: those not begun, what is to be sent of the one that is, and who waits."""

    digits: deque[str]
    sent: asyncio.Future[None]
    packets: deque[EventPacket | None] = field(default_factory=deque)


class FrameEncoder:
    """Frames of 20 ms at 48 kHz in, payloads out: one each, or two of half the length.

    What it costs in silence is next to nothing: G.711's is always the same, Opus says once that it is silent.
    """

    def __init__(self, codec: TelephoneCodec, opus: OpusSettings, packet_ms: int) -> None:
        self.codec = codec
        self.packet_ms = packet_ms
        self._encoder: VoiceEncoder = codec.encoder(opus)
        self._packets = 20 // packet_ms
        self._talkspurts = TalkspurtEncoder(self._encoder) if codec.name == "opus" else None
        self._converter = FrameResampler(PLAYOUT_RATE_HZ, codec.rate_hz)
        self._silent_frames = 0
        self._silence: Samples16 = np.zeros(codec.rate_hz // 50, dtype=np.int16)
        self._silent_payload = self._encoder.encode(self._silence) if codec.name in ("pcmu", "pcma") else b""

    @property
    def silent(self) -> bool:
        """Whether the last frame was silence, and so much before it that none of the voice is left."""
        return self._silent_frames > _SILENT_TAIL_FRAMES

    def push(self, frame: Audio) -> list[bytes]:
        """The frame's payloads."""
        samples = frame.as_int16()
        self._silent_frames = 0 if np.count_nonzero(samples) else self._silent_frames + 1
        if self._talkspurts is not None:
            size = len(samples) // self._packets
            parts = [Audio(samples[at : at + size], PLAYOUT_RATE_HZ) for at in range(0, len(samples), size)]
            return [self._talkspurts.push(part) for part in parts]
        if self.silent:
            payload = self._silent_payload or self._encoder.encode(self._silence)
        else:
            payload = self._encoder.encode(self._converter.push(frame).as_int16())
        if self._packets == 1:
            return [payload]
        # The bytes of these codecs are in the order of time.
        half = len(payload) // 2
        return [payload[:half], payload[half:]]


class Sender:
    """One call's packets, for as long as it lasts: agreements come and go.

    Args:
        agreement: the first.
        opus: how Opus is encoded.
        send: takes each packet.
    """

    def __init__(self, agreement: Agreement, opus: OpusSettings, send: Callable[[bytes], None]) -> None:
        self._opus = opus
        self._send = send
        self._presses: deque[_Press] = deque()
        self._press_timestamp = 0
        self._sequence = secrets.randbelow(1 << 15)
        """Low at first, so that a receiver of SRTP does not lose count of it (RFC 3711, section 3.3.1)."""
        self._first_timestamp = secrets.randbits(32)
        self._begins = True
        """Whether nothing was sent before the next packet of sound, or not of late."""
        self._agreement = agreement
        self._encoder = FrameEncoder(agreement.codec, opus, agreement.packet_ms)
        self._suppression = _suppression(agreement)
        self.sent = Sent(secrets.randbits(32), agreement.codec.packets.clock_rate_hz)
        self.packets = 0
        """Sent in the whole call."""

    def agree(self, agreement: Agreement) -> None:
        """Another agreement stands."""
        before, self._agreement = self._agreement, agreement
        if (before.codec, before.packet_ms) != (agreement.codec, agreement.packet_ms):
            self._encoder = FrameEncoder(agreement.codec, self._opus, agreement.packet_ms)
        self._suppression = _suppression(agreement)
        clock_rate_hz = agreement.codec.packets.clock_rate_hz
        if self.sent.clock_rate_hz != clock_rate_hz:
            # Another clock rate is another source (RFC 7160, section 4.1).
            self._begins = True
            self.sent = Sent(secrets.randbits(32), clock_rate_hz)
        if agreement.events_type is None or not agreement.sends:
            self._drop_presses("The far side does not take keys now.")

    def press(self, digits: str) -> asyncio.Future[None]:
        """Has keys pressed after those that are being pressed; done when they are, or `ToolError`.

        Cancelled, it sends no more of them.
        """
        sent = asyncio.get_running_loop().create_future()
        self._presses.append(_Press(deque(digits), sent))
        return sent

    def close(self) -> None:
        """Nothing will be sent any more. May be called twice."""
        self._drop_presses("The call ended before all keys were pressed.")

    def push(self, frame: Audio, position_samples: int) -> None:
        """20 ms of the voice are due, so many samples at 48 kHz after the first: a packet leaves, or some."""
        agreement = self._agreement
        if not agreement.sends:
            self._begins = True
            return
        clock_rate_hz = self.sent.clock_rate_hz
        timestamp = self._first_timestamp + position_samples * clock_rate_hz // PLAYOUT_RATE_HZ
        if self._presses and self._press(timestamp):
            self._begins = True
            return
        payloads = self._encoder.push(frame)
        noise = self._suppression.push(self._encoder.silent) if self._suppression is not None else None
        if noise is not None:
            self._begins = True
            if noise:
                assert agreement.noise_type is not None
                self._packet(agreement.noise_type, timestamp, noise)
            return
        for payload in payloads:
            marker = _MARKER if self._begins else 0
            self._begins = False
            self._packet(agreement.payload_type | marker, timestamp, payload)
            timestamp += clock_rate_hz * agreement.packet_ms // 1000

    def _press(self, timestamp: int) -> bool:
        """Sends what is due of a key. Returns whether it takes the voice's place."""
        while self._presses:
            press = self._presses[0]
            if press.digits and not press.packets:
                press.packets.extend(press_packets(press.digits.popleft(), self._agreement.events_rate_hz))
            if press.packets and not press.sent.done():
                self._event(press.packets.popleft(), timestamp)
                return True
            self._presses.popleft()
            if not press.sent.done():
                press.sent.set_result(None)
        return False

    def _event(self, event: EventPacket | None, timestamp: int) -> None:
        events_type = self._agreement.events_type
        if event is None or events_type is None:
            return
        if event.first:
            self._press_timestamp = timestamp
        self._packet(events_type | (_MARKER if event.first else 0), self._press_timestamp, event.payload)

    def _packet(self, marked_type: int, timestamp: int, payload: bytes) -> None:
        timestamp &= 0xFFFFFFFF
        header = _HEADER.pack(_VERSION_2, marked_type, self._sequence, timestamp, self.sent.ssrc)
        self._send(header + payload)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.packets += 1
        sent = self.sent
        sent.packets += 1
        sent.octets += len(payload)
        sent.timestamp, sent.at_s = timestamp, loop_time_s()

    def _drop_presses(self, reason: str) -> None:
        for press in self._presses:
            if not press.sent.done():
                press.sent.set_exception(ToolError(reason))
        self._presses.clear()


def _suppression(agreement: Agreement) -> SilenceSuppression | None:
    return None if agreement.noise_type is None else SilenceSuppression()
