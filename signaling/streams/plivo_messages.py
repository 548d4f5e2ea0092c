"""Plivo's audio streaming, bidirectional: its messages, and what they mean.

https://www.plivo.com/docs/voice-agents/audio-streaming. All is JSON text.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, TypeAlias, assert_never

from pydantic import Field, TypeAdapter

from signaling.streams.wire import (
    Answered,
    BadMessage,
    Began,
    CamelTold,
    Encoding,
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

CONTENT_TYPES: Final[dict[str, Encoding]] = {"audio/x-mulaw": "pcmu", "audio/x-l16": "l16-little"}
RATES_HZ: Final = (8_000, 16_000)

# --- from Plivo ------------------------------------------------------------------------------------------


class MediaFormat(CamelTold):
    encoding: Name = "audio/x-l16"
    sample_rate: int = 8_000


class StartDetails(CamelTold):
    call_id: Name
    stream_id: Name
    media_format: MediaFormat = MediaFormat()


class Start(CamelTold):
    event: Literal["start"]
    start: StartDetails
    extra_headers: Parameters = Field(default_factory=dict, alias="extra_headers")


class MediaDetails(CamelTold):
    payload: str
    chunk: int | None = None
    track: Name = "inbound"


class Media(CamelTold):
    """Some 20 ms of what the caller says."""

    event: Literal["media"]
    media: MediaDetails


class DtmfDetails(CamelTold):
    digit: Name


class Dtmf(CamelTold):
    event: Literal["dtmf"]
    dtmf: DtmfDetails


class PlayedStream(CamelTold):
    """What was sent before our checkpoint of this name was played."""

    event: Literal["playedStream"]
    name: Name


class ClearedAudio(CamelTold):
    """What was not played is thrown away, as we asked."""

    event: Literal["clearedAudio"]


class Stop(CamelTold):
    event: Literal["stop"]


PlivoMessage: TypeAlias = Start | Media | Dtmf | PlayedStream | ClearedAudio | Stop

_MESSAGE: TypeAdapter[PlivoMessage] = TypeAdapter(Annotated[PlivoMessage, Field(discriminator="event")])


def parse_message(message: str | bytes) -> PlivoMessage | None:
    """A message; None for an event that is not known.

    Raises:
        BadMessage: it is malformed.
    """
    return read_json(message, _MESSAGE, "event")


class PlivoWire:
    """`signaling.streams.wire.Wire`.

    Args:
        answered: what its webhook said, where it was answered here: the stream itself does not say who calls.
    """

    carrier = "plivo"
    clears = True
    most_ahead_s = 1.0

    def __init__(self, answered: Answered | None = None) -> None:
        self._answered = answered
        self._stream_id = ""

    def read(self, message: str | bytes) -> StreamEvent | None:
        told = parse_message(message)
        match told:
            case None | ClearedAudio():
                return None
            case Start(start=start, extra_headers=headers):
                return self._began(start, headers)
            case Media(media=media):
                return Heard(unpacked(media.payload), media.chunk) if media.track == "inbound" else None
            case Dtmf(dtmf=dtmf):
                return Pressed(dtmf.digit)
            case PlayedStream(name=name):
                return Reached(name)
            case Stop():
                return Ended("the stream was stopped")
            case _:
                assert_never(told)

    def _began(self, start: StartDetails, headers: dict[str, str]) -> Began:
        # The rate stands in the type, too, at times: audio/x-l16;rate=8000.
        written = start.media_format.encoding.partition(";")[0].strip()
        encoding, rate_hz = CONTENT_TYPES.get(written), start.media_format.sample_rate
        if encoding is None or rate_hz not in RATES_HZ or (encoding == "pcmu" and rate_hz != RATES_HZ[0]):
            raise BadMessage("The stream's sound is neither µ-law at 8 kHz nor L16 at 8 or 16 kHz.")
        self._stream_id = start.stream_id
        answered = self._answered or Answered("")
        return Began(
            # The one by which the call's slot is kept, and it is asked for afterwards.
            answered.call_ref or start.call_id,
            StreamFormat(encoding, rate_hz),
            answered.caller,
            answered.called,
            outbound=answered.outbound,
            asks_after=self._answered is not None,
            parameters=headers,
        )

    def voice(self, payload: bytes, format: StreamFormat) -> str:
        content_type = "audio/x-mulaw" if format.encoding == "pcmu" else "audio/x-l16"
        media = {"contentType": content_type, "sampleRate": format.rate_hz, "payload": packed(payload)}
        return self._told("playAudio", media=media)

    def mark(self, name: str) -> str:
        return self._told("checkpoint", name=name)

    def clear(self) -> str:
        return self._told("clearAudio")

    def digits(self, digits: str) -> str:
        return self._told("sendDTMF", dtmf=digits)

    def hang_up(self) -> None:
        return None

    def _told(self, event: str, **fields: object) -> str:
        return json.dumps({"event": event, "streamId": self._stream_id, **fields})
