"""The arithmetic of the metrics, and what the performance report makes of it."""

from __future__ import annotations

import json
import math
import random

import pytest

from media.audio import silence
from media.events import (
    CallFault,
    DraftSettled,
    InputCommitted,
    ItemTruncated,
    OutputAudioDelta,
    ResponseDone,
    SpeechStarted,
    TranscriptCompleted,
    TranscriptFailed,
    TurnMeasured,
)
from media.items import Response, ResponseStatus
from media.latency import Stage, TurnLatency
from server.latency_targets import LatencyTargets, measures_of
from server.latency_window import LatencySummary, LatencyWindow, RecentEvents
from server.metrics import Metrics
from server.performance import analysed


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def turn(*, endpoint: float = 300, stt: float = 120, llm: float = 60, tts: float = 200) -> TurnLatency:
    stages = (
        Stage("endpoint", 0, endpoint),
        Stage("stt", 100, stt),
        Stage("llm", 100 + stt, llm),
        Stage("tts", 100 + stt + llm, tts),
        Stage("playout", 100 + stt + llm + tts, 20),
    )
    return TurnLatency("item_1", "resp_1", stages, total_ms=100 + stt + llm + tts + 20)


def done(status: ResponseStatus, code: str | None = None) -> ResponseDone:
    return ResponseDone(Response("resp_1", "audio", status, error_code=code))


def test_answers_begun_early_are_counted_with_what_they_cost() -> None:
    metrics = Metrics(clock=Clock())
    assert metrics.as_json(calls_active=0, uptime_s=1)["answers_begun_early"]["used_share"] is None
    for used, engine_s in ((True, 0.3), (False, 0.1), (True, 0.25), (True, 0.05)):
        metrics.observe(DraftSettled(used, engine_s))
    assert metrics.as_json(calls_active=0, uptime_s=1)["answers_begun_early"] == {
        "used": 3,
        "dropped": 1,
        "used_share": 0.75,
        "gained_s": pytest.approx(0.6),
        "in_vain_s": pytest.approx(0.1),
    }


def test_a_summary_of_a_hundred_measurements() -> None:
    window = LatencyWindow(1000)
    values = [float(value) for value in range(1, 101)]
    random.Random(1).shuffle(values)
    for value in values:
        window.add(value)
    assert window.summary() == LatencySummary(100, 1.0, 50.5, 50.0, 95.0, 100.0)


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 21])
def test_percentiles_are_measurements_and_lie_in_order(count: int) -> None:
    window = LatencyWindow(100)
    values = [float(value * value) for value in range(count)]
    for value in values:
        window.add(value)
    summary = window.summary()
    assert summary is not None
    assert {summary.p50_ms, summary.p95_ms} <= set(values)
    assert summary.min_ms <= summary.p50_ms <= summary.p95_ms <= summary.max_ms
    assert sum(value <= summary.p95_ms for value in values) >= math.ceil(0.95 * count)


def test_a_window_forgets_the_oldest() -> None:
    window = LatencyWindow(3)
    for value in (1000.0, 1.0, 2.0, 3.0):
        window.add(value)
    assert window.summary() == LatencySummary(3, 1.0, 2.0, 2.0, 3.0, 3.0)


def test_an_empty_window_has_no_summary() -> None:
    assert LatencyWindow(3).summary() is None


def test_a_minute_passes() -> None:
    events = RecentEvents()
    for at_s in (0.0, 10.0, 59.0, 60.0):
        events.add(at_s)
    assert events.per_minute(60.0) == 3
    assert events.per_minute(119.5) == 1
    assert events.per_minute(200.0) == 0


def test_what_a_turn_measures() -> None:
    assert measures_of(turn()) == {
        "endpoint": 300,
        "stt": 120,
        "llm": 60,
        "tts": 200,
        "playout": 20,
        "total": 380,
        "voice_to_voice": 500,
    }


def test_a_typed_turn_says_nothing_about_voice_to_voice() -> None:
    typed = TurnLatency(None, "resp_1", (Stage("llm", 0, 60), Stage("tts", 60, 200)), total_ms=270)
    assert measures_of(typed) == {"llm": 60, "tts": 200, "total": 260}


