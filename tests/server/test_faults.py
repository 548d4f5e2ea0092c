"""Faults: of which kind they are, what is done, which repeat, and how long it took until they were mended."""

from __future__ import annotations

import json

import pytest

from media.engines.wire import CameBack, FellBack, Unusable
from server.engine_failures import EngineFailures
from server.faults import Circumstances, Fault, FaultKind, FaultLedger, Recovery, Severity, classified
from server.metrics import Metrics

ALONE = Circumstances()
BESIDE = Circumstances(stood_in_for=True)
FAR = Circumstances(elsewhere=True)
FAR_BESIDE = Circumstances(elsewhere=True, stood_in_for=True)
STARTING = Circumstances(starting=True)
STARTING_BESIDE = Circumstances(starting=True, stood_in_for=True)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, float]] = []

    def fault_began(self, fault: Fault) -> None:
        self.seen.append(("began", fault.severity.word, 0.0))

    def fault_ended(self, fault: Fault, took_s: float) -> None:
        self.seen.append(("ended", fault.recovery.value, took_s))

    def recovery_failed(self, fault: Fault) -> None:
        self.seen.append(("failed", fault.recovery.value, 0.0))


@pytest.mark.parametrize(
    ("code", "about", "kind", "severity", "recovery"),
    [
        ("out_of_memory", ALONE, "memory", "high", "restart_engine"),
        ("out_of_memory", BESIDE, "memory", "medium", "restart_engine"),
        ("out_of_memory", STARTING, "memory", "high", "restart_engine"),
        ("engine_error", ALONE, "runtime", "medium", "retry"),
        ("engine_fault", ALONE, "runtime", "medium", "retry"),
        ("engine_fault", BESIDE, "runtime", "low", "fall_back"),
        ("device_lost", ALONE, "runtime", "critical", "restart_process"),
        ("engine_silent", ALONE, "performance", "critical", "restart_process"),
        ("engine_silent", FAR_BESIDE, "performance", "low", "fall_back"),
        ("engine_garbage", ALONE, "validation", "medium", "retry"),
        ("engine_garbage", BESIDE, "validation", "low", "fall_back"),
        ("model_missing", STARTING_BESIDE, "initialisation", "low", "fall_back"),
        ("engine_error", STARTING, "initialisation", "high", "restart_engine"),
        ("engine_error", FAR, "network", "medium", "retry"),  # HTTP 500
        ("llm_unreachable", FAR_BESIDE, "network", "low", "fall_back"),
        ("tts_timeout", FAR, "performance", "medium", "retry"),
        ("stt_unauthorized", FAR, "validation", "high", "refuse"),
        ("stt_not_found", FAR_BESIDE, "validation", "low", "fall_back"),
        ("engine_process_died", ALONE, "runtime", "critical", "restart_process"),
        ("engine_process_stuck", ALONE, "performance", "critical", "restart_process"),
    ],
)  # fmt: skip
def test_what_a_failure_is(code: str, about: Circumstances, kind: str, severity: str, recovery: str) -> None:
    fault = classified("llm", "a model", code, "It broke.", about)
    assert (fault.kind, fault.severity.word, fault.recovery) == (kind, severity, recovery)


def fault(code: str = "engine_error", engine: str = "llm", about: Circumstances = ALONE) -> Fault:
    return classified(engine, "a model", code, "It broke.", about)


def test_a_fault_lasts_until_its_engine_works() -> None:
    clock, watcher = Clock(), Watcher()
    ledger = FaultLedger(clock)
    ledger.watcher = watcher
    ledger.ended("llm", "a model")  # nothing was wrong
    ledger.began(fault("out_of_memory"))
    clock.now_s += 2
    ledger.began(fault("out_of_memory"))
    ledger.not_mended("llm")
    ledger.not_mended("tts")  # which is well
    clock.now_s += 3
    report = ledger.report
    assert report["total"] == 2
    assert report["by_kind"] == {"memory": 2}
    assert report["by_severity"] == {"high": 2}
    assert [(open_["engine"], open_["for_s"]) for open_ in report["open"]] == [("llm", 5.0)]
    ledger.ended("llm", "a model")
    assert ledger.report["open"] == []
    assert ledger.report["recoveries"] == {
        "restart_engine": {
            "succeeded": 1,
            "failed": 1,
            "success_rate": 0.5,
            "last_s": 5.0,
            "mean_s": 5.0,
            "longest_s": 5.0,
        }
    }
    assert [(recent["code"], recent["ago_s"]) for recent in ledger.report["recent"]] == [
        ("out_of_memory", 3.0),
        ("out_of_memory", 5.0),
    ]
    assert watcher.seen == [
        ("began", "high", 0.0),
        ("began", "high", 0.0),
        ("failed", "restart_engine", 0.0),
        ("ended", "restart_engine", 5.0),
    ]
    assert json.loads(json.dumps(ledger.report)) == ledger.report


