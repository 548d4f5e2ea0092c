"""Sightings made into figures."""

from __future__ import annotations

import pytest

from bench.delay_probe import Sighting
from bench.impairment_figures import Spell, delay_figures

PACKET_S = 0.02
USUAL_S = 0.012
WATCHED_S = 3.0
SPELL = Spell(3.0, 6.0)


def seen(until_s: float, added_s: dict[tuple[float, float], float] | None = None) -> list[Sighting]:
    """A sighting for each packet; later by so much within the given spans."""
    sightings = []
    for packet in range(round(until_s / PACKET_S)):
        at_s = packet * PACKET_S
        late_s = sum(by for (begin_s, end_s), by in (added_s or {}).items() if begin_s <= at_s < end_s)
        sightings.append(Sighting(at_s, USUAL_S + late_s))
    return sightings


def test_no_delay_is_none() -> None:
    figures = delay_figures(seen(9), seen(9), [SPELL], WATCHED_S)
    assert figures.during_p95_ms == figures.gone_p50_ms == 0.0
    assert set(figures.after_ms.values()) == {0.0}
    assert figures.recognised_percent == pytest.approx(100, abs=1)
    assert figures.is_in_time


def test_a_delay_that_goes_is_timed_from_the_spells_end() -> None:
    figures = delay_figures(seen(9, {(3.5, 6.5): 0.1}), seen(9), [SPELL], WATCHED_S)
    assert figures.during_p50_ms == pytest.approx(100)
    assert figures.after_ms["300"] == pytest.approx(100)
    assert figures.after_ms["500"] == pytest.approx(0, abs=1)
    assert figures.gone_p50_ms == pytest.approx(500, abs=60)
    assert not figures.is_in_time


def test_a_delay_that_stays_is_never_gone() -> None:
    figures = delay_figures(seen(9, {(3.5, 9.0): 0.1}), seen(9), [SPELL], WATCHED_S)
    assert (figures.gone_after_ms, figures.gone_p50_ms) == ([None], None)
    assert not figures.is_in_time


def test_nothing_recognised_is_no_proof() -> None:
    cut = [sighting for sighting in seen(9) if sighting.at_s < 6]
    figures = delay_figures(cut, seen(9), [SPELL], WATCHED_S)
    assert figures.recognised_percent == 0
    assert not figures.is_in_time


def test_what_is_late_beside_it_too_is_the_machines_doing() -> None:
    stalled = {(6.4, 7.0): 0.08}
    figures = delay_figures(seen(9, stalled), seen(9, stalled), [SPELL], WATCHED_S)
    assert figures.is_in_time
    assert figures.after_ms["500"] == pytest.approx(0, abs=1)


def test_one_late_packet_is_no_delay() -> None:
    figures = delay_figures(seen(9, {(7.0, 7.03): 0.2}), seen(9), [SPELL], WATCHED_S)
    assert figures.gone_p50_ms == 0.0
