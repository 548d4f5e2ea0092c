"""Counters and latencies of all calls, fed by what conversations tell; as JSON and for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from media.events import (
    CallEvent,
    CallFault,
    DraftSettled,
    InputCommitted,
    ItemTruncated,
    OutputAudioDelta,
    ResponseDone,
    TranscriptCompleted,
    TranscriptFailed,
    TurnMeasured,
)
from media.items import ResponseStatus
from media.latency import TurnLatency
from server.faults import Fault
from server.latency_targets import MEASURES, MeasureName, measures_of
from server.latency_window import LatencySummary, LatencyWindow, RecentEvents
from server.telephone_metrics import FrameMetrics, TelephoneMetrics

_BUCKETS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

_RECOVERY_BUCKETS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

_STATUSES: tuple[ResponseStatus, ...] = ("completed", "cancelled", "incomplete", "failed")
"""How a response may end. Cancelled is no error: the caller interrupted it."""


class Metrics:
    """What happened since the server began.

    A turn is a response and what led to it. It succeeded unless the response failed; a transcription that
    failed is a turn that failed before it had a response.

    Args:
        clock: seconds, monotonic; the event loop's time.
        latency_window_turns: percentiles are those of this many last turns.
    """

    def __init__(self, *, clock: Callable[[], float], latency_window_turns: int = 1000) -> None:
        self._clock = clock
        self._responses: dict[ResponseStatus, int] = dict.fromkeys(_STATUSES, 0)
        self._errors: dict[str, int] = {}
        self._transcripts_failed = 0
        self._calls_admitted = 0
        self._calls_refused = 0
        self._calls_failed = 0
        self._caller_turns = 0
        self._interruptions = 0
        self._heard_s = 0.0
        self._spoken_s = 0.0
        self._drafts = {"used": 0, "dropped": 0}
        self._draft_s = {"used": 0.0, "dropped": 0.0}
        self._engine_process_restarts = 0
        self._engine_failures: dict[str, int] = {}
        self._recent_turns = RecentEvents()
        self._latency = {measure: LatencyWindow(latency_window_turns) for measure in MEASURES}
        self._prometheus = _PrometheusMetrics()
        self.telephone = TelephoneMetrics(self._prometheus.registry)
        self.frames = FrameMetrics(self._prometheus.registry)

    def call_admitted(self) -> None:
        self._calls_admitted += 1
        self._prometheus.calls.labels("admitted").inc()
        self._prometheus.calls_active.inc()

    def call_refused(self) -> None:
        self._calls_refused += 1
        self._prometheus.calls.labels("refused").inc()

    def call_ended(self, *, failed: bool) -> None:
        self._calls_failed += failed
        self._prometheus.calls_active.dec()
        if failed:
            self._prometheus.calls.labels("failed").inc()

    def engine_process_restarted(self) -> None:
        self._engine_process_restarts += 1
        self._prometheus.engine_process_restarts.inc()

    def engine_failed(self, role: str, code: str) -> None:
        """An engine at an endpoint, or one that others stand in for, failed."""
        self._engine_failures[role] = self._engine_failures.get(role, 0) + 1
        self._prometheus.engine_failures.labels(role, code).inc()

    def fault_began(self, fault: Fault) -> None:
        self._prometheus.faults.labels(fault.kind.value, fault.severity.word, fault.engine).inc()

    def fault_ended(self, fault: Fault, took_s: float) -> None:
        self._prometheus.recoveries.labels(fault.recovery.value, "succeeded").inc()
        self._prometheus.recovery_s.labels(fault.recovery.value).observe(took_s)

    def recovery_failed(self, fault: Fault) -> None:
        self._prometheus.recoveries.labels(fault.recovery.value, "failed").inc()

    def observe(self, event: CallEvent) -> None:
        """Takes note of what matters here. Quick: it is called for every event of every call."""
        match event:
            case OutputAudioDelta(audio=audio):
                self._spoken_s += audio.duration_s
                self._prometheus.audio_s.labels("spoken").inc(audio.duration_s)
            case InputCommitted():
                self._caller_turns += 1
            case TranscriptCompleted(audio_s=audio_s):
                self._heard_s += audio_s
                self._prometheus.audio_s.labels("heard").inc(audio_s)
            case TranscriptFailed(code=code):
                self._transcripts_failed += 1
                self._error(code)
            case ItemTruncated():
                self._interruptions += 1
                self._prometheus.interruptions.inc()
            case ResponseDone(response=response):
                self._responses[response.status] = self._responses.get(response.status, 0) + 1
                self._prometheus.responses.labels(response.status).inc()
                self._recent_turns.add(self._clock())
                if response.status == "failed":
                    self._error(response.error_code or "engine_error")
            case TurnMeasured(latency=latency):
                self._measure(latency)
            case DraftSettled(used=used, engine_s=engine_s):
                fate = "used" if used else "dropped"
                self._drafts[fate] += 1
                self._draft_s[fate] += engine_s
                self._prometheus.drafts.labels(fate).inc()
                self._prometheus.draft_s.labels(fate).inc(engine_s)
            case CallFault(code=code):
                self._error(code)
            case _:
                pass

    def latency(self) -> dict[MeasureName, LatencySummary | None]:
        """Of the last turns, by measure."""
        return {measure: window.summary() for measure, window in self._latency.items()}

    def as_json(self, *, calls_active: int, uptime_s: float) -> dict[str, Any]:
        """`/speech-to-speech/metrics`. Rates are between 0 and 1, null before the first turn."""
        ended = sum(self._responses.values()) + self._transcripts_failed
        failed = self._responses["failed"] + self._transcripts_failed
        begun_early = sum(self._drafts.values())
        return {
            "calls": {
                "active": calls_active,
                "admitted": self._calls_admitted,
                "refused": self._calls_refused,
                "failed": self._calls_failed,
            },
            "turns": {
                "total": ended,
                "of_the_caller": self._caller_turns,
                "interrupted": self._interruptions,
                "by_status": dict(self._responses),
                "transcriptions_failed": self._transcripts_failed,
                "success_rate": round(1 - failed / ended, 4) if ended else None,
                "error_rate": round(failed / ended, 4) if ended else None,
            },
            "answers_begun_early": {
                **self._drafts,
                "used_share": round(self._drafts["used"] / begun_early, 4) if begun_early else None,
                "gained_s": round(self._draft_s["used"], 3),
                "in_vain_s": round(self._draft_s["dropped"], 3),
            },
            "engine_process": {"restarts": self._engine_process_restarts},
            "engine_failures": dict(sorted(self._engine_failures.items())),
            "errors": dict(sorted(self._errors.items())),
            "throughput": {
                "turns_last_minute": self._recent_turns.per_minute(self._clock()),
                "turns_per_minute": round(60 * ended / uptime_s, 3) if uptime_s > 0 else 0.0,
                "heard_s": round(self._heard_s, 3),
                "spoken_s": round(self._spoken_s, 3),
            },
            "telephone": self.telephone.as_json(),
            "frames": self.frames.as_json(),
            "latency": {
                measure: None if summary is None else _rounded(summary)
                for measure, summary in self.latency().items()
            },
        }

    def as_prometheus(self) -> bytes:
        """`/metrics`, in Prometheus' text format."""
        return generate_latest(self._prometheus.registry)

    def _measure(self, turn: TurnLatency) -> None:
        for measure, value_ms in measures_of(turn).items():
            self._latency[measure].add(value_ms)
            self._prometheus.latency_s.labels(measure).observe(value_ms / 1000)

    def _error(self, code: str) -> None:
        self._errors[code] = self._errors.get(code, 0) + 1
        self._prometheus.errors.labels(code).inc()


