"""How long may this pause last before the turn is over? Sans-IO, and without a clock.

Two witnesses speak on every pause: the turn-end engine, which hears how the turn sounds, and the words that
were said. The first is asked again while the pause lasts. Together they give the log-odds that the turn is
over, and these the wait: the surer, the shorter, from the patience that is set up to `LONGEST` times as long.
It counts from the last speech. No turn is over before both have spoken: no answer comes before the words.

The caller's own pauses are learnt. Somebody who pauses for 0.8 s between two clauses, or was cut short and
went on, is given longer from then on, however complete a turn sounds; where no such pause comes, it fades.

The figures are fitted to real recordings by hand, few and round on purpose: `bench/turn_taking.py` measures
them, and draws the curve along which `patience_s` moves.
"""

from __future__ import annotations

import math

from media.unfinished import finished_log_odds

JUDGE_AGAIN_S = (0.5, 0.8, 1.3)
"""When the turn-end engine is asked again, from the last speech: more silence makes it surer."""

LONGEST = 7.0
"""The wait where the turn surely goes on, in patiences."""

_SURE_OVER = 3.5
_SURE_NOT_OVER = -3.0
"""Log-odds between which the wait changes: about P = 0.97 and 0.05."""

_CERTAIN = 0.995
"""The engine's verdicts count up to here: beyond it they differ by nothing that was ever measured."""

_SHORTEST_LEARNT_S = 0.2
"""A shorter silence is articulation."""

_HABIT_MARGIN = 1.25
_HABIT_FADES = 0.85
_HABIT_LIMIT = 4.0
"""A caller's habit makes the shortest wait at most so many patiences."""

_REGRET_S = 1.0
"""Who goes on this soon after their turn was taken to be over had not finished it."""


class Endpointer:
    """Weighs one caller's pauses, one after the other.

    Args:
        patience_s: the wait where a turn surely is over; the one setting. It may be changed at any time.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._verdicts: list[float] = []
        self._words: float | None = None
        self._habit_s = 0.0

    @property
    def habit_s(self) -> float:
        """How long this caller pauses inside a turn, as far as they have shown."""
        return self._habit_s

    @property
    def wait_s(self) -> float:
        """How long the present pause may last, on what is known so far."""
        longest_s = LONGEST * self.patience_s
        if self._words is None or not self._verdicts:
            return longest_s
        log_odds = sum(self._verdicts) / len(self._verdicts) + self._words
        doubt = min(1.0, max(0.0, (_SURE_OVER - log_odds) / (_SURE_OVER - _SURE_NOT_OVER)))
        return math.exp((1 - doubt) * math.log(self._shortest_s()) + doubt * math.log(longest_s))

    def paused(self) -> None:
        """Another pause began: nothing is known of it yet."""
        self._verdicts.clear()
        self._words = None

    def sounded(self, probability: float) -> None:
        """The turn-end engine's verdict: P(complete)."""
        bounded = min(_CERTAIN, max(1 - _CERTAIN, probability))
        self._verdicts.append(math.log(bounded / (1 - bounded)))

    def said(self, text: str, language: str | None) -> None:
        """The turn's words up to the pause; an empty text: none could be made out."""
        self._words = finished_log_odds(text, language)

    def resumed(self, pause_s: float) -> None:
        """The caller speaks again, after a silence of this length: in the same turn, or in a later one."""
        if pause_s < _SHORTEST_LEARNT_S:
            return
        self._habit_s *= _HABIT_FADES
        if pause_s <= self.wait_s + _REGRET_S:
            self._habit_s = max(self._habit_s, pause_s)

    def _shortest_s(self) -> float:
        return max(self.patience_s, min(_HABIT_MARGIN * self._habit_s, _HABIT_LIMIT * self.patience_s))
