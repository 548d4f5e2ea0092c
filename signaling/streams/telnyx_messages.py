"""Telnyx's media streaming, bidirectional, as RTP payloads: its messages, and what they mean.

https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming. All is JSON text; figures are
text, too, and what comes may have overtaken each other: `chunk` says where it belongs.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, TypeAlias, assert_never

from pydantic import Field, TypeAdapter

from signaling.streams.wire import (
    Answered,
    BadMessage,
    Began,
    Encoding,
    Ended,
    Heard,
    Name,
    Objected,
    Parameters,
    Pressed,
    Reached,
    StreamEvent,
    StreamFormat,
    Told,
    packed,
    read_json,
    unpacked,
)

ENCODINGS: Final[dict[str, Encoding]] = {"PCMU": "pcmu", "PCMA": "pcma", "G722": "g722", "OPUS": "opus"}
L16: Final = "L16"
LEAST_RATE_HZ, MOST_RATE_HZ = 8_000, 48_000

# --- from Telnyx -----------------------------------------------------------------------------------------


class MediaFormat(Told):
    encoding: Name
    sample_rate: int = Field(ge=LEAST_RATE_HZ, le=MOST_RATE_HZ)
    channels: int = 1


class StartDetails(Told):
    call_control_id: Name
    media_format: MediaFormat
    caller: Name = Field("", alias="from")
    to: Name = ""
    custom_parameters: Parameters = Field(default_factory=dict)


class Connected(Told):
    event: Literal["connected"]


class Start(Told):
    event: Literal["start"]
    start: StartDetails
    stream_id: Name = ""


class MediaDetails(Told):
    payload: str
    chunk: int
    track: Name = "inbound"


class Media(Told):
    """Some 20 ms of what the caller says."""

    event: Literal["media"]
    media: MediaDetails


class DtmfDetails(Told):
    digit: Name


class Dtmf(Told):
    event: Literal["dtmf"]
    dtmf: DtmfDetails


class MarkDetails(Told):
    name: Name


class Mark(Told):
    """A mark of ours was reached, or was cleared."""

    event: Literal["mark"]
    mark: MarkDetails


class ErrorDetails(Told):
    title: Name = ""


class Error(Told):
    """Something that we sent is not as it must be, or went wrong over there."""

    event: Literal["error"]
    payload: ErrorDetails = ErrorDetails()


class Stop(Told):
    event: Literal["stop"]


TelnyxMessage: TypeAlias = Connected | Start | Media | Dtmf | Mark | Error | Stop

_MESSAGE: TypeAdapter[TelnyxMessage] = TypeAdapter(Annotated[TelnyxMessage, Field(discriminator="event")])


def parse_message(message: str | bytes) -> TelnyxMessage | None:
    """A message; None for an event that is not known.

    Raises:
        BadMessage: it is malformed.
    """
    return read_json(message, _MESSAGE, "event")


class TelnyxWire:
    """`signaling.streams.wire.Wire`.

    Args:
        l16: how uncompressed samples are written.
        answered: what its webhook said, where it was answered here.
    """

    carrier = "telnyx"
    clears = True
    most_ahead_s = 1.0

    def __init__(self, l16: Encoding = "l16-little", answered: Answered | None = None) -> None:
        self._l16 = l16
        self._answered = answered

    def read(self, message: str | bytes) -> StreamEvent | None:
        told = parse_message(message)
        match told:
            case None | Connected():
                return None
            case Error(payload=payload):
                return Objected(payload.title)
            case Start(start=start):
                return self._began(start)
            case Media(media=media):
                return Heard(unpacked(media.payload), media.chunk) if media.track == "inbound" else None
            case Dtmf(dtmf=dtmf):
                return Pressed(dtmf.digit)
            case Mark(mark=mark):
                return Reached(mark.name)
            case Stop():
                return Ended("the stream was stopped")
            case _:
                assert_never(told)

    def _began(self, start: StartDetails) -> Began:
        written = start.media_format.encoding.upper()
        encoding = self._l16 if written == L16 else ENCODINGS.get(written)
        if encoding is None or start.media_format.channels != 1:
            raise BadMessage(f"The stream's sound is none of {', '.join((*ENCODINGS, L16))}, mono.")
        answered = self._answered or Answered("")
        return Began(
            # The one by which the call's slot is kept, and it is asked for afterwards.
            answered.call_ref or start.call_control_id,
            StreamFormat(encoding, start.media_format.sample_rate),
            start.caller or answered.caller,
            start.to or answered.called,
            outbound=answered.outbound,
            asks_after=self._answered is not None,
            parameters=start.custom_parameters,
        )

    def voice(self, payload: bytes, format: StreamFormat) -> str:
        return json.dumps({"event": "media", "media": {"payload": packed(payload)}})

    def mark(self, name: str) -> str:
        return json.dumps({"event": "mark", "mark": {"name": name}})

    def clear(self) -> str:
        return json.dumps({"event": "clear"})

    def digits(self, digits: str) -> None:
        return None

    def hang_up(self) -> None:
        return None
