"""Keys of a telephone, pressed one by one, gathered into what the caller means by them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from media.section import Section


class DigitSettings(Section):
    """`telephone.digits` in `config.yaml`: when what was keyed in is complete, and what it does meanwhile."""

    end: Literal["#", "*", ""] = "#"
    """The key that ends it; empty for none."""
    pause_s: float = Field(2.5, ge=0.2, le=60)
    """It is complete, too, when no further key is pressed for so long."""
    most: int = Field(32, ge=1, le=256)
    """As many keys are complete at once."""
    interrupt: bool = True
    """A key that is pressed while the assistant speaks interrupts it."""


@dataclass(frozen=True, slots=True)
class KeyedIn:
    """What a caller keyed in, complete. It is due an answer, as a turn is.

    Attributes:
        item_id: the user item that it became.
    """

    item_id: str


class Digits:
    """Gathers the keys of one caller.

    Args:
        settings: when they are complete.
        entered: told of the keys that were pressed, without the one that ends them, unless it came alone.
    """

    def __init__(self, settings: DigitSettings, entered: Callable[[str], None]) -> None:
        self._settings = settings
        self._entered = entered
        self._pressed = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pending(self) -> bool:
        """Whether keys were pressed that are not complete yet."""
        return bool(self._pressed)

    def press(self, digit: str) -> None:
        """One more key."""
        self._disarm()
        if digit == self._settings.end:
            self._pressed = self._pressed or digit
            self._complete()
            return
        self._pressed += digit
        if len(self._pressed) >= self._settings.most:
            self._complete()
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.pause_s, self._complete)

    def forget(self) -> None:
        """What was pressed so far is nothing. May be called twice."""
        self._disarm()
        self._pressed = ""

    def _complete(self) -> None:
        self._timer = None
        pressed, self._pressed = self._pressed, ""
        self._entered(pressed)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
