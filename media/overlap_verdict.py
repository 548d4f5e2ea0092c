"""What a sound over the assistant's voice is taken for, from how it sounds and how long it lasts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, assert_never

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

LIKELY_SHARE = 0.4
"""Likewise, once it is time to judge. What is less likely is judged when it is over, or has lasted."""
LASTING_S = 0.7
"""A sound that goes on for so long is judged by the threshold itself: above it, its words are asked."""

DOUBT_SHARE = 0.3
"""Below this share of the threshold, a noise is let go on, and the assistant goes on too."""
EARLY_DOUBT_SHARE = 0.1
"""Likewise, before it is time to judge."""
SURELY_NOISE = 0.9
"""P(it is a noise) that it needs for that. While somebody speaks, even if only "mm-hm", the assistant waits:
it loses little, and else would speak over a short command."""
EARLY_SURELY_NOISE = 0.95
"""Likewise, before it is time to judge, ..."""
BREATH_S = 0.2
"""... but not before this: a word may begin with a breath ("half an hour")."""
LIKELY_NOISE = 0.8
"""Of a sound that is over: whether it says something is not asked."""
NOISE_SHARE = 0.6
"""A noise that goes on is no interruption before it has lasted ..."""
NOISE_LASTS = 1.6
"""... for so many times as long as a sound in doubt may; nor is one that says "yeah, yeah" so far."""
WORDS_SHARE = 0.3
"""Of the threshold: from there on, words that are no backchannel interrupt. Below it they are as a rule what
a transcriber makes of a hum or a laugh."""
LONGEST_ECHO_S = 1.3
"""What may be the assistant's own voice is over by then, if it was held when it began to come back."""
WORDS_WITHIN_S = 0.8
"""If a sound's words are not known so long after it was over, it is judged without."""
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
    tolerate_s: float = Field(1.0, ge=0.2, le=10)
    """A backchannel or a noise that is speech for this long is an interruption after all."""
    after_s: float = Field(0.2, ge=0, le=5)
    """Speech that interrupts while the answer is not audible yet, and where sounds are not classified."""
    echo_guard: Literal["auto", "off"] = "auto"
    """Find out whether the assistant's own voice comes back from the caller, and then do not hear it."""


class Verdict(Enum):
    UNDECIDED = "it is too early to tell"
    INTERRUPTION = "the caller wants the floor"
    HARMLESS = "a backchannel or a noise"
    QUESTIONABLE = "it is over, or has lasted, and its words must tell"


class Words(Enum):
    BACKCHANNEL = "they only show that the caller listens"
    DEMAND = "they want the floor"
    OTHERS = "they say something"
    NONE = "there are none"
    UNKNOWN = "nobody can tell"

    @property
    def said(self) -> bool:
        """Whether anything was said, for all that is known."""
        return self not in (Words.NONE, Words.UNKNOWN)


class OverlapScores(Protocol):
    """What a sound is, in probabilities that sum to 1, with that of a backchannel."""

    @property
    def interruption(self) -> float: ...

    @property
    def noise(self) -> float: ...


