"""The synthetic caller over sockets: says, hears, is interrupted, and is told when the call is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from scripted_call import ScriptedConversation, Serving, serving

from media import events as call
from media.audio import Audio, concatenate, silence
from media.clock import loop_time_s
from media.errors import CallerError
from media.items import Message, Part, Response
from signaling.hearing import CallFailed
from signaling.socket_caller import Dialect, RealtimeDialect, SocketCaller, SocketCallerOptions, WsDialect

LIMIT_S = 20.0
REPLY = Message("item_a", "assistant", (Part("output_audio", ""),), "in_progress")
DIALECTS = pytest.mark.parametrize("dialect", [WsDialect(), RealtimeDialect()], ids=lambda one: one.path)


def tone(duration_s: float, hz: float = 440.0, rate_hz: int = 24_000) -> Audio:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((8000 * np.sin(2 * np.pi * hz * t)).astype(np.int16), rate_hz)


def with_server(test: Callable[[Serving], Awaitable[None]], slots: int = 4) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), serving(slots=slots) as served:
            await test(served)

    asyncio.run(main())


def only_conversation(served: Serving) -> ScriptedConversation:
    (conversation,) = served.host.conversations
    return conversation


def answers(conversation: ScriptedConversation, *pieces: Audio) -> None:
    for event in (
        call.ResponseCreated(Response("resp_1", "audio")),
        call.OutputItemAdded("resp_1", REPLY),
        call.OutputPartAdded("resp_1", REPLY),
        *(call.OutputAudioDelta("resp_1", "item_a", piece) for piece in pieces),
    ):
        conversation.notify(event)


@DIALECTS
def test_what_is_said_is_heard_in_its_time(dialect: Dialect) -> None:
    async def test(served: Serving) -> None:
        async with SocketCaller(served.url, dialect=dialect) as caller:
            assert caller.setup is not None
            begun_s = loop_time_s()
            end_s = await caller.say(concatenate([tone(0.6), silence(0.2, 24_000)], 24_000))
            assert 0.55 <= end_s - begun_s <= 1.0, "as long as it takes to say it"
            conversation = only_conversation(served)
            while sum(audio.level_dbfs() > -30 for audio in conversation.heard) < 29:
                conversation.more_heard.clear()
                await conversation.more_heard.wait()
            assert all(audio.rate_hz == 16_000 for audio in conversation.heard)

    with_server(test)


@DIALECTS
def test_an_answer_is_heard_as_a_player_plays_it(dialect: Dialect) -> None:
    """It comes at once; its first half second is silent, and nobody hears silence."""

    async def test(served: Serving) -> None:
        async with SocketCaller(served.url, dialect=dialect) as caller:
            asked_s = loop_time_s()
            answers(only_conversation(served), silence(0.5, 24_000), tone(1.0))
            frame = await caller.next_audible(asked_s)
            assert frame.at_s - asked_s == pytest.approx(0.5, abs=0.2)
            while len(caller.heard) < 74:
                caller.more_heard.clear()
                await caller.more_heard.wait()
            heard = caller.recording()
            assert heard.rate_hz == 24_000
            assert heard.slice_s(0.0, 0.48).level_dbfs() < -100
            assert heard.slice_s(0.52, 1.4).level_dbfs() > -20

    with_server(test)


def test_an_interruption_leaves_what_was_played() -> None:
    async def test(served: Serving) -> None:
        async with SocketCaller(served.url) as caller:
            conversation = only_conversation(served)
            answers(conversation, tone(5.0))
            await caller.next_audible(0)
            conversation.notify(call.OutputBufferCleared("resp_1"))
            conversation.notify(call.ItemTruncated("item_a", 100, "Hm"))
            await caller.next_event("truncated")
            assert caller.recording().duration_s < 2.0

    with_server(test)


@DIALECTS
def test_typed_text_and_events(dialect: Dialect) -> None:
    async def test(served: Serving) -> None:
        async with SocketCaller(served.url, dialect=dialect) as caller:
            await caller.type_text("Hello?")
            conversation = only_conversation(served)
            await caller.next_event("item", "conversation.item.added")
            (entered,) = [act[1] for act in conversation.acts if act[0] == "add_item"]
            assert entered.text == "Hello?"

    with_server(test)


def test_the_end_of_a_call_wakes_whoever_waits() -> None:
    async def test(served: Serving) -> None:
        async with SocketCaller(served.url) as caller:
            waiting = [caller.next_event("never"), caller.next_audible(0), caller.say(tone(9.0))]
            async with asyncio.TaskGroup() as tasks:

                async def fails(what: Awaitable[object]) -> None:
                    with pytest.raises(CallFailed):
                        await what

                for what in waiting:
                    tasks.create_task(fails(what))
                await asyncio.sleep(0)
                only_conversation(served).close()
            with pytest.raises(CallFailed):
                await caller.type_text("Too late.")

    with_server(test)


def test_a_call_that_is_not_taken() -> None:
    async def test(served: Serving) -> None:
        async with SocketCaller(served.url):
            with pytest.raises(CallFailed, match="All lines are busy"):
                async with SocketCaller(served.url):
                    pass
        with pytest.raises(CallFailed, match="cannot be reached"):
            async with SocketCaller("http://127.0.0.1:1"):
                pass
        with pytest.raises(CallerError):
            SocketCaller("nonsense", SocketCallerOptions())

    with_server(test, slots=1)
