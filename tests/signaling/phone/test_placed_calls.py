"""Calls that the server places: rung, answered or not, called off, and no more of them than may be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from media.errors import CallerError, ServerFull
from signaling.phone.leg import NotAnswered, Unanswered
from signaling.phone.record import CallRecord
from signaling.realtime_session_objects import SessionUpdate
from tests.signaling.phone.phone_calls import OUTBOUND, Exchange, ScriptedDialler, ScriptedLeg, run

SIX = {"server": {"max_calls": 6}}
ALLOWED = {"telephone": {"allowed_destinations": ["+49*"], "allowed_callers": ["+49 30 1"]}}


def place(exchange: Exchange, dialler: ScriptedDialler, to: str = "+49 30 999", **more: Any) -> CallRecord:
    return exchange.starter.place(dialler, to, more.get("caller"), more.get("update"))


def dialler(**options: Any) -> ScriptedDialler:
    return ScriptedDialler(ScriptedLeg(party=OUTBOUND), **options)


def test_it_rings_and_is_answered_and_greeted() -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler()
        update = SessionUpdate.model_validate({"greeting": "Good morning."})
        record = place(exchange, dials, caller="+49301", update=update)
        assert record.state == "calling"
        await asyncio.sleep(2)
        assert record.state == "ringing"
        await asyncio.sleep(5)
        assert record.state == "answered"
        assert dials.dialled == [("+4930999", "+49301")]
        assert dials.leg.first_sound_s() >= 3.3
        dials.leg.hang_up()
        await exchange.host.until_nobody_calls()
        assert record.outcome == "completed"

    run(main, telephone=ALLOWED["telephone"] | {"answering_machines": {"detect": False}})


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "refused", "unreachable", "failed"])
def test_why_it_is_not_answered(outcome: Unanswered) -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler(fails=NotAnswered("The line is so.", outcome, 486))
        record = place(exchange, dials)
        await exchange.host.until_nobody_calls()
        assert (record.state, record.outcome, record.sip_status) == ("ended", outcome, 486)
        assert record.detail == "The line is so."
        assert record.answered_s is None

    run(main, **ALLOWED)


def test_nobody_is_rung_for_ever() -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler(answers_s=1000)
        record = place(exchange, dials)
        await exchange.host.until_nobody_calls()
        assert asyncio.get_running_loop().time() == pytest.approx(45, abs=1)
        assert record.outcome == "no_answer"
        assert dials.called_off == 1

    run(main, **ALLOWED)


def test_a_call_is_called_off_while_it_rings() -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler()
        record = place(exchange, dials)
        await asyncio.sleep(2)
        exchange.calls.get(record.call_id).hang_up()
        await exchange.host.until_nobody_calls()
        assert dials.called_off == 1
        assert (record.outcome, record.why) == ("cancelled", "hung up here")

    run(main, **ALLOWED)


def test_who_answers_while_they_are_called_off_is_hung_up() -> None:
    class Late(ScriptedDialler):
        async def dial(self, *args: Any) -> ScriptedLeg:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                # The CANCEL crossed the answer.
                await asyncio.sleep(0.1)
            return self.leg

    async def main(exchange: Exchange) -> None:
        dials = Late(ScriptedLeg(party=OUTBOUND))
        record = place(exchange, dials)
        await asyncio.sleep(1)
        exchange.calls.get(record.call_id).hang_up()
        await exchange.host.until_nobody_calls()
        assert dials.leg.ended_s is not None
        assert not dials.leg.levels or max(level for _, level in dials.leg.levels) < -60

    run(main, **ALLOWED)


def test_a_server_that_drains_calls_off_what_rings() -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler(answers_s=40)
        record = place(exchange, dials)
        await asyncio.sleep(2)
        await exchange.host.drain(1.0)
        assert dials.called_off == 1
        assert record.why == "the server stops"
        with pytest.raises(ServerFull):
            place(exchange, dialler())

    run(main, **ALLOWED)


def test_nobody_is_called_by_default() -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler()
        for to in ("+4930999", "sip:alice@pbx"):
            with pytest.raises(CallerError) as refused:
                place(exchange, dials, to)
            assert refused.value.code == "destination_not_allowed"
        assert dials.dialled == []
        assert exchange.host.active == 0

    run(main)


def test_not_as_anybody() -> None:
    async def main(exchange: Exchange) -> None:
        dials = dialler()
        with pytest.raises(CallerError) as refused:
            place(exchange, dials, caller="+49110")
        assert refused.value.code == "caller_not_allowed"
        assert dials.dialled == []

    run(main, **ALLOWED)


def test_no_more_at_once_than_may_be() -> None:
    async def main(exchange: Exchange) -> None:
        placed = [dialler(answers_s=4), dialler(answers_s=4)]
        for dials in placed:
            place(exchange, dials)
        with pytest.raises(ServerFull) as refused:
            place(exchange, dialler())
        assert refused.value.code == "too_many_outbound_calls"
        await asyncio.sleep(6)
        placed[0].leg.hang_up()
        await asyncio.sleep(1)
        third = dialler()
        place(exchange, third)
        await asyncio.sleep(6)
        for dials in (*placed, third):
            dials.leg.hang_up()

    run(main, **ALLOWED, **SIX)


def test_calls_that_a_provider_placed_take_nobody_s_place() -> None:
    async def main(exchange: Exchange) -> None:
        legs = [ScriptedLeg(party=replace(OUTBOUND, caller="x" * 10_000)) for _ in range(2)]
        records = [exchange.take(leg)[0] for leg in legs]
        assert [len(record.caller) for record in records] == [512, 512]
        await asyncio.sleep(2)
        assert exchange.starter.records.outbound == 0
        dials = dialler()
        place(exchange, dials)
        assert exchange.starter.records.outbound == 1
        await asyncio.sleep(6)
        for leg in (*legs, dials.leg):
            leg.hang_up()
        await exchange.host.until_nobody_calls()
        assert exchange.starter.records.outbound == 0

    run(main, **ALLOWED, **SIX)


def test_no_more_in_a_minute_than_may_be() -> None:
    async def main(exchange: Exchange) -> None:
        busy = NotAnswered("Busy.", "busy", 486)
        for _ in range(3):
            place(exchange, dialler(fails=busy))
            await asyncio.sleep(4)
        with pytest.raises(ServerFull, match="in a minute"):
            place(exchange, dialler(fails=busy))
        await asyncio.sleep(60)
        place(exchange, dialler(fails=busy))

    run(main, telephone=ALLOWED["telephone"] | {"max_outbound_per_minute": 3})
