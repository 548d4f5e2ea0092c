"""What a conversation consists of: items, and the responses that make them.

The vocabulary is the Realtime API's, so that signalling translates field by field; none of its wire format
is known here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from media.tools import Tool, ToolChoice

Role = Literal["user", "assistant", "system"]
PartKind = Literal["input_text", "input_audio", "output_text", "output_audio"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
Modality = Literal["audio", "text"]
ResponseStatus = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
StatusReason = Literal["turn_detected", "client_cancelled", "max_output_tokens"]


def new_id(prefix: str) -> str:
    """`item_3f2c…`: unguessable, and says what it names."""
    return f"{prefix}_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an item's content.

    Attributes:
        kind: what it is and from which side.
        text: the text, or for audio its transcript; None while a transcript is not known yet.
    """

    kind: PartKind
    text: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody said or wrote."""

    id: str
    role: Role
    parts: tuple[Part, ...]
    status: ItemStatus = "completed"

    @property
    def text(self) -> str:
        """All its text, transcripts included."""
        return " ".join(part.text for part in self.parts if part.text)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The assistant wants a tool to be called.

    Attributes:
        call_id: which call it is; the output bears the same.
        name: a `Tool.name`, as the LLM wrote it.
        arguments: JSON text, as the LLM wrote it: it may be no valid JSON.
        by_server: the server runs it; else the client does, and enters the output.
    """

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"
    by_server: bool = False


@dataclass(frozen=True, slots=True)
class FunctionCallOutput:
    """What a call of a tool brought, as text for the LLM.

    Attributes:
        by_server: the server ran it.
    """

    id: str
    call_id: str
    output: str
    status: ItemStatus = "completed"
    by_server: bool = False


Item: TypeAlias = Message | FunctionCall | FunctionCallOutput
"""An entry of the conversation. What is said later of the same id replaces it."""


def answered_calls(items: Iterable[Item]) -> frozenset[str]:
    """The `call_id`s of the calls whose outputs are among the items."""
    return frozenset(item.call_id for item in items if isinstance(item, FunctionCallOutput))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a response cost, in the LLM's tokens. Of the input, `cached_tokens` had been read before."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """How one response differs from its session's settings. None means: as the session says.

    Attributes:
        instructions: instead of the session's.
        modality: spoken, or text only.
        max_output_tokens: the reply ends there; "inf": where the configuration says.
        spoken_text: the very words to say; no LLM is asked (a greeting).
        metadata: given back in every snapshot of the response.
        remark: said to the LLM after all that is answered, as if by the caller, and not kept.
        tools: that may be called, instead of the session's.
        tool_choice: whether one may, or must, be called.
        parallel_calls: whether more than one may be called.
        conversation: `none` is out of band: the reply leaves no trace in the history.
        input: what is answered instead of the history. An item of the history that is among it is shown as
            it is by then: perhaps its transcript is known only then.
        voice: name of a voice.
    """

    instructions: str | None = None
    modality: Modality | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    spoken_text: str | None = None
    remark: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None
    parallel_calls: bool | None = None
    conversation: Literal["auto", "none"] = "auto"
    input: tuple[Item, ...] | None = None
    voice: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A snapshot of a response.

    Attributes:
        status: `in_progress` until its last event.
        reason: why it was cancelled or is incomplete.
        error: for a failed one, what to tell people.
        error_code: for a failed one, the machine-readable word.
        output: its items so far.
        voice: speaks it; "" where nobody does.
        max_output_tokens: its limit; None: the configuration's.
        conversation: `none` is out of band.
    """

    id: str
    modality: Modality
    status: ResponseStatus = "in_progress"
    reason: StatusReason | None = None
    error: str | None = None
    error_code: str | None = None
    output: tuple[Item, ...] = ()
    usage: Usage | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    voice: str = ""
    max_output_tokens: int | None = None
    conversation: Literal["auto", "none"] = "auto"
