"""What a sound over the assistant's voice is taken for, from how it sounds and how long it lasts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pydantic import Field

from media.section import Section

HINT_SHARE = 0.6
"""Of the threshold for speech: from there on a window hints at it, on average one window sooner."""
ENDED_S = 0.096
"""A sound that has been quiet for this long is over: it is judged by what there was of it."""
CLICK_S = 0.064
"""Shorter speech than this is over as soon as it has been quiet for as long."""
FADED_S = 0.16
"""A harmless sound that has been quiet for this long is forgotten; the next one is judged anew."""
SURE_SHARE = 0.7
"""How much of the way from the threshold to certainty a score must be for a decision before its time."""

DOUBT_SHARE = 0.3
"""Below this share of the threshold, a score says that the sound is harmless while it still goes on."""
EARLY_DOUBT_SHARE = 0.1
"""Likewise, before it is time to judge."""
MOSTLY_SHARE = 0.75
"""How much of a sound in doubt must be speech, by the time that it is no longer tolerated, to interrupt."""


class InterruptionSettings(Section):
    """`interruption` in `config.yaml`: sounds of the caller's while the assistant is audible."""

    classify: bool = True
    """Tell interruptions from backchannels ("mm-hm") and noises; without it any speech interrupts."""
    sensitivity: float = Field(0.5, ge=0, le=1)
    """0: only what surely is an interruption stops the assistant; 1: whatever may be one."""
    decide_s: float = Field(0.35, ge=0.1, le=2)
    """By then a sound is judged; in doubt the assistant's voice stays held until it ends, or is too long."""
    tolerate_s: float = Field(0.9, ge=0.2, le=10)
    """A backchannel or a noise that is speech for this long is an interruption after all."""
    after_s: float = Field(0.2, ge=0, le=5)
    """Speech that interrupts while the answer is not audible yet, and where sounds are not classified."""
    echo_guard: Literal["auto", "off"] = "auto"
    """Find out whether the assistant's own voice comes back from the caller, and then do not hear it."""


class Verdict(Enum):
    UNDECIDED = "it is too early to tell"
    INTERRUPTION = "the caller wants the floor"
    HARMLESS = "a backchannel or a noise"


@dataclass(slots=True)
class OverlapSound:
    """A sound so far.

    Attributes:
        length_s: since the first window that hinted at it.
        speech_s: how much of it was speech.
        quiet_s: since the last window that hinted at it.
        counts: whether it was speech for long enough to count: nothing else can become a turn.
    """

    length_s: float = 0.0
    speech_s: float = 0.0
    quiet_s: float = 0.0
    counts: bool = False

    def add(self, window_s: float, *, speech: bool, hint: bool) -> None:
        """One window more: whether it counts as speech, and whether it hints at some."""
        self.length_s += window_s
        self.speech_s += window_s * speech
        self.quiet_s = 0.0 if hint else self.quiet_s + window_s

    @property
    def ended(self) -> bool:
        """Whether it is over, while the assistant's voice waits for it."""
        return self.quiet_s >= (ENDED_S if self.speech_s > CLICK_S else CLICK_S)

    @property
    def faded(self) -> bool:
        """Whether it is over, where nobody waits."""
        return self.quiet_s >= FADED_S


def verdict(
    sound: OverlapSound, interruption: float | None, settings: InterruptionSettings, *, tolerated: bool
) -> Verdict:
    """What a sound is taken for.

    Args:
        sound: so far.
        interruption: P(it is an interruption); None where sounds are not classified.
        settings: when to decide, and for what.
        tolerated: it was found harmless before, and goes on.
    """
    if not sound.counts:
        return _harmless_if(tolerated or sound.ended or sound.length_s >= settings.decide_s)
    if interruption is None:
        long_enough = sound.speech_s >= settings.after_s
        return Verdict.INTERRUPTION if long_enough else _harmless_if(sound.ended)
    threshold = 1.0 - settings.sensitivity
    sure = interruption >= threshold + SURE_SHARE * (1.0 - threshold)
    if tolerated:
        lasts = sound.speech_s >= settings.tolerate_s
        return Verdict.INTERRUPTION if sure or lasts else Verdict.HARMLESS
    if sure or (interruption >= threshold and (sound.ended or sound.length_s >= settings.decide_s)):
        return Verdict.INTERRUPTION
    doubt = DOUBT_SHARE if sound.length_s >= settings.decide_s else EARLY_DOUBT_SHARE
    if sound.ended or interruption < threshold * doubt:
        return Verdict.HARMLESS
    if sound.length_s < settings.tolerate_s:
        # In doubt the assistant stays silent for as long as the caller speaks, rather than speak over them.
        return Verdict.UNDECIDED
    lasted = sound.speech_s >= MOSTLY_SHARE * sound.length_s
    return Verdict.INTERRUPTION if lasted else Verdict.HARMLESS


def _harmless_if(harmless: bool) -> Verdict:
    return Verdict.HARMLESS if harmless else Verdict.UNDECIDED
