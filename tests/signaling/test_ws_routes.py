"""`/ws` over real sockets: greeted, begun, heard, answered, refused, and left."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest
from scripted_call import ScriptedConversation, Serving, serving

from media import events as call
from media.audio import Audio, concatenate
from media.items import Message, Part, Response
from media.resampler import resample
from signaling.ws_messages import MAX_MESSAGE_CHARS

LIMIT_S = 20.0


class Program:
    """A client of `/ws`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.socket.receive_str())
        return message

    async def until(self, kind: str) -> dict[str, Any]:
        while (message := await self.next())["type"] != kind:
            pass
        return message

    async def closed(self) -> int | None:
        """How the server closed the socket. Messages before that are passed over."""
        while not self.socket.closed:
            await self.socket.receive()
        return self.socket.close_code


@asynccontextmanager
async def program(served: Serving, **options: Any) -> AsyncIterator[Program]:
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{served.url}/ws", **options) as socket:
        yield Program(socket)


def with_server(test: Callable[[Serving], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), serving(**options) as served:
            await test(served)

    asyncio.run(main())


def only_conversation(served: Serving) -> ScriptedConversation:
    (conversation,) = served.host.conversations
    return conversation


def test_a_call_from_greeting_to_goodbye() -> None:
    async def test(served: Serving) -> None:
        async with program(served) as client:
            greeting = await client.next()
            assert greeting["type"] == "connection"
            conversation = only_conversation(served)
            assert not conversation.began.is_set()
            await client.send(type="start", output={"rate_hz": 16_000})
            assert (await client.next())["type"] == "started"
            await conversation.began.wait()
            reply = Message("item_a", "assistant", (Part("output_audio", "Hi."),))
            tone = Audio((8000 * np.sin(np.arange(24_000) / 9)).astype(np.int16), 24_000)
            for event in (
                call.ResponseCreated(Response("resp_1", "audio")),
                call.OutputItemAdded("resp_1", reply),
                call.OutputAudioDelta("resp_1", "item_a", tone),
                call.OutputItemDone("resp_1", reply),
            ):
                conversation.notify(event)
            pieces = []
            while not (piece := await client.until("speech_response"))["final"]:
                pieces.append(np.frombuffer(b64decode(piece["audio"]), "<i2"))
            assert np.concatenate(pieces).tolist() == resample(tone, 16_000).as_int16().tolist()
            await client.send(type="hang_up")
            assert await client.closed() == 1000
        assert conversation.closed

    with_server(test)


def test_the_callers_voice_arrives_at_the_conversation() -> None:
    async def test(served: Serving) -> None:
        tone = Audio((0.5 * np.sin(np.arange(44_100) / 9)).astype(np.float32), 44_100)
        async with program(served) as client:
            await client.send(type="start", input={"encoding": "float32", "rate_hz": 44_100})
            for start in range(0, len(tone), 882):
                piece = tone.samples[start : start + 882].astype("<f4").tobytes()
                await client.send(type="audio", audio=b64encode(piece).decode())
            await client.send(type="commit")
            await client.until("started")
            conversation = only_conversation(served)
            while ("commit_input",) not in conversation.acts:
                conversation.more_heard.clear()
                await conversation.more_heard.wait()
                await asyncio.sleep(0)
            heard = concatenate(conversation.heard, 16_000).as_int16()
            expected = resample(tone, 16_000).as_int16()
            assert np.array_equal(heard[: len(expected)], expected)

    with_server(test)


def test_mistakes_are_told_and_the_call_goes_on() -> None:
    async def test(served: Serving) -> None:
        async with program(served) as client:
            await client.next()
            await client.socket.send_str("{nonsense")
            assert (await client.next())["code"] == "invalid_json"
            await client.socket.send_bytes(b"\xff\xfe")
            assert (await client.next())["code"] == "invalid_json"
            await client.socket.send_str("x" * (MAX_MESSAGE_CHARS + 1))
            assert (await client.next())["code"] == "message_too_large"
            await client.send(type="audio", audio="AAA", id="a1")
            assert (await client.next())["type"] == "started"
            assert (await client.next())["reply_to"] == "a1"
            await client.socket.send_bytes(b'{"type": "ping", "id": "p1"}')
            assert await client.next() == {"type": "pong", "id": "p1"}

    with_server(test)


def test_a_full_server_says_so_in_words() -> None:
    async def test(served: Serving) -> None:
        async with program(served) as first:
            await first.next()
            async with program(served) as second:
                error = await second.next()
                assert (error["type"], error["fault"], error["code"]) == ("error", "server", "server_full")
                assert error["retry_after_s"] == 7
                assert await second.closed() == 1013
        await served.host.all_free()
        async with program(served) as third:
            assert (await third.next())["type"] == "connection"

    with_server(test, slots=1)


def test_a_client_that_goes_away_frees_its_line() -> None:
    async def test(served: Serving) -> None:
        async with program(served) as client:
            await client.send(type="start")
            await client.until("started")
        await served.host.all_free()
        assert only_conversation(served).closed
        assert len(served.calls) == 0

    with_server(test)


def test_a_call_is_hung_up_from_outside() -> None:
    async def test(served: Serving) -> None:
        async with program(served) as client:
            call_id = (await client.next())["call_id"]
            async with aiohttp.ClientSession() as http:
                async with http.post(f"{served.url}/v1/realtime/calls/{call_id}/hangup") as response:
                    assert response.status == 200
            assert await client.closed() == 1000

    with_server(test)


def test_pages_from_elsewhere_and_plain_requests_are_refused() -> None:
    async def test(served: Serving) -> None:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{served.url}/ws") as response:
                assert response.status == 426
            headers = {"Origin": "https://evil.example"}
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"{served.url}/ws", headers=headers)
            assert refused.value.status == 403
        assert not served.host.taken

    with_server(test)
