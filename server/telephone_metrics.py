"""Counters of telephone calls and of the frames that all calls are sent, for `Metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from signaling.phone.leg import LegFigures
from signaling.phone.record import CallRecord

LATENESS_BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 1000)


class TelephoneMetrics:
    """`signaling.phone.record.CallWatcher`.

    Args:
        registry: of the server's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended: Counter[tuple[str, str, str]] = Counter()
        self._answered_by: Counter[str] = Counter()
        self._active: Counter[str] = Counter()
        self._packets: Counter[str] = Counter()
        self._calls_total = PrometheusCounter(
            "voxtral_kokoro_telephone_calls",
            "Telephone calls that are over, by what became of them.",
            ["carrier", "direction", "outcome"],
            registry=registry,
        )
        self._calls_active = Gauge(
            "voxtral_kokoro_telephone_calls_active",
            "Telephone calls that ring or go on.",
            ["direction"],
            registry=registry,
        )
        self._answerers = PrometheusCounter(
            "voxtral_kokoro_telephone_answered_by",
            "Calls that were placed, by who seems to have answered.",
            ["answered_by"],
            registry=registry,
        )
        self._packets_total = PrometheusCounter(
            "voxtral_kokoro_telephone_packets",
            "Sound packets of telephone calls that are over: received, lost on their way here, and sent.",
            ["carrier", "kind"],
            registry=registry,
        )
        self.registrations: Callable[[], Mapping[str, int]] = dict
        """How many registrations with PBXs are in each state."""
        registry.register(_Registrations(lambda: self.registrations()))

    def call_began(self, record: CallRecord) -> None:
        self._active[record.direction] += 1
        self._calls_active.labels(record.direction).inc()

    def call_ended(self, record: CallRecord, figures: LegFigures) -> None:
        outcome = record.outcome or "error"
        self._active[record.direction] -= 1
        self._calls_active.labels(record.direction).dec()
        self._ended[record.carrier, record.direction, outcome] += 1
        self._calls_total.labels(record.carrier, record.direction, outcome).inc()
        if record.answered_by is not None:
            self._answered_by[record.answered_by] += 1
            self._answerers.labels(record.answered_by).inc()
        kinds = {
            "received": figures.received_packets,
            "lost": figures.lost_packets,
            "sent": figures.sent_packets,
        }
        for kind, packets in kinds.items():
            self._packets[kind] += packets
            self._packets_total.labels(record.carrier, kind).inc(packets)

    def as_json(self) -> dict[str, Any]:
        """For `/speech-to-speech/metrics`."""
        return {
            "active": {direction: self._active[direction] for direction in ("inbound", "outbound")},
            "ended": [
                {"carrier": carrier, "direction": direction, "outcome": outcome, "calls": calls}
                for (carrier, direction, outcome), calls in sorted(self._ended.items())
            ],
            "answered_by": dict(sorted(self._answered_by.items())),
            "packets": {kind: self._packets[kind] for kind in ("received", "lost", "sent")},
            "registrations": dict(self.registrations()),
        }


class FrameMetrics:
    """How late the frames were that calls were sent, the present ones included.

    Args:
        registry: of the server's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lateness_ms: Callable[[], Counter[int]] = Counter
        """How many frames were so many whole milliseconds late."""
        registry.register(_Lateness(lambda: self.lateness_ms()))

    def as_json(self) -> dict[str, Any]:
        lateness_ms = self.lateness_ms()
        return {
            "sent": lateness_ms.total(),
            "late_p50_ms": _percentile(lateness_ms, 0.5),
            "late_p99_ms": _percentile(lateness_ms, 0.99),
            "late_most_ms": max(lateness_ms, default=None),
        }


def _percentile(counts: Counter[int], share: float) -> int | None:
    wanted, seen = share * counts.total(), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return None


class _Lateness(Collector):
    def __init__(self, lateness_ms: Callable[[], Counter[int]]) -> None:
        self._lateness_ms = lateness_ms

    def collect(self) -> Iterable[HistogramMetricFamily]:
        counts = self._lateness_ms()
        buckets = [
            (str(bound / 1000), float(sum(count for late, count in counts.items() if late < bound)))
            for bound in LATENESS_BOUNDS_MS
        ]
        yield HistogramMetricFamily(
            "voxtral_kokoro_frame_lateness_seconds",
            "How late frames of the assistant's voice left, in whole milliseconds.",
            buckets=[*buckets, ("+Inf", float(counts.total()))],
            sum_value=sum(late * count for late, count in counts.items()) / 1000,
        )


class _Registrations(Collector):
    def __init__(self, registrations: Callable[[], Mapping[str, int]]) -> None:
        self._registrations = registrations

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "voxtral_kokoro_telephone_registrations",
            "Registrations with PBXs, by how they stand.",
            labels=["state"],
        )
        for state, count in self._registrations().items():
            family.add_metric([state], count)
        yield family
