"""The shell around the overlap floor: whether the assistant yields to a sound of the caller's.

Nothing here costs anything while one of them is silent: the sound is classified only while both are heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol, assert_never

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.clock import loop_time_s
from media.listening import WINDOW_S, Listening
from media.overlap_floor import (
    AdmitSound,
    AskWords,
    Dismissed,
    DropWords,
    ForgetSound,
    FoundHarmless,
    FoundInterruption,
    HoldVoice,
    OverlapCommand,
    OverlapEvent,
    OverlapFloor,
    OverlapState,
    ReleaseVoice,
    SoundDoubted,
    SoundEnded,
    SoundFaded,
    SoundHinted,
    SoundLasted,
    StopVoice,
    Unopposed,
)
from media.overlap_verdict import (
    HINT_SHARE,
    WORDS_WITHIN_S,
    InterruptionSettings,
    OverlapScores,
    OverlapSound,
    Verdict,
    Words,
    verdict,
    verdict_of_lasting,
    verdict_of_words,
)
from media.speaking import Speaking

BEFORE_WINDOWS = 5
"""The classifier hears 160 ms from before the onset."""
ENDING_S = 0.6
"""With no more than this still to be heard, the assistant is as good as silent: "yes" answers it."""
KEPT_WINDOWS = 64
"""It never hears more than the last two seconds."""


class OverlapJudge(Protocol):
    """`media.overlap.OverlapClassifier`."""

    def judge(self, sound: Audio, speech: Sequence[float], /) -> OverlapScores:
        """What `sound` is: 16 kHz, from 160 ms before its onset up to now, with P(speech) of its windows."""


class Yielding:
    """Decides for one call.

    Args:
        settings: when to decide, and for what.
        judge: tells sounds apart; None: any speech interrupts.
        listening: keeps what is in question from the caller's floor.
        speaking: is held, and goes on.
        stop: stops the assistant for good.
    """

    def __init__(
        self,
        settings: InterruptionSettings,
        judge: OverlapJudge | None,
        listening: Listening,
        speaking: Speaking,
        stop: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._judge = judge if settings.classify else None
        self._listening = listening
        self._speaking = speaking
        self._stop = stop
        self._floor = OverlapFloor()
        self._recent: deque[tuple[Audio, float]] = deque(maxlen=KEPT_WINDOWS)
        """The last windows, each with its P(speech)."""
        self._since_onset = 0
        """How many of them came since the sound in question was speech for the first time."""
        self._sound = OverlapSound()
        self._overheard_s = 0.0
        """How long the words of a sound that goes on have been waited for."""
        self._interruption = 0.0
        """P(the sound in question is an interruption), as it was judged last."""
        self._interrupts = True

    @property
    def state(self) -> OverlapState:
        return self._floor.state

    def hints(self, probability: float) -> bool:
        """Whether a window of this P(speech) may be speech."""
        return probability >= HINT_SHARE * self._listening.threshold

    def hear(self, window: Audio, probability: float, *, interrupts: bool, may_be_own: bool = False) -> None:
        """The next window of the caller's audio.

        Args:
            window: 32 ms.
            probability: P(speech) of it.
            interrupts: whether the caller may interrupt. If not, the assistant is neither held nor stopped,
                but what is harmless is still kept from the caller's floor.
            may_be_own: whether it may be the assistant's own voice that comes back.
        """
        self._recent.append((window, probability))
        self._interrupts = interrupts
        self._sound.may_be_own = may_be_own
        hint = self.hints(probability)
        if self.state is OverlapState.CLEAR:
            if hint and self._speaking.audible and not self._listening.speaking:
                self._suspect()
            return
        self._add(probability)
        if self.state is OverlapState.TOLERATED and self._sound.faded:
            self._feed(SoundFaded(loop_time_s()))
        elif self.state is not OverlapState.TOLERATED and not self._speaking.audible:
            self._feed(Unopposed(loop_time_s()))
        elif self.state is OverlapState.OVERHEARD:
            self._overheard_s += WINDOW_S
            if self._overheard_s >= WORDS_WITHIN_S:
                self._weigh_words(Words.UNKNOWN)
        elif self.state is not OverlapState.QUESTIONED:
            self._decide()
        elif hint:
            self._feed(SoundHinted(loop_time_s()))
        elif self._sound.quiet_s >= WORDS_WITHIN_S:
            self._weigh_words(Words.UNKNOWN)

    def stall(self) -> None:
        """No audio comes any more: what there was of the sound must do."""
        if self.state in (OverlapState.QUESTIONED, OverlapState.OVERHEARD):
            self._weigh_words(Words.UNKNOWN)
        elif self.state is OverlapState.SUSPECTED:
            self._sound.quiet_s = max(self._sound.quiet_s, self._settings.decide_s)
            self._decide()
        if self.state is not OverlapState.QUESTIONED:
            self.dismiss()

    def concede(self) -> None:
        """The client says that what is in question is a turn."""
        if self.state is not OverlapState.CLEAR:
            self._feed(Unopposed(loop_time_s()))

    def dismiss(self) -> None:
        """What is in question is thrown away."""
        if self.state is not OverlapState.CLEAR:
            self._feed(Dismissed(loop_time_s()))

    def _suspect(self) -> None:
        """It began where the run of windows did that the assistant's first sound may have come into."""
        run = takewhile(self.hints, (probability for _, probability in reversed(self._recent)))
        self._sound, self._since_onset = OverlapSound(may_be_own=self._sound.may_be_own), 0
        for probability in reversed(list(run)):
            self._add(probability)
        self._feed(SoundHinted(loop_time_s()))

    def _add(self, probability: float) -> None:
        speech = probability >= self._listening.threshold
        self._sound.add(WINDOW_S, speech=speech, hint=self.hints(probability))
        if speech or self._since_onset:
            self._since_onset += 1

    def _decide(self) -> None:
        tolerated = self.state is OverlapState.TOLERATED
        self._sound.counts = self._listening.noticed
        scores = self._scores() if self._sound.counts else None
        if scores is not None:
            self._interruption = scores.interruption
        waits = self._interrupts and self._speaking.pausable
        self._follow(verdict(self._sound, scores, self._settings, tolerated=tolerated, waits=waits))

    def _weigh_words(self, words: Words) -> None:
        """The words of a sound that is over, or has lasted, are known, or are waited for no longer."""
        if words.said and self._speaking.ends_within(ENDING_S):
            self._feed(Unopposed(loop_time_s()))
            return
        if self.state is OverlapState.OVERHEARD:
            found = verdict_of_lasting(self._interruption, words, self._settings)
            self._sound.wants_nothing = found is Verdict.HARMLESS
            self._follow(found)
            return
        self._follow(verdict_of_words(self._interruption, words, self._settings))

    def _follow(self, found: Verdict) -> None:
        now_s = loop_time_s()
        match found:
            case Verdict.UNDECIDED:
                if self.state is OverlapState.TOLERATED:
                    self._feed(SoundDoubted(now_s))
            case Verdict.INTERRUPTION:
                self._feed(FoundInterruption(now_s))
            case Verdict.HARMLESS:
                if self.state is not OverlapState.TOLERATED:
                    self._feed(FoundHarmless(now_s))
            case Verdict.QUESTIONABLE:
                self._feed(SoundEnded(now_s) if self._sound.ended else SoundLasted(now_s))
            case _:
                assert_never(found)

    def _scores(self) -> OverlapScores | None:
        if self._judge is None:
            return None
        heard = list(self._recent)[-(self._since_onset + BEFORE_WINDOWS) :]
        sound = concatenate([window for window, _ in heard], SPEECH_RATE_HZ)
        return self._judge.judge(sound, [probability for _, probability in heard])

    def _feed(self, event: OverlapEvent) -> None:
        for command in self._floor.feed(event):
            self._obey(command)

    def _obey(self, command: OverlapCommand) -> None:
        match command:
            case HoldVoice():
                self._listening.hold_back()
                if self._interrupts:
                    self._speaking.hold()
            case AskWords():
                self._overheard_s = 0.0
                self._listening.ask_words(self._weigh_words)
            case DropWords():
                self._listening.drop_words()
            case ReleaseVoice():
                self._speaking.release()
            case StopVoice():
                if self._interrupts:
                    self._stop()
            case AdmitSound():
                self._listening.admit()
            case ForgetSound():
                self._listening.forget()
            case _:
                assert_never(command)
