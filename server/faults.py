"""What goes wrong in the engines: of which kind, how bad, what is done about it, and whether that helps."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from media.clock import thread_time_s

_log = logging.getLogger(__name__)

_PATTERN_FAULTS = 3
_PATTERN_WINDOW_S = 300.0
"""So many faults of one kind in one engine, within so long, are no accident any more."""

_RECENT_KEPT = 20


class FaultKind(StrEnum):
    """What went wrong."""

    INITIALISATION = "initialisation"
    """An engine did not start."""
    RUNTIME = "runtime"
    """An engine that had started broke, or its process died."""
    PERFORMANCE = "performance"
    """It was too slow, or stuck."""
    MEMORY = "memory"
    """There was no memory for its work, on the GPU or elsewhere."""
    NETWORK = "network"
    """An endpoint could not be reached, or broke off."""
    VALIDATION = "validation"
    """An endpoint does not take what it is configured with, or an engine made what nobody can use."""


class Severity(IntEnum):
    """How bad it is for callers."""

    LOW = 1
    """They need not have noticed: another engine went on."""
    MEDIUM = 2
    """Somebody heard an apology, or waited."""
    HIGH = 3
    """Everybody does, until it is mended."""
    CRITICAL = 4
    """Nobody is answered until it is mended."""

    @property
    def word(self) -> str:
        return self.name.lower()


class Recovery(StrEnum):
    """What is done about it."""

    RETRY = "retry"
    """Nothing yet: it is asked again, with the next request."""
    FALL_BACK = "fall_back"
    """Another engine goes on; this one is asked again after a rest."""
    RESTART_ENGINE = "restart_engine"
    """It is unloaded, its cache freed, and started again, later and later."""
    RESTART_PROCESS = "restart_process"
    """The engine process is replaced."""
    REFUSE = "refuse"
    """It waits for somebody: a setting is wrong, or files are missing."""
    TELL = "tell"
    """Nothing has failed yet."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong.

    Attributes:
        engine: the role, `llm`, or `process`.
        name: the backend and its model.
        code: stable, `llm_unreachable`.
        reason: a sentence.
    """

    kind: FaultKind
    severity: Severity
    recovery: Recovery
    engine: str
    name: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of an engine's failure besides its code.

    Attributes:
        elsewhere: it is an endpoint.
        starting: it did not start.
        stood_in_for: another engine of its role goes on.
    """

    elsewhere: bool = False
    starting: bool = False
    stood_in_for: bool = False


class FaultWatcher(Protocol):
    """Who counts faults, too."""

    def fault_began(self, fault: Fault) -> None: ...

    def fault_ended(self, fault: Fault, took_s: float) -> None: ...

    def recovery_failed(self, fault: Fault) -> None: ...


def classified(engine: str, name: str, code: str, reason: str, about: Circumstances) -> Fault:
    """An engine's failure as a fault."""
    kind = _kind(code, about)
    recovery = _recovery(kind, code, about)
    return Fault(kind, _severity(kind, recovery, about), recovery, engine, name, code, reason)


def _kind(code: str, about: Circumstances) -> FaultKind:
    match code:
        case "out_of_memory":
            return FaultKind.MEMORY
        case "engine_silent" | "engine_full" | "engine_process_stuck":
            return FaultKind.PERFORMANCE
        case "engine_garbage":
            return FaultKind.VALIDATION
        case "model_missing":
            return FaultKind.INITIALISATION
    if code.endswith("_timeout"):
        return FaultKind.PERFORMANCE
    if code.endswith(("_unauthorized", "_not_found")):
        return FaultKind.VALIDATION
    if about.elsewhere:
        return FaultKind.NETWORK
    return FaultKind.INITIALISATION if about.starting else FaultKind.RUNTIME


def _recovery(kind: FaultKind, code: str, about: Circumstances) -> Recovery:
    if code.startswith("engine_process_") or code == "device_lost":
        return Recovery.RESTART_PROCESS
    if code == "engine_silent" and not about.elsewhere:
        return Recovery.RESTART_PROCESS
    if about.stood_in_for and kind is not FaultKind.MEMORY:
        return Recovery.FALL_BACK
    if code == "model_missing" or code.endswith(("_unauthorized", "_not_found")):
        return Recovery.REFUSE
    if about.starting or kind is FaultKind.MEMORY:
        return Recovery.RESTART_ENGINE
    return Recovery.RETRY


def _severity(kind: FaultKind, recovery: Recovery, about: Circumstances) -> Severity:
    if about.stood_in_for:
        return Severity.MEDIUM if kind is FaultKind.MEMORY else Severity.LOW
    match recovery:
        case Recovery.RESTART_PROCESS:
            return Severity.CRITICAL
        case Recovery.RESTART_ENGINE | Recovery.REFUSE:
            return Severity.HIGH
        case _:
            return Severity.MEDIUM


@dataclass(slots=True)
class _Open:
    """A fault that is not over.

    Attributes:
        fault: the last one of it.
        began_s: when its first one was.
    """

    fault: Fault
    began_s: float


