"""The shell around the caller's floor: audio in, turns with transcripts out."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import assert_never

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.caller_floor import (
    ArmTimer,
    CallerCommand,
    CallerEvent,
    CallerFloor,
    CallerState,
    Cleared,
    Committed,
    DisarmTimer,
    DropTurn,
    EndTurn,
    OpenTurn,
    PauseElapsed,
    PauseWeighed,
    ResumeTurn,
    TurnTakingSettings,
    VoicePaused,
    VoiceStarted,
    WeighPause,
)
from media.checked_vad import CheckedVad
from media.clock import loop_time_s
from media.endpointing import JUDGE_AGAIN_S, Endpointer
from media.engines.protocols import VAD_WINDOW_SAMPLES, Engines, SttOptions, Transcript
from media.errors import CallerError, EngineError
from media.inbox import STALL_S, AudioInbox
from media.items import new_id
from media.overlap_verdict import Words
from media.session import SessionConfig
from media.sound_words import SoundWords
from media.turn import Turn, TurnListener
from media.turn_rules import turn_rules
from media.vad_gate import GatePaused, GateStarted, VadGate, VadSettings

log = logging.getLogger(__name__)

WINDOW_S = VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ


class Listening:
    """Hears one caller."""

    def __init__(
        self,
        engines: Engines,
        vad: VadSettings,
        turn_taking: TurnTakingSettings,
        inbox: AudioInbox,
        session: SessionConfig,
        listener: TurnListener,
    ) -> None:
        self._engines = engines
        self._vad_settings = vad
        self._turn_taking = turn_taking
        self._inbox = inbox
        self._session = session
        self._rules = turn_rules(session.turn_detection, vad, turn_taking)
        self._listener = listener
        self._vad = CheckedVad(engines.vad.open())
        self._gate = VadGate(vad)
        self._gate.threshold = self._rules.threshold
        self._floor = CallerFloor()
        self._endpointer = Endpointer(self._rules.patience_s)
        self._turn: Turn | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._noticing_windows = -(-vad.start_ms * SPEECH_RATE_HZ // 1000 // VAD_WINDOW_SAMPLES)
        self._deferrals = 0
        """How often the end of the present pause was put off."""
        self._before: deque[Audio] = deque()
        """What was heard last while nobody had the floor."""
        self._changes: deque[GateStarted | GatePaused] = deque()
        """What the caller's floor is still to be told."""
        self._held_back = False
        self._sound_words = SoundWords(engines.stt)
        self._speech_start_sample = 0
        self._speech_end_sample: int | None = None
        """Of the last speech that ended by itself."""

    @property
    def speaking(self) -> bool:
        """Whether the caller has the floor, a pause included."""
        return self._floor.state is not CallerState.LISTENING

    @property
    def heard_ms(self) -> int:
        """How much of the caller's audio was heard, speech or not, since the call began."""
        return _milliseconds(self._gate.samples)

    @property
    def threshold(self) -> float:
        """P(speech) from which a window counts as speech."""
        return self._gate.threshold

    # While it is in question whether a sound is a turn

    def hold_back(self) -> None:
        """Keeps what is heard from the caller's floor, until `admit` or `forget`."""
        self._held_back = True

    @property
    def noticed(self) -> bool:
        """Whether what is held back is speech long enough to count."""
        return bool(self._changes)

    def ask_words(self, told: Callable[[Words], None]) -> None:
        """Finds out what is said in what is held back, and noticed."""
        change = self._changes[0]
        start_sample = change.start_sample if isinstance(change, GateStarted) else change.end_sample
        sound = concatenate(self._before_speech(start_sample), SPEECH_RATE_HZ)
        self._sound_words.ask(self._group, sound, self._session.language, told)

    def drop_words(self) -> None:
        """Nobody wants to know any more."""
        self._sound_words.drop()

    def admit(self) -> None:
        """It was a turn: opens it, from where it began."""
        self._held_back = False
        if self._changes:
            self._gate_changed(self._changes.popleft())

    def forget(self) -> None:
        """It was none."""
        self._held_back = False
        self._changes.clear()
        self._gate.reset()

    def taken_up(self) -> None:
        """A reply was heard to its end or silenced by hand, or the caller typed: their turn was over.

        The silence before what is said next is no pause of the caller's.
        """
        self._endpointer.taken_up()

    def configure(self, session: SessionConfig) -> None:
        """Takes over changed settings; they hold from the next pause on."""
        was_manual, self._session = self._session.turn_detection is None, session
        self._rules = turn_rules(session.turn_detection, self._vad_settings, self._turn_taking)
        self._endpointer.patience_s = self._rules.patience_s
        self._gate.threshold = self._rules.threshold
        if was_manual != (session.turn_detection is None):
            self.clear()

    async def run(self) -> None:
        """Listens until it is cancelled. Owns the turns' tasks.

        Raises:
            EngineError: voice activity failed: the caller cannot be heard any more.
        """
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    window = await self._inbox.window()
                    if window is None:
                        self._note(self._gate.force_pause())
                        self._listener.audio_stalled()
                        await self._tell_changes(silent_s=STALL_S)
                    else:
                        await self._hear(window)
        finally:
            self._tasks = None
            self._inbox.close()
            self._disarm()
            turn, self._turn = self._turn, None
            if turn is not None:
                await turn.session.abort()

    def commit(self) -> None:
        """The client ends the turn.

        Raises:
            CallerError: nothing was said since the last turn.
        """
        if self._turn is None:
            raise CallerError(
                "nothing was said that could be committed", code="input_audio_buffer_commit_empty"
            )
        if self._floor.state is CallerState.SPEAKING:
            self._turn.times.speech_end_s = loop_time_s()
            self._turn.end_ms = _milliseconds(self._gate.samples)
        self._feed(Committed(loop_time_s()))
        self._reset_gate()

    def clear(self) -> None:
        """Throws away what was said since the last turn."""
        self._feed(Cleared(loop_time_s()))
        self._reset_gate()

    def _reset_gate(self) -> None:
        self._changes.clear()
        self._gate.reset()
        self._speech_end_sample = None

    # Hearing

    async def _hear(self, window: Audio) -> None:
        if self._turn is None:
            self._before.append(window)
            most_windows = self._rules.padding_windows + self._noticing_windows
            while len(self._before) > most_windows and not self._held_back:
                self._before.popleft()
        else:
            await self._keep(self._turn, window)
        if self._session.turn_detection is None:
            self._gate.push(0.0)
            if self._turn is None:
                self._speech_start_sample = self._gate.samples - VAD_WINDOW_SAMPLES
                self._feed(VoiceStarted(loop_time_s()))
            return
        probability = await self._vad.push(window)
        if self._listener.is_own_voice(window, probability):
            probability = 0.0
        level_dbfs = window.level_dbfs() if self._turn is not None else None
        self._note(self._gate.push(probability, level_dbfs))
        self._listener.window_heard(window, probability)
        await self._tell_changes()
        self._follow_fading()
        if self._gate.speaking and self.speaking:
            self._listener.voice_heard((self._gate.samples - self._speech_start_sample) / SPEECH_RATE_HZ)

    def _note(self, change: GateStarted | GatePaused | None) -> None:
        if change is not None:
            self._changes.append(change)

    async def _tell_changes(self, *, silent_s: float = 0.0) -> None:
        """Tells the floor what was noted, unless that is held back."""
        while self._changes and not self._held_back:
            change = self._changes.popleft()
            if isinstance(change, GatePaused) and self._turn is not None:
                # Of a turn that was admitted late, nothing is with the transcription yet.
                await self._push_held(self._turn)
            self._gate_changed(change, silent_s=silent_s)

    def _gate_changed(self, change: GateStarted | GatePaused, *, silent_s: float = 0.0) -> None:
        """Follows a change that was noticed `silent_s` after the audio that brought it."""
        now_s = loop_time_s()
        match change:
            case GateStarted():
                self._speech_start_sample = change.start_sample
                if self._speech_end_sample is not None:
                    silence_samples = change.start_sample - self._speech_end_sample
                    self._endpointer.resumed(silence_samples / SPEECH_RATE_HZ)
                self._feed(VoiceStarted(now_s))
            case GatePaused():
                speech_end_s = now_s - silent_s - (self._gate.samples - change.end_sample) / SPEECH_RATE_HZ
                if self._turn is not None:
                    self._turn.times.speech_end_s = speech_end_s
                    self._turn.end_ms = _milliseconds(change.end_sample)
                self._speech_end_sample = change.end_sample
                self._deferrals = 0
                self._endpointer.paused()
                if self._turn is not None and self._turn.guess is not None:
                    self._said(self._turn, self._turn.guess)
                self._feed(VoicePaused(now_s, speech_end_s, self._wait_s()))
            case _:
                assert_never(change)

    def _follow_fading(self) -> None:
        """Transcribes as soon as the caller seems to stop, some 0.1 s before a pause is suspected."""
        turn = self._turn
        if turn is None or self._floor.state is not CallerState.SPEAKING:
            return
        if self._gate.fading and turn.transcribing is None and not turn.held:
            self._begin_transcribing(turn)
        elif not self._gate.fading and turn.transcribing is not None:
            self._void_pause()

    async def _keep(self, turn: Turn, window: Audio) -> None:
        turn.remember(window)
        turn.held.append(window)
        if self._floor.state is CallerState.SPEAKING:
            await self._push_held(turn)

    @staticmethod
    async def _push_held(turn: Turn) -> None:
        held, turn.held = turn.held, []
        for audio in held:
            await turn.session.push(audio)

    # The floor

    def _wait_s(self) -> float:
        """How long the present pause may last, as far as is known."""
        silence_s = self._rules.silence_s
        return self._endpointer.wait_s if silence_s is None else silence_s

    def _feed(self, event: CallerEvent) -> None:
        for command in self._floor.feed(event):
            self._obey(command)

    def _obey(self, command: CallerCommand) -> None:
        match command:
            case OpenTurn():
                self._open_turn()
            case WeighPause():
                self._weigh_pause()
            case ResumeTurn():
                self._void_pause()
            case ArmTimer():
                self._disarm()
                loop = asyncio.get_running_loop()
                self._timer = loop.call_at(command.deadline_s, self._pause_elapsed)
            case DisarmTimer():
                self._disarm()
            case EndTurn():
                self._end_turn()
            case DropTurn():
                self._drop_turn()
            case _:
                assert_never(command)

    def _pause_elapsed(self) -> None:
        """Ends the turn, unless the caller seems to go on just now: then that is waited for."""
        self._timer = None
        if self._gate.rising and self._deferrals < self._noticing_windows:
            self._deferrals += 1
            self._timer = asyncio.get_running_loop().call_later(WINDOW_S, self._pause_elapsed)
        else:
            self._feed(PauseElapsed(loop_time_s()))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Turns

    def _open_turn(self) -> None:
        options = SttOptions(self._session.language, self._session.spelling, self._session.transcribe)
        before = self._before_speech(self._speech_start_sample)
        self._turn = turn = Turn(
            item_id=new_id("item"),
            session=self._engines.stt.open(options),
            start_ms=_milliseconds(self._speech_start_sample),
            held=before,
        )
        for window in before:
            turn.remember(window)
        self._before.clear()
        self._listener.turn_started(turn)
        self._group.create_task(self._follow_words(turn), name=f"words {turn.item_id}")

    def _before_speech(self, start_sample: int) -> list[Audio]:
        """What was heard since speech began at this sample, and a little before."""
        windows = (self._gate.samples - start_sample) // VAD_WINDOW_SAMPLES
        return list(self._before)[-(self._rules.padding_windows + windows) :]

    def _weigh_pause(self) -> None:
        assert self._turn is not None
        turn = self._turn
        if turn.transcribing is None:
            self._begin_transcribing(turn)
        if self._rules.silence_s is None:
            turn.judging = self._group.create_task(self._judge(turn), name=f"judge {turn.item_id}")

    def _begin_transcribing(self, turn: Turn) -> None:
        turn.transcribing = self._group.create_task(self._transcribe(turn), name=f"transcribe {turn.item_id}")

    def _void_pause(self) -> None:
        if self._turn is None:
            return
        for task in (self._turn.transcribing, self._turn.judging):
            if task is not None:
                task.cancel()
        self._turn.transcribing = self._turn.judging = self._turn.guess = None
        self._listener.turn_resumed(self._turn)

    def _end_turn(self) -> None:
        assert self._turn is not None
        turn, self._turn = self._turn, None
        turn.times.ended_s = loop_time_s()
        if turn.transcribing is not None:
            # What came since the pause began may be the start of what is said next.
            self._before.extend(turn.held)
        if turn.judging is not None:
            turn.judging.cancel()
        self._listener.turn_ended(turn)
        self._group.create_task(self._finish(turn), name=f"finish {turn.item_id}")

    def _drop_turn(self) -> None:
        assert self._turn is not None
        self._void_pause()
        turn, self._turn = self._turn, None
        self._group.create_task(turn.session.abort(), name=f"abort {turn.item_id}")
        self._listener.turn_dropped(turn)

    @property
    def _group(self) -> asyncio.TaskGroup:
        assert self._tasks is not None, "turns exist only while run() is running"
        return self._tasks

    async def _follow_words(self, turn: Turn) -> None:
        """Lets the session work while the caller speaks, and tells the words that settle."""
        try:
            async for transcript in turn.session.partials():
                delta = turn.words.push(transcript.text)
                self._listener.turn_words(turn, delta, transcript.text)
        except EngineError as error:
            log.warning("interim transcription failed", extra={"error": str(error)})

    async def _transcribe(self, turn: Turn) -> Transcript | EngineError:
        turn.times.stt_start_s = loop_time_s()
        try:
            transcript = await turn.session.flush()
        except EngineError as error:
            self._guessed(turn, Transcript("", 0.0))
            return error
        turn.times.stt_end_s = loop_time_s()
        self._guessed(turn, transcript)
        if turn is self._turn:
            self._listener.turn_guessed(turn, transcript)
        return transcript

    def _guessed(self, turn: Turn, transcript: Transcript) -> None:
        """The turn's words are there, before or after a pause is suspected."""
        turn.guess = transcript
        if self._weighs(turn):
            self._said(turn, transcript)
            self._feed(PauseWeighed(loop_time_s(), self._wait_s()))

    async def _judge(self, turn: Turn) -> None:
        """Asks at the pause's first hint whether the turn is over, and again while that is not sure."""
        for at_s in (0.0, *JUDGE_AGAIN_S):
            await asyncio.sleep(turn.times.speech_end_s + at_s - loop_time_s())
            if self._endpointer.is_sure:
                return
            try:
                probability = await self._engines.turn_end.judge(turn.recent())
            except EngineError as error:
                log.warning("turn-end verdict failed", extra={"error": str(error)})
                return
            if self._weighs(turn):
                self._endpointer.sounded(probability)
                self._feed(PauseWeighed(loop_time_s(), self._wait_s()))

    def _said(self, turn: Turn, transcript: Transcript) -> None:
        spoken_s = (turn.end_ms - turn.start_ms) / 1000
        self._endpointer.said(transcript.text, transcript.language or self._session.language, spoken_s)

    def _weighs(self, turn: Turn) -> bool:
        """Whether a pause of this turn still lasts."""
        return turn is self._turn and self._floor.state is CallerState.PAUSING

    async def _finish(self, turn: Turn) -> None:
        try:
            if turn.transcribing is None:
                await self._push_held(turn)
                result = await self._transcribe(turn)
            else:
                result = await turn.transcribing
            if isinstance(result, EngineError):
                self._listener.turn_failed(turn, result)
            else:
                self._listener.turn_transcribed(turn, result)
        finally:
            await turn.session.abort()


def _milliseconds(samples: int) -> int:
    return samples * 1000 // SPEECH_RATE_HZ
