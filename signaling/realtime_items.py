"""Items and their content parts, as the Realtime API writes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_serializer

from signaling.realtime_base import FromClient, ItemId, ToClient

# --- from the client -------------------------------------------------------------------------------------


class PartFromClient(FromClient):
    """A content part: `text` for the text kinds, `transcript` for the audio ones."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None


class ItemFromClient(FromClient):
    """A message that enters the conversation."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: tuple[PartFromClient, ...] = Field(min_length=1)
    id: ItemId | None = None


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


class WireItem(ToClient):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["user", "assistant", "system"]
    content: tuple[WirePart, ...]
