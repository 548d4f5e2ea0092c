"""The Realtime API over WebSockets and HTTP: `openai`'s own client, unmodified, and the real conversation."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest
import websockets
import yarl
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import SecretStr
from scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts
from scripted_call import Serving, serving
from test_webrtc_call import offer_of_a_stranger

from media.audio import Audio, concatenate, silence
from media.clock import loop_time_s
from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.events import CallEvent
from media.g711 import decoded, encoded
from media.resampler import resample
from media.session import SessionConfig
from signaling.caller import Caller, CallerOptions
from signaling.settings import AccessSettings
from signaling.web_socket import MAX_FRAME_BYTES

RATE_HZ = 24_000
KEY = "sk-test-0123456789abcdef"
ACCESS = AccessSettings(api_keys=(SecretStr(KEY),))


def question(duration_s: float = 1.0, silence_s: float = 1.0) -> Audio:
    """Loud enough for the scripted ear, and then nothing."""
    t = np.arange(round(duration_s * RATE_HZ), dtype=np.float32) / RATE_HZ
    tone = Audio((0.4 * np.sin(2 * np.pi * 300 * t)).astype(np.float32), RATE_HZ)
    return concatenate([tone, silence(silence_s, RATE_HZ)], RATE_HZ)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Client:
    """A connection of the SDK, and every event that came over it."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[RealtimeServerEvent] = []

    async def event(self, event_type: str) -> Any:
        """The next event of a type; those before it are kept, too."""
        while True:
            event = await self.connection.recv()
            self.events.append(event)
            if event.type == event_type:
                return event

    async def say(self, audio: Audio, piece_s: float = 0.02) -> None:
        """In real time, piece by piece."""
        step = round(piece_s * audio.rate_hz)
        began_s = loop_time_s()
        for index, start in enumerate(range(0, len(audio), step)):
            data = audio.as_int16()[start : start + step].tobytes()
            await self.connection.input_audio_buffer.append(audio=base64_of(data))
            await asyncio.sleep(max(0, began_s + (index + 1) * piece_s - loop_time_s()))

    @property
    def call_id(self) -> str:
        """As the answer to the handshake named it."""
        answer = self.connection._connection.response
        assert answer is not None
        return str(answer.headers["Location"]).removeprefix("/v1/realtime/calls/")

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def sound(self, response_id: str | None = None) -> bytes:
        return b"".join(
            base64.b64decode(event.delta)
            for event in self.events
            if event.type == "response.output_audio.delta" and response_id in (None, event.response_id)
        )


@asynccontextmanager
async def connected(server: Serving, key: str = "none", **query: str) -> AsyncIterator[Client]:
    api = AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    extra = {"model": "gpt-realtime", **query}
    async with api, api.realtime.connect(**extra) as connection:  # type: ignore[arg-type]
        yield Client(connection)


def serve(
    test: Callable[[Serving], Awaitable[None]], engines: ScriptedEngines | None = None, **options: Any
) -> None:
    """Runs a test against a server with a real conversation; every call of it must have ended well."""
    scripted = engines or ScriptedEngines()

    def converse(config: SessionConfig, notify: Callable[[CallEvent], None]) -> Conversation:
        return Conversation(scripted.engines(), ConversationSettings(), config, notify)

    async def main() -> None:
        async with asyncio.timeout(30), serving(converse=converse, **options) as server:
            await test(server)
            await server.host.all_free()
            assert not server.host.failures

    asyncio.run(main())


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


def test_the_subprotocol_is_the_apis_or_none() -> None:
    async def test(server: Serving) -> None:
        async with aiohttp.ClientSession(server.url) as http:
            async with http.ws_connect("/v1/realtime", protocols=("realtime",)) as socket:
                assert socket.protocol == "realtime"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect("/v1/realtime", protocols=(f"openai-insecure-api-key.{KEY}",))
            assert refused.value.status == 400

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


def test_a_full_server_says_so_before_the_upgrade() -> None:
    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            async with aiohttp.ClientSession(server.url) as http:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect("/v1/realtime?model=x")
                assert refused.value.status == 503

    serve(test, slots=1)


