"""What a bad network delays is soon in time again, what it loses comes again: real peers, a relay between."""

from __future__ import annotations

import asyncio

from bench.impaired_calls import impaired_calls
from bench.impairment_delay import BadSpell, delay_under
from bench.impairment_figures import BAR_MS
from bench.udp_relay import Impairment
from media.clock import loop_time_s

OUTAGE_S = 0.1

SPELLS = {
    "loss": BadSpell(Impairment(loss=0.1), 1.0),
    "jitter and reordering": BadSpell(Impairment(jitter_s=0.06, reordering=0.1), 1.0),
    "outage": BadSpell(Impairment(outage=True), 0.3),
    "stall": BadSpell(Impairment(held=True), 0.3),
}


def test_added_delay_is_gone_200_ms_after_its_cause() -> None:
    figures = asyncio.run(delay_under(list(SPELLS.values()), lead_s=1.0, watched_s=0.7))
    assert figures.recognised_percent > 80, figures
    gone_ms = dict(zip(SPELLS, figures.gone_after_ms, strict=True))
    late = {name: ms for name, ms in gone_ms.items() if ms is None or ms > BAR_MS}
    assert not late, figures


def test_an_event_that_was_lost_comes_in_half_a_second() -> None:
    async def main() -> float:
        async with impaired_calls(1) as (call,):
            await call.caller.next_event("session.created")
            with call.relay.impaired(Impairment(outage=True)):
                call.caller.send_event({"type": "session.update", "session": {}})
                await asyncio.sleep(OUTAGE_S)
            restored_s = loop_time_s()
            await call.caller.next_event("session.updated")
            return loop_time_s() - restored_s

    # aiortc alone would wait for a second at least.
    assert asyncio.run(main()) < 0.8 - OUTAGE_S
