"""The five ports through which the conversation reaches its engines.

Arguments and results are plain values that can be sent over a wire: an engine may run in this process,
in the engine process beside it, or on another machine. Every adapter:

- does no I/O in its constructor; `start()` loads and warms the model, `close()` frees it;
- is shared by all calls of the process and may be used by several at once;
- raises `EngineError` (or `ModelMissing` from `start`), never what its backend raises;
- runs blocking inference on its own executor, and lets cancellation through: a cancelled request frees
  what it holds as soon as the backend's current step ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from media.audio import Audio
from media.tools import Tool, ToolChoice

CANNOT_CONTINUE = "cannot_continue"
"""The code of an engine that cannot go on with a reply that another one began."""

GARBAGE = "engine_garbage"
"""The code of an engine that makes what nobody can use."""

VAD_WINDOW_SAMPLES = 512
"""One VAD decision: 32 ms at 16 kHz."""


class Engine(Protocol):
    """What all engines have."""

    @property
    def name(self) -> str:
        """The backend and its model, for `/status`: `whisper (tiny.en)`."""

    async def start(self) -> None:
        """Loads and warms the model.

        Raises:
            ModelMissing: files are absent or not the pinned ones; the sentence says what to run.
            EngineError: the backend refused.
        """

    async def close(self) -> None:
        """Frees everything. May be called twice, and on an engine that never started. `start` may follow."""


class VadStream(Protocol):
    """One caller's voice-activity state."""

    async def push(self, window: Audio) -> float:
        """P(speech) of the next window: exactly `VAD_WINDOW_SAMPLES` at 16 kHz, in order."""

    def reset(self) -> None:
        """Forgets all that was heard."""


class VadEngine(Engine, Protocol):
    def open(self) -> VadStream: ...


class TurnEndEngine(Engine, Protocol):
    async def judge(self, turn: Audio) -> float:
        """P(the turn is complete), from the caller's turn so far at 16 kHz, the pause included."""


@dataclass(frozen=True, slots=True)
class SttOptions:
    """What a transcription is told.

    Attributes:
        language: BCP-47 primary tag (`en`), or None to detect it.
        prompt: words that the speech may hold (names, terms), for spelling.
        partials: the caller wants `SttSession.partials`; without it the session may save the compute.
    """

    language: str | None = None
    prompt: str = ""
    partials: bool = True


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said.

    Attributes:
        text: trimmed; empty where nothing was said.
        audio_s: how much audio it covers, in seconds.
        language: as given or as detected.
    """

    text: str
    audio_s: float
    language: str | None = None


class SttSession(Protocol):
    """One turn's transcription: open, push …, partials …, flush (once or more), abort.

    A flush does not end the session: the caller may go on speaking after a pause that looked like an end,
    and what is pushed then continues the same turn.
    """

    async def push(self, audio: Audio) -> None:
        """More of the turn, 16 kHz, any length. Quick: it stores, and may start work in the background."""

    def partials(self) -> AsyncIterator[Transcript]:
        """The transcript so far, each time there is a better one. Ends with `abort`. One consumer."""

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed. A flush that is cancelled can be asked again.

        Raises:
            EngineError: the backend failed.
        """

    async def abort(self) -> None:
        """Ends the session, its partials and its work. May be called twice."""


class SttEngine(Engine, Protocol):
    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it can be told, as BCP-47 primary tags."""

    def open(self, options: SttOptions) -> SttSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`.
        """


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the assistant called, with JSON text for arguments."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message of the conversation, as the LLM is shown it.

    Attributes:
        text: what was said; of a `tool`, what its call brought. Empty where the assistant only called tools.
        tool_calls: those of an assistant's message. The `tool` messages that answer them follow it.
        call_id: of a `tool`: which call this is the output of.
    """

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """A conversation that wants its next message.

    Attributes:
        messages: oldest first; the first is the system message. Its stable prefix is what caches hold.
        max_tokens: the reply ends there, mid-sentence if need be. 0: the messages are only read ahead, so
            that a reply to them and more begins sooner; an engine without a cache has nothing to do.
        temperature: 0 is greedy.
        conversation: which one it is, for an engine that keeps what it has read of each; "" is none.
        tools: that may be called. An engine that cannot call any ignores them.
        tool_choice: whether one may, or must, be called.
        begun: what of the reply has been said already, by another engine: it is gone on with, and not said
            again.
    """

    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float
    conversation: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    begun: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call.

    Attributes:
        index: which of the reply's calls, from 0 on.
        call_id: the engine's own, on the call's first piece, else empty. Empty there too where it has none.
            Nobody else knows the call by it: some engines count anew in every reply.
        name: on the call's first piece, else empty.
        arguments: what to append to its JSON text.
    """

    index: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class LlmDelta:
    """A piece of the reply.

    Attributes:
        text: what to append; may be empty on the last one.
        finish: None until the last delta, then why the reply ended.
        input_tokens: of the prompt; on the last delta, 0 where unknown.
        output_tokens: of the reply; on the last delta, 0 where unknown.
        cached_tokens: of the prompt, those that had been read before; on the last delta, 0 where unknown.
        tool_calls: pieces of calls. What the reply says, it says before its first call.
    """

    text: str
    finish: Literal["stop", "length", "tool_calls"] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    tool_calls: tuple[ToolCallDelta, ...] = ()


class LlmEngine(Engine, Protocol):
    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Streams the reply. Closing the generator aborts the generation and frees its slot.

        Raises:
            EngineError: the backend failed; `retryable` where nothing was streamed yet and it may recover.
                `cannot_continue` where a reply has begun and this engine cannot go on with it.
        """


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of the TTS engine.

    Attributes:
        name: as it is asked for: `af_heart`.
        language: BCP-47 tag: `en-us`, `pt-br`.
        label: for people: `Heart (female)`.
        unavailable: why this installation cannot speak it, or None.
    """

    name: str
    language: str
    label: str
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """A clause to be spoken.

    Attributes:
        text: plain words, already made speakable, with its final punctuation.
        voice: a `Voice.name`.
        speed: 1 is the voice's own; 0.5 to 2.
        lead_s: how much sound is still to be heard before this. An engine that can be heard sooner at
            some cost need not pay it while there is that much time.
        before: words of the same clause that were spoken by the request before this one: the voice goes on
            from them, without a pause, and does not say them again.
        after: words of the same clause that the next request will speak: the voice is to sound as if it went
            on with them. They need not be all that follow, or the very same.
    """

    text: str
    voice: str
    speed: float = 1.0
    lead_s: float = 0.0
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word and where it lies in the audio of its clause, in seconds from the clause's first sample."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of a clause's audio.

    The chunks of a clause, one after the other, are the clause: it starts at its first sound and
    ends with the pause that its punctuation deserves; where its request has words `after` it, it ends there.

    Attributes:
        audio: at the engine's rate.
        words: the words that begin in this chunk, in seconds from the clause's first sample.
    """

    audio: Audio
    words: tuple[SpokenWord, ...] = field(default=())


class TtsEngine(Engine, Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate of what it speaks."""

    @property
    def voices(self) -> tuple[Voice, ...]: ...

    def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause. Closing the generator aborts the synthesis.

        Raises:
            VoiceUnavailable: the voice is unknown or cannot speak here.
            EngineError: the backend failed.
        """


@dataclass(frozen=True, slots=True)
class Engines:
    """One of each: what a conversation needs."""

    vad: VadEngine
    turn_end: TurnEndEngine
    stt: SttEngine
    llm: LlmEngine
    tts: TtsEngine