def test_keys() -> None:
    async def test(server: Serving) -> None:
        async with connected(server, KEY) as client:
            await client.event("session.created")
        async with aiohttp.ClientSession(server.url) as http:
            protocols = ("realtime", f"openai-insecure-api-key.{KEY}")
            async with http.ws_connect("/v1/realtime?model=x", protocols=protocols) as socket:
                assert socket.protocol == "realtime"
                assert json.loads((await socket.receive()).data)["type"] == "session.created"
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
                for method, path in (
                    ("GET", "/v1/realtime?model=x"),
                    ("POST", "/v1/realtime/calls"),
                    ("POST", "/v1/realtime/client_secrets"),
                    ("GET", "/v1/models"),
                    ("GET", "/v1/nothing"),
                ):
                    async with http.request(method, path, headers=headers) as response:
                        assert response.status == 401
                        error = (await response.json())["error"]
                    assert error["type"] == "invalid_request_error"
                    assert error["code"] in ("missing_api_key", "invalid_api_key")
                for method, path in (("POST", "/api/offer"), ("GET", "/api/config"), ("POST", "/whip")):
                    async with http.request(method, path, headers=headers) as response:
                        assert response.status == 401
                        assert response.headers["WWW-Authenticate"] == "Bearer"
                        assert (await response.json())["title"] == "Unauthorized"
            async with http.get("/api/config", headers={"Authorization": f"Bearer {KEY}"}) as response:
                assert response.status == 200
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as api:
            with pytest.raises(openai.AuthenticationError):
                await api.models.list()

    serve(test, access=ACCESS)


def test_a_client_secret_brings_its_session() -> None:
    async def test(server: Serving) -> None:
        session = {"type": "realtime", "instructions": "Speak like a pirate.", "model": "gpt-realtime-mini"}
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as api:
            secret = await api.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session=session,  # type: ignore[arg-type]
            )
            assert secret.value.startswith("ek_")
            assert secret.session.type == "realtime"
            assert secret.session.instructions == "Speak like a pirate."
            assert [model.id async for model in api.models.list()] == ["voxtral-kokoro"]
            with pytest.raises(openai.BadRequestError) as refused:
                await api.realtime.client_secrets.create(expires_after={"anchor": "created_at", "seconds": 9})
            assert refused.value.param == "expires_after.seconds"
        async with connected(server, secret.value) as client:
            created = await client.event("session.created")
            assert created.session.instructions == "Speak like a pirate."
            assert created.session.model == "gpt-realtime"
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=secret.value, max_retries=0) as api:
            with pytest.raises(openai.PermissionDeniedError):
                await api.realtime.client_secrets.create()
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="ek_none", max_retries=0) as api:
            with pytest.raises(openai.AuthenticationError):
                await api.models.list()

    serve(test, access=ACCESS)


def test_offers_by_http() -> None:
    async def test(server: Serving) -> None:
        offer = await offer_of_a_stranger()
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as api:
            # As the SDK sends it: a form, with the session.
            answer = await api.realtime.calls.create(
                sdp=offer, session={"type": "realtime", "instructions": "Be kind."}
            )
            assert answer.response.status_code == 201
            assert answer.response.headers["Content-Type"] == "application/sdp"
            assert answer.text.startswith("v=0")
            call_id = answer.response.headers["Location"].removeprefix("/v1/realtime/calls/")
            assert call_id.startswith("rtc_")
            assert server.calls.session(call_id).conversation.session.instructions == "Be kind."
            for act in (api.realtime.calls.reject, api.realtime.calls.accept):
                with pytest.raises(openai.BadRequestError) as refused:
                    await act(call_id, **({"type": "realtime"} if act == api.realtime.calls.accept else {}))
                assert refused.value.code == "not_a_sip_call"
            await api.realtime.calls.hangup(call_id)
            await server.host.all_free()
            with pytest.raises(openai.NotFoundError):
                await api.realtime.calls.hangup(call_id)
            with pytest.raises(openai.BadRequestError) as mistaken:
                await api.realtime.calls.create(sdp="hello")
            assert (mistaken.value.code, mistaken.value.param) == ("invalid_sdp", "sdp")
            with pytest.raises(openai.BadRequestError) as wrong:
                await api.realtime.calls.create(
                    sdp=offer,
                    session={"type": "realtime", "instructions": 5},  # type: ignore[typeddict-item]
                )
            assert wrong.value.param == "session.instructions"
        async with aiohttp.ClientSession(server.url) as http:
            headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {KEY}"}
            async with http.post("/v1/realtime/calls", data=offer, headers=headers) as response:
                assert response.status == 201
                place = response.headers["Location"]
                assert "a=msid:" in await response.text()
            await http.post(f"{place}/hangup", headers=headers)
            async with http.post("/v1/realtime/calls", json={"sdp": offer}, headers=headers) as response:
                assert response.status == 400 or response.status == 415
                assert "error" in await response.json()

    serve(test, access=ACCESS)


