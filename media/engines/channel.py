"""How messages travel between the media process and the engine process.

They are pickled. Pickle is no format for strangers, and there are none here: both ends run the same code of
the same version for the same user, over an anonymous pair of sockets that one handed to the other. In
return every engine's arguments and results travel as they are. Samples do not go through the pickle: they
follow it as they lie in memory (PEP 574), and the other side's arrays are views of what was received.
Dataclasses travel as their fields and are made anew by their constructors, which keeps their checks and
halves a message's cost.

A frame is its size, then the sizes of its parts, then the parts: the pickle, and each array's samples at a
multiple of 16 bytes, as vector code likes them.
"""

from __future__ import annotations

import asyncio
import io
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeAlias, cast, get_args

import numpy as np

from media.audio import Audio
from media.engines.protocols import (
    ChatMessage,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SpokenWord,
    SttOptions,
    ToolCall,
    ToolCallDelta,
    Transcript,
    TtsRequest,
    Voice,
)
from media.engines.wire import EngineFacts, Failure, Message, Work
from media.tools import Tool

_SIZE = struct.Struct("<I")
_ALIGNMENT = 16

_Reduced: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""What makes an object, and of what: as `__reduce__` gives it."""


def _by_fields(kind: type) -> Callable[[Any], _Reduced]:
    names = [field.name for field in fields(kind)]
    if len(names) < 2:  # attrgetter gives a tuple only for several
        return lambda value: (kind, tuple(getattr(value, name) for name in names))
    values = attrgetter(*names)
    return lambda value: (kind, values(value))


def _by_samples(audio: Audio) -> _Reduced:
    samples = np.ascontiguousarray(audio.samples)
    return _audio, (pickle.PickleBuffer(samples.data), samples.dtype.char, audio.rate_hz)


def _audio(samples: memoryview, dtype: str, rate_hz: int) -> Audio:
    return Audio(np.frombuffer(samples, dtype), rate_hz)


_REDUCERS: dict[type, Callable[[Any], _Reduced]] = {
    kind: _by_fields(kind)
    for kind in (
        *get_args(Work),
        *get_args(Message),
        EngineFacts,
        Failure,
        ChatMessage,
        LlmDelta,
        LlmRequest,
        SpeechChunk,
        SpokenWord,
        SttOptions,
        Tool,
        ToolCall,
        ToolCallDelta,
        Transcript,
        TtsRequest,
        Voice,
    )
} | {Audio: _by_samples}


def _pickled(message: Message) -> tuple[bytes, list[memoryview]]:
    """A message without its samples, and the samples."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = io.BytesIO()
    pickler = pickle.Pickler(pickled, protocol=5, buffer_callback=buffers.append)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(message)
    return pickled.getvalue(), [buffer.raw() for buffer in buffers]


def frame(message: Message) -> list[bytes | memoryview]:
    """A message as pieces to be written one after the other; samples are not copied."""
    pickled, samples = _pickled(message)
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
        # uvloop's are no subclasses.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._unframer.feed(data):
            self._receive(message)

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost()