class _PrometheusMetrics:
    """The same in Prometheus' terms, in a registry of its own: several servers in one process stay apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "voxtral_kokoro_calls", "Calls by what became of them.", ["outcome"], registry=self.registry
        )
        self.drafts = Counter(
            "voxtral_kokoro_early_answers",
            "Answers that were begun before the turn was over, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.draft_s = Counter(
            "voxtral_kokoro_early_answer_seconds",
            "How long engines had worked on them by then: gained where used, in vain where dropped.",
            ["outcome"],
            registry=self.registry,
        )
        self.calls_active = Gauge(
            "voxtral_kokoro_calls_active", "Calls that hold a slot.", registry=self.registry
        )
        self.responses = Counter(
            "voxtral_kokoro_responses", "Responses by how they ended.", ["status"], registry=self.registry
        )
        self.interruptions = Counter(
            "voxtral_kokoro_interruptions", "Replies cut short by the caller.", registry=self.registry
        )
        self.engine_process_restarts = Counter(
            "voxtral_kokoro_engine_process_restarts",
            "Engine processes that were started because the one before had died.",
            registry=self.registry,
        )
        self.engine_failures = Counter(
            "voxtral_kokoro_engine_failures",
            "Failures of engines at endpoints, and of those that others stand in for.",
            ["engine", "code"],
            registry=self.registry,
        )
        self.faults = Counter(
            "voxtral_kokoro_faults",
            "What went wrong in the engines.",
            ["kind", "severity", "engine"],
            registry=self.registry,
        )
        self.recoveries = Counter(
            "voxtral_kokoro_fault_recoveries",
            "What was done about it, by whether it helped.",
            ["recovery", "outcome"],
            registry=self.registry,
        )
        self.recovery_s = Histogram(
            "voxtral_kokoro_fault_recovery_seconds",
            "From an engine's fault until it did its work again.",
            ["recovery"],
            buckets=_RECOVERY_BUCKETS_S,
            registry=self.registry,
        )
        self.errors = Counter("voxtral_kokoro_errors", "Errors by code.", ["code"], registry=self.registry)
        self.audio_s = Counter(
            "voxtral_kokoro_audio_seconds", "Speech heard and spoken.", ["direction"], registry=self.registry
        )
        self.latency_s = Histogram(
            "voxtral_kokoro_latency_seconds",
            "Latency of a turn by stage.",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )


def _rounded(summary: LatencySummary) -> dict[str, float]:
    return {name: round(value, 1) for name, value in asdict(summary).items()}
