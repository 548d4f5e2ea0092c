"""What a conversation tells whoever listens to it: one closed union, in the order in which it happens.

Signalling translates these into its protocol's messages. Times on a caller's audio (`*_ms`) count
milliseconds of audio received since the call began, as the Realtime API counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from media.audio import Audio
from media.items import Item, Message, Response
from media.latency import TurnLatency


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak; `item_id` is the user item that this will become."""

    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller's turn is over."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class IdleTimedOut:
    """The caller has been silent since a reply, from and until here; `item_id` is what is made of it."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class InputCommitted:
    """The caller's audio became a user item."""

    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class InputCleared:
    """The caller's audio that was not committed yet was thrown away."""


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item entered the conversation, perhaps unfinished."""

    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDone:
    """An item is finished."""

    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """An assistant item was cut to what the caller heard: `audio_end_ms` of it, the words `heard_text`."""

    item_id: str
    audio_end_ms: int
    heard_text: str


@dataclass(frozen=True, slots=True)
class ConversationReset:
    """Everything was forgotten."""


@dataclass(frozen=True, slots=True)
class TranscriptDelta:
    """More of what the caller is saying, while it is being said. Append-only: only words that settled."""

    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class TranscriptCompleted:
    """All of what the caller said. Replaces the deltas."""

    item_id: str
    transcript: str
    audio_s: float
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    item_id: str
    message: str
    code: str
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    response: Response


@dataclass(frozen=True, slots=True)
class OutputItemAdded:
    response_id: str
    item: Item


@dataclass(frozen=True, slots=True)
class OutputPartAdded:
    """The item's one content part begins: `output_audio` or `output_text`, by the response's modality."""

    response_id: str
    item: Message


@dataclass(frozen=True, slots=True)
class OutputTextDelta:
    """More of the reply: text of a text response, transcript of a spoken one."""

    response_id: str
    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class OutputAudioDelta:
    """More of the reply's audio, made faster than it plays, for transports that carry it as data."""

    response_id: str
    item_id: str
    audio: Audio


@dataclass(frozen=True, slots=True)
class FunctionArgumentsDelta:
    """More of the arguments, JSON text, with which a tool is to be called."""

    response_id: str
    item_id: str
    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class OutputItemDone:
    """The item's part and the item are finished (or cut: then its status is `incomplete`)."""

    response_id: str
    item: Item


@dataclass(frozen=True, slots=True)
class ResponseDone:
    response: Response


@dataclass(frozen=True, slots=True)
class OutputBufferStarted:
    """The first sound of a response left for the caller."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputBufferStopped:
    """The last sound of a response has left for the caller."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputBufferCleared:
    """What was still to be played of a response was thrown away."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputBufferHeld:
    """A response fell silent for now, since the caller makes a sound. It goes on, or is cleared."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputBufferResumed:
    """A response that was held goes on, `at_ms` into its sound: perhaps a little before where it was held."""

    response_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class TurnMeasured:
    """How the time between the caller's last word and the reply's first sound was spent."""

    latency: TurnLatency


@dataclass(frozen=True, slots=True)
class DraftSettled:
    """What became of an answer that was begun before the turn was known to be over.

    Attributes:
        used: it was the answer; else the caller went on, or something else was asked.
        engine_s: how long engines worked on it until then: gained where it was used, in vain where not.
    """

    used: bool
    engine_s: float


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """A key of the caller's telephone, one of `0`-`9`, `*`, `#`, `A`-`D`, was pressed; in Unix time."""

    digit: str
    pressed_s: float


Answerer = Literal["human", "machine", "uncertain"]


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """Who or what seems to have answered a call that was placed."""

    who: Answerer


@dataclass(frozen=True, slots=True)
class CallFault:
    """Something of ours or the engines' failed. The call goes on."""

    message: str
    code: str


CallEvent: TypeAlias = (
    SpeechStarted
    | SpeechStopped
    | IdleTimedOut
    | InputCommitted
    | InputCleared
    | ItemAdded
    | ItemDone
    | ItemDeleted
    | ItemTruncated
    | ConversationReset
    | TranscriptDelta
    | TranscriptCompleted
    | TranscriptFailed
    | ResponseCreated
    | OutputItemAdded
    | OutputPartAdded
    | OutputTextDelta
    | OutputAudioDelta
    | FunctionArgumentsDelta
    | OutputItemDone
    | ResponseDone
    | OutputBufferStarted
    | OutputBufferStopped
    | OutputBufferCleared
    | OutputBufferHeld
    | OutputBufferResumed
    | TurnMeasured
    | DraftSettled
    | DigitPressed
    | AnsweredBy
    | CallFault
)
