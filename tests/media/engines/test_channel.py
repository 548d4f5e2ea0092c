"""What goes over the wire comes out as it was, however it is cut on its way."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.channel import Channel, Unframer, frame
from media.engines.protocols import ChatMessage, LlmRequest, SpeechChunk, SpokenWord, SttOptions
from media.engines.wire import (
    AbortSession,
    Failed,
    Failure,
    Item,
    Judge,
    OpenSession,
    PushAudio,
    Reply,
    Request,
)
from media.errors import (
    CallerError,
    EngineError,
    ModelMissing,
    ServerFault,
    VoiceUnavailable,
    VoxtralKokoroError,
)


def ramp(samples: int, dtype: Any = np.float32) -> Audio:
    return Audio(np.arange(samples).astype(dtype), SPEECH_RATE_HZ)


def sent(*messages: Any, piece_bytes: int = 1 << 20) -> list[Any]:
    """What arrives of messages that are received in pieces of so many bytes."""
    data = b"".join(piece for message in messages for piece in frame(message))
    unframer = Unframer()
    pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
    return [message for piece in pieces for message in unframer.feed(piece)]


@pytest.mark.parametrize("piece_bytes", [1, 3, 64, 1 << 20])
def test_messages_arrive_in_order_however_they_are_cut(piece_bytes: int) -> None:
    messages = [
        OpenSession(1, SttOptions("en", "Voxtral", partials=False)),
        Request(7, Reply(LlmRequest((ChatMessage("user", "¿Qué tal?"),), 160, 0.3))),
        AbortSession(1),
    ]
    assert sent(*messages, piece_bytes=piece_bytes) == messages


@pytest.mark.parametrize("piece_bytes", [7, 1 << 20])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_samples_arrive_as_they_were_and_ready_for_use(piece_bytes: int, dtype: Any) -> None:
    first, second = ramp(513, dtype), ramp(100, dtype)
    words = (SpokenWord("ready", 0.1, 0.4),)
    item, push = sent(Item(3, SpeechChunk(first, words)), PushAudio(4, second), piece_bytes=piece_bytes)
    assert item.value.words == words
    for received, original in ((item.value.audio, first), (push.audio, second)):
        assert received.rate_hz == original.rate_hz
        assert received.samples.dtype == dtype
        np.testing.assert_array_equal(received.samples, original.samples)
        assert received.samples.flags.writeable
        assert received.samples.ctypes.data % 16 == 0


def test_samples_are_not_copied_on_their_way_to_the_socket() -> None:
    turn = ramp(8 * SPEECH_RATE_HZ)
    pieces = frame(Request(1, Judge(turn)))
    assert any(np.shares_memory(np.frombuffer(piece, np.uint8), turn.samples) for piece in pieces)
    assert sum(len(piece) for piece in pieces) < turn.samples.nbytes + 600


def test_a_part_of_an_array_travels_alone() -> None:
    whole = ramp(100_000)
    pieces = frame(PushAudio(1, Audio(whole.samples[1000:1512], SPEECH_RATE_HZ)))
    assert sum(len(piece) for piece in pieces) < 512 * 4 + 400
    (received,) = sent(PushAudio(1, Audio(whole.samples[::2], SPEECH_RATE_HZ)))
    np.testing.assert_array_equal(received.audio.samples, whole.samples[::2])


@pytest.mark.parametrize(
    "error",
    [
        EngineError("llama.cpp: busy", retryable=True),
        EngineError("too long", code="context_full"),
        ModelMissing("fetch it"),
        VoiceUnavailable("no such voice"),
        CallerError("the speed is 9", code="invalid_value", param="speed"),
        ServerFault("a bug"),
    ],
)
def test_errors_survive_the_way(error: VoxtralKokoroError) -> None:
    (failed,) = sent(Failed(1, Failure.of(error)))
    arrived = failed.failure.error()
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == {**vars(error), "code": error.code}


def test_a_subclass_arrives_as_the_kind_that_it_is_a_kind_of() -> None:
    class Weary(EngineError):
        code = "weary"

    arrived = Failure.of(Weary("tired", retryable=True)).error()
    assert type(arrived) is EngineError
    assert (arrived.code, arrived.retryable) == ("weary", True)


def test_a_channel_carries_more_than_the_sockets_hold() -> None:
    async def main() -> None:
        received: asyncio.Queue[Any] = asyncio.Queue()
        lost = asyncio.Event()
        near = Channel(received.put_nowait, lost.set)
        far = Channel(received.put_nowait, lambda: None)
        loop = asyncio.get_running_loop()
        for channel, end in zip((near, far), socket.socketpair(), strict=True):
            await loop.create_unix_connection(lambda channel=channel: channel, sock=end)
        turn = ramp(2_000_000)
        far.send(PushAudio(1, turn))
        far.send(AbortSession(1))
        async with asyncio.timeout(10):
            pushed, aborted = await received.get(), await received.get()
            np.testing.assert_array_equal(pushed.audio.samples, turn.samples)
            assert aborted == AbortSession(1)
            far.close()
            await lost.wait()
        near.send(AbortSession(2))  # into the void
        near.close()

    asyncio.run(main())
