"""What is counted of telephone calls, from calls that took place."""

from __future__ import annotations

import asyncio

from signaling.phone.leg import NotAnswered
from tests.scripted import ScriptedEngines, ScriptedStt, quiet, speech
from tests.signaling.phone.phone_calls import OUTBOUND, Exchange, ScriptedDialler, ScriptedLeg, run


def lines_of(exchange: Exchange) -> list[str]:
    return exchange.host.metrics.as_prometheus().decode().splitlines()


def test_calls_are_counted_by_what_became_of_them() -> None:
    async def main(exchange: Exchange) -> None:
        metrics = exchange.host.metrics
        leg, placed = ScriptedLeg(), ScriptedLeg(party=OUTBOUND)
        exchange.take(leg)
        exchange.starter.place(ScriptedDialler(placed), "+4930999", None, None)
        assert metrics.telephone.as_json()["active"] == {"inbound": 1, "outbound": 1}
        await asyncio.sleep(3.1)
        await placed.say(speech(0.5), quiet(2.0))
        leg.hang_up()
        placed.hang_up()
        await exchange.host.until_nobody_calls()
        busy = NotAnswered("Busy.", "busy", 486)
        exchange.starter.place(ScriptedDialler(placed, fails=busy), "+4930999", None, None)
        await exchange.host.until_nobody_calls()
        metrics.telephone.registrations = lambda: {"registered": 2, "failed": 0}
        report = metrics.telephone.as_json()
        assert report == {
            "active": {"inbound": 0, "outbound": 0},
            "ended": [
                {"carrier": "sip", "direction": "inbound", "outcome": "completed", "calls": 1},
                {"carrier": "sip", "direction": "outbound", "outcome": "busy", "calls": 1},
                {"carrier": "sip", "direction": "outbound", "outcome": "completed", "calls": 1},
            ],
            "answered_by": {"human": 1},
            "packets": {"received": 20, "lost": 2, "sent": 40},
            "registrations": {"registered": 2, "failed": 0},
        }
        calls = "voxtral_kokoro_telephone_calls_total"
        lines = lines_of(exchange)
        assert f'{calls}{{carrier="sip",direction="outbound",outcome="busy"}} 1.0' in lines
        assert 'voxtral_kokoro_telephone_calls_active{direction="inbound"} 0.0' in lines
        assert 'voxtral_kokoro_telephone_answered_by_total{answered_by="human"} 1.0' in lines
        assert 'voxtral_kokoro_telephone_packets_total{carrier="sip",kind="lost"} 2.0' in lines
        assert 'voxtral_kokoro_telephone_registrations{state="registered"} 2.0' in lines

    engines = ScriptedEngines(stt=ScriptedStt(says=("hello",)))
    run(main, engines, telephone={"allowed_destinations": ["*"]})


def test_frames_are_counted_while_a_call_goes_on_and_after_it() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        exchange.take(leg)
        await asyncio.sleep(4.0)
        sent = exchange.host.metrics.frames.as_json()["sent"]
        assert 150 < sent <= 210
        leg.hang_up()
        await exchange.host.until_nobody_calls()
        report = exchange.host.metrics.frames.as_json()
        assert report["sent"] >= sent
        assert (report["late_p50_ms"], report["late_p99_ms"], report["late_most_ms"]) == (0, 0, 0)
        lateness = "voxtral_kokoro_frame_lateness_seconds"
        lines = lines_of(exchange)
        assert f'{lateness}_bucket{{le="0.001"}} {float(report["sent"])}' in lines
        assert f"{lateness}_count {float(report['sent'])}" in lines

    run(main)