def test_what_repeats_is_a_pattern_and_worse(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    ledger = FaultLedger(clock)
    for _ in range(2):
        ledger.began(fault())
        ledger.began(fault(engine="tts"))
        ledger.ended("llm", "a model")  # that it works in between is no excuse
        clock.now_s += 100
    assert ledger.report["patterns"] == []
    ledger.began(fault())
    assert ledger.report["patterns"] == [{"kind": "runtime", "engine": "llm", "name": "a model", "faults": 3}]
    assert ledger.report["by_severity"] == {"medium": 4, "high": 1}
    ledger.began(fault())
    assert [record.message for record in caplog.records] == ["a fault repeats"]
    assert vars(caplog.records[0])["kind"] == "runtime"
    clock.now_s += 301
    assert ledger.report["patterns"] == []
    ledger.began(fault())
    assert ledger.report["by_severity"]["medium"] == 5
    assert Severity.CRITICAL.word == "critical"


def test_engines_tell_of_them() -> None:
    clock = Clock()
    failures = EngineFailures(FaultLedger(clock))
    noticed: list[Unusable] = []
    failures.noticed = noticed.append
    failures.take(FellBack("llm", "far", "llm_unreachable", "No way.", elsewhere=True, stood_in_for=True))
    failures.take(FellBack("tts", "near", "engine_silent", "Nothing came."))
    stuck = Unusable("tts", "near", "Nothing came.", stood_in_for=False, needs_process=True)
    failures.take(stuck)
    assert (noticed, failures.unusable) == ([stuck], {"tts": stuck})
    clock.now_s += 4
    failures.take(CameBack("llm", "far"))
    failures.process_ended("", "It was replaced.")
    assert failures.unusable == {}
    assert failures.faults.report["total"] == 2
    clock.now_s += 6
    failures.process_back()
    recoveries = failures.faults.report["recoveries"]
    assert recoveries["fall_back"]["last_s"] == 4.0
    assert recoveries["restart_process"]["last_s"] == 10.0
    assert failures.faults.report["open"] == []


def test_a_process_that_dies_is_a_fault_of_its_own() -> None:
    failures = EngineFailures(FaultLedger(Clock()))
    failures.process_ended("engine_process_died", "killed by SIGKILL")
    (open_,) = failures.faults.report["open"]
    assert (open_["engine"], open_["kind"], open_["severity"]) == ("process", "runtime", "critical")
    failures.process_back()
    assert failures.faults.report["open"] == []


def test_one_that_breaks_again_and_again_is_restarted_in_the_end() -> None:
    failures = EngineFailures(FaultLedger(Clock()))
    failures.take(FellBack("llm", "near", "engine_error", "It broke."))
    failures.take(Unusable("llm", "near", "It broke.", stood_in_for=False))
    failures.take(CameBack("llm", "near"))
    assert failures.faults.report["recoveries"].keys() == {Recovery.RESTART_ENGINE.value}


def test_prometheus_counts_them() -> None:
    metrics = Metrics(clock=Clock())
    ledger = FaultLedger(Clock())
    ledger.watcher = metrics
    ledger.began(fault("out_of_memory"))
    ledger.not_mended("llm")
    ledger.ended("llm", "a model")
    lines = metrics.as_prometheus().decode().splitlines()
    assert 'voxtral_kokoro_faults_total{engine="llm",kind="memory",severity="high"} 1.0' in lines
    for outcome in ("succeeded", "failed"):
        name = "voxtral_kokoro_fault_recoveries_total"
        assert f'{name}{{outcome="{outcome}",recovery="restart_engine"}} 1.0' in lines
    assert 'voxtral_kokoro_fault_recovery_seconds_count{recovery="restart_engine"} 1.0' in lines
    assert FaultKind.MEMORY.value == "memory"