@dataclass(slots=True)
class _Outcomes:
    """How a kind of recovery has done."""

    succeeded: int = 0
    failed: int = 0
    last_s: float = 0.0
    longest_s: float = 0.0
    sum_s: float = 0.0

    def took(self, took_s: float) -> None:
        self.succeeded += 1
        self.last_s, self.longest_s, self.sum_s = took_s, max(self.longest_s, took_s), self.sum_s + took_s

    @property
    def report(self) -> dict[str, Any]:
        tried = self.succeeded + self.failed
        return {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "success_rate": round(self.succeeded / tried, 4) if tried else None,
            "last_s": round(self.last_s, 3) if self.succeeded else None,
            "mean_s": round(self.sum_s / self.succeeded, 3) if self.succeeded else None,
            "longest_s": round(self.longest_s, 3) if self.succeeded else None,
        }


class FaultLedger:
    """Counts faults, notices those that repeat, and times how they end.

    A fault of an engine lasts until that engine has done its work again: time to recovery is what callers had
    to do without it.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = thread_time_s) -> None:
        self.watcher: FaultWatcher | None = None
        self._clock = clock
        self._kinds: Counter[FaultKind] = Counter()
        self._severities: Counter[Severity] = Counter()
        self._outcomes: dict[Recovery, _Outcomes] = {}
        self._open: dict[tuple[str, str], _Open] = {}
        self._recent: deque[tuple[float, Fault]] = deque(maxlen=_RECENT_KEPT)
        self._times: dict[tuple[FaultKind, str, str], deque[float]] = {}
        """Of the last few of each kind and engine."""

    def began(self, fault: Fault) -> None:
        """Something went wrong."""
        now_s = self._clock()
        if self._repeats(fault, now_s):
            fault = replace(fault, severity=Severity(min(fault.severity + 1, Severity.CRITICAL)))
        self._kinds[fault.kind] += 1
        self._severities[fault.severity] += 1
        self._recent.append((now_s, fault))
        present = self._open.setdefault((fault.engine, fault.name), _Open(fault, now_s))
        present.fault = fault
        if self.watcher is not None:
            self.watcher.fault_began(fault)

    def escalated(self, engine: str, name: str, recovery: Recovery) -> None:
        """What is done about an engine's fault is more than its last one alone would ask for."""
        present = self._open.get((engine, name))
        if present is not None:
            present.fault = replace(present.fault, recovery=recovery)

    def ended(self, engine: str, name: str) -> None:
        """An engine does its work again."""
        present = self._open.pop((engine, name), None)
        if present is None:
            return
        took_s = self._clock() - present.began_s
        self._outcomes.setdefault(present.fault.recovery, _Outcomes()).took(took_s)
        if self.watcher is not None:
            self.watcher.fault_ended(present.fault, took_s)

    def all_ended(self) -> None:
        """The engine process is another one: whatever had failed in the one before works."""
        for (engine, name), present in list(self._open.items()):
            if present.fault.recovery is not Recovery.TELL:
                self.ended(engine, name)

    def not_mended(self, engine: str) -> None:
        """A recovery of what is wrong with an engine did not succeed; it is tried again."""
        for (of_engine, _), present in self._open.items():
            if of_engine == engine:
                self._outcomes.setdefault(present.fault.recovery, _Outcomes()).failed += 1
                if self.watcher is not None:
                    self.watcher.recovery_failed(present.fault)

    @property
    def needs_process(self) -> bool:
        """Something is wrong that only another process mends. May be asked from any thread."""
        present = list(self._open.values())
        return any(one.fault.recovery is Recovery.RESTART_PROCESS for one in present)

    @property
    def report(self) -> dict[str, Any]:
        """For `/status`."""
        now_s = self._clock()
        return {
            "total": sum(self._kinds.values()),
            "by_kind": {kind.value: self._kinds[kind] for kind in FaultKind if self._kinds[kind]},
            "by_severity": {of.word: self._severities[of] for of in Severity if self._severities[of]},
            "recoveries": {recovery.value: done.report for recovery, done in self._outcomes.items()},
            "open": [
                {**_described(present.fault), "for_s": round(now_s - present.began_s, 1)}
                for present in self._open.values()
            ],
            "patterns": [
                {"kind": kind.value, "engine": engine, "name": name, "faults": self._within(times, now_s)}
                for (kind, engine, name), times in self._times.items()
                if self._within(times, now_s) >= _PATTERN_FAULTS
            ],
            "recent": [
                {**_described(fault), "ago_s": round(now_s - at_s, 1)}
                for at_s, fault in reversed(self._recent)
            ],
        }

    def _repeats(self, fault: Fault, now_s: float) -> bool:
        """Notes when it was, and tells whether it is one of a pattern."""
        key = (fault.kind, fault.engine, fault.name)
        times = self._times.setdefault(key, deque(maxlen=_RECENT_KEPT))
        times.append(now_s)
        count = self._within(times, now_s)
        if count == _PATTERN_FAULTS:
            _log.warning(
                "a fault repeats",
                extra={
                    "engine": fault.engine,
                    "model": fault.name,
                    "kind": fault.kind.value,
                    "times": count,
                    "within_s": _PATTERN_WINDOW_S,
                },
            )
        return count >= _PATTERN_FAULTS

    @staticmethod
    def _within(times: deque[float], now_s: float) -> int:
        return sum(now_s - at_s <= _PATTERN_WINDOW_S for at_s in times)


def _described(fault: Fault) -> dict[str, Any]:
    return {
        "engine": fault.engine,
        "name": fault.name,
        "kind": fault.kind.value,
        "severity": fault.severity.word,
        "recovery": fault.recovery.value,
        "code": fault.code,
        "reason": fault.reason,
    }
