"""A synthetic caller over a WebSocket: `/ws`, or the Realtime API's, for the bench, the tests and programs.

It does what `signaling.caller.Caller` does, where both sides' sound is carried as data: sends a microphone in
pieces of 20 ms, and hears what came as a player without a buffer plays it, so that latency is known where it
counts.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

import aiohttp
import numpy as np
import numpy.typing as npt
from pydantic_core import from_json, to_json

from media.audio import Audio
from media.clock import loop_time_s
from media.resampler import StreamResampler
from signaling.caller import SetupTimes, server_url
from signaling.heard import FRAME_S, HeardFrame, recording
from signaling.hearing import CallFailed, Event, Hearing, ReceivedEvent, connecting
from signaling.microphone import MICROPHONE_RATE_HZ, Microphone

RATE_HZ: Final = 24_000
"""Of both directions."""
FRAME_SAMPLES: Final = round(FRAME_S * RATE_HZ)


class Dialect(Protocol):
    """How a protocol says what a caller says and hears. Sound is base64 of int16 at `RATE_HZ`."""

    @property
    def path(self) -> str:
        """Where the server speaks it."""

    def opening(self, session: Mapping[str, Any]) -> Event:
        """What begins the call."""

    def opened(self, event: Event) -> bool:
        """Whether the event says that it has begun."""

    def voice(self, audio: str) -> Event:
        """A piece of the caller's voice."""

    def typed(self, text: str) -> Sequence[Event]:
        """Something said in writing, and the wish for an answer."""

    def sound(self, event: Event) -> str | None:
        """The piece of the assistant's voice that the event carries."""

    def silences(self, event: Event) -> bool:
        """Whether the event says to stop playing."""


@dataclass(frozen=True, slots=True)
class WsDialect:
    """`/ws`: docs/websocket.md."""

    path: str = "ws"

    def opening(self, session: Mapping[str, Any]) -> Event:
        sound = {"encoding": "int16", "rate_hz": RATE_HZ}
        return {"type": "start", "input": sound, "output": sound, "latency": True, "settings": session}

    def opened(self, event: Event) -> bool:
        return bool(event["type"] == "started")

    def voice(self, audio: str) -> Event:
        return {"type": "audio", "audio": audio}

    def typed(self, text: str) -> Sequence[Event]:
        return [{"type": "text", "text": text}]

    def sound(self, event: Event) -> str | None:
        return str(event["audio"]) if event["type"] == "speech_response" else None

    def silences(self, event: Event) -> bool:
        return bool(event["type"] == "interrupted")


@dataclass(frozen=True, slots=True)
class RealtimeDialect:
    """`/v1/realtime`: the Realtime API."""

    path: str = "v1/realtime"

    def opening(self, session: Mapping[str, Any]) -> Event:
        extras = ["vk.turn.latency", "vk.heard_text"]
        return {"type": "session.update", "session": {"type": "realtime", "include": extras, **session}}

    def opened(self, event: Event) -> bool:
        return bool(event["type"] == "session.updated")

    def voice(self, audio: str) -> Event:
        return {"type": "input_audio_buffer.append", "audio": audio}

    def typed(self, text: str) -> Sequence[Event]:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        return [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]

    def sound(self, event: Event) -> str | None:
        return str(event["delta"]) if event["type"] == "response.output_audio.delta" else None

    def silences(self, event: Event) -> bool:
        return bool(event["type"] == "input_audio_buffer.speech_started")


@dataclass(frozen=True, slots=True)
class SocketCallerOptions:
    """How the caller calls.

    Attributes:
        session: settings of the call, in the dialect's own shape.
        connect_timeout_s: for all of the setup.
        verify_tls: False accepts a certificate that the server made for itself.
        key: one of the server's, where it asks for one.
    """

    session: Mapping[str, Any] = field(default_factory=dict)
    connect_timeout_s: float = 20.0
    verify_tls: bool = True
    key: str | None = field(default=None, repr=False)


