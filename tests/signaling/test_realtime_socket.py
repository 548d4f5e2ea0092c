"""The Realtime API over WebSockets: `openai`'s own client, unmodified, and the real conversation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest
import yarl
from realtime_client import RATE_HZ, base64_of, connected, question, serve
from scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts
from scripted_call import Serving

from media.audio import Audio
from media.g711 import decoded, encoded
from media.resampler import resample
from signaling.web_socket import MAX_FRAME_BYTES


def without_deltas(types: Iterable[str]) -> list[str]:
    return [name for name in types if not name.endswith(".delta")]


def test_a_spoken_turn() -> None:
    engines = ScriptedEngines(
        stt=ScriptedStt(says=("what time is it",)), llm=ScriptedLlm(replies=("It is noon.",))
    )

    async def test(server: Serving) -> None:
        async with connected(server) as client:
            created = await client.event("session.created")
            assert created.session.model == "gpt-realtime"
            assert created.session.audio.input.format.rate == RATE_HZ
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(client.say(question()))
                done = await client.event("response.done")
        assert without_deltas(client.types()) == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.input_audio_transcription.completed",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert done.response.status == "completed"
        assert done.response.output[0].content[0].transcript == "It is noon."
        # Three words of 0.3 s, and not one sample more.
        assert len(client.sound()) == 2 * round(0.9 * RATE_HZ)

    serve(test, engines)


def test_a_file_sent_at_once_is_answered() -> None:
    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            data = question(1.0, 0.5).as_int16().tobytes()
            await client.connection.input_audio_buffer.append(audio=base64_of(data))
            completed = await client.event("conversation.item.input_audio_transcription.completed")
            assert completed.transcript == "hello"
            await client.event("response.done")

    serve(test)


def test_a_turn_that_the_client_ends() -> None:
    """Push to talk: everything that was sent before the commit is in the turn, at whatever pace it came."""
    engines = ScriptedEngines(stt=ScriptedStt(says=("a long story",)))

    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            await client.connection.session.update(
                session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            )
            data = question(20.0, 0.0).as_int16().tobytes()
            await client.connection.input_audio_buffer.append(audio=base64_of(data))
            await client.connection.input_audio_buffer.commit()
            await client.connection.response.create()
            await client.event("response.done")
        assert engines.stt.sessions[0].pushed_s == pytest.approx(20.0, abs=0.04)
        assert "error" not in client.types()
        transcribed = client.types().index("conversation.item.input_audio_transcription.completed")
        assert transcribed < client.types().index("response.output_audio_transcript.delta")

    serve(test, engines)


def test_a_written_turn() -> None:
    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            await client.connection.session.update(
                session={"type": "realtime", "output_modalities": ["text"]}
            )
            assert (await client.event("session.updated")).session.output_modalities == ["text"]
            await client.connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Hello?"}],
                }
            )
            await client.connection.response.create(response={"metadata": {"turn": "1"}})
            done = await client.event("response.done")
        assert done.response.output[0].content[0].text == "Hello there. How are you?"
        assert done.response.metadata == {"turn": "1"}
        assert "response.output_audio.delta" not in client.types()

    serve(test)


def test_an_interruption_that_the_client_cuts_itself() -> None:
    engines = ScriptedEngines(
        stt=ScriptedStt(says=("tell me", "stop")),
        llm=ScriptedLlm(replies=("One two three four five six seven eight nine ten.", "Yes.")),
        tts=ScriptedTts(word_s=0.4),
    )

    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            await client.connection.response.create()
            item = (await client.event("response.output_item.added")).item
            await client.event("response.done")
            # All of it is made; a listener is at its beginning. The caller interrupts after a second.
            await asyncio.sleep(1.0)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(client.say(question(1.0, 1.0)))
                await client.event("input_audio_buffer.speech_started")
                await client.connection.conversation.item.truncate(
                    item_id=item.id, content_index=0, audio_end_ms=900
                )
                truncated = await client.event("conversation.item.truncated")
                assert (truncated.item_id, truncated.audio_end_ms) == (item.id, 900)
                await client.connection.conversation.item.retrieve(item_id=item.id)
                retrieved = await client.event("conversation.item.retrieved")
                assert retrieved.item.content[0].transcript == "One two"
                await client.event("response.done")
        assert client.types().count("conversation.item.truncated") == 1
        # What a WebSocket's client plays is its own affair.
        assert not [name for name in client.types() if name.startswith("output_audio_buffer")]
        prompt = engines.llm.requests[-1].messages
        assert [message.text for message in prompt if message.role == "assistant"] == ["One two"]

    serve(test, engines)


def test_truncating_beyond_the_audio_is_an_error() -> None:
    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            await client.connection.response.create()
            item = (await client.event("response.output_item.added")).item
            await client.event("response.done")
            await client.connection.conversation.item.truncate(
                item_id=item.id, content_index=0, audio_end_ms=99_000, event_id="mine"
            )
            error = (await client.event("error")).error
            assert (error.code, error.param, error.event_id) == ("invalid_value", "audio_end_ms", "mine")
            await client.connection.conversation.item.truncate(
                item_id=item.id, content_index=0, audio_end_ms=300
            )
            await client.event("conversation.item.truncated")

    serve(test)


@pytest.mark.parametrize(("name", "law"), [("audio/pcmu", "mu"), ("audio/pcma", "a")])
def test_telephones_speak_g711(name: str, law: Any) -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("It is noon.",)))

    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            await client.connection.session.update(
                session={
                    "type": "realtime",
                    "audio": {"input": {"format": {"type": name}}, "output": {"format": {"type": name}}},
                }  # type: ignore[typeddict-item]
            )
            updated = await client.event("session.updated")
            assert updated.session.audio.output.format.type == name
            data = encoded(resample(question(), 8000).as_int16(), law)
            await client.connection.input_audio_buffer.append(audio=base64_of(data))
            done = await client.event("response.done")
            assert done.response.audio.output.format.type == name
            sound = Audio(decoded(client.sound(), law), 8000)
            assert sound.duration_s == pytest.approx(0.9, abs=0.001)
            assert sound.level_dbfs() == pytest.approx(-13.5, abs=1)

    serve(test, engines)


def test_audio_that_is_none() -> None:
    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            for audio in ("!!!", base64_of(b"odd"), "é", "AAA"):
                await client.connection.input_audio_buffer.append(audio=audio, event_id="mine")
                error = (await client.event("error")).error
                assert (error.type, error.code) == ("invalid_request_error", "invalid_value")
                assert (error.param, error.event_id) == ("audio", "mine")
            await client.connection.input_audio_buffer.commit()
            assert (await client.event("error")).error.code == "input_audio_buffer_commit_empty"
            await client.connection.send({"type": "no.such"})  # type: ignore[arg-type]
            assert (await client.event("error")).error.code == "unknown_event"

    serve(test)


def test_clearing_forgets_what_waits() -> None:
    engines = ScriptedEngines()

    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            data = question(10.0).as_int16().tobytes()
            await client.connection.input_audio_buffer.append(audio=base64_of(data))
            await client.connection.input_audio_buffer.clear()
            await client.event("input_audio_buffer.cleared")
            await client.connection.input_audio_buffer.commit()
            assert (await client.event("error")).error.code == "input_audio_buffer_commit_empty"

    serve(test, engines)


def test_a_message_that_is_too_long_ends_the_call() -> None:
    async def test(server: Serving) -> None:
        async with (
            aiohttp.ClientSession(server.url) as http,
            http.ws_connect("/v1/realtime?model=x", max_msg_size=0) as socket,
        ):
            await socket.receive()
            # The server need not read all of it before it closes.
            with contextlib.suppress(ConnectionError):
                await socket.send_str("x" * (MAX_FRAME_BYTES + 1))
            await server.host.all_free()
            assert (await socket.receive()).type is not aiohttp.WSMsgType.TEXT

    serve(test)


def test_a_client_that_does_not_read_is_let_go() -> None:
    """Neither what waits for it nor its farewell holds the slot."""
    engines = ScriptedEngines(
        llm=ScriptedLlm(replies=("one two three four five six seven eight nine ten.",)),
        tts=ScriptedTts(word_s=30.0),
    )

    async def test(server: Serving) -> None:
        url = yarl.URL(server.url)
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, (url.host, url.port))
        reader, writer = await asyncio.open_connection(sock=deaf, limit=4096)
        key = base64_of(bytes(16))
        writer.write(
            f"GET /v1/realtime?model=x HTTP/1.1\r\nHost: localhost:{url.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        message = b'{"type": "response.create"}'
        writer.write(bytes((0x81, 0x80 | len(message))) + bytes(4) + message)
        await server.host.all_free()
        writer.close()

    serve(test, engines)


def test_who_hangs_up_is_let_go() -> None:
    """However the connection ends, the slot comes free."""

    async def test(server: Serving) -> None:
        async with aiohttp.ClientSession(server.url) as http:
            for _ in range(6):
                socket = await http.ws_connect("/v1/realtime?model=x")
                await socket.receive()
                assert socket._response.connection is not None
                socket._response.connection.transport.abort()  # type: ignore[union-attr]
                await server.host.all_free()

    serve(test, slots=1)
