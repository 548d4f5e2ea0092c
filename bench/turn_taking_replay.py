"""A recording is said to the real `Listening`, in virtual time: when would its turns have been ended?

Nothing is scripted. The VAD, the turn-end engine and the transcriber are the real ones; what they say of a
sound is kept, so that the same recording can be replayed with other settings at little cost. The time that a
verdict and a transcript take is a parameter: what matters is when they come, not on which machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from bench.turn_taking_recordings import Recording
from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.caller_floor import TurnTakingSettings
from media.clock import loop_time_s
from media.engines.protocols import (
    VAD_WINDOW_SAMPLES,
    Engines,
    SttOptions,
    Transcript,
)
from media.errors import EngineError
from media.inbox import AudioInbox
from media.listening import Listening
from media.session import SessionConfig
from media.turn import Turn, TurnListener
from media.vad_gate import VadSettings
from server.config import Config
from server.engines import build_engines
from tests.virtual_time import run

T = TypeVar("T")

FRAME_SAMPLES = SPEECH_RATE_HZ // 50
"""As the caller's track brings them."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How long the engines take, in s.

    Attributes:
        judge_s: a verdict of the turn-end engine.
        transcribe_s: a transcript, from the pause's first hint.
    """

    judge_s: float = 0.04
    transcribe_s: float = 0.15


class Witnesses(Protocol):
    """What engines say of sounds. The same each time."""

    @property
    def engines(self) -> Engines:
        """For those that are never asked: the language model, the voice."""

    def speech(self, audio: Audio) -> tuple[float, ...]:
        """P(speech) of each window of a recording from its beginning."""

    def verdict(self, turn: Audio) -> float:
        """P(the turn is complete)."""

    def transcript(self, turn: Audio, language: str | None) -> Transcript:
        """What is said in it."""


class Models:
    """The real engines on a thread and a loop of their own, and all that they have said so far.

    A context manager: they are loaded on entering.
    """

    def __init__(self, config: Config) -> None:
        self._built = build_engines(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="models")
        self._said: dict[tuple[str, bytes, str | None], object] = {}

    @property
    def engines(self) -> Engines:
        return self._built

    def __enter__(self) -> Models:
        self._thread.start()
        for engine in (self.engines.vad, self.engines.turn_end, self.engines.stt):
            self._now(engine.start())
        return self

    def __exit__(self, *failure: object) -> None:
        for engine in (self.engines.vad, self.engines.turn_end, self.engines.stt):
            self._now(engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def speech(self, audio: Audio) -> tuple[float, ...]:
        async def listen() -> tuple[float, ...]:
            stream = self.engines.vad.open()
            windows = audio.samples[: len(audio) // VAD_WINDOW_SAMPLES * VAD_WINDOW_SAMPLES]
            heard = [Audio(window, audio.rate_hz) for window in windows.reshape(-1, VAD_WINDOW_SAMPLES)]
            return tuple([await stream.push(window) for window in heard])

        return self._once(tuple, audio, None, listen)

    def verdict(self, turn: Audio) -> float:
        async def judge() -> float:
            return await self.engines.turn_end.judge(turn)

        return self._once(float, turn, None, judge)

    def transcript(self, turn: Audio, language: str | None) -> Transcript:
        async def transcribe() -> Transcript:
            session = self.engines.stt.open(SttOptions(language=language, partials=False))
            await session.push(turn)
            try:
                return await session.flush()
            finally:
                await session.abort()

        return self._once(Transcript, turn, language, transcribe)

    def _once(
        self, kind: type[T], audio: Audio, language: str | None, ask: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """What the engine says, if it has not been asked that before."""
        key = (ask.__qualname__, hashlib.sha1(audio.as_int16().tobytes()).digest(), language)
        if key not in self._said:
            self._said[key] = self._now(ask())
        said = self._said[key]
        assert isinstance(said, kind)
        return said

    def _now(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of one recording.

    Attributes:
        ended_s: when a turn of it was ended, in the recording's time.
    """

    ended_s: tuple[float, ...]


