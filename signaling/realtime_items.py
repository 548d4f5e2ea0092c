"""Items and their content parts, as the Realtime API writes them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_serializer

from signaling.realtime_base import FromClient, FunctionName, ItemId, ToClient

MAX_TOOL_CHARS = 200_000
"""Of a call's arguments or output. What the LLM is shown of it is less."""

# --- from the client -------------------------------------------------------------------------------------


class PartFromClient(FromClient):
    """A content part: `text` for the text kinds, `transcript` for the audio ones.

    A user's `input_audio` may have `audio` in the session's input format instead, which is then transcribed.
    Pictures are known to be refused.
    """

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None


class MessageFromClient(FromClient):
    """A message that enters the conversation."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: tuple[PartFromClient, ...] = Field(min_length=1)
    id: ItemId | None = None


class FunctionCallFromClient(FromClient):
    """A call of an earlier conversation."""

    type: Literal["function_call"]
    call_id: ItemId | None = None
    name: FunctionName
    arguments: str = Field(max_length=MAX_TOOL_CHARS)
    id: ItemId | None = None


class FunctionCallOutputFromClient(FromClient):
    """What a call brought that the client ran."""

    type: Literal["function_call_output"]
    call_id: ItemId
    output: str = Field(max_length=MAX_TOOL_CHARS)
    id: ItemId | None = None


ItemFromClient: TypeAlias = Annotated[
    MessageFromClient | FunctionCallFromClient | FunctionCallOutputFromClient, Field(discriminator="type")
]


class ItemReference(FromClient):
    """An item of the conversation, by its id: among what a response is to answer."""

    type: Literal["item_reference"]
    id: ItemId


ItemOrReference: TypeAlias = Annotated[
    MessageFromClient | FunctionCallFromClient | FunctionCallOutputFromClient | ItemReference,
    Field(discriminator="type"),
]


# --- to the client ---------------------------------------------------------------------------------------


class WirePart(ToClient):
    """A content part of an item. A caller's audio whose transcript is not known yet says so with a null."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None

    @model_serializer
    def _explicit(self) -> dict[str, str | None]:
        if self.type.endswith("_text"):
            return {"type": self.type, "text": self.text or ""}
        if self.type == "output_audio":
            return {"type": self.type, "transcript": self.transcript or ""}
        return {"type": self.type, "transcript": self.transcript}


class WireItemBase(ToClient):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    status: Literal["in_progress", "completed", "incomplete"]


class WireMessage(WireItemBase):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system"]
    content: tuple[WirePart, ...]


class WireFunctionCall(WireItemBase):
    type: Literal["function_call"] = "function_call"
    call_id: str
    name: str
    arguments: str


class WireFunctionCallOutput(WireItemBase):
    type: Literal["function_call_output"] = "function_call_output"
    call_id: str
    output: str


WireItem: TypeAlias = WireMessage | WireFunctionCall | WireFunctionCallOutput
