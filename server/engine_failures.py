"""Engines that fail: what is known of them in the media process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from media.engines.wire import CameBack, EngineEvent, FallbackLoad, FellBack, LoadState, RemoteRole, Unusable
from server.faults import Circumstances, FaultLedger, Recovery, classified

PROCESS = "process"
"""Whose fault it is where the engine process ends."""


@dataclass(slots=True)
class _Failing:
    """An engine that has failed.

    Attributes:
        engine: its name.
        works: it has worked since.
        failures: in all.
        last_code: of the last one.
        last_reason: in a sentence.
    """

    engine: str
    works: bool = False
    failures: int = 0
    last_code: str = ""
    last_reason: str = ""


class EngineFailures:
    """Takes note of what becomes of them. `told` is called for each failure, with the role and its code.

    Args:
        faults: is told of them as faults.
    """

    def __init__(self, faults: FaultLedger | None = None) -> None:
        self.faults = faults or FaultLedger()
        self.told: Callable[[RemoteRole, str], None] = lambda _role, _code: None
        self.noticed: Callable[[Unusable], None] = lambda _unusable: None
        """Called for each engine that becomes unusable."""
        self.needed: Callable[[FallbackLoad], None] = lambda _load: None
        """Called for each fallback that is to be loaded, since it is needed."""
        self.unusable: dict[RemoteRole, Unusable] = {}
        """By role, the last engine that waits to be started again."""
        self._failing: dict[RemoteRole, dict[str, _Failing]] = {}
        self._loads: dict[tuple[RemoteRole, str], FallbackLoad] = {}
        """Of the fallbacks that are loaded when they are needed."""

    def take(self, event: EngineEvent) -> None:
        """Something happened."""
        if isinstance(event, FallbackLoad):
            self._loads[event.role, event.engine] = event
            if event.state is LoadState.NEEDED:
                self.needed(event)
            return
        if isinstance(event, Unusable):
            recovery = Recovery.RESTART_PROCESS if event.needs_process else Recovery.RESTART_ENGINE
            self.faults.escalated(event.role, event.engine, recovery)
            before = self.unusable.get(event.role)
            if before is not None and before.needs_process:  # nothing less helps the two of them
                event = replace(before, stood_in_for=event.stood_in_for)
            self.unusable[event.role] = event
            self.noticed(event)
            return
        of_role = self._failing.setdefault(event.role, {})
        engine = of_role.setdefault(event.engine, _Failing(event.engine))
        match event:
            case FellBack(role=role, code=code, reason=reason):
                engine.works = False
                engine.failures += 1
                engine.last_code, engine.last_reason = code, reason
                self.told(role, code)
                about = Circumstances(event.elsewhere, event.starting, event.stood_in_for)
                self.faults.began(classified(role, event.engine, code, reason, about))
            case CameBack():
                engine.works = True
                self.faults.ended(event.role, event.engine)

    def process_ended(self, code: str, reason: str) -> None:
        """The engine process is gone, and with it what was known of its engines.

        Args:
            code: `engine_process_died` or `engine_process_stuck`; empty where it was ended for an engine's
                sake, whose fault it is.
            reason: a sentence.
        """
        self.unusable.clear()
        self._loads.clear()
        for of_role in self._failing.values():
            for engine in of_role.values():
                engine.works = True
        if code:
            self.faults.began(classified(PROCESS, "engine process", code, reason, Circumstances()))

    def process_back(self) -> None:
        """Another engine process has taken its place, and its engines work."""
        self.faults.all_ended()

    @property
    def report(self) -> dict[str, list[dict[str, Any]]]:
        """For `/status`: by role, the engines that have failed."""
        return {
            role: [asdict(engine) for engine in engines.values()] for role, engines in self._failing.items()
        }

    @property
    def loads(self) -> dict[str, list[dict[str, Any]]]:
        """For `/status`: by role, the fallbacks that are loaded when they are needed, and how far each is."""
        loads: dict[str, list[dict[str, Any]]] = {}
        for (role, engine), load in self._loads.items():
            described = {"engine": engine, "state": load.state.value, "loaded_after_s": load.took_s}
            loads.setdefault(role, []).append(described)
        return loads
