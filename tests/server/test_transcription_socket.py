"""Speech that is sent as it is spoken: turns over an engine host's WebSocket, on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import SttOptions, Transcript
from media.engines.vllm_realtime import VllmRealtime
from media.errors import EngineError
from server.serve_engines import RunningHost
from tests.scripted import ScriptedEngines, ScriptedStt, quiet, speech
from tests.server.test_host_routes import KEY, STT, host

LIMIT_S = 20.0


@dataclass
class Client:
    """A client of vLLM's protocol."""

    socket: aiohttp.ClientWebSocketResponse

    async def send(self, kind: str, **members: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, **members}))

    async def say(self, audio: Audio) -> None:
        sound = np.ascontiguousarray(audio.as_int16(), "<i2").tobytes()
        await self.send("input_audio_buffer.append", audio=base64.b64encode(sound).decode())

    async def next(self, kind: str) -> dict[str, Any]:
        """The next message of a type; others before it are passed over."""
        while (message := await self.any())["type"] != kind:
            pass
        return message

    async def any(self) -> dict[str, Any]:
        event: dict[str, Any] = await self.socket.receive_json()
        return event


@asynccontextmanager
async def client(running: RunningHost, key: str = KEY) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(f"{running.url}/v1/realtime") as socket:
            connected = Client(socket)
            assert (await connected.any())["type"] == "session.created"
            yield connected


def test_a_turn_as_vllms_clients_have_it() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", "what time is it", "thank you")))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running, client(running) as caller:
            await caller.send("session.update", model=STT)
            await caller.send("input_audio_buffer.commit")
            text = ""
            for _ in range(4):
                await caller.say(speech(0.5))
                text += (await caller.next("transcription.delta"))["delta"]
            assert text == "what time is it"
            await caller.send("input_audio_buffer.commit", final=True)
            done = await caller.next("transcription.done")
            assert (done["text"], done["audio_s"]) == ("what time is it", 2.0)
            session = scripted.stt.sessions[-1]
            assert session.options == SttOptions()

            await caller.say(speech(0.2))  # the next turn, in the same connection
            await caller.send("input_audio_buffer.commit", final=True)
            assert (await caller.next("transcription.delta"))["delta"] == "thank you"
            assert (await caller.next("transcription.done"))["text"] == "thank you"
            assert session.aborted
            assert running.slots.active["stt"] == 1
        assert scripted.stt.sessions[-1].aborted
        assert running.slots.active["stt"] == 0

    asyncio.run(main())


def test_a_media_server_that_is_told_of_vllm_is_served_as_well() -> None:
    """Two turns, one of which goes on after a pause."""
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", "", "what time is it", "in Bonn", "thank you")))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running:
            stt = VllmRealtime(f"{running.url}/v1", STT, languages=("en",), api_key=KEY)
            await stt.start()
            try:
                turn = stt.open(SttOptions("en", "Voxtral"))
                await turn.push(speech(1.5))
                partials = turn.partials()
                async with aclosing(partials):
                    assert "what time is it".startswith((await anext(partials)).text)
                assert (await turn.flush()).text == "what time is it"
                assert scripted.stt.sessions[-1].options == SttOptions("en", "Voxtral")
                await turn.push(quiet(1.0))
                await turn.push(speech(1.0))
                assert (await turn.flush()).text == "what time is it in Bonn"
                await turn.abort()

                turn = stt.open(SttOptions("en"))
                await turn.push(speech(0.5))
                assert (await turn.flush()).text == "thank you"
                await turn.abort()
            finally:
                await stt.close()
            await running.slots.drain(5.0)
            assert running.slots.active["stt"] == 0

    asyncio.run(main())


def test_what_is_our_own_a_transcript_within_the_turn_and_interim_ones() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", "call me back")))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running, client(running) as caller:
            await caller.send("session.update", language="es", prompt="Voxtral", interim=True)
            await caller.say(speech(1.0))
            assert (await caller.next("transcription.interim"))["text"] == "call me"
            await caller.send("input_audio_buffer.flush")
            flushed = await caller.next("transcription.flushed")
            assert (flushed["text"], flushed["language"], flushed["audio_s"]) == ("call me back", "es", 1.0)
            await caller.say(speech(0.5))  # the same turn goes on
            await caller.send("input_audio_buffer.flush")
            assert (await caller.next("transcription.flushed"))["audio_s"] == 1.5
            session = scripted.stt.sessions[-1]
            assert session.options == SttOptions("es", "Voxtral")
            await caller.send("input_audio_buffer.clear")
            await caller.send("input_audio_buffer.commit", final=True)
            assert (await caller.next("transcription.done"))["audio_s"] == 0.0
            assert session.aborted

    asyncio.run(main())


