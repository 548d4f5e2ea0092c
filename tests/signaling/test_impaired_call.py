"""A delay that a bad network brought does not stay: two real peers, a relay between them."""

from __future__ import annotations

import asyncio

from bench.impairment_delay import BadSpell, delay_under
from bench.impairment_figures import BAR_MS
from bench.udp_relay import Impairment

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