class Replayer:
    """Says recordings to `Listening`.

    Args:
        models: the engines.
        delays: how long they take.
    """

    def __init__(self, models: Witnesses, delays: Delays) -> None:
        self._models = models
        self._delays = delays

    def replay(self, recording: Recording, turn_taking: TurnTakingSettings) -> Replay:
        listener = Listener()
        run(self.say(recording, turn_taking, listener))
        return Replay(tuple(listener.ended_s))

    async def say(
        self, recording: Recording, turn_taking: TurnTakingSettings, listener: TurnListener
    ) -> None:
        """Says it from the beginning to the end, in virtual time that begins at 0, to whoever listens."""
        inbox = AudioInbox(limit_s=recording.audio.duration_s)
        session = SessionConfig("", "", "", language=recording.language, transcribe=False)
        engines = replace(
            self._models.engines,  # the language model and the voice are never asked
            vad=_Vad(self._models.speech(recording.audio)),
            turn_end=_TurnEnd(self._models, self._delays.judge_s),
            stt=_Stt(self._models, self._delays.transcribe_s),
        )
        listening = Listening(engines, VadSettings(), turn_taking, inbox, session, listener)
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(listening.run())
            for start in range(0, len(recording.audio), FRAME_SAMPLES):
                # A frame is there when its last sample was said.
                await asyncio.sleep((start + FRAME_SAMPLES) / SPEECH_RATE_HZ - loop_time_s())
                frame = recording.audio.samples[start : start + FRAME_SAMPLES]
                inbox.put(Audio(frame, recording.audio.rate_hz))
            hearing.cancel()


class _Replayed:
    """What the replayed engines have in common: they are there."""

    name = "replayed"

    async def start(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""


class _Vad(_Replayed):
    """Of one recording, window by window."""

    def __init__(self, speech: tuple[float, ...]) -> None:
        self._speech = iter(speech)

    def open(self) -> _Vad:
        return self

    async def push(self, window: Audio) -> float:
        return next(self._speech)

    def reset(self) -> None:
        """Nothing: the recording goes on."""


class _TurnEnd(_Replayed):
    def __init__(self, models: Witnesses, takes_s: float) -> None:
        self._models = models
        self._takes_s = takes_s

    async def judge(self, turn: Audio) -> float:
        await asyncio.sleep(self._takes_s)
        return self._models.verdict(turn)


class _Stt(_Replayed):
    languages = ()

    def __init__(self, models: Witnesses, takes_s: float) -> None:
        self._models = models
        self._takes_s = takes_s

    def open(self, options: SttOptions) -> _SttSession:
        return _SttSession(self._models, self._takes_s, options.language)


class _SttSession:
    def __init__(self, models: Witnesses, takes_s: float, language: str | None) -> None:
        self._models = models
        self._takes_s = takes_s
        self._language = language
        self._heard: list[Audio] = []
        self._aborted = asyncio.Event()

    async def push(self, audio: Audio) -> None:
        self._heard.append(audio)

    async def partials(self) -> AsyncIterator[Transcript]:
        """None: they say nothing of a pause."""
        await self._aborted.wait()
        return
        yield

    async def flush(self) -> Transcript:
        turn = concatenate(self._heard, SPEECH_RATE_HZ)
        await asyncio.sleep(self._takes_s)
        return self._models.transcript(turn, self._language)

    async def abort(self) -> None:
        self._aborted.set()


@dataclass
class Listener:
    """Notes when turns end; the rest is of no interest here."""

    ended_s: list[float] = field(default_factory=list)

    def turn_ended(self, turn: Turn) -> None:
        self.ended_s.append(loop_time_s())

    def turn_started(self, turn: Turn) -> None: ...

    def turn_words(self, turn: Turn, delta: str, text: str) -> None: ...

    def turn_guessed(self, turn: Turn, transcript: Transcript) -> None: ...

    def turn_resumed(self, turn: Turn) -> None: ...

    def turn_transcribed(self, turn: Turn, transcript: Transcript) -> None: ...

    def turn_failed(self, turn: Turn, error: EngineError) -> None: ...

    def turn_dropped(self, turn: Turn) -> None: ...

    def voice_heard(self, speech_s: float) -> None: ...

    def is_own_voice(self, window: Audio, probability: float) -> bool:
        return False

    def window_heard(self, window: Audio, probability: float) -> None: ...

    def audio_stalled(self) -> None: ...