class Rewording(ScriptedStt):
    """Thinks better of it."""

    def open(self, options: SttOptions) -> Any:
        session = super().open(options)

        async def partials() -> AsyncIterator[Any]:
            for text in ("what", "water", "what time"):
                yield Transcript(text, 0.5)

        session.partials = partials  # type: ignore[method-assign]
        return session


def test_words_that_are_thought_better_of_are_never_taken_back() -> None:
    scripted = ScriptedEngines(stt=Rewording(says=("what time is it",)))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running, client(running) as caller:
            await caller.say(speech(0.5))
            deltas = [(await caller.next("transcription.delta"))["delta"] for _ in range(2)]
            await caller.send("input_audio_buffer.commit", final=True)
            deltas.append((await caller.next("transcription.delta"))["delta"])
            assert deltas == ["what", " time", " is it"]
            assert (await caller.next("transcription.done"))["text"] == "what time is it"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("no json", "invalid_value", None),
        ({"type": "response.create"}, "unknown_type", None),
        ({"type": "session.update", "model": "whisper-9"}, "model_not_found", "model"),
        ({"type": "input_audio_buffer.append"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "invalid_value", "audio"),
    ],
)
def test_who_sends_nonsense_is_told_and_goes_on(message: Any, code: str, param: str | None) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host() as running, client(running) as caller:
            await caller.socket.send_str(message if isinstance(message, str) else json.dumps(message))
            error = (await caller.next("error"))["error"]
            assert (error["code"], error["param"]) == (code, param)
            await caller.say(speech(0.5))
            await caller.send("input_audio_buffer.commit", final=True)
            assert (await caller.next("transcription.done"))["text"] == "hello"

    asyncio.run(main())


def test_a_turn_without_end_is_heard_only_so_far() -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            host(max_body_bytes=65_536) as running,
            client(running) as caller,
        ):
            await caller.say(speech(1.5))
            await caller.say(speech(1.0))
            assert (await caller.next("error"))["error"]["code"] == "turn_too_long"
            await caller.say(speech(0.5))
            await caller.send("input_audio_buffer.commit", final=True)
            assert (await caller.next("transcription.done"))["audio_s"] == 2.0
            await caller.say(speech(1.0))  # the next one
            await caller.send("input_audio_buffer.commit", final=True)
            assert (await caller.next("transcription.done"))["audio_s"] == 1.0

    asyncio.run(main())


def test_an_engine_that_fails_is_told_of_and_the_connection_stays() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", EngineError("It broke.", code="broken"), "hello")))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running, client(running) as caller:
            for expected in ("error", "transcription.done"):
                await caller.say(speech(0.2))
                await caller.send("input_audio_buffer.commit", final=True)
                assert (await caller.next(expected))["type"] == expected

    asyncio.run(main())


# Full, draining, gone, and keys


def test_when_full_or_without_a_key_it_refuses_before_the_handshake() -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(max_transcriptions=1) as running:
            async with client(running):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    async with client(running):
                        pass
                assert refused.value.status == 503
                assert refused.value.headers
                assert refused.value.headers["Retry-After"] == "1"
            async with client(running):
                pass
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with client(running, "a-key-that-nobody-gave-out"):
                    pass
            assert refused.value.status == 401

    asyncio.run(main())


def test_it_drains_idle_connections_at_once_and_others_with_their_turn() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", "what time is it")))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running:
            async with client(running) as idle, client(running) as busy, asyncio.TaskGroup() as tasks:
                await busy.say(speech(0.5))
                await busy.next("transcription.delta")
                draining = tasks.create_task(running.slots.drain(10.0))
                assert (await idle.socket.receive()).type is aiohttp.WSMsgType.CLOSE
                assert idle.socket.close_code == 1001
                assert not draining.done()
                await busy.send("input_audio_buffer.commit", final=True)
                assert (await busy.next("transcription.done"))["text"] == "what time is it"
                assert (await busy.socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert running.slots.active["stt"] == 0

    asyncio.run(main())


def test_who_goes_away_frees_the_slot_and_the_session() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", "never heard"), takes_s=0.05))

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), host(scripted) as running:
            async with client(running) as caller:
                await caller.say(Audio(np.zeros(SPEECH_RATE_HZ, np.int16), SPEECH_RATE_HZ))
                await caller.next("transcription.delta")
            await running.slots.drain(5.0)
            assert running.slots.active["stt"] == 0
            assert scripted.stt.sessions[-1].aborted

    asyncio.run(main())