class SocketCaller:
    """A call, as an async context manager: within it the call stands.

    Args:
        base_url: of the server: `http://127.0.0.1:8000`, or a folder of a site that passes it on.
        dialect: which protocol it speaks; `/ws`'s, if none is given.

    Raises:
        CallerError: `invalid_url`.

    Raises (on entering):
        CallFailed: the server could not be reached, or did not take the call.
    """

    def __init__(
        self,
        base_url: str,
        options: SocketCallerOptions | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        self._server = server_url(base_url)
        self._options = options or SocketCallerOptions()
        self._dialect = dialect or WsDialect()
        microphone = self._microphone = Microphone()
        hearing = self._hearing = Hearing()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._opened = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks: asyncio.TaskGroup | None = None
        self._working: list[asyncio.Task[None]] = []
        self._first_s: float | None = None
        """When the first sound came: the player's clock runs from then on."""
        self._played_samples = 0
        """Where on that clock the next sound goes."""
        self._rest = np.zeros(0, dtype=np.int16)
        """Sound that does not fill a frame yet."""
        self.setup: SetupTimes | None = None
        self.say = microphone.say
        """Raises: CallFailed: the call ended before."""
        self.speak_in = microphone.speak_in
        self.hush = microphone.hush
        self.ended = hearing.ended
        """Set when the server has ended the call, or the connection is lost."""
        self.events = hearing.events
        """All that came, in order."""
        self.heard = hearing.frames
        """What was heard, and is to be: 20 ms each, with the time at which they are played."""
        self.more_heard = hearing.more
        """Set with every piece of sound; whoever waits for more clears it."""
        self.next_event = hearing.next_event
        self.first_audible = hearing.first_audible
        self.next_audible = hearing.next_audible
        """The frame may be yet to be played."""

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

    # Speaking

    async def send_event(self, event: Event) -> None:
        """Sends a client event, or a message.

        Raises:
            CallFailed: the call has ended.
        """
        self._hearing.require_standing()
        await self._send(event)

    async def type_text(self, text: str) -> None:
        """Says it in writing, and asks for an answer."""
        for event in self._dialect.typed(text):
            await self.send_event(event)

    # Hearing

    def recording(self) -> Audio:
        """All that came so far and was not cut off, 24 kHz, silence where nothing was played."""
        return recording(self.heard, RATE_HZ)

    # The call

    async def _connect(self) -> None:
        begun_s = loop_time_s()
        # A certificate that the server made for itself is known to nobody.
        connector = aiohttp.TCPConnector(ssl=self._options.verify_tls)
        headers = {"Authorization": f"Bearer {self._options.key}"} if self._options.key else {}
        http = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        self._socket = await self._stack.enter_async_context(
            http.ws_connect(self._server / self._dialect.path, headers=headers, max_msg_size=0)
        )
        answered_s = loop_time_s() - begun_s
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._stack.callback(self._stop)
        self._working = [self._tasks.create_task(self._hear(), name="socket caller's ear")]
        await self._send(self._dialect.opening(self._options.session))
        await self._opened.wait()
        if self.ended.is_set():
            refusal = next((event.event for event in self.events if event.type == "error"), {})
            raise CallFailed(str(refusal.get("message", "The server did not take the call.")))
        self._working.append(self._tasks.create_task(self._speak(), name="socket caller's mouth"))
        self.setup = SetupTimes(answered_s, loop_time_s() - begun_s, None)

    def _stop(self) -> None:
        for task in self._working:
            task.cancel()

    async def _speak(self) -> None:
        resampler = StreamResampler(MICROPHONE_RATE_HZ, RATE_HZ)
        while not self.ended.is_set():
            samples, _ = await self._microphone.next_frame()
            piece = resampler.push(Audio(samples, MICROPHONE_RATE_HZ)).as_int16().astype("<i2", copy=False)
            await self._send(self._dialect.voice(b64encode(piece.tobytes()).decode()))

    async def _hear(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            self._came(from_json(message.data))
        self._hearing.end("The server ended the call.")
        self._opened.set()
        self._microphone.fail(self._hearing.failure())

    def _came(self, event: Event) -> None:
        received = ReceivedEvent(loop_time_s(), event)
        sound = self._dialect.sound(event)
        if sound is not None:
            self._play(np.frombuffer(b64decode(sound), "<i2").astype(np.int16, copy=False), received.at_s)
            return
        if self._dialect.silences(event):
            self._fall_silent(received.at_s)
        if self._dialect.opened(event):
            self._opened.set()
        self._hearing.event_came(received)

    def _play(self, samples: npt.NDArray[np.int16], now_s: float) -> None:
        """Puts sound where a player without a buffer plays it: now, or after what it plays already."""
        if self._first_s is None:
            self._first_s = now_s
        now_samples = round((now_s - self._first_s) * RATE_HZ)
        if self._played_samples + len(self._rest) < now_samples:
            self._played_samples, self._rest = now_samples, self._rest[:0]
        waiting = np.concatenate([self._rest, samples])
        whole = len(waiting) - len(waiting) % FRAME_SAMPLES
        for start in range(0, whole, FRAME_SAMPLES):
            at_s = self._first_s + self._played_samples / RATE_HZ
            audio = Audio(waiting[start : start + FRAME_SAMPLES], RATE_HZ)
            self._hearing.sound_came(HeardFrame(at_s, self._played_samples, audio))
            self._played_samples += FRAME_SAMPLES
        self._rest = waiting[whole:]

    def _fall_silent(self, now_s: float) -> None:
        while self.heard and self.heard[-1].at_s >= now_s:
            self._played_samples = self.heard.pop().position_samples
        self._rest = self._rest[:0]

    async def _send(self, event: Event) -> None:
        assert self._socket is not None
        try:
            await self._socket.send_str(to_json(event).decode())
        except ConnectionError:
            # `_hear` notices, and says so.
            return
