"""A synthetic caller over SIP and RTP, for the bench and the tests: a telephone that says what it is given.

It does what `signaling.caller.Caller` does over WebRTC: sends a microphone's 20 ms each, and notes when each
packet's sound came, before any jitter buffer, so that latency is known where it counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.errors import CallerError, ServerFull
from signaling.caller import SetupTimes
from signaling.heard import FRAME_S, HeardFrame, recording
from signaling.hearing import CallFailed, Hearing, connecting
from signaling.microphone import MICROPHONE_RATE_HZ, Microphone
from signaling.phone.leg import Admission, PhoneLeg
from signaling.rtp.media import RtpMedia
from signaling.rtp.settings import CodecName, RtpSettings
from signaling.rtp.socket import RtpPorts
from signaling.sip.settings import SipSettings
from signaling.sip.user_agent import SipUserAgent

_FRAME_SAMPLES: Final = round(FRAME_S * SPEECH_RATE_HZ)


@dataclass(frozen=True, slots=True)
class SipCallerOptions:
    """How the caller calls.

    Attributes:
        codec: the only one that it knows.
        rtp_ports: of which it takes two.
        connect_timeout_s: for all of the setup.
    """

    codec: CodecName = "pcmu"
    rtp_ports: str = "25000-26999"
    connect_timeout_s: float = 20.0


class SipCaller:
    """A call, as an async context manager: within it the call stands.

    Args:
        uri: who is called, on this machine: `sip:assistant@127.0.0.1:5060`.

    Raises (on entering):
        CallFailed: the call was not taken.
    """

    def __init__(self, uri: str, options: SipCallerOptions | None = None) -> None:
        self._uri = uri
        self._options = options or SipCallerOptions()
        microphone = self._microphone = Microphone()
        hearing = self._hearing = Hearing()
        self._line = _Line(microphone, hearing)
        self._stack = AsyncExitStack()
        self._leg: PhoneLeg | None = None
        self.setup: SetupTimes | None = None
        self.say = microphone.say
        """Raises: CallFailed: the call ended before."""
        self.hush = microphone.hush
        self.ended = hearing.ended
        """Set when the far side has hung up."""
        self.events = hearing.events
        """None ever comes: a telephone is told nothing."""
        self.heard = hearing.frames
        """What came: 20 ms each, with the time of its arrival."""
        self.pressed = self._line.pressed
        """Keys that the far side pressed."""
        self.first_audible = hearing.first_audible
        self.next_audible = hearing.next_audible

    async def __aenter__(self) -> Self:
        async with connecting(self._options.connect_timeout_s, self._stack.aclose):
            await self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._microphone.hush()
        await self._stack.aclose()

    async def press(self, digits: str) -> None:
        """Presses keys. Returns when they are sent."""
        assert self._leg is not None
        await self._leg.send_digits(digits)

    def recording(self) -> Audio:
        """All that came so far, 16 kHz, silence where nothing came."""
        return recording(self.heard, SPEECH_RATE_HZ)

    async def _connect(self) -> None:
        begun_s = loop_time_s()
        settings = SipSettings(
            host="127.0.0.1",
            udp_port=0,
            rtp=RtpSettings(codecs=(self._options.codec,), ports=self._options.rtp_ports),
        )
        ports = RtpPorts(settings.rtp.port_range)
        tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        agent = await self._stack.enter_async_context(
            SipUserAgent(settings, _Nobody(), lambda *addresses: RtpMedia(settings.rtp, ports, *addresses))
        )
        try:
            leg = self._leg = await agent.dial(self._uri, None, _ignore)
        except CallerError as error:
            raise CallFailed(str(error)) from error
        self._stack.callback(leg.hang_up)
        answered_s = loop_time_s() - begun_s
        tasks.create_task(self._carry(leg), name="SIP caller")
        await self._line.stands.wait()
        self.setup = SetupTimes(answered_s, loop_time_s() - begun_s, None)

    async def _carry(self, leg: PhoneLeg) -> None:
        why = await leg.run(self._line, self._line)
        self._hearing.end(why)
        self._line.stands.set()
        self._microphone.fail(self._hearing.failure())


class _Line:
    """The caller's mouth and ear, as a leg has them: `VoiceOut` and `PhoneEar`."""

    pausable = False
    ahead_s = 0.0
    heard_lag_s = 0.0
    phase_s = 0.0
    silenced: Callable[[], None] | None = None
    spoke = False
    pending = True
    heard_from_s = 0.0
    lacking_samples = 0

    def __init__(self, microphone: Microphone, hearing: Hearing) -> None:
        self._microphone = microphone
        self._hearing = hearing
        self._heard_samples = 0
        self._rest = np.zeros(0, dtype=np.int16)
        self.pressed: list[str] = []
        self.stands = asyncio.Event()
        """Set with the first sound, in either direction."""

    async def next_frame(self) -> tuple[Audio, int]:
        samples, position = await self._microphone.next_frame()
        self.stands.set()
        return Audio(samples, MICROPHONE_RATE_HZ), position

    async def until_sound(self, limit_s: float) -> None:
        """There always is some."""

    def hear(self, audio: Audio) -> None:
        now_s = loop_time_s()
        waiting = np.concatenate([self._rest, audio.as_int16()])
        whole = len(waiting) - len(waiting) % _FRAME_SAMPLES
        for start in range(0, whole, _FRAME_SAMPLES):
            piece = Audio(waiting[start : start + _FRAME_SAMPLES], SPEECH_RATE_HZ)
            self._hearing.sound_came(HeardFrame(now_s, self._heard_samples, piece))
            self._heard_samples += _FRAME_SAMPLES
        self._rest = waiting[whole:]

    def digit(self, digit: str) -> None:
        self.pressed.append(digit)


class _Nobody:
    """Takes no calls."""

    def admit(self) -> Admission:
        raise ServerFull("This telephone is not called.", retry_after_s=60)

    def start(self, leg: PhoneLeg, update: object = None) -> asyncio.Event:
        raise ServerFull("This telephone is not called.", retry_after_s=60)


def _ignore() -> None:
    """It rings."""
