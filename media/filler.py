"""Something to say while the caller waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence


class Filler:
    """Looks at a conversation, and breaks the silence while a tool is at work.

    Args:
        sentences: what is said, one after the other, over the whole call.
        after_s: silence until the first of a wait; None says nothing.
        again_s: silence until the next one of the same wait.
        waiting: whether a tool is at work.
        quiet: whether nobody speaks, and nothing is to be heard.
        say: says a sentence.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        after_s: float | None,
        again_s: float,
        *,
        waiting: Callable[[], bool],
        quiet: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._sentences = sentences
        self._after_s = after_s
        self._again_s = again_s
        self._waiting = waiting
        self._quiet = quiet
        self._say = say
        self._said = 0
        self._said_before_wait = 0
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Something may have changed."""
        if self._after_s is None:
            return
        if not self._waiting():
            self.stop()
            self._said_before_wait = self._said
        elif not self._quiet():
            self.stop()
        elif self._timer is None:
            delay_s = self._after_s if self._said == self._said_before_wait else self._again_s
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._break_silence)

    def stop(self) -> None:
        """Says nothing until the next look. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break_silence(self) -> None:
        self._timer = None
        sentence = self._sentences[self._said % len(self._sentences)]
        self._said += 1
        self._say(sentence)
