"""Providers' far sides, written from the descriptions of their wires: each speaks and plays in real time.

What is sent to them is queued, and played frame by frame; marks come back when they are reached, and when
they are cleared, as the wire has it.
"""

from __future__ import annotations

import asyncio
import json
import struct
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import aiohttp
import numpy as np

from media.audio import Audio, concatenate
from media.clock import loop_time_s
from media.g711 import decoded, encoded
from media.resampler import StreamResampler

FRAME_S = 0.02
AUDIBLE_DBFS = -45.0

Sound = Literal["mu", "a", "little", "big"]


def written(samples: Any, sound: Sound) -> bytes:
    if sound in ("mu", "a"):
        return encoded(samples, sound)  # type: ignore[arg-type]
    return bytes(samples.astype("<i2" if sound == "little" else ">i2").tobytes())


def read(payload: bytes, sound: Sound) -> Any:
    if sound in ("mu", "a"):
        return decoded(payload, sound)  # type: ignore[arg-type]
    return np.frombuffer(payload, "<i2" if sound == "little" else ">i2").astype(np.int16)


class Line(Protocol):
    """What carries a far side's messages."""

    async def send(self, message: str | bytes) -> None: ...

    async def receive(self) -> str | bytes | None: ...

    async def close(self) -> None: ...


