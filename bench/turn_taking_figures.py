"""What replays of recordings come to: how many pauses were cut into, and how soon turns were ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report import Spread, spread
from bench.turn_taking_recordings import PauseClass, Recording
from bench.turn_taking_replay import Replay

EARLY_S = 0.3
"""A turn that was ended this shortly before its last sound was ended by its end: the sound was a breath."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recording under one policy.

    Attributes:
        name: of the recording.
        speaker: its folder.
        pause_class: of its pauses.
        pauses: how many there are, of 0.3 s and longer.
        cut: those within which the turn was ended.
        stray: how often it was ended in a shorter pause.
        is_natural: a request without a pause inside.
        wait_ms: from the end of its speech until its turn was ended; None where no turn ends, or it was not.
    """

    name: str
    speaker: str
    pause_class: PauseClass | None
    pauses: int
    cut: int
    stray: int
    is_natural: bool
    wait_ms: float | None


@dataclass(frozen=True, slots=True)
class CutIns:
    """How many pauses of a kind were cut into."""

    pauses: int
    cut: int

    @property
    def percent(self) -> float:
        return 100 * self.cut / self.pauses if self.pauses else 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a policy comes to.

    Attributes:
        all_pauses: of both classes.
        holds: pauses within spontaneous turns.
        read_aloud: pauses of those who read, often at a sentence's end.
        stray: turns that were ended in a pause too short to be counted.
        ends: how long turns' ends were waited for, in ms.
        natural: those of turns without a pause inside.
    """

    all_pauses: CutIns
    holds: CutIns
    read_aloud: CutIns
    stray: int
    ends: Spread | None
    natural: Spread | None


def outcome(recording: Recording, replay: Replay) -> Outcome:
    """What a replay did to a recording's pauses and to its end."""
    within = [at_s for at_s in replay.ended_s if at_s < recording.end_s - EARLY_S]
    after = [at_s for at_s in replay.ended_s if at_s >= recording.end_s - EARLY_S]
    cut = {pause for pause in recording.pauses_s for at_s in within if _is_in(pause, at_s)}
    stray = [at_s for at_s in within if not any(_is_in(pause, at_s) for pause in recording.pauses_s)]
    return Outcome(
        name=recording.name,
        speaker=recording.speaker,
        pause_class=recording.pause_class,
        pauses=len(recording.pauses_s),
        cut=len(cut),
        stray=len(stray),
        is_natural=recording.is_natural,
        wait_ms=(after[0] - recording.end_s) * 1000 if after and recording.ends_turn else None,
    )


def _is_in(pause_s: tuple[float, float], at_s: float) -> bool:
    """Whether the turn was ended in it: that is known a little after speech went on, at most."""
    return pause_s[0] <= at_s <= pause_s[1] + 0.1


def figures(outcomes: Sequence[Outcome]) -> Figures:
    return Figures(
        all_pauses=_cut_ins(outcomes),
        holds=_cut_ins(of for of in outcomes if of.pause_class == "hold"),
        read_aloud=_cut_ins(of for of in outcomes if of.pause_class == "read-aloud"),
        stray=sum(of.stray for of in outcomes),
        ends=spread(of.wait_ms for of in outcomes),
        natural=spread(of.wait_ms for of in outcomes if of.is_natural),
    )


def _cut_ins(outcomes: Iterable[Outcome]) -> CutIns:
    counted = list(outcomes)
    return CutIns(sum(of.pauses for of in counted), sum(of.cut for of in counted))
