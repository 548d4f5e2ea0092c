"""Engines that failed, elsewhere or with others to stand in: what is known of them in the media process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from media.engines.wire import CameBack, FellBack, RemoteRole


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
    """Takes note of what becomes of them. `told` is called for each failure, with the role and its code."""

    def __init__(self) -> None:
        self.told: Callable[[RemoteRole, str], None] = lambda _role, _code: None
        self._failing: dict[RemoteRole, dict[str, _Failing]] = {}

    def take(self, event: FellBack | CameBack) -> None:
        """Something happened."""
        of_role = self._failing.setdefault(event.role, {})
        engine = of_role.setdefault(event.engine, _Failing(event.engine))
        match event:
            case FellBack(role=role, code=code, reason=reason):
                engine.works = False
                engine.failures += 1
                engine.last_code, engine.last_reason = code, reason
                self.told(role, code)
            case CameBack():
                engine.works = True

    def begin_anew(self) -> None:
        """The engine process was started again: it knows of no failures."""
        for of_role in self._failing.values():
            for engine in of_role.values():
                engine.works = True

    @property
    def report(self) -> dict[str, list[dict[str, Any]]]:
        """For `/status`: by role, the engines that have failed."""
        return {
            role: [asdict(engine) for engine in engines.values()] for role, engines in self._failing.items()
        }
