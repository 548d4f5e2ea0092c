"""How much later the server hears over a network that is bad now and then.

One caller sends a noise in which every moment can be recognised, and each packet's sound is found again in
what the server's conversation is handed. A second call at the same time, over a sound network, is the
control: the machine's own stalls are in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bench.delay_probe import probe, sightings
from bench.impaired_calls import impaired_calls
from bench.impairment_figures import DelayFigures, Spell, delay_figures
from bench.udp_relay import Impairment
from media.clock import loop_time_s

LEAD_S = 3.0
WATCHED_S = 3.0
"""After each spell, before the next one."""


@dataclass(frozen=True, slots=True)
class BadSpell:
    """The network is bad for a while, in both directions."""

    impairment: Impairment
    duration_s: float


async def delay_under(
    bad_spells: Sequence[BadSpell], lead_s: float = LEAD_S, watched_s: float = WATCHED_S
) -> DelayFigures:
    """Two calls at once, one of them over a network that has these spells.

    Args:
        bad_spells: one after the other.
        lead_s: before the first one: it shows what delay is usual.
        watched_s: after each one.
    """
    async with impaired_calls(2) as (impaired, control):
        signal = probe(lead_s + sum(spell.duration_s + watched_s for spell in bad_spells) + 0.5)
        spells = []
        async with asyncio.TaskGroup() as saying:
            said = [saying.create_task(call.caller.say(signal)) for call in (impaired, control)]
            await asyncio.sleep(lead_s)
            for spell in bad_spells:
                begin_s = loop_time_s()
                with impaired.relay.impaired(spell.impairment):
                    await asyncio.sleep(spell.duration_s)
                spells.append(Spell(begin_s, loop_time_s()))
                await asyncio.sleep(watched_s)
        seen, seen_beside = (
            sightings(signal, task.result() - signal.duration_s, call.heard)
            for task, call in zip(said, (impaired, control), strict=True)
        )
        return delay_figures(seen, seen_beside, spells, watched_s)
