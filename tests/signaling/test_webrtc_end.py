"""How a WebRTC call ends, whoever ends it and however: all that it held is free again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import aiohttp
import aioice.ice
import pytest
from scripted_call import serving
from webrtc_calls import SDP, audible, offer_of_a_stranger, only, run, tone

from media.clock import loop_time_s
from signaling.caller import Caller
from signaling.hearing import CallFailed
from signaling.realtime_routes import CALLS_PATH
from signaling.webrtc_call import CLOSE_TIMEOUT_S


def test_the_greeting_waits_for_the_connection() -> None:
    """An offer that is never followed up starts no conversation, and its slot is free again in time."""

    async def main() -> None:
        async with serving(slots=1, connect_timeout_s=0.5) as server:
            offer = await offer_of_a_stranger()
            async with aiohttp.ClientSession() as http:
                url = f"{server.url}{CALLS_PATH}"
                async with http.post(url, data=offer.encode(), headers=SDP) as response:
                    assert response.status == 201
                assert len(server.calls) == 1
                async with http.post(url, data=offer.encode(), headers=SDP) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "7"
            await server.host.all_free()
            assert not only(server).began.is_set()
            assert only(server).closed
            assert not server.calls

    run(main)


def test_vanishing_mid_word_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop's lid closes: nothing answers any more, and consent (RFC 7675) runs out.

    In half a minute; here it is asked for ten times as often.
    """
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", aioice.ice.CONSENT_INTERVAL / 10)

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await audible(caller)
            await caller.vanish()
            await server.host.all_free()
            assert only(server).closed

    run(main)


def test_a_page_that_is_closed_ends_the_call_at_once() -> None:
    """No hang-up reaches the server, but the browser's DTLS says goodbye."""

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await audible(caller)
            began_s = loop_time_s()
            await caller.leave()
            await server.host.all_free()
            assert loop_time_s() - began_s < 3

    run(main)


def test_hanging_up_tells_the_caller() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            server.calls.get(caller.call_id).hang_up()
            await caller.ended.wait()

    run(main)


def test_whoever_waits_in_a_call_that_ends_is_told() -> None:
    """Waiting for an event, for a sound, or until something long was said."""

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:

            async def told(waiting: Coroutine[Any, Any, Any]) -> None:
                with pytest.raises(CallFailed, match=r"^The server ended the call\.$"):
                    await waiting

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(told(caller.next_event("response.done")))
                tasks.create_task(told(caller.next_audible(loop_time_s() + 1000)))
                tasks.create_task(told(caller.say(tone(60))))
                await asyncio.sleep(0)
                server.calls.get(caller.call_id).hang_up()
            with pytest.raises(CallFailed):
                await caller.say(tone(1))
            with pytest.raises(CallFailed):
                await caller.next_event("response.done")

    run(main)


def test_a_conversation_that_breaks_ends_its_call_only() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as broken, Caller(server.url) as sound:
            conversation = server.host.conversations[0]
            conversation.fails = RuntimeError("broken")
            conversation.close()
            await broken.ended.wait()
            began_s = loop_time_s()
            await audible(sound, began_s)
            assert [type(failure) for failure in server.host.failures] == [ExceptionGroup]

    run(main)


def test_a_connection_that_hangs_while_it_closes_gives_up_its_slot() -> None:
    """aiortc waits for its sender's task for ever; here that task will not end."""

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await audible(caller)
            playout = only(server).playout
            playout.unstuck.clear()
            await playout.got_stuck.wait()
            began_s = loop_time_s()
            server.calls.get(caller.call_id).hang_up()
            await server.host.all_free()
            assert CLOSE_TIMEOUT_S - 0.1 < loop_time_s() - began_s < 2 * CLOSE_TIMEOUT_S
            playout.unstuck.set()

    run(main)


def test_calls_one_after_the_other_leave_nothing_behind() -> None:
    """The fixtures of every test count sockets and tasks; here also a line is free each time."""

    async def main() -> None:
        async with serving(slots=1) as server:
            for _ in range(4):
                async with Caller(server.url) as caller:
                    await audible(caller)
                await server.host.all_free()
            assert asyncio.current_task() is not None
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert not [name for name in names if name.startswith("rtc_")]

    run(main)