class _End:
    """One end of a line without a network. `signaling.streams.leg.StreamSocket`, too."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.other: _End
        self.closed = False
        self._under_way: deque[str | bytes | None] = deque()
        """In order: timers of the same time may fire in any."""
        self._came: asyncio.Queue[str | bytes | None] = asyncio.Queue()

    async def send(self, message: str | bytes) -> None:
        if not self.closed:
            self._give(message)

    def _give(self, message: str | bytes | None) -> None:
        self._under_way.append(message)
        asyncio.get_running_loop().call_later(self.delay_s, self._arrive)

    def _arrive(self) -> None:
        self.other._came.put_nowait(self._under_way.popleft())

    async def receive(self) -> str | bytes | None:
        message = await self._came.get()
        if message is None:
            self._came.put_nowait(None)
        return message

    async def close(self) -> None:
        if not self.closed:
            self.closed = self.other.closed = True
            self._give(None)
            self.other._give(None)


def memory_line(delay_s: float = 0.03) -> tuple[_End, _End]:
    """Both ends of a line, for virtual time: the server's, and the far side's."""
    ours, theirs = _End(delay_s), _End(delay_s)
    ours.other, theirs.other = theirs, ours
    return ours, theirs


class WebSocketLine:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)

    async def receive(self) -> str | bytes | None:
        message = await self.socket.receive()
        return message.data if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY) else None

    async def close(self) -> None:
        await self.socket.close()


class TcpLine:
    """AudioSocket's: a message is a frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        self.writer.write(message)
        await self.writer.drain()

    async def receive(self) -> bytes | None:
        try:
            header = await self.reader.readexactly(3)
            return header + await self.reader.readexactly(int.from_bytes(header[1:], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def close(self) -> None:
        self.writer.close()


@dataclass
class FarSide(ABC):
    """One call's, without its provider's messages: subclasses have those.

    Attributes:
        sound: how it is written on the wire.
        rate_hz: of it.
        drops: which of its frames never arrive at the server.
        swaps: which of its frames are overtaken by the one after them.
        lag_s: between its queue and the caller's ear.
    """

    sound: Sound = "mu"
    rate_hz: int = 8_000
    drops: frozenset[int] = frozenset()
    swaps: frozenset[int] = frozenset()
    returns_marks: bool = True
    line: Line = field(init=False)
    played: list[tuple[float, Audio]] = field(default_factory=list)
    """What the caller heard, frame by frame; and when."""
    queued: deque[bytes | str] = field(default_factory=deque)
    """Sound, and between it the names of marks."""
    most_queued_s: float = 0.0
    cleared: list[float] = field(default_factory=list)
    """When it was told to forget what it had queued."""
    got: list[Any] = field(default_factory=list)
    """All that it was sent, but for sound and marks."""
    marks_returned: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The server has gone."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    sent_frames: int = 0
    _says: asyncio.Queue[Audio] = field(default_factory=asyncio.Queue)
    _held: tuple[int, str | bytes] | None = None

    # What a provider's wire is like

    @abstractmethod
    async def hello(self) -> None:
        """Begins the stream, as this provider does."""

    @abstractmethod
    def media(self, payload: bytes, number: int) -> str | bytes:
        """A frame of the caller's sound, as it is written."""

    @abstractmethod
    async def take(self, message: str | bytes) -> None:
        """What the server sent."""

    @abstractmethod
    def mark_message(self, name: str, *, cleared: bool) -> str | bytes | None:
        """What tells that a mark was reached, or cleared; None where nothing does."""

    @abstractmethod
    async def press(self, digit: str) -> None:
        """The caller presses a key."""

    async def leave(self) -> None:
        """Hangs up: this wire has no word for it."""
        await self.line.close()

    # What all of them do

    @property
    def frame_bytes(self) -> int:
        return self.rate_hz // 50 * (1 if self.sound in ("mu", "a") else 2)

    async def run(self, line: Line) -> None:
        self.line = line
        await self.hello()
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(self._receive(), name="far ear"),
                tasks.create_task(self._tick(), name="far clock"),
            ]
            await self.ended.wait()
            for task in working:
                task.cancel()

    async def _receive(self) -> None:
        while (message := await self.line.receive()) is not None:
            await self.take(message)
            self.news.set()
        self.ended.set()
        self.news.set()

    async def _tick(self) -> None:
        """Speaks and plays 20 ms after 20 ms; catches up where the machine was late."""
        began_s, count = loop_time_s(), 0
        rest = np.zeros(0, np.int16)
        converter = StreamResampler(16_000, self.rate_hz)
        step = self.rate_hz // 50
        while True:
            await self._play()
            if not self._says.empty():
                part = self._says.get_nowait()
                rest = np.concatenate([rest, converter.push(part).as_int16()])
            samples, rest = rest[:step], rest[step:]
            samples = np.concatenate([samples, np.zeros(step - len(samples), np.int16)])
            await self._speak(written(samples, self.sound))
            count += 1
            await asyncio.sleep(max(0.0, began_s + count * FRAME_S - loop_time_s()))

    async def _speak(self, payload: bytes) -> None:
        number = self.sent_frames
        self.sent_frames += 1
        message = self.media(payload, number)
        if number in self.drops:
            return
        if number in self.swaps:
            self._held = (number, message)
            return
        await self.line.send(message)
        if self._held is not None:
            await self.line.send(self._held[1])
            self._held = None

    async def _play(self) -> None:
        wanted, payload = self.frame_bytes, b""
        while self.queued and (isinstance(self.queued[0], str) or len(payload) < wanted):
            first = self.queued.popleft()
            if isinstance(first, str):
                await self._return(first, cleared=False)
                continue
            payload += first
            if len(payload) > wanted:
                self.queued.appendleft(payload[wanted:])
                payload = payload[:wanted]
        samples = read(payload, self.sound)
        samples = np.concatenate([samples, np.zeros(self.rate_hz // 50 - len(samples), np.int16)])
        self.played.append((loop_time_s(), Audio(samples, self.rate_hz)))
        self.news.set()

    async def _return(self, name: str, *, cleared: bool) -> None:
        message = self.mark_message(name, cleared=cleared)
        if message is not None and self.returns_marks:
            self.marks_returned += 1
            await self.line.send(message)

    def queue(self, payload: bytes) -> None:
        self.queued.append(payload)
        waiting = sum(len(part) for part in self.queued if isinstance(part, bytes))
        self.most_queued_s = max(self.most_queued_s, waiting / self.frame_bytes * FRAME_S)

    async def clear(self) -> None:
        self.cleared.append(loop_time_s())
        names = [part for part in self.queued if isinstance(part, str)]
        self.queued.clear()
        for name in names:
            await self._return(name, cleared=True)

    def say(self, *parts: Audio) -> None:
        for part in parts:
            self._says.put_nowait(part)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert not self.ended.is_set(), "the server has gone"
            self.news.clear()
            await self.news.wait()

    def heard(self) -> Audio:
        """All that the caller heard."""
        return concatenate([frame for _, frame in self.played], self.rate_hz)

    def audible_s(self, since_s: float = 0.0) -> float:
        """How many seconds of it could be heard."""
        frames = [frame for at_s, frame in self.played if at_s >= since_s]
        return FRAME_S * sum(frame.level_dbfs() > AUDIBLE_DBFS for frame in frames)


class TwilioSide(FarSide):
    stream_sid = "MZ18ad3ab5a668481ce02b83e7395059f0"
    call_sid = "CA388c8ca3a1e1d0b3b0e1bbd0e8a8f1c2"

    def __init__(self, parameters: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.parameters = parameters or {}

    async def hello(self) -> None:
        await self.line.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        start = {
            "accountSid": "AC1",
            "streamSid": self.stream_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self.parameters,
        }
        await self.line.send(
            json.dumps(
                {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": self.stream_sid}
            )
        )

    def media(self, payload: bytes, number: int) -> str:
        media = {
            "track": "inbound",
            "chunk": str(number + 1),
            "timestamp": str(20 * number + 5),
            "payload": b64encode(payload).decode(),
        }
        return json.dumps(
            {
                "event": "media",
                "sequenceNumber": str(number + 2),
                "media": media,
                "streamSid": self.stream_sid,
            }
        )

    async def take(self, message: str | bytes) -> None:
        assert isinstance(message, str), "Twilio takes no binary messages"
        told = json.loads(message)
        assert told["streamSid"] == self.stream_sid
        match told["event"]:
            case "media":
                self.queue(b64decode(told["media"]["payload"], validate=True))
            case "mark":
                self.queued.append(told["mark"]["name"])
            case "clear":
                await self.clear()
            case event:
                raise AssertionError(f"Twilio knows no {event}")

    def mark_message(self, name: str, *, cleared: bool) -> str:
        return json.dumps(
            {
                "event": "mark",
                "sequenceNumber": "9",
                "streamSid": self.stream_sid,
                "mark": {"name": name},
            }
        )

    async def press(self, digit: str) -> None:
        dtmf = {"track": "inbound_track", "digit": digit}
        await self.line.send(
            json.dumps({"event": "dtmf", "streamSid": self.stream_sid, "sequenceNumber": "5", "dtmf": dtmf})
        )

    async def leave(self) -> None:
        stop = {"accountSid": "AC1", "callSid": self.call_sid}
        await self.line.send(json.dumps({"event": "stop", "streamSid": self.stream_sid, "stop": stop}))


class TelnyxSide(FarSide):
    stream_id = "32de0dea-53cb-4b21-89a4-9e1819c043bc"
    encoding = "PCMU"

    async def hello(self) -> None:
        await self.line.send(json.dumps({"event": "connected", "version": "1.0.0"}))
        start = {
            "user_id": "3e6f995f",
            "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
            "from": "+13122010094",
            "to": "+13122123456",
            "custom_parameters": {"customer_id": "customer_123"},
            "media_format": {"encoding": self.encoding, "sample_rate": self.rate_hz, "channels": 1},
        }
        await self.line.send(
            json.dumps(
                {"event": "start", "sequence_number": "1", "start": start, "stream_id": self.stream_id}
            )
        )

    def media(self, payload: bytes, number: int) -> str:
        media = {
            "track": "inbound",
            "chunk": str(number + 2),
            "timestamp": str(5 + number),
            "payload": b64encode(payload).decode(),
        }
        return json.dumps(
            {
                "event": "media",
                "sequence_number": str(number + 4),
                "media": media,
                "stream_id": self.stream_id,
            }
        )

    async def take(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        told = json.loads(message)
        match told["event"]:
            case "media":
                self.queue(b64decode(told["media"]["payload"], validate=True))
            case "mark":
                self.queued.append(told["mark"]["name"])
            case "clear":
                await self.clear()
            case event:
                raise AssertionError(f"Telnyx knows no {event}")

    def mark_message(self, name: str, *, cleared: bool) -> str:
        return json.dumps(
            {
                "event": "mark",
                "sequence_number": "7",
                "stream_id": self.stream_id,
                "mark": {"name": name},
            }
        )

    async def press(self, digit: str) -> None:
        dtmf = {"digit": digit}
        await self.line.send(
            json.dumps({"event": "dtmf", "stream_id": self.stream_id, "sequence_number": "5", "dtmf": dtmf})
        )

    async def leave(self) -> None:
        await self.line.send(
            json.dumps({"event": "stop", "sequence_number": "5", "stop": {}, "stream_id": self.stream_id})
        )


class PlivoSide(FarSide):
    stream_id = "20170ada-f610-433b-8758-c02a2aab3662"
    call_id = "6a0d0a4e-0e34-4f0e-9b33-1cb8b1f1a7a1"

    @property
    def content_type(self) -> str:
        return "audio/x-mulaw" if self.sound == "mu" else "audio/x-l16"

    async def hello(self) -> None:
        start = {
            "callId": self.call_id,
            "streamId": self.stream_id,
            "accountId": "MA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": self.content_type, "sampleRate": self.rate_hz},
        }
        await self.line.send(
            json.dumps({"sequenceNumber": 0, "event": "start", "start": start, "extra_headers": "{}"})
        )

    def media(self, payload: bytes, number: int) -> str:
        media = {
            "track": "inbound",
            "timestamp": str(1_659_361_020_000 + 20 * number),
            "chunk": number + 1,
            "payload": b64encode(payload).decode(),
        }
        return json.dumps(
            {
                "sequenceNumber": number + 1,
                "streamId": self.stream_id,
                "event": "media",
                "media": media,
                "extra_headers": "{}",
            }
        )

    async def take(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        told = json.loads(message)
        assert told["streamId"] == self.stream_id
        match told["event"]:
            case "playAudio":
                assert told["media"]["contentType"] == self.content_type
                assert told["media"]["sampleRate"] == self.rate_hz
                self.queue(b64decode(told["media"]["payload"], validate=True))
            case "checkpoint":
                self.queued.append(told["name"])
            case "clearAudio":
                await self.clear()
                await self.line.send(
                    json.dumps({"sequenceNumber": 0, "streamId": self.stream_id, "event": "clearedAudio"})
                )
            case "sendDTMF":
                self.got.append(told["dtmf"])
            case event:
                raise AssertionError(f"Plivo knows no {event}")

    def mark_message(self, name: str, *, cleared: bool) -> str | None:
        """Checkpoints that are cleared do not come back here."""
        if cleared:
            return None
        return json.dumps({"event": "playedStream", "streamId": self.stream_id, "name": name})

    async def press(self, digit: str) -> None:
        dtmf = {"track": "inbound", "digit": digit, "timestamp": "1659361020000"}
        await self.line.send(
            json.dumps({"event": "dtmf", "streamId": self.stream_id, "sequenceNumber": 3, "dtmf": dtmf})
        )


class ChanWebSocketSide(FarSide):
    """Asterisk's, in the mode that is wanted."""

    speaks_json = True
    format = "ulaw"

    async def hello(self) -> None:
        start = {
            "connection_id": "e226e283-c90a-4ea9-9e37-389000b9ef47",
            "channel": "WebSocket/connection1/0x7f",
            "channel_id": "pbx1-123456789.999",
            "format": self.format,
            "optimal_frame_size": self.frame_bytes,
            "ptime": 20,
        }
        if self.speaks_json:
            variables = {"channel_variables": {"TENANT": "blue"}}
            await self.line.send(json.dumps({"event": "MEDIA_START", **start, **variables}))
        else:
            words = " ".join(f"{name}:{value}" for name, value in start.items())
            await self.line.send(f"MEDIA_START {words}")

    def media(self, payload: bytes, number: int) -> bytes:
        return payload

    async def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            # What does not fill a frame would be dropped.
            assert len(message) % self.frame_bytes == 0
            self.queue(message)
            return
        assert len(message) <= 128, "Asterisk ignores longer ones"
        if self.speaks_json:
            told = json.loads(message)
            command, correlation_id = told["command"], told.get("correlation_id", "")
        else:
            command, _, correlation_id = message.partition(" ")
        match command:
            case "MARK_MEDIA":
                self.queued.append(correlation_id)
            case "FLUSH_MEDIA":
                await self.clear()
            case "HANGUP":
                self.got.append(command)
                self.ended.set()
            case _:
                raise AssertionError(f"Asterisk knows no {command}")

    def mark_message(self, name: str, *, cleared: bool) -> str | None:
        if cleared:
            return None
        if not self.speaks_json:
            return f"MEDIA_MARK_PROCESSED {name}"
        event = {"event": "MEDIA_MARK_PROCESSED", "channel_id": "pbx1-1", "correlation_id": name}
        return json.dumps(event)

    async def press(self, digit: str) -> None:
        if self.speaks_json:
            event = {"event": "DTMF_END", "channel_id": "pbx1-1", "digit": digit}
            await self.line.send(json.dumps(event))
        else:
            await self.line.send(f"DTMF_END channel_id:pbx1-1 digit:{digit}")


class AudioSocketSide(FarSide):
    uuid = bytes.fromhex("40325ec25efd4bd39ef5ffe12bb0ffe5")
    KINDS: ClassVar = {
        8_000: 0x10,
        12_000: 0x11,
        16_000: 0x12,
        24_000: 0x13,
        32_000: 0x14,
        44_100: 0x15,
        48_000: 0x16,
    }

    async def hello(self) -> None:
        await self.line.send(struct.pack(">BH", 1, 16) + self.uuid)

    def media(self, payload: bytes, number: int) -> bytes:
        return struct.pack(">BH", self.KINDS[self.rate_hz], len(payload)) + payload

    async def take(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        if message[0] == 0:
            self.got.append("HANGUP")
            self.ended.set()
            return
        assert message[0] == self.KINDS[self.rate_hz]
        assert len(message) - 3 == self.frame_bytes
        self.queue(message[3:])

    def mark_message(self, name: str, *, cleared: bool) -> None:
        return None

    async def press(self, digit: str) -> None:
        await self.line.send(struct.pack(">BH", 3, 1) + digit.encode())

    async def leave(self) -> None:
        await self.line.send(b"\x00\x00\x00")


@asynccontextmanager
async def over_websocket(side: FarSide, url: str, **options: Any) -> AsyncIterator[None]:
    """The far side talks to a server as long as the block lasts, or the server wants."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, **options) as socket,
        asyncio.TaskGroup() as tasks,
    ):
        talking = tasks.create_task(side.run(WebSocketLine(socket)), name="far side")
        yield
        side.ended.set()
        await talking


@asynccontextmanager
async def over_tcp(side: FarSide, port: int) -> AsyncIterator[None]:
    """Likewise."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(side.run(TcpLine(reader, writer)), name="far side")
            yield
            side.ended.set()
            await talking
    finally:
        writer.close()
        await writer.wait_closed()
