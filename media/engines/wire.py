"""What the media process and the engine process say to each other. How: `media.engines.channel`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from media.audio import Audio
from media.engines.protocols import LlmRequest, SttOptions, TtsRequest, Voice
from media.errors import (
    CallerError,
    EngineError,
    EngineOutOfMemory,
    ModelMissing,
    ServerFault,
    VoiceUnavailable,
    VoxtralKokoroError,
)

RemoteRole: TypeAlias = Literal["turn_end", "stt", "llm", "tts"]
"""The engines that may live in the engine process."""

# From the media process: work that is answered


@dataclass(frozen=True, slots=True)
class StartEngine:
    """`Engine.start`. Answered with `EngineFacts`: some are known only now."""

    role: RemoteRole


@dataclass(frozen=True, slots=True)
class Judge:
    """`TurnEndEngine.judge`."""

    turn: Audio


@dataclass(frozen=True, slots=True)
class Reply:
    """`LlmEngine.reply`, item by item."""

    request: LlmRequest


@dataclass(frozen=True, slots=True)
class Speak:
    """`TtsEngine.speak`, item by item."""

    request: TtsRequest


@dataclass(frozen=True, slots=True)
class FlushSession:
    """`SttSession.flush`."""

    session: int


@dataclass(frozen=True, slots=True)
class FollowSession:
    """`SttSession.partials`, item by item."""

    session: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered at once, with `gpu_pool.pools()`: the process lives, and its loop turns."""


Work: TypeAlias = StartEngine | Judge | Reply | Speak | FlushSession | FollowSession | Ping


@dataclass(frozen=True, slots=True)
class Request:
    """Work under a number, which its answers bear."""

    number: int
    work: Work


# From the media process: what is not answered


@dataclass(frozen=True, slots=True)
class Cancel:
    """Whoever asked has gone: the work is cancelled, a stream is closed."""

    number: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """`SttEngine.open`, under a number of the media process's choice."""

    session: int
    options: SttOptions


@dataclass(frozen=True, slots=True)
class PushAudio:
    """`SttSession.push`."""

    session: int
    audio: Audio


@dataclass(frozen=True, slots=True)
class AbortSession:
    """`SttSession.abort`."""

    session: int


@dataclass(frozen=True, slots=True)
class SetLogLevel:
    """Records below this level (a number of `logging`) are not sent."""

    level: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """What is kept of GPUs for later, and used by nothing, is wanted elsewhere."""


ToEngines: TypeAlias = Request | Cancel | OpenSession | PushAudio | AbortSession | SetLogLevel | GiveBack

# From the engine process


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engines say of themselves without being asked for work."""

    turn_end_name: str
    stt_name: str
    stt_languages: tuple[str, ...]
    llm_name: str
    tts_name: str
    tts_rate_hz: int
    tts_voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of ours, taken apart: exceptions do not survive a pickle when they have keyword arguments."""

    kind: type[VoxtralKokoroError]
    message: str
    code: str
    retryable: bool = False
    param: str | None = None

    @classmethod
    def of(cls, error: VoxtralKokoroError) -> Failure:
        kind = next(known for known in _KINDS if isinstance(error, known))
        retryable = isinstance(error, EngineError) and error.retryable
        param = error.param if isinstance(error, CallerError) else None
        return cls(kind, str(error), error.code, retryable, param)

    def error(self) -> VoxtralKokoroError:
        """The error, put together again."""
        if issubclass(self.kind, EngineError):
            return self.kind(self.message, code=self.code, retryable=self.retryable)
        if issubclass(self.kind, CallerError):
            return self.kind(self.message, code=self.code, param=self.param)
        return self.kind(self.message, code=self.code)


_KINDS = (
    ModelMissing,
    EngineOutOfMemory,
    EngineError,
    VoiceUnavailable,
    CallerError,
    ServerFault,
    VoxtralKokoroError,
)
"""The kinds that arrive as themselves, the special before the general."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The engines are built, none is started: the first message of all."""

    facts: EngineFacts


@dataclass(frozen=True, slots=True)
class Refused:
    """The engines could not be built; the process ends."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Item:
    """The next item of a stream."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The work's result, or the end of a stream."""

    number: int
    value: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The work's failure."""

    number: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Logged:
    """A log record's attributes: it is written where the media process writes its own."""

    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FellBack:
    """An engine failed, and another one of its role is asked, if there is one.

    Attributes:
        role: theirs.
        engine: the name of the one that failed.
        code: of its failure.
        reason: in a sentence.
        elsewhere: it is an endpoint.
        starting: it did not start.
        stood_in_for: there is another one, which has not failed itself.
    """

    role: RemoteRole
    engine: str
    code: str
    reason: str
    elsewhere: bool = False
    starting: bool = False
    stood_in_for: bool = False


@dataclass(frozen=True, slots=True)
class CameBack:
    """An engine that had failed works again."""

    role: RemoteRole
    engine: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """An engine is asked no more before it has been started again.

    Attributes:
        role: its role, which is to be started.
        engine: its name.
        reason: in a sentence.
        stood_in_for: another one of its role works meanwhile.
        needs_process: it is stuck, or its device is lost: only another process helps.
    """

    role: RemoteRole
    engine: str
    reason: str
    stood_in_for: bool
    needs_process: bool = False


class LoadState(StrEnum):
    """How far a fallback is that is loaded when it is needed."""

    WAITS = "waits"
    """It takes no memory."""
    NEEDED = "needed"
    """Its role is to be started, for its sake."""
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FallbackLoad:
    """A fallback that is loaded when it is needed has got so far.

    Attributes:
        role: its role.
        engine: its name.
        state: how far it is.
        took_s: of one that is loaded: so long, its first piece of work included.
    """

    role: RemoteRole
    engine: str
    state: LoadState
    took_s: float | None = None


EngineEvent: TypeAlias = FellBack | CameBack | Unusable | FallbackLoad
"""What becomes of engines that fail, and of those that stand in."""

FromEngines: TypeAlias = Hello | Refused | Item | Done | Failed | Logged | EngineEvent

Message: TypeAlias = ToEngines | FromEngines
