"""vLLM's realtime API, as a client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from media.audio import Audio, silence
from media.engines import vllm_session
from media.engines.openai_endpoint import Patience
from media.engines.protocols import SttOptions
from media.engines.vllm_realtime import VllmRealtime
from media.engines.vllm_session import VllmSession
from media.errors import EngineError
from tests.vllm_server import Fault, VllmServer, saying

QUICK = Patience(connect_s=5.0, first_s=5.0, retries_s=(0.01, 0.02))


def engine_at(server: VllmServer, **settings: Any) -> VllmRealtime:
    return VllmRealtime(
        server.base_url, settings.pop("model", "voxtral"), languages=("en",), **{"patience": QUICK} | settings
    )


@asynccontextmanager
async def started(*faults: Fault, **settings: Any) -> AsyncIterator[tuple[VllmServer, VllmRealtime]]:
    """A server and an engine at it; its faults begin after the start."""
    async with VllmServer().running() as server:
        engine = engine_at(server, **settings)
        await engine.start()
        server.streams.clear()
        server.connected.clear()
        server.faults = faults
        try:
            yield server, engine
        finally:
            await engine.close()


async def push(session: VllmSession, audio: Audio) -> None:
    """As a call does it: 32 ms at a time, with time for the network between them."""
    for start in range(0, len(audio), 512):
        await session.push(Audio(audio.samples[start : start + 512], 16_000))
        await asyncio.sleep(0)


def test_words_come_while_they_are_said_and_the_rest_with_the_flush() -> None:
    async def main() -> None:
        async with started() as (server, engine):
            session = engine.open(SttOptions(language="en"))
            partials = session.partials()
            await push(session, saying("one", "two", "three", "four"))
            first = await anext(partials)
            assert first.text == "one", "480 ms behind"
            final = await session.flush()
            assert (final.text, final.language) == ("one two three four", "en")
            assert final.audio_s == pytest.approx(0.96)
            assert (await session.flush()).text == final.text
            await session.push(silence(1.0, 16_000))
            assert (await session.flush()).audio_s == pytest.approx(1.96)
            assert len(server.streams) == 1, "silence is not worth a stream"
            await partials.aclose()
            await session.abort()
            with pytest.raises(EngineError, match="aborted"):
                await session.flush()

    asyncio.run(main())


def test_a_flush_needs_no_partials() -> None:
    async def main() -> None:
        async with started() as (_, engine):
            session = engine.open(SttOptions(partials=False))
            await push(session, saying("five", "six"))
            assert (await session.flush()).text == "five six"
            await session.abort()

    asyncio.run(main())


def test_a_flush_within_a_word_does_not_cut_it() -> None:
    async def main() -> None:
        async with started() as (server, engine):
            session = engine.open(SttOptions())
            said = saying("one", "two", "three")
            await push(session, said.slice_s(0, 0.36))
            assert (await session.flush()).text == "one"
            await push(session, said.slice_s(0.36))
            assert (await session.flush()).text == "one two three"
            assert len(server.streams) == 2, "the second has heard all of it"
            await session.abort()

    asyncio.run(main())


def test_what_follows_a_pause_is_a_stream_of_its_own() -> None:
    async def main() -> None:
        async with started() as (server, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one", "two", ""))
            assert (await session.flush()).text == "one two"
            await push(session, saying("three"))
            assert (await session.flush()).text == "one two three"
            assert [len(stream.samples) for stream in server.streams] == [15_680, 3_840]
            assert not session._segments[0].sound, "nobody needs it any more"
            await session.abort()

    asyncio.run(main())


def test_a_long_turn_goes_on_in_a_new_stream_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_session, "ROTATE_AFTER_S", 0.9)

    async def main() -> None:
        async with started() as (server, engine):
            session = engine.open(SttOptions())
            partials = session.partials()
            await push(session, saying("one", "two", "", "three", "four", "", "five", "six", "seven"))
            told = [await anext(partials)]
            while told[-1].text != "one two three four five":
                told.append(await anext(partials))
            assert len(server.streams) == 3
            assert (await session.flush()).text == "one two three four five six seven"
            await partials.aclose()
            await session.abort()
            assert [stream.final for stream in server.streams] == [True] * 3

    asyncio.run(main())


def test_speech_without_a_pause_is_cut_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_session, "LONGEST_STREAM_S", 0.48)

    async def main() -> None:
        async with started() as (server, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one", "two", "three", "four"))
            assert (await session.flush()).text == "one two three four"
            assert len(server.streams) == 2
            await session.abort()

    asyncio.run(main())


def test_a_connection_that_is_lost_is_replaced() -> None:
    async def main() -> None:
        async with started("cut") as (server, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one", "two", "three", "four"))
            assert (await session.flush()).text == "one two three four"
            assert len(server.streams) == 2
            await session.abort()

    asyncio.run(main())


def test_a_connection_that_is_lost_in_the_background_ends_no_partials() -> None:
    async def main() -> None:
        async with started("cut") as (server, engine):
            session = engine.open(SttOptions())
            async with asyncio.TaskGroup() as group:
                partials = session.partials()
                first = group.create_task(anext(partials), name="a partial")
                await push(session, saying("one", "two", "three"))
                await asyncio.wait_for(server.connected.wait(), 10)
                await server.streams[0].closed.wait()
                assert (await session.flush()).text == "one two three"
            assert first.result().text
            await partials.aclose()
            await session.abort()

    asyncio.run(main())


def test_a_server_that_fails_again_and_again_is_an_engines_error() -> None:
    async def main() -> None:
        async with started("fails", "fails", "fails") as (server, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one"))
            with pytest.raises(EngineError, match="the engine is dead"):
                await session.flush()
            assert len(server.streams) == 3
            assert (await session.flush()).text == "one", "asked again later, it works"
            await session.abort()

    asyncio.run(main())


def test_a_server_that_repeats_the_key_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with started("fails", "fails", "fails", api_key="dead") as (_, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one"))
            with pytest.raises(EngineError, match="the engine is …"):
                await session.flush()
            await session.abort()

    asyncio.run(main())
    assert not [record for record in caplog.records if "dead" in str(vars(record))]


@pytest.mark.parametrize("fault", ["mute", "silent"])
def test_a_server_that_hangs_is_not_waited_for(fault: Fault) -> None:
    async def main() -> None:
        patience = Patience(first_s=1.0)
        async with started(fault) as (server, engine):
            engine._endpoint.patience = patience
            session = engine.open(SttOptions())
            await push(session, saying("one"))
            with pytest.raises(EngineError, match=r"did not (answer|greet) in time") as raised:
                await session.flush()
            assert raised.value.code == "stt_timeout"
            await asyncio.wait_for(server.streams[0].closed.wait(), 10)
            await session.abort()

    asyncio.run(main())


def test_another_servers_socket_is_refused() -> None:
    async def main() -> None:
        async with started("gibberish") as (_, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one"))
            with pytest.raises(EngineError, match="sent a message that is no event"):
                await session.flush()
            await session.abort()

    asyncio.run(main())


def test_a_cancelled_flush_can_be_asked_again() -> None:
    async def main() -> None:
        async with started() as (_, engine):
            session = engine.open(SttOptions())
            await push(session, saying("one", "two"))
            async with asyncio.TaskGroup() as group:
                flushing = group.create_task(session.flush())
                await asyncio.sleep(0)
                flushing.cancel()
            assert (await session.flush()).text == "one two"
            await session.abort()

    asyncio.run(main())


def test_aborting_closes_the_connection() -> None:
    async def main() -> None:
        async with started() as (server, engine):
            session = engine.open(SttOptions())
            partials = session.partials()
            async with asyncio.TaskGroup() as group:
                group.create_task(_drain(partials), name="partials")
                await push(session, saying("one", "two", "three"))
                await asyncio.wait_for(server.connected.wait(), 10)
                await session.abort()
            await asyncio.wait_for(server.streams[0].closed.wait(), 10)
            await session.abort()

    asyncio.run(main())


async def _drain(partials: Any) -> None:
    async for _ in partials:
        pass


def test_keys_models_and_addresses_are_checked_at_the_start() -> None:
    async def main() -> None:
        async with VllmServer(key="s3cret").running() as server:
            refused = engine_at(server, api_key="another")
            with pytest.raises(EngineError, match=r"does not accept model\.api_key") as raised:
                await refused.start()
            assert "another" not in str(raised.value)
            welcome = engine_at(server, api_key="s3cret")
            await welcome.start()
            await welcome.start()
            await welcome.probe()
            assert welcome.name == "vllm-realtime (voxtral)"
            await welcome.close()
            await welcome.close()
            unknown = engine_at(server, api_key="s3cret", model="another-model")
            with pytest.raises(EngineError, match="does not exist"):
                await unknown.start()
        gone = engine_at(server)
        with pytest.raises(EngineError, match="cannot be reached"):
            await gone.start()

    asyncio.run(main())


def test_languages_and_rates_are_checked() -> None:
    async def main() -> None:
        async with started() as (_, engine):
            with pytest.raises(EngineError, match="does not transcribe the language ja"):
                engine.open(SttOptions(language="ja"))
            with pytest.raises(ValueError, match="16000 Hz; got 8000 Hz"):
                await engine.open(SttOptions()).push(silence(1, 8000))

    asyncio.run(main())
