"""The engines over HTTP: asked by OpenAI's own client, by our adapters, and by those who ask wrongly."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import av
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.openai_speech import OpenAiSpeech
from media.engines.openai_transcription import OpenAiTranscription
from media.engines.protocols import ChatMessage, LlmRequest, SttOptions, TtsRequest
from media.errors import EngineError, VoiceUnavailable
from media.tools import Tool
from media.wav import wav_bytes
from server.config import Config
from server.serve_engines import RunningHost, running_host
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, calls, speech

KEY = "a-key-of-sixteen-characters"
LLM, STT, TTS = Config().llm.name, Config().model.name, Config().tts.name
QUICK = Patience(connect_s=1.0, first_s=2.0, idle_s=1.0, retries_s=(0.02,), longest_retry_after_s=0.0)
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": {"type": "object"}},
}


@asynccontextmanager
async def host(
    scripted: ScriptedEngines | None = None, *, ready: bool = True, **settings: Any
) -> AsyncIterator[RunningHost]:
    sections = {
        "engine_host": {"port": 0} | settings,
        "server": {"api_keys": [KEY], "drain_timeout_s": 5},
    }
    engines = (scripted or ScriptedEngines()).engines()
    async with running_host(Config.model_validate(sections), engines) as running:
        if ready:
            await running.engine_set.until_ready()
        yield running


@asynccontextmanager
async def client(running: RunningHost, key: str = KEY) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0, timeout=5) as api:
        yield api


@asynccontextmanager
async def started(engine: Any) -> AsyncIterator[Any]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def recording(duration_s: float = 1.0) -> bytes:
    return wav_bytes(speech(duration_s).as_int16(), 16_000)


async def listed(items: Any) -> list[Any]:
    async with aclosing(items):
        return [item async for item in items]


# OpenAI's own client


def test_its_client_converses() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("Fine, thanks.",)))

    async def main() -> None:
        async with host(scripted) as running, client(running) as api:
            assert [model.id async for model in api.models.list()] == [STT, LLM, TTS]
            asked: Any = [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "How are you?"}]},
            ]
            reply = await api.chat.completions.create(model=LLM, messages=asked, max_tokens=20)
            assert reply.choices[0].message.content == "Fine, thanks."
            assert reply.choices[0].finish_reason == "stop"
            assert reply.usage is not None
            assert reply.usage.completion_tokens == 2
            request = scripted.llm.requests[-1]
            assert request.messages == (
                ChatMessage("system", "Be brief."),
                ChatMessage("user", "How are you?"),
            )
            assert request.max_tokens == 20

            stream = await api.chat.completions.create(
                model=LLM, messages=asked, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
            assert "".join(text or "" for text in texts) == "Fine, thanks."
            assert len(chunks) >= 4
            assert chunks[-1].usage is not None

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_its_client_is_called_back(stream: bool) -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=(calls("weather", '{"city": "Bonn"}'),)))

    async def main() -> None:
        async with host(scripted) as running, client(running) as api:
            asked: Any = [{"role": "user", "content": "Weather?"}]
            choice: Any = {"type": "function", "function": {"name": "weather"}}
            if stream:
                name = arguments = ""
                async for chunk in await api.chat.completions.create(
                    model=LLM, messages=asked, tools=[WEATHER], tool_choice=choice, stream=True
                ):
                    for piece in chunk.choices[0].delta.tool_calls or ():
                        assert piece.function is not None
                        name += piece.function.name or ""
                        arguments += piece.function.arguments or ""
                    finish = chunk.choices[0].finish_reason
            else:
                reply = await api.chat.completions.create(
                    model=LLM, messages=asked, tools=[WEATHER], tool_choice=choice
                )
                (call,) = reply.choices[0].message.tool_calls or ()
                assert call.type == "function"
                name, arguments = call.function.name, call.function.arguments
                finish = reply.choices[0].finish_reason
            assert (name, arguments, finish) == ("weather", '{"city": "Bonn"}', "tool_calls")
            request = scripted.llm.requests[-1]
            assert request.tools == (Tool("weather", "The weather.", '{"type": "object"}'),)
            assert request.tool_choice == "function:weather"

    asyncio.run(main())


def test_its_client_is_transcribed() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("", "What time is it?")))

    async def main() -> None:
        async with host(scripted) as running, client(running) as api:
            file = ("speech.wav", io.BytesIO(recording()), "audio/wav")
            heard = await api.audio.transcriptions.create(
                model=STT, file=file, language="en", prompt="Voxtral"
            )
            assert heard.text == "What time is it?"
            session = scripted.stt.sessions[-1]
            assert session.options == SttOptions("en", "Voxtral", partials=False)
            assert session.pushed_s == 1.0
            assert session.aborted

            stream: Any = await api.audio.transcriptions.create(model=STT, file=file, stream=True)
            assert [item.type async for item in stream] == [
                "transcript.text.delta",
                "transcript.text.done",
            ]
            text: Any = await api.audio.transcriptions.create(model=STT, file=file, response_format="text")
            assert text.strip() == "What time is it?"

    asyncio.run(main())


def test_its_client_is_spoken_to() -> None:
    async def main() -> None:
        async with host() as running, client(running) as api:
            asked = api.audio.speech.with_streaming_response
            async with asked.create(
                model=TTS, voice="af_heart", input="Hello there.", response_format="pcm"
            ) as response:
                assert response.headers["Content-Type"].startswith("audio/pcm; rate=24000")
                pcm = await response.read()
            assert len(pcm) == 2 * round(0.6 * 24_000)
            assert np.abs(np.frombuffer(pcm, "<i2")).max() > 8000
            async with asked.create(
                model=TTS, voice="bf_emma", input="Hello.", response_format="wav"
            ) as response:
                assert (await response.read())[:4] == b"RIFF"

    asyncio.run(main())


def converse(**more: Any) -> Any:
    messages: Any = [{"role": "user", "content": "Hi"}]
    return lambda api: api.chat.completions.create(**({"model": LLM, "messages": messages} | more))


def speak(**more: Any) -> Any:
    return lambda api: api.audio.speech.create(**({"model": TTS, "voice": "af_heart", "input": "Hi."} | more))


def transcribe(**more: Any) -> Any:
    return lambda api: api.audio.transcriptions.create(
        **({"model": STT, "file": ("a.wav", recording())} | more)
    )


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (converse(model="gpt-5"), 404, "model_not_found"),
        (converse(n=2), 400, "unsupported_parameter"),
        (converse(stop="."), 400, "unsupported_parameter"),
        (converse(messages=[]), 400, "invalid_value"),
        (converse(extra_body={"continue_final_message": True}), 400, "invalid_value"),
        (speak(model=STT), 404, "model_not_found"),
        (speak(input=""), 400, "invalid_value"),
        (speak(voice="nobody"), 400, "voice_unavailable"),
        (speak(response_format="mp3"), 400, "invalid_value"),
        (transcribe(file=("a.wav", b"none")), 400, "unreadable_file"),
        (transcribe(language="xx"), 400, "language_unavailable"),
        (transcribe(response_format="srt"), 400, "unsupported_parameter"),
    ],
)
def test_who_asks_wrongly_is_told(ask: Any, status: int, code: str) -> None:
    class ChoosyStt(ScriptedStt):
        def open(self, options: SttOptions) -> Any:
            if options.language not in (None, *self.languages):
                raise EngineError("Not that.", code="language_unavailable")
            return super().open(options)

    class ChoosyTts(ScriptedTts):
        async def speak(self, request: TtsRequest) -> Any:
            if request.voice == "nobody":
                raise VoiceUnavailable("There is no such voice.")
            async for chunk in super().speak(request):
                yield chunk

    async def main() -> None:
        scripted = ScriptedEngines(stt=ChoosyStt(), tts=ChoosyTts())
        async with host(scripted) as running, client(running) as api:
            with pytest.raises(openai.APIStatusError) as raised:
                await ask(api)
            assert (raised.value.status_code, raised.value.code) == (status, code)

    asyncio.run(main())


# Ours


def test_our_adapters_are_told_more() -> None:
    """The engines over HTTP satisfy the ports as those in the engine process do."""
    scripted = ScriptedEngines(stt=ScriptedStt(says=("hello",)), llm=ScriptedLlm(replies=("Hi there.",)))

    async def main() -> None:
        async with host(scripted) as running:
            url = f"{running.url}/v1"
            async with (
                started(OpenAiTranscription(url, STT, languages=("en",), api_key=KEY, patience=QUICK)) as stt,
                started(OpenAiChat(url, LLM, api_key=KEY, patience=QUICK)) as llm,
                started(OpenAiSpeech(url, TTS, voice="af_heart", api_key=KEY, patience=QUICK)) as tts,
            ):
                session = stt.open(SttOptions("en", partials=False))
                await session.push(speech(1.5))
                assert (await session.flush()).text == "hello"
                await session.abort()

                messages = (ChatMessage("user", "Hello."),)
                deltas = await listed(llm.reply(LlmRequest(messages, 20, 0.0, "call-1")))
                assert "".join(delta.text for delta in deltas) == "Hi there."
                assert scripted.llm.requests[-1].conversation == "call-1"
                await listed(llm.reply(LlmRequest(messages, 0, 0.0, "call-1")))  # read ahead
                assert scripted.llm.read_ahead[-1].conversation == "call-1"

                assert [voice.name for voice in tts.voices] == ["af_heart", "bf_emma", "jf_alpha"]
                assert tts.voices[2].unavailable == "Japanese needs an extra"
                request = TtsRequest("Hello there.", "af_heart", 1.5, 2.0, "Well,", "friend.")
                near = await listed(scripted.tts.speak(request))
                far = await listed(tts.speak(request))
                assert [chunk.words for chunk in far] == [chunk.words for chunk in near]
                np.testing.assert_array_equal(far[0].audio.samples, near[0].audio.as_int16())

    asyncio.run(main())


def test_a_reply_that_has_begun_is_gone_on_with() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("ready", "It is noon.")))

    async def main() -> None:
        async with host(scripted) as running:
            async with started(OpenAiChat(f"{running.url}/v1", LLM, api_key=KEY, patience=QUICK)) as llm:
                request = LlmRequest((ChatMessage("user", "What time is it?"),), 20, 0.0, begun="It is")
                deltas = await listed(llm.reply(request))
                assert "".join(delta.text for delta in deltas) == " noon."
                assert scripted.llm.requests[-1] == request

    asyncio.run(main())


def test_a_conversation_that_is_too_long_arrives_as_that() -> None:
    scripted = ScriptedEngines(
        llm=ScriptedLlm(replies=("ready", EngineError("Too long.", code="context_full")))
    )

    async def main() -> None:
        async with host(scripted) as running:
            async with started(OpenAiChat(f"{running.url}/v1", LLM, api_key=KEY, patience=QUICK)) as llm:
                with pytest.raises(EngineError) as raised:
                    await listed(llm.reply(LlmRequest((ChatMessage("user", "Hi."),), 20, 0.0)))
                assert raised.value.code == "context_full"

    asyncio.run(main())


def test_who_goes_away_stops_the_engine() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("ready", "one two three four"), word_s=0.05))

    async def main() -> None:
        async with host(scripted) as running:
            async with started(OpenAiChat(f"{running.url}/v1", LLM, api_key=KEY, patience=QUICK)) as llm:
                async with aclosing(llm.reply(LlmRequest((ChatMessage("user", "Hi."),), 200, 0.0))) as deltas:
                    await anext(deltas)
                await running.slots.drain(2.0)
            assert running.slots.active["llm"] == 0
            assert scripted.llm.open_requests == 0

    asyncio.run(main())


def test_an_engine_that_fails_amid_its_answer_is_no_whole_answer() -> None:
    class Breaking(ScriptedTts):
        async def speak(self, request: TtsRequest) -> Any:
            async for chunk in super().speak(request):
                yield chunk
            if request.text != "Hello.":  # the warm-up's
                raise EngineError("The engine process ended.", retryable=True)

    async def main() -> None:
        async with host(ScriptedEngines(tts=Breaking())) as running:
            url = f"{running.url}/v1"
            async with started(OpenAiSpeech(url, TTS, voice="af_heart", api_key=KEY, patience=QUICK)) as tts:
                with pytest.raises(EngineError, match="process ended"):
                    await listed(tts.speak(TtsRequest("How are you?", "af_heart")))
            async with client(running) as api:
                asked = api.audio.speech.with_streaming_response
                with pytest.raises(Exception, match=r"(?i)incomplete|closed|peer"):
                    async with asked.create(
                        model=TTS, voice="af_heart", input="How?", response_format="pcm"
                    ) as response:
                        await response.read()

    asyncio.run(main())


# Full, not ready, draining, and keys


def test_when_full_it_refuses_and_says_when_to_come_again() -> None:
    scripted = ScriptedEngines(tts=ScriptedTts(takes_s=0.3))

    async def main() -> None:
        async with host(scripted, max_clauses=1) as running, client(running) as api:
            wanted: Any = {"model": TTS, "voice": "af_heart", "input": "Hello.", "response_format": "pcm"}

            async def ask() -> str:
                try:
                    await api.audio.speech.create(**wanted)
                except openai.APIStatusError as error:
                    again_s = error.response.headers["Retry-After"]
                    return f"{error.status_code} {error.code}, again after {again_s} s"
                return "spoken"

            refusal = "503 engine_full, again after 1 s"
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(ask()) for _ in range(3)]
            assert sorted(task.result() for task in asked) == [refusal, refusal, "spoken"]
            assert await ask() == "spoken"
            assert running.slots.refused["tts"] == 2

    asyncio.run(main())


def test_it_is_ready_when_its_engines_are_and_needs_a_key() -> None:
    class SlowTts(ScriptedTts):
        async def start(self) -> None:
            await may_start.wait()

    may_start = asyncio.Event()

    async def get(url: str, key: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def main() -> None:
        async with host(ScriptedEngines(tts=SlowTts()), ready=False) as running:
            assert await get(f"{running.url}/health") == (200, {"status": "alive"})
            status, problem = await get(f"{running.url}/ready")
            assert (status, problem["code"]) == (503, "server_starting")
            may_start.set()
            await running.engine_set.until_ready()
            assert await get(f"{running.url}/ready") == (200, {"ready": True})
            for address in ("/v1/models", "/status"):
                assert (await get(f"{running.url}{address}"))[0] == 401
                assert (await get(f"{running.url}{address}", "a-key-that-nobody-gave-out"))[0] == 401
                assert (await get(f"{running.url}{address}", KEY))[0] == 200
            _, report = await get(f"{running.url}/status", KEY)
            assert report["requests"]["tts"] == {"active": 0, "limit": 4, "refused": 0}
            assert report["engines"]["stt"]["state"] == "ready"

    asyncio.run(main())


def test_it_drains() -> None:
    """What is under way ends; what comes is refused."""
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("ready", "one two three"), word_s=0.1))

    async def main() -> None:
        async with host(scripted) as running:
            url = f"{running.url}/v1"
            async with started(OpenAiChat(url, LLM, api_key=KEY, patience=QUICK)) as llm:
                request = LlmRequest((ChatMessage("user", "Hi."),), 200, 0.0)
                async with aclosing(llm.reply(request)) as deltas:
                    said = [(await anext(deltas)).text]
                    async with asyncio.TaskGroup() as tasks:
                        draining = tasks.create_task(running.slots.drain(5.0))
                        await asyncio.sleep(0)
                        with pytest.raises(EngineError, match="shutting down"):
                            await listed(llm.reply(request))
                        assert not draining.done()
                        said += [delta.text async for delta in deltas]
                assert "".join(said) == "one two three"

    asyncio.run(main())


def test_a_compressed_recording_at_another_rate_is_read() -> None:
    def ogg() -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=48_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), format="s16", layout="mono")
            frame.sample_rate = 48_000
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
        return file.getvalue()

    scripted = ScriptedEngines()

    async def main() -> None:
        async with host(scripted) as running, client(running) as api:
            await api.audio.transcriptions.create(model=STT, file=("a.ogg", ogg()))
            assert abs(scripted.stt.sessions[-1].pushed_s - 1.0) < 0.1

    asyncio.run(main())
