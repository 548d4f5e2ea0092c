"""What all objects of the Realtime events are made of: how both sides' fields are read and written.

What a client sends is lenient about what it does not know (vendors' clients send settings that mean nothing
here) and strict about what it does. What the server sends is frozen and is serialised without its nulls,
since some clients refuse a null where a field may be absent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

MAX_INSTRUCTIONS_CHARS = 20_000
"""As in the configuration, section `speech_to_speech`."""


class FromClient(BaseModel):
    """Something a client sent. Fields that were not sent are told from nulls by `model_fields_set`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class ToClient(BaseModel):
    """Something the server sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _max_output_tokens(value: object) -> int | Literal["inf"]:
    if value == "inf":
        return "inf"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096:
        return value
    raise ValueError('give 1 to 4096, or "inf"')


MaxOutputTokens = Annotated[int | Literal["inf"], PlainValidator(_max_output_tokens)]
OutputModalities = Annotated[tuple[Literal["audio", "text"], ...], Field(min_length=1, max_length=1)]
"""One of the two: replies are spoken (and transcribed) or written."""
ItemId = Annotated[str, Field(min_length=1, max_length=128)]
FunctionName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


def _no_prompt(value: object) -> None:
    if value is not None:
        raise ValueError("there are no stored prompts here; send `instructions`")


NoPrompt = Annotated[None, PlainValidator(_no_prompt)]
"""A reference to a prompt that the API's own servers keep. To pass over it would be to answer without it."""


def _voice_name(value: object) -> object:
    return value["id"] if isinstance(value, dict) and set(value) == {"id"} else value


VoiceName = Annotated[str, BeforeValidator(_voice_name), Field(min_length=1, max_length=64)]
"""A voice's name, as such or as an object with an `id`, which is how the API names voices not its own."""


def token_limit(wire: int | str | None) -> int | None:
    """The limit that `max_output_tokens` sets; None where it sets none."""
    return wire if isinstance(wire, int) else None


class AudioFormat(ToClient):
    """How a session's audio is written in events: PCM of 16 bits, little-endian, at 24 kHz; or G.711 at 8."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24000] | None = 24000
    """Of PCM."""


PCM = AudioFormat()
