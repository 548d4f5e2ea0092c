"""What the media process and the engine process say to each other, and how it travels between them.

Messages are pickled. Pickle is no format for strangers, and there are none here: both ends run the same code
of the same version for the same user, over an anonymous pair of sockets that one handed to the other. In
return every engine's arguments and results travel as they are. Samples do not go through the pickle: they
follow it as they lie in memory (PEP 574), and the other side's arrays are views of what was received.

A frame is its size, then the sizes of its parts, then the parts: the pickle, and each array's samples at a
multiple of 16 bytes, as vector code likes them.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from media.audio import Audio
from media.engines.protocols import LlmRequest, SttOptions, TtsRequest, Voice
from media.errors import (
    CallerError,
    EngineError,
    ModelMissing,
    ServerFault,
    VoiceUnavailable,
    VoxtralKokoroError,
)

RemoteRole: TypeAlias = Literal["turn_end", "stt", "llm", "tts"]
"""The engines that may live in the engine process."""

# From the media process: work that is answered


@dataclass(frozen=True, slots=True)
class StartEngine:
    """`Engine.start`. Answered with `EngineFacts`: some are known only now."""

    role: RemoteRole


@dataclass(frozen=True, slots=True)
class Judge:
    """`TurnEndEngine.judge`."""

    turn: Audio


@dataclass(frozen=True, slots=True)
class Reply:
    """`LlmEngine.reply`, item by item."""

    request: LlmRequest


@dataclass(frozen=True, slots=True)
class Speak:
    """`TtsEngine.speak`, item by item."""

    request: TtsRequest


@dataclass(frozen=True, slots=True)
class FlushSession:
    """`SttSession.flush`."""

    session: int


@dataclass(frozen=True, slots=True)
class FollowSession:
    """`SttSession.partials`, item by item."""

    session: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered at once: the process lives, and its loop turns."""


Work: TypeAlias = StartEngine | Judge | Reply | Speak | FlushSession | FollowSession | Ping


@dataclass(frozen=True, slots=True)
class Request:
    """Work under a number, which its answers bear."""

    number: int
    work: Work


# From the media process: what is not answered


@dataclass(frozen=True, slots=True)
class Cancel:
    """Whoever asked has gone: the work is cancelled, a stream is closed."""

    number: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """`SttEngine.open`, under a number of the media process's choice."""

    session: int
    options: SttOptions


@dataclass(frozen=True, slots=True)
class PushAudio:
    """`SttSession.push`."""

    session: int
    audio: Audio


@dataclass(frozen=True, slots=True)
class AbortSession:
    """`SttSession.abort`."""

    session: int


@dataclass(frozen=True, slots=True)
class SetLogLevel:
    """Records below this level (a number of `logging`) are not sent."""

    level: int


ToEngines: TypeAlias = Request | Cancel | OpenSession | PushAudio | AbortSession | SetLogLevel

# From the engine process


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engines say of themselves without being asked for work."""

    turn_end_name: str
    stt_name: str
    stt_languages: tuple[str, ...]
    llm_name: str
    tts_name: str
    tts_rate_hz: int
    tts_voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of ours, taken apart: exceptions do not survive a pickle when they have keyword arguments."""

    kind: type[VoxtralKokoroError]
    message: str
    code: str
    retryable: bool = False
    param: str | None = None

    @classmethod
    def of(cls, error: VoxtralKokoroError) -> Failure:
        kind = next(known for known in _KINDS if isinstance(error, known))
        retryable = isinstance(error, EngineError) and error.retryable
        param = error.param if isinstance(error, CallerError) else None
        return cls(kind, str(error), error.code, retryable, param)

    def error(self) -> VoxtralKokoroError:
        """The error, put together again."""
        if issubclass(self.kind, EngineError):
            return self.kind(self.message, code=self.code, retryable=self.retryable)
        if issubclass(self.kind, CallerError):
            return self.kind(self.message, code=self.code, param=self.param)
        return self.kind(self.message, code=self.code)


_KINDS = (ModelMissing, EngineError, VoiceUnavailable, CallerError, ServerFault, VoxtralKokoroError)
"""The kinds that arrive as themselves, the special before the general."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The engines are built, none is started: the first message of all."""

    facts: EngineFacts


@dataclass(frozen=True, slots=True)
class Refused:
    """The engines could not be built; the process ends."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Item:
    """The next item of a stream."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The work's result, or the end of a stream."""

    number: int
    value: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The work's failure."""

    number: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Logged:
    """A log record's attributes: it is written where the media process writes its own."""

    record: dict[str, Any]


FromEngines: TypeAlias = Hello | Refused | Item | Done | Failed | Logged

Message: TypeAlias = ToEngines | FromEngines

_SIZE = struct.Struct("<I")
_ALIGNMENT = 16


def frame(message: Message) -> list[bytes | memoryview]:
    """A message as pieces to be written one after the other; samples are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    samples = [buffer.raw() for buffer in buffers]
    sizes = struct.pack(f"<{len(samples) + 2}I", len(samples), len(pickled), *map(len, samples))
    pieces: list[bytes | memoryview] = [sizes, pickled]
    size = len(sizes) + len(pickled)
    for piece in samples:
        pieces += (bytes(-size % _ALIGNMENT), piece)
        size += -size % _ALIGNMENT + len(piece)
    return [_SIZE.pack(size), *pieces]


def message_of(body: bytearray) -> Message:
    """What a frame holds, without its size. Its arrays are views of `body`, and may be written to."""
    count, pickle_size = struct.unpack_from("<2I", body)
    sizes = struct.unpack_from(f"<{count}I", body, 8)
    view = memoryview(body)
    at = 8 + 4 * count + pickle_size
    buffers = []
    for size in sizes:
        at += -at % _ALIGNMENT
        buffers.append(view[at : at + size])
        at += size
    message: Message = pickle.loads(view[8 + 4 * count :], buffers=buffers)
    return message


class Unframer:
    """Cuts what is received, in pieces of any length, back into messages."""

    def __init__(self) -> None:
        self._size = bytearray()
        self._body: bytearray | None = None
        self._filled = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """More was received. Yields the messages that it completes."""
        view = memoryview(data)
        while view:
            if self._body is None:
                missing = _SIZE.size - len(self._size)
                self._size += view[:missing]
                view = view[missing:]
                if len(self._size) < _SIZE.size:
                    return
                self._body, self._filled = bytearray(*_SIZE.unpack(self._size)), 0
                self._size.clear()
            took = min(len(view), len(self._body) - self._filled)
            self._body[self._filled : self._filled + took] = view[:took]
            self._filled += took
            view = view[took:]
            if self._filled == len(self._body):
                body, self._body = self._body, None
                yield message_of(body)


class Channel(asyncio.Protocol):
    """One end of the pair of sockets.

    Writes do not wait: what is under way is bounded by the calls and their turns, and a process that stops
    reading is found out by its silence (`Ping`).

    Args:
        receive: given each message, on the loop, in order.
        lost: called once, when the other side is gone or the channel was closed.
    """

    def __init__(self, receive: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._unframer = Unframer()
        self._transport: asyncio.WriteTransport | None = None

    def send(self, message: Message) -> None:
        """Sends a message; drops it where nobody is there any more. From the loop."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(frame(message))

    def close(self) -> None:
        """Lets go of the other side at once. May be called twice."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for message in self._unframer.feed(data):
            self._receive(message)

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost()
