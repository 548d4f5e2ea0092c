"""The latencies judged: which stage is over its target, by how much, and what can be done about it."""

from __future__ import annotations

from typing import Any, assert_never

from server.latency_targets import MEASURES, LatencyTargets, MeasureName
from server.latency_window import LatencySummary

_ENOUGH_TURNS = 20
"""With fewer, the 95th percentile is just the slowest turn; the report says so."""


def analysed(latency: dict[MeasureName, LatencySummary | None], targets: LatencyTargets) -> dict[str, Any]:
    """`/speech-to-speech/performance`.

    Args:
        latency: of the last turns, by measure.
        targets: compared with the 95th percentile.

    Returns:
        JSON-able: a verdict in words, every measure with its target, what to do, the worst first.
    """
    stages: dict[str, Any] = {}
    over: list[tuple[float, MeasureName]] = []
    for measure in MEASURES:
        summary, target_ms = latency.get(measure), targets.of(measure)
        if summary is None:
            stages[measure] = {"target_ms": target_ms, "p95_ms": None, "over_by_ms": None, "met": None}
            continue
        over_by_ms = None if target_ms is None else round(summary.p95_ms - target_ms, 1)
        stages[measure] = {
            "target_ms": target_ms,
            "p50_ms": round(summary.p50_ms, 1),
            "p95_ms": round(summary.p95_ms, 1),
            "over_by_ms": None if over_by_ms is None else max(0.0, over_by_ms),
            "met": None if over_by_ms is None else over_by_ms <= 0,
        }
        if target_ms is not None and summary.p95_ms > target_ms:
            over.append((summary.p95_ms / target_ms, measure))
    over.sort(reverse=True)
    turns = max((summary.count for summary in latency.values() if summary), default=0)
    return {
        "turns": turns,
        "verdict": _verdict(turns, [measure for _, measure in over]),
        "stages": stages,
        "advice": [
            {"stage": measure, "times_target": round(times, 2), "what_to_do": _advice(measure, latency)}
            for times, measure in over
        ],
    }


def _verdict(turns: int, over: list[MeasureName]) -> str:
    if not turns:
        return "No turn was measured yet."
    caution = f" Only {turns} turns were measured so far." if turns < _ENOUGH_TURNS else ""
    if not over:
        return f"Every stage meets its target.{caution}"
    return f"Over target, the worst first: {', '.join(over)}.{caution}"


def _advice(measure: MeasureName, latency: dict[MeasureName, LatencySummary | None]) -> str:
    match measure:
        case "stt":
            return (
                "Use a smaller model (model.name), tell the language instead of detecting it "
                "(model.language), or give transcription more threads (model.threads)."
            )
        case "llm":
            return (
                "Use a smaller or faster llm, keep the instructions short, or give it more threads "
                "(llm.threads). Long first sentences count here too: ask for short ones in the instructions."
            )
        case "tts":
            return (
                "Let clauses be cut shorter (streaming), give the voice more threads (tts.threads), "
                "or lower server.max_calls: clauses of several calls share the processor."
            )
        case "total":
            return (
                "The engines together are too slow for this machine: begin with the stage named first here."
            )
        case "voice_to_voice":
            return _whole_turn_advice(latency)
        case "endpoint":
            return (
                "Shorten the pause that ends a turn (turn_taking.patience_s); more turns will be cut short."
            )
        case "playout":
            return "The event loop is late: lower server.max_calls, or performance.threads."
        case _:
            assert_never(measure)


def _whole_turn_advice(latency: dict[MeasureName, LatencySummary | None]) -> str:
    """Names the stage in which most of the caller's wait goes by."""
    stages: tuple[MeasureName, ...] = ("endpoint", "stt", "llm", "tts", "playout")
    means = {stage: summary.mean_ms for stage in stages if (summary := latency.get(stage)) is not None}
    if not means:
        return "Look at the stages once turns were measured by stage."
    longest = max(means, key=lambda stage: means[stage])
    hint = "" if longest in ("stt", "llm", "tts") else f" {_advice(longest, latency)}"
    return f"Most of the wait is {longest}: {means[longest]:.0f} ms on average.{hint}"