@dataclass(slots=True)
class OverlapSound:
    """A sound so far.

    Attributes:
        length_s: since the first window that hinted at it.
        speech_s: how much of it was speech.
        quiet_s: since the last window that hinted at it.
        counts: whether it was speech for long enough to count: nothing else can become a turn.
        may_be_own: it may be the assistant's voice, from a caller without echo cancellation.
        wants_nothing: its words so far are a backchannel's, or what a transcriber makes of a hum.
    """

    length_s: float = 0.0
    speech_s: float = 0.0
    quiet_s: float = 0.0
    counts: bool = False
    may_be_own: bool = False
    wants_nothing: bool = False

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
    sound: OverlapSound,
    scores: OverlapScores | None,
    settings: InterruptionSettings,
    *,
    tolerated: bool,
    waits: bool = True,
) -> Verdict:
    """What a sound is taken for.

    Args:
        sound: so far.
        scores: what it is like; None where sounds are not classified.
        settings: when to decide, and for what.
        tolerated: it was found harmless before, and goes on. It is undecided if that is doubtful now.
        waits: the assistant is silent until it is decided: a late decision costs nothing.
    """
    if not sound.counts:
        return _harmless_if(tolerated or sound.ended or sound.length_s >= settings.decide_s)
    if sound.may_be_own and (tolerated or sound.length_s < LONGEST_ECHO_S):
        return _harmless_if(tolerated or sound.ended)
    if scores is None:
        long_enough = sound.speech_s >= settings.after_s
        return Verdict.INTERRUPTION if long_enough else _harmless_if(sound.ended)
    threshold = 1.0 - settings.sensitivity
    timely = sound.length_s >= settings.decide_s
    if tolerated:
        lenient = sound.wants_nothing or scores.noise >= NOISE_SHARE
        tolerated_s = settings.tolerate_s * (NOISE_LASTS if lenient else 1.0)
        lasts = sound.speech_s >= tolerated_s
        if lasts or scores.interruption >= _above(threshold, SURE_SHARE):
            return Verdict.INTERRUPTION
        harmless = scores.noise >= NOISE_SHARE or scores.interruption < threshold * DOUBT_SHARE
        return Verdict.HARMLESS if harmless else Verdict.UNDECIDED
    if not timely:
        enough = _above(threshold, SURE_SHARE)
    else:
        enough = _above(threshold, LIKELY_SHARE) if waits else threshold
    if scores.interruption >= enough:
        return Verdict.INTERRUPTION
    if sound.length_s >= LASTING_S and scores.interruption >= threshold:
        return Verdict.QUESTIONABLE
    if sound.ended:
        return Verdict.HARMLESS if scores.noise >= LIKELY_NOISE else Verdict.QUESTIONABLE
    noise, doubt = (SURELY_NOISE, DOUBT_SHARE) if timely else (EARLY_SURELY_NOISE, EARLY_DOUBT_SHARE)
    breathes = sound.length_s < BREATH_S
    if scores.noise >= noise and scores.interruption < threshold * doubt and not breathes:
        return Verdict.HARMLESS
    if sound.length_s < settings.tolerate_s:
        # In doubt the assistant stays silent for as long as the caller speaks, rather than speak over them.
        return Verdict.UNDECIDED
    if sound.speech_s >= MOSTLY_SHARE * sound.length_s:
        return Verdict.QUESTIONABLE if waits else Verdict.INTERRUPTION
    is_noise = scores.noise >= NOISE_SHARE or sound.length_s >= settings.tolerate_s * NOISE_LASTS
    return Verdict.HARMLESS if is_noise else Verdict.UNDECIDED


def _above(threshold: float, share: float) -> float:
    """So much of the way from the threshold to certainty."""
    return threshold + share * (1.0 - threshold)


def verdict_of_words(interruption: float, words: Words, settings: InterruptionSettings) -> Verdict:
    """What a sound is taken for that was over before it was judged.

    Args:
        interruption: P(it is an interruption), from its sound.
        words: that it says.
        settings: for what to decide.
    """
    threshold = 1.0 - settings.sensitivity
    match words:
        case Words.BACKCHANNEL:
            return Verdict.HARMLESS
        case Words.DEMAND:
            return Verdict.INTERRUPTION
        case Words.OTHERS:
            interrupts = interruption >= WORDS_SHARE * threshold
        case Words.NONE:
            interrupts = interruption >= _above(threshold, SURE_SHARE)
        case Words.UNKNOWN:
            interrupts = interruption >= threshold
        case _:
            assert_never(words)
    return Verdict.INTERRUPTION if interrupts else Verdict.HARMLESS


def verdict_of_lasting(interruption: float, words: Words, settings: InterruptionSettings) -> Verdict:
    """Likewise, of a sound that goes on: without words, that it lasts is what tells."""
    return verdict_of_words(interruption, words, settings) if words.said else Verdict.INTERRUPTION


def _harmless_if(harmless: bool) -> Verdict:
    return Verdict.HARMLESS if harmless else Verdict.UNDECIDED
