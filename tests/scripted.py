"""Scripted engines: they satisfy the Protocols, take stated times, and do as they are told.

The caller's audio is its own script: a window's level is P(speech), and the words said are given beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import (
    Engines,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SpokenWord,
    SttOptions,
    ToolCallDelta,
    Transcript,
    TtsRequest,
    Voice,
)
from media.errors import EngineError, ToolError
from media.tools import Tool

LOUD = 0.5
"""The level of scripted speech."""


def speech(duration_s: float) -> Audio:
    return Audio(np.full(round(duration_s * SPEECH_RATE_HZ), LOUD, dtype=np.float32), SPEECH_RATE_HZ)


def quiet(duration_s: float) -> Audio:
    return Audio(np.zeros(round(duration_s * SPEECH_RATE_HZ), dtype=np.float32), SPEECH_RATE_HZ)


@dataclass
class ScriptedEngine:
    """What all of them do."""

    name: str = "scripted"
    started: bool = False

    async def start(self) -> None:
        self.started = True

    async def close(self) -> None:
        self.started = False


class LevelVad(ScriptedEngine):
    """Speech is what is loud."""

    def open(self) -> LevelVad:
        return self

    async def push(self, window: Audio) -> float:
        return 0.95 if float(np.mean(np.abs(window.as_float32()))) > 0.1 else 0.02

    def reset(self) -> None:
        pass


@dataclass
class ScriptedTurnEnd(ScriptedEngine):
    """Gives its verdicts one after the other, the last one for ever."""

    verdicts: Sequence[float] = (0.98,)
    takes_s: float = 0.03
    judged: list[float] = field(default_factory=list)
    """How long each turn was that was judged, in seconds."""

    async def judge(self, turn: Audio) -> float:
        await asyncio.sleep(self.takes_s)
        self.judged.append(turn.duration_s)
        return self.verdicts[min(len(self.judged), len(self.verdicts)) - 1]


@dataclass
class ScriptedStt(ScriptedEngine):
    """Hears the given turns, one a session; an `EngineError` among them is raised."""

    says: Sequence[str | EngineError] = ("hello",)
    takes_s: float = 0.1
    languages: tuple[str, ...] = ("en", "es")
    sessions: list[ScriptedSttSession] = field(default_factory=list)

    def open(self, options: SttOptions) -> ScriptedSttSession:
        script = self.says[min(len(self.sessions), len(self.says) - 1)]
        session = ScriptedSttSession(options, script, self.takes_s)
        self.sessions.append(session)
        return session


class ScriptedSttSession:
    def __init__(self, options: SttOptions, script: str | EngineError, takes_s: float) -> None:
        self.options = options
        self.script = script
        self.takes_s = takes_s
        self.pushed_s = 0.0
        self.flushes = 0
        self.aborted = False
        self._changed = asyncio.Event()

    async def push(self, audio: Audio) -> None:
        assert not self.aborted
        self.pushed_s += audio.duration_s
        self._changed.set()

    async def partials(self) -> AsyncIterator[Transcript]:
        """A word more for each half second."""
        shown = 0
        while not self.aborted:
            await self._changed.wait()
            self._changed.clear()
            words = int(self.pushed_s / 0.5)
            if words > shown and isinstance(self.script, str) and not self.aborted:
                shown = words
                yield Transcript(" ".join(self.script.split()[:words]), self.pushed_s)

    async def flush(self) -> Transcript:
        self.flushes += 1
        pushed_s = self.pushed_s
        await asyncio.sleep(self.takes_s)
        if isinstance(self.script, EngineError):
            raise self.script
        return Transcript(self.script, pushed_s, self.options.language)

    async def abort(self) -> None:
        self.aborted = True
        self._changed.set()


@dataclass(frozen=True)
class Calls:
    """A reply that calls tools: pairs of a name and arguments; perhaps after some words."""

    calls: tuple[tuple[str, str], ...]
    says: str = ""


def calls(name: str, arguments: str = "{}", says: str = "") -> Calls:
    """A reply that calls one tool."""
    return Calls(((name, arguments),), says)


@dataclass
class ScriptedLlm(ScriptedEngine):
    """Replies with the given texts word by word, or calls tools piece by piece; an `EngineError` among them
    is raised instead."""

    replies: Sequence[str | Calls | EngineError] = ("Hello there. How are you?",)
    first_s: float = 0.05
    word_s: float = 0.01
    requests: list[LlmRequest] = field(default_factory=list)
    read_ahead: list[LlmRequest] = field(default_factory=list)
    """Those that asked for no words."""
    open_requests: int = 0

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        if request.max_tokens == 0:
            self.read_ahead.append(request)
            yield LlmDelta("", "length")
            return
        self.requests.append(request)
        script = self.script(request)
        self.open_requests += 1
        try:
            await asyncio.sleep(self.first_s)
            if isinstance(script, EngineError):
                raise script
            if isinstance(script, Calls):
                async for delta in self._call(script):
                    yield delta
                return
            words = script.removeprefix(request.begun).split(" ")
            for index, word in enumerate(words[: request.max_tokens]):
                yield LlmDelta(word if index == 0 else f" {word}")
                await asyncio.sleep(self.word_s)
            finish: Literal["length", "stop"] = "length" if len(words) > request.max_tokens else "stop"
            yield LlmDelta("", finish, input_tokens=10, output_tokens=len(words))
        finally:
            self.open_requests -= 1

    def script(self, request: LlmRequest) -> str | Calls | EngineError:
        """What it replies to this one, which is the last of `requests`."""
        return self.replies[min(len(self.requests), len(self.replies)) - 1]

    async def _call(self, script: Calls) -> AsyncIterator[LlmDelta]:
        for at, word in enumerate(script.says.split()):
            yield LlmDelta(word if at == 0 else f" {word}")
            await asyncio.sleep(self.word_s)
        for index, (name, arguments) in enumerate(script.calls):
            call_id = f"call_{index}"  # as engines do that count anew in each reply
            yield LlmDelta("", tool_calls=(ToolCallDelta(index, call_id, name, ""),))
            for start in range(0, len(arguments), 8):
                await asyncio.sleep(self.word_s)
                yield LlmDelta("", tool_calls=(ToolCallDelta(index, "", "", arguments[start : start + 8]),))
        yield LlmDelta("", "tool_calls", input_tokens=20, output_tokens=7)


@dataclass
class ScriptedToolbox:
    """Satisfies `Toolbox`. Each tool brings what it is told to, after its time."""

    brings: dict[str, str | ToolError] = field(default_factory=lambda: {"get_weather": "sunny"})
    takes_s: float = 0.2
    called: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(Tool(name, f"Does {name}.", '{"type": "object"}') for name in self.brings)

    async def call(self, name: str, arguments: str) -> str:
        self.called.append((name, arguments))
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        brought = self.brings[name]
        if isinstance(brought, ToolError):
            raise brought
        return brought


@dataclass
class ScriptedTts(ScriptedEngine):
    """A loud tone of 0.3 s a word, in one chunk, after a stated time."""

    takes_s: float = 0.1
    word_s: float = 0.3
    rate_hz: int = 24_000
    fails: EngineError | None = None
    spoken: list[str] = field(default_factory=list)
    voices: tuple[Voice, ...] = (
        Voice("af_heart", "en-us", "Heart"),
        Voice("bf_emma", "en-gb", "Emma"),
        Voice("jf_alpha", "ja", "Alpha", unavailable="Japanese needs an extra"),
    )

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        await asyncio.sleep(self.takes_s)
        if self.fails is not None:
            raise self.fails
        self.spoken.append(request.text)
        words = request.text.split()
        samples = round(len(words) * self.word_s * self.rate_hz)
        times = np.arange(samples, dtype=np.float32) / self.rate_hz
        tone = 0.3 * np.sin(2 * np.pi * 440 * times, dtype=np.float32)
        yield SpeechChunk(
            Audio(tone.astype(np.float32), self.rate_hz),
            tuple(
                SpokenWord(word, index * self.word_s, (index + 1) * self.word_s)
                for index, word in enumerate(words)
            ),
        )


@dataclass
class WordByWord(ScriptedTts):
    """A chunk a word, at half the time that hearing it takes."""

    pause_s: float = 0.15
    asked: list[TtsRequest] = field(default_factory=list)

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        self.asked.append(request)
        async for chunk in super().speak(request):
            for word in chunk.words:
                yield SpeechChunk(chunk.audio.slice_s(word.start_s, word.end_s), (word,))
                await asyncio.sleep(self.pause_s)


@dataclass
class ScriptedEngines:
    """A set of them, each within reach of the test."""

    vad: LevelVad = field(default_factory=LevelVad)
    turn_end: ScriptedTurnEnd = field(default_factory=ScriptedTurnEnd)
    stt: ScriptedStt = field(default_factory=ScriptedStt)
    llm: ScriptedLlm = field(default_factory=ScriptedLlm)
    tts: ScriptedTts = field(default_factory=ScriptedTts)

    def engines(self) -> Engines:
        return Engines(self.vad, self.turn_end, self.stt, self.llm, self.tts)
