"""One speaker's RTP packets made into sound: the shell around `media.reception`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import assert_never

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.codecs import PacketError, PacketFormat, Samples16
from media.opus import OPUS_PACKETS
from media.reception import (
    Action,
    Conceal,
    Decode,
    Packet,
    Reception,
    ReceptionCounts,
    Recover,
    Restart,
    Silence,
)


class InboundVoice:
    """Decodes packets as they come, on the loop: a packet takes less than handing it to a thread would.

    Args:
        heard: takes the sound, in order, without gaps on RTP's timeline.
        rate_hz: of that sound: 8, 12, 16, 24 or 48 kHz; 8 or 16 for what is not Opus.
        lacking_samples: how much more of it there must be until `heard` does anything with it.
        packets: what they are.
    """

    def __init__(
        self,
        heard: Callable[[Audio], None],
        rate_hz: int = SPEECH_RATE_HZ,
        lacking_samples: Callable[[], int] = lambda: 0,
        packets: PacketFormat = OPUS_PACKETS,
    ) -> None:
        self._heard = heard
        self._lacking_samples = lacking_samples
        self._rate_hz = rate_hz
        self._clock_rate_hz = packets.clock_rate_hz
        self._decoder = packets.decoder(rate_hz)
        self._reception = Reception(packets)
        self._timer: asyncio.TimerHandle | None = None
        self.undecodable = 0
        """Packets that were none of the codec; silence is heard instead."""

    @property
    def counts(self) -> ReceptionCounts:
        """What became of the packets so far."""
        return self._reception.counts

    @property
    def lacking_rtp_samples(self) -> int:
        """A packet in order with less sound than this may as well be taken together with the next one."""
        if self._timer is not None:
            return 0
        return self._lacking_samples() * self._clock_rate_hz // self._rate_hz

    def take(self, packet: Packet, at_s: float) -> None:
        """A packet, and its arrival in loop time."""
        self._perform(self._reception.push(packet, at_s))
        if self._timer is not None or self._reception.due_s is not None:
            self._set_timer()

    def close(self) -> None:
        """Waits for nothing any more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        """Looks again when the gap that is waited on, if there is one, has been waited on for long enough."""
        self.close()
        if (due_s := self._reception.due_s) is not None:
            self._timer = asyncio.get_running_loop().call_at(due_s, self._gap_is_due)

    def _gap_is_due(self) -> None:
        self._timer = None
        self._perform(self._reception.poll(loop_time_s()))
        self._set_timer()

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            samples = self._sound(action)
            if len(samples):
                self._heard(Audio(samples, self._rate_hz))

    def _sound(self, action: Action) -> Samples16:
        match action:
            case Decode():
                try:
                    return self._decoder.decode(action.payload)
                except PacketError:
                    self.undecodable += 1
                    return self._decoder.silence(self._rate_hz // 50)
            case Recover():
                try:
                    return self._decoder.recover(action.payload, self._here(action.samples))
                except PacketError:
                    return self._decoder.silence(self._here(action.samples))
            case Conceal():
                return self._decoder.conceal(self._here(action.samples))
            case Silence():
                return self._decoder.silence(self._here(action.samples))
            case Restart():
                self._decoder.reset()
                return self._decoder.silence(0)
            case _:
                assert_never(action)

    def _here(self, samples: int) -> int:
        """Samples at the packets' clock rate, as many as they are at ours."""
        return samples * self._rate_hz // self._clock_rate_hz
