"""Twilio's Media Streams over `<Connect><Stream>`: its messages, and what they mean.

https://www.twilio.com/docs/voice/media-streams/websocket-messages. All is JSON text; figures are text, too.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, TypeAlias, assert_never

from pydantic import Field, TypeAdapter

from signaling.streams.wire import (
    BadMessage,
    Began,
    CamelTold,
    Ended,
    Heard,
    Name,
    Parameters,
    Pressed,
    Reached,
    StreamEvent,
    StreamFormat,
    packed,
    read_json,
    unpacked,
)

MULAW: Final = StreamFormat("pcmu")
"""The only one there is."""
CALLER, CALLED, DIRECTION = "caller", "called", "direction"
"""Parameters by which our own answer to Twilio's webhook tells the stream who is on the line. No other answer
is to have the last: with it, Twilio is taken to come back here when the stream ends."""
INBOUND, OUTBOUND = "inbound", "outbound"

# --- from Twilio -----------------------------------------------------------------------------------------


class MediaFormat(CamelTold):
    encoding: Name
    sample_rate: int
    channels: int = 1


class StartDetails(CamelTold):
    stream_sid: Name
    call_sid: Name
    account_sid: Name = ""
    media_format: MediaFormat
    custom_parameters: Parameters = Field(default_factory=dict)


class Connected(CamelTold):
    event: Literal["connected"]


class Start(CamelTold):
    event: Literal["start"]
    start: StartDetails


class MediaDetails(CamelTold):
    payload: str
    track: Name = "inbound"
    timestamp: int | None = None


class Media(CamelTold):
    """Some 20 ms of what the caller says. `timestamp`: in ms since the stream began."""

    event: Literal["media"]
    media: MediaDetails


class DtmfDetails(CamelTold):
    digit: Name


class Dtmf(CamelTold):
    event: Literal["dtmf"]
    dtmf: DtmfDetails


class MarkDetails(CamelTold):
    name: Name


class Mark(CamelTold):
    """A mark of ours was reached, or was cleared."""

    event: Literal["mark"]
    mark: MarkDetails


class Stop(CamelTold):
    event: Literal["stop"]


TwilioMessage: TypeAlias = Connected | Start | Media | Dtmf | Mark | Stop

_MESSAGE: TypeAdapter[TwilioMessage] = TypeAdapter(Annotated[TwilioMessage, Field(discriminator="event")])


def parse_message(message: str | bytes) -> TwilioMessage | None:
    """A message; None for an event that is not known.

    Raises:
        BadMessage: it is malformed.
    """
    return read_json(message, _MESSAGE, "event")


class TwilioWire:
    """`signaling.streams.wire.Wire`."""

    carrier = "twilio"
    clears = True
    most_ahead_s = 1.0

    def __init__(self) -> None:
        self._stream_sid = ""

    def read(self, message: str | bytes) -> StreamEvent | None:
        told = parse_message(message)
        match told:
            case None | Connected():
                return None
            case Start(start=start):
                return self._began(start)
            case Media(media=media):
                return (
                    Heard(unpacked(media.payload), at_ms=media.timestamp)
                    if media.track == "inbound"
                    else None
                )
            case Dtmf(dtmf=dtmf):
                return Pressed(dtmf.digit)
            case Mark(mark=mark):
                return Reached(mark.name)
            case Stop():
                return Ended("the stream was stopped")
            case _:
                assert_never(told)

    def _began(self, start: StartDetails) -> Began:
        sound = start.media_format
        if (sound.encoding, sound.sample_rate, sound.channels) != ("audio/x-mulaw", 8_000, 1):
            raise BadMessage("The stream's sound is not µ-law at 8 kHz.")
        self._stream_sid = start.stream_sid
        parameters = dict(start.custom_parameters)
        caller, called, direction = (parameters.pop(name, "") for name in (CALLER, CALLED, DIRECTION))
        return Began(
            start.call_sid,
            MULAW,
            caller,
            called,
            outbound=direction == OUTBOUND,
            asks_after=bool(direction),
            parameters=parameters,
        )

    def voice(self, payload: bytes, format: StreamFormat) -> str:
        return self._told("media", media={"payload": packed(payload)})

    def mark(self, name: str) -> str:
        return self._told("mark", mark={"name": name})

    def clear(self) -> str:
        return self._told("clear")

    def digits(self, digits: str) -> None:
        return None

    def hang_up(self) -> None:
        """The call goes on with what follows `<Connect>`, which is nothing."""
        return

    def _told(self, event: str, **fields: object) -> str:
        return json.dumps({"event": event, "streamSid": self._stream_sid, **fields})
