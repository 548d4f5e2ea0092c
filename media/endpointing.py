"""How long may this pause last before the turn is over? Sans-IO, and without a clock.

Two witnesses speak on every pause: the turn-end engine, which hears how the turn sounds, and the words that
were said. The first is asked again while the pause lasts, until it is sure. Together they give the log-odds
that the turn is over, and these the wait: the surer, the shorter, from the patience that is set up to
`LONGEST` times as long. It counts from the last speech. No turn is over before both have spoken: no answer
comes before the words.

The caller's own pauses are learnt. Somebody who has paused within a turn is likely to do it again: all waits
stretch with the pauses that they have shown, however complete a turn sounds, and more so after they were
taken to be done and went on. Where no such pause comes, it fades.

The figures are fitted to real recordings, few and round on purpose: `bench/turn_taking.py` measures them, and
draws the curve along which `patience_s` moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from media.unfinished import finished_log_odds, is_lone_digit

JUDGE_AGAIN_S = (0.25, 0.4, 0.6, 0.9, 1.3)
"""When the turn-end engine is asked again, from the last speech. Its verdicts on one pause scatter by 1 in
log-odds, whichever windows of silence it hears: their mean is what counts."""

LONGEST = 7.5
"""The wait where the turn surely goes on, in patiences."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """What `bench/turn_taking_fit.py` fits.

    Attributes:
        waits: log-odds that the turn is over, rising, and the wait for it in patiences; between them it
            changes by ratios.
        habit_margin: the wait that a caller's habit calls for, in habits, where the turn surely is over.
    """

    waits: tuple[tuple[float, float], ...]
    habit_margin: float


FITTED = Weighing(waits=((-4.5, LONGEST), (-3.5, 2.2), (3.5, 1.0)), habit_margin=2.0)
"""Ends of requests that people make lie above -3.5, nearly all of them, however a call's codec and level move
the engine's verdicts, and so do pauses that are soon over. Below lie the pauses in which somebody looks for
words: there is little to lose there, and much to spoil."""

_CERTAIN = 0.995
"""The engine's verdicts count up to here: beyond it they differ by nothing that was ever measured."""

_SURE = 3.0
"""Log-odds from which the engine need not be asked again: P = 0.95."""

_AFTER_A_DIGIT = 2.7
"""The wait after a lone digit, in patiences, at least: however complete it sounds, the next one may follow
after 0.6 s. An answer like "two" waits as well, so it is no longer than that."""

_SHORTEST_LEARNT_S = 0.27
"""A shorter silence is articulation."""

_HABIT_LIMIT = 6.0
"""A caller's habit, with its margin, stretches waits by its ratio to the patience, at most by so much."""

_HABIT_FADES = 0.85
_HABIT_FADES_OVER = 0.6
"""What is left of it after a shorter pause, and after the end of a turn."""

_REGRET_S = 2.0
_REGRET_LIMIT = 3.0
"""Who goes on this soon after their turn was taken to be over, and hears no reply to its end, had probably
not finished it, or else interrupts: it stretches waits, but not as far as what is certain."""


class Endpointer:
    """Weighs one caller's pauses, one after the other.

    Args:
        patience_s: the wait where a turn surely is over; the one setting. It may be changed at any time.
        weighing: what it is fitted to.
    """

    def __init__(self, patience_s: float, weighing: Weighing = FITTED) -> None:
        self.patience_s = patience_s
        self._weighing = weighing
        self._verdicts: list[float] = []
        self._words: float | None = None
        self._lone_digit = False
        self._habit_s = 0.0
        self._taken_up = False

    @property
    def habit_s(self) -> float:
        """How long this caller pauses inside a turn, as far as they have shown."""
        return self._habit_s

    @property
    def is_sure(self) -> bool:
        """Whether the turn-end engine need not be asked again in this pause."""
        return bool(self._verdicts) and self._sound >= _SURE

    @property
    def wait_s(self) -> float:
        """How long the present pause may last, on what is known so far."""
        longest_s = LONGEST * self.patience_s
        if self._words is None or not self._verdicts:
            return longest_s
        return min(longest_s, self.patience_s * self._patiences * self._stretch)

    def paused(self) -> None:
        """Another pause began: nothing is known of it yet."""
        self._verdicts.clear()
        self._words = None
        self._taken_up = False

    def sounded(self, probability: float) -> None:
        """The turn-end engine's verdict: P(complete)."""
        bounded = min(_CERTAIN, max(1 - _CERTAIN, probability))
        self._verdicts.append(math.log(bounded / (1 - bounded)))

    def said(self, text: str, language: str | None, spoken_s: float = 0.0) -> None:
        """The turn's words up to the pause, and how long they took; an empty text: none could be made out."""
        self._words = finished_log_odds(text, language, spoken_s)
        self._lone_digit = is_lone_digit(text)

    def taken_up(self) -> None:
        """The turn was over, as what came after shows: whatever the caller says next is another one."""
        self._taken_up = True

    def resumed(self, pause_s: float) -> None:
        """The caller speaks again, after a silence of this length: in the same turn, or in a later one."""
        if pause_s < _SHORTEST_LEARNT_S:
            return
        if pause_s <= self.wait_s:
            self._learn(pause_s, _HABIT_LIMIT)
        elif pause_s <= self.wait_s + _REGRET_S and not self._taken_up:
            self._learn(pause_s, _REGRET_LIMIT)
        else:
            self._habit_s *= _HABIT_FADES_OVER

    def _learn(self, pause_s: float, limit: float) -> None:
        """Lets a pause within a turn stretch waits up to `limit`."""
        most_s = limit * self.patience_s / self._weighing.habit_margin
        self._habit_s = max(_HABIT_FADES * self._habit_s, min(pause_s, most_s))

    @property
    def _sound(self) -> float:
        return sum(self._verdicts) / len(self._verdicts)

    @property
    def _patiences(self) -> float:
        """The wait that the witnesses call for, in patiences."""
        return max(self._weighed, _AFTER_A_DIGIT) if self._lone_digit else self._weighed

    @property
    def _weighed(self) -> float:
        """The wait by the log-odds that the turn is over, in patiences."""
        assert self._words is not None
        log_odds = self._sound + self._words
        (low, wait), *others = self._weighing.waits
        if log_odds <= low:
            return wait
        for high, wait_there in others:
            if log_odds < high:
                share = (log_odds - low) / (high - low)
                return math.exp((1 - share) * math.log(wait) + share * math.log(wait_there))
            low, wait = high, wait_there
        return wait

    @property
    def _stretch(self) -> float:
        """By how much the caller's habit prolongs every wait."""
        needed = self._weighing.habit_margin * self._habit_s / self.patience_s
        return min(_HABIT_LIMIT, max(1.0, needed))
