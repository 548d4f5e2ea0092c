"""From sightings of the probe to figures: the delay that an impairment adds, and when it is gone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.delay_probe import Sighting

GONE_MS = 10.0
"""Added delay up to this counts as none: half a packet."""
BAR_MS = 200.0
"""After an impairment's end, by when the added delay is to be gone."""

EDGES_MS = (0, 50, 100, 150, 200, 300, 500, 1000, 2000, 3000)
"""The spans after an impairment's end that are reported."""

_CONTROL_S = 0.06
"""The control's lateness at a moment is the median this far around it."""
_AT_ONCE = 5
"""Half of so many sightings in a row must be late to count: a single one is the machine's doing."""


@dataclass(frozen=True, slots=True)
class Spell:
    """When an impairment lasted, in loop time."""

    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Added:
    """Delay beyond that of the same call before the first impairment."""

    at_s: float
    added_ms: float


@dataclass(frozen=True, slots=True)
class DelayFigures:
    """Of one kind of impairment.

    Attributes:
        during_p50_ms: added while it lasts.
        during_p95_ms: likewise.
        after_ms: added after its end, median of all spells: by the spans' beginnings in ms.
        gone_after_ms: until it was gone for good, by spell; None where it was not within what was looked at.
        recognised_percent: of the packets after `BAR_MS`, those whose sound was recognised.
        control_p95_ms: how much the control call was late itself, which is the machine's doing.
    """

    during_p50_ms: float | None
    during_p95_ms: float | None
    after_ms: dict[str, float | None]
    gone_after_ms: list[float | None]
    recognised_percent: float
    control_p95_ms: float

    @property
    def is_in_time(self) -> bool:
        """The median spell's delay is gone when it should be."""
        gone_ms = self.gone_p50_ms
        return gone_ms is not None and gone_ms <= BAR_MS

    @property
    def gone_p50_ms(self) -> float | None:
        """Median over the spells; None where more than half of them leave a delay."""
        ordered = sorted(float("inf") if gone is None else gone for gone in self.gone_after_ms)
        middle = ordered[len(ordered) // 2]
        return None if middle == float("inf") else middle


def delay_figures(
    impaired: Sequence[Sighting],
    control: Sequence[Sighting],
    spells: Sequence[Spell],
    watched_s: float,
    packet_s: float = 0.02,
) -> DelayFigures:
    """The figures of one call.

    Args:
        impaired: its sightings.
        control: those of a call at the same time whose network is sound.
        spells: when the first one's was not.
        watched_s: how long each spell's consequences are looked at, from its end.
        packet_s: how often there is something to recognise.
    """
    lateness = _added(control, spells[0].begin_s)
    added = [
        Added(entry.at_s, entry.added_ms - _around(lateness, entry.at_s))
        for entry in _added(impaired, spells[0].begin_s)
    ]
    during = [
        entry.added_ms
        for spell in spells
        for entry in added
        if spell.begin_s + 0.1 <= entry.at_s <= spell.end_s
    ]
    after = [
        [
            Added(entry.at_s - spell.end_s, entry.added_ms)
            for entry in added
            if spell.end_s <= entry.at_s <= spell.end_s + watched_s
        ]
        for spell in spells
    ]
    settled = [entry for spell in after for entry in spell if entry.at_s * 1000 >= BAR_MS]
    expected = len(spells) * (watched_s - BAR_MS / 1000) / packet_s
    return DelayFigures(
        during_p50_ms=_percentile(during, 50),
        during_p95_ms=_percentile(during, 95),
        after_ms=_by_span(after, watched_s),
        gone_after_ms=[_gone_after_ms(entries) for entries in after],
        recognised_percent=round(100 * len(settled) / expected, 1),
        control_p95_ms=_percentile([entry.added_ms for entry in lateness], 95) or 0.0,
    )


def _added(sightings: Sequence[Sighting], before_s: float) -> list[Added]:
    """Each sighting's delay beyond the usual one before a time, in which there must be some."""
    usual_s = statistics.median(sighting.delay_s for sighting in sightings if sighting.at_s < before_s)
    return [Added(sighting.at_s, (sighting.delay_s - usual_s) * 1000) for sighting in sightings]


def _around(lateness: Sequence[Added], at_s: float) -> float:
    near = [entry.added_ms for entry in lateness if abs(entry.at_s - at_s) <= _CONTROL_S]
    return statistics.median(near) if near else 0.0


def _by_span(after: Sequence[Sequence[Added]], watched_s: float) -> dict[str, float | None]:
    edges = [edge for edge in EDGES_MS if edge < watched_s * 1000]
    spans = {}
    for begin, end in zip(edges, [*edges[1:], round(watched_s * 1000)], strict=True):
        inside = [e.added_ms for entries in after for e in entries if begin <= e.at_s * 1000 < end]
        spans[str(begin)] = _percentile(inside, 50)
    return spans


def _gone_after_ms(entries: Sequence[Added]) -> float | None:
    """From when on the median of a few sightings stays small, in ms after the end."""
    spans = [entries[index : index + _AT_ONCE] for index in range(len(entries) - _AT_ONCE + 1)]
    late = [span for span in spans if statistics.median(entry.added_ms for entry in span) > GONE_MS]
    if not spans or (late and late[-1] is spans[-1]):
        return None
    return round(late[-1][_AT_ONCE // 2].at_s * 1000, 1) if late else 0.0


def _percentile(values: Sequence[float], percent: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 1)