def test_what_calls_tell_is_counted() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    metrics.call_admitted()
    metrics.call_refused()
    for event in (
        SpeechStarted("item_1", 0),
        InputCommitted("item_1", None),
        TranscriptCompleted("item_1", "hello", audio_s=1.5),
        OutputAudioDelta("resp_1", "item_2", silence(2.0, 24_000)),
        TurnMeasured(turn()),
        done("completed"),
        done("cancelled"),
        ItemTruncated("item_2", 500, "Hel"),
        done("incomplete"),
        done("failed", "engine_error"),
        TranscriptFailed("item_3", "no", "engine_error"),
        CallFault("oops", "internal_error"),
    ):
        metrics.observe(event)
    metrics.call_ended(failed=True)
    clock.now_s = 30.0

    report = metrics.as_json(calls_active=0, uptime_s=30.0)

    assert report["calls"] == {"active": 0, "admitted": 1, "refused": 1, "failed": 1}
    assert report["turns"] == {
        "total": 5,
        "of_the_caller": 1,
        "interrupted": 1,
        "by_status": {"completed": 1, "cancelled": 1, "incomplete": 1, "failed": 1},
        "transcriptions_failed": 1,
        "success_rate": 0.6,
        "error_rate": 0.4,
    }
    assert report["errors"] == {"engine_error": 2, "internal_error": 1}
    assert report["throughput"] == {
        "turns_last_minute": 4,
        "turns_per_minute": 10.0,
        "heard_s": 1.5,
        "spoken_s": 2.0,
    }
    assert report["latency"]["tts"] == {
        "count": 1,
        "min_ms": 200,
        "mean_ms": 200,
        "p50_ms": 200,
        "p95_ms": 200,
        "max_ms": 200,
    }
    assert json.loads(json.dumps(report)) == report


def test_before_the_first_turn_there_are_no_rates() -> None:
    report = Metrics(clock=Clock()).as_json(calls_active=0, uptime_s=0.0)
    assert report["turns"]["success_rate"] is None
    assert report["turns"]["error_rate"] is None
    assert set(report["latency"].values()) == {None}


def test_prometheus_text() -> None:
    metrics = Metrics(clock=Clock())
    metrics.call_admitted()
    metrics.observe(TurnMeasured(turn(stt=120)))
    metrics.observe(done("completed"))
    lines = metrics.as_prometheus().decode().splitlines()
    assert "voxtral_kokoro_calls_active 1.0" in lines
    assert 'voxtral_kokoro_calls_total{outcome="admitted"} 1.0' in lines
    assert 'voxtral_kokoro_responses_total{status="completed"} 1.0' in lines
    assert 'voxtral_kokoro_latency_seconds_bucket{le="0.1",stage="stt"} 0.0' in lines
    assert 'voxtral_kokoro_latency_seconds_bucket{le="0.15",stage="stt"} 1.0' in lines
    assert 'voxtral_kokoro_latency_seconds_sum{stage="stt"} 0.12' in lines


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(clock=Clock()), Metrics(clock=Clock())
    first.call_admitted()
    assert "voxtral_kokoro_calls_active 0.0" in second.as_prometheus().decode()


def report_of(*turns: TurnLatency) -> dict[str, object]:
    metrics = Metrics(clock=Clock())
    for latency in turns:
        metrics.observe(TurnMeasured(latency))
    return analysed(metrics.latency(), LatencyTargets())


def test_no_turn_no_judgement() -> None:
    report = report_of()
    assert report["verdict"] == "No turn was measured yet."
    assert report["advice"] == []


def test_the_worst_stage_comes_first_with_what_to_do() -> None:
    report = report_of(*[turn(stt=90, llm=200, tts=180)] * 20)
    assert report["verdict"] == "Over target, the worst first: llm, total, tts, voice_to_voice."
    stages, advice = report["stages"], report["advice"]
    assert isinstance(stages, dict)
    assert isinstance(advice, list)
    assert stages["llm"] == {
        "target_ms": 50,
        "p50_ms": 200,
        "p95_ms": 200,
        "over_by_ms": 150,
        "met": False,
    }
    assert stages["stt"]["met"] is True
    assert stages["stt"]["over_by_ms"] == 0
    assert stages["endpoint"]["met"] is None
    assert advice[0]["stage"] == "llm"
    assert advice[0]["times_target"] == 4.0
    assert "llm.threads" in advice[0]["what_to_do"]


def test_the_whole_wait_names_its_longest_stage() -> None:
    report = report_of(*[turn(endpoint=900, stt=50, llm=30, tts=400)] * 20)
    advice = report["advice"]
    assert isinstance(advice, list)
    whole = next(entry for entry in advice if entry["stage"] == "voice_to_voice")
    assert whole["what_to_do"].startswith("Most of the wait is endpoint: 900 ms on average.")
    assert "turn_taking.patience_s" in whole["what_to_do"]


def test_few_turns_are_said_to_be_few() -> None:
    report = report_of(turn(stt=50, llm=30, tts=100))
    assert report["verdict"] == "Every stage meets its target. Only 1 turns were measured so far."


def test_what_is_advised_exists() -> None:
    """Every setting that the advice names is one."""
    import re

    from server.config import Config

    report = report_of(*[turn(endpoint=900, stt=500, llm=500, tts=500)] * 20)
    names = re.findall(r"\b([a-z_]+)\.([a-z_]+)\b", json.dumps(report["advice"]))
    assert names
    for section, key in names:
        assert hasattr(getattr(Config(), section), key), f"{section}.{key}"