def test_joining_a_call() -> None:
    """A client that joins by the call's id sees what happens, acts, and is closed when the call is over."""
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("It is noon.",)))

    async def test(server: Serving) -> None:
        async with Caller(server.url, CallerOptions(session={"greeting": ""})) as caller:
            await caller.next_event("session.created")
            (call_id,) = server.calls._calls
            async with (
                connected(server, call_id=call_id) as first,
                connected(server, call_id=call_id) as second,
            ):
                created = await first.event("session.created")
                await second.event("session.created")
                assert created.session.id
                await first.connection.session.update(session={"type": "realtime", "instructions": "Hum."})
                assert (await first.event("session.updated")).session.instructions == "Hum."
                assert (await second.event("session.updated")).session.instructions == "Hum."
                await caller.next_event("session.updated")
                await first.connection.input_audio_buffer.append(audio="AAAA")
                assert (await first.event("error")).error.code == "audio_not_carried"
                await first.connection.response.create()
                done = await second.event("response.done")
                assert done.response.output[0].content[0].transcript == "It is noon."
                assert "error" not in second.types()
                await second.connection.close()
                await caller.next_event("output_audio_buffer.stopped")
                server.calls.get(call_id).hang_up()
                await first.event("output_audio_buffer.stopped")
                with pytest.raises(Exception, match="1000"):
                    await first.event("never")

    serve(test, engines)


def test_a_call_over_a_socket_is_found_like_any_other() -> None:
    """Who joins sees its events, and its audio; who hangs up ends it for all of them."""

    async def test(server: Serving) -> None:
        api = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        async with api, connected(server) as client:
            await client.event("session.created")
            call_id = client.call_id
            async with connected(server, call_id=call_id) as guest:
                await guest.event("session.created")
                await guest.connection.session.update(
                    session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
                )
                await client.event("session.updated")
                data = question(10.0, 0.0).as_int16().tobytes()
                await guest.connection.input_audio_buffer.append(audio=base64_of(data))
                await guest.connection.input_audio_buffer.commit()
                await client.event("input_audio_buffer.committed")
                await guest.connection.response.create()
                await client.event("response.done")
                await guest.event("response.done")
                assert guest.sound() == client.sound() != b""
                assert "error" not in guest.types()
                await api.realtime.calls.hangup(call_id)
                for member in (client, guest):
                    with pytest.raises(websockets.ConnectionClosedOK):
                        await member.event("never")
            with pytest.raises(openai.NotFoundError):
                await api.realtime.calls.hangup(call_id)

    serve(test)


def test_a_client_secret_acts_on_its_own_calls_alone() -> None:
    async def test(server: Serving) -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as api:
            mine = (await api.realtime.client_secrets.create()).value
            other = (await api.realtime.client_secrets.create()).value
            async with connected(server, mine) as client:
                call_id = client.call_id
                async with connected(server, mine, call_id=call_id) as guest:
                    await guest.event("session.created")
                with pytest.raises(websockets.InvalidStatus, match="404"):
                    async with connected(server, other, call_id=call_id):
                        pass
                for key, found in ((other, False), (KEY, True)):
                    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as who:
                        if found:
                            await who.realtime.calls.hangup(call_id)
                        else:
                            with pytest.raises(openai.NotFoundError):
                                await who.realtime.calls.hangup(call_id)
                await server.host.all_free()
            answer = await api.with_options(api_key=mine).realtime.calls.create(
                sdp=await offer_of_a_stranger()
            )
            call_id = answer.response.headers["Location"].rpartition("/")[2]
            with pytest.raises(openai.NotFoundError):
                await api.with_options(api_key=other).realtime.calls.hangup(call_id)
            await api.with_options(api_key=mine).realtime.calls.hangup(call_id)

    serve(test, access=ACCESS)


def test_joining_no_call() -> None:
    async def test(server: Serving) -> None:
        async with aiohttp.ClientSession(server.url) as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect("/v1/realtime?call_id=rtc_none")
            assert refused.value.status == 404
            async with http.get("/v1/realtime?model=x") as response:
                assert response.status == 426

    serve(test)
