"""Asterisk's chan_websocket: sound in binary messages, control in text ones, as plain text or as JSON.

https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket. Which of the two it is, Asterisk's first
message tells, and it is answered likewise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, assert_never

from pydantic import Field, TypeAdapter, ValidationError

from signaling.streams.wire import (
    BadMessage,
    Began,
    Drained,
    Encoding,
    Full,
    Heard,
    Name,
    Objected,
    Parameters,
    Pressed,
    Reached,
    StreamEvent,
    StreamFormat,
    Told,
    read_json,
)

FORMATS: Final[dict[str, tuple[Encoding, int]]] = {
    "ulaw": ("pcmu", 8_000),
    "alaw": ("pcma", 8_000),
    "g722": ("g722", 16_000),
    "opus": ("opus", 48_000),
    "slin": ("l16-little", 8_000),
    **{f"slin{khz}": ("l16-little", 1000 * khz) for khz in (12, 16, 24, 32, 48)},
    "slin44": ("l16-little", 44_100),
}
"""Asterisk's names of what can be heard and spoken here."""

MAX_COMMAND_CHARS: Final = 128
"""A longer command is ignored over there."""

_PARAMETER = re.compile(r"([a-z_]+):(\S*)")

# --- from Asterisk ---------------------------------------------------------------------------------------


class MediaStart(Told):
    event: Literal["MEDIA_START"]
    format: Name
    connection_id: Name = ""
    channel: Name = ""
    channel_id: Name = ""
    channel_variables: Parameters = Field(default_factory=dict)


class DtmfEnd(Told):
    event: Literal["DTMF_END"]
    digit: Name


class MediaXoff(Told):
    """So much is queued that what follows may be dropped."""

    event: Literal["MEDIA_XOFF"]


class MediaXon(Told):
    event: Literal["MEDIA_XON"]


class MediaMarkProcessed(Told):
    event: Literal["MEDIA_MARK_PROCESSED"]
    correlation_id: Name = ""


class QueueDrained(Told):
    event: Literal["QUEUE_DRAINED"]


class MediaBufferingCompleted(Told):
    event: Literal["MEDIA_BUFFERING_COMPLETED"]


class Status(Told):
    event: Literal["STATUS"]


class Error(Told):
    """A command of ours was not understood, or cannot be."""

    event: Literal["ERROR"]
    error_text: Name = ""


AsteriskMessage: TypeAlias = (
    MediaStart
    | DtmfEnd
    | MediaXoff
    | MediaXon
    | MediaMarkProcessed
    | QueueDrained
    | MediaBufferingCompleted
    | Status
    | Error
)

_MESSAGE: TypeAdapter[AsteriskMessage] = TypeAdapter(Annotated[AsteriskMessage, Field(discriminator="event")])


def parse_message(message: str) -> AsteriskMessage | None:
    """A text message, in either mode; None for an event that is not known.

    Raises:
        BadMessage: it is malformed.
    """
    if is_json(message):
        return read_json(message, _MESSAGE, "event")
    event, _, rest = message.strip().partition(" ")
    parameters = dict(_PARAMETER.findall(rest))
    if not parameters and rest:
        # MEDIA_MARK_PROCESSED and MEDIA_BUFFERING_COMPLETED have their id as it is.
        parameters = {"correlation_id": rest.split()[0]}
    try:
        return _MESSAGE.validate_python({"event": event, **parameters})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if fault["type"] == "union_tag_invalid" and re.fullmatch("[A-Z_]{2,64}", event):
            return None
        raise BadMessage(f"{fault['msg']}"[:200]) from None


def is_json(message: str) -> bool:
    """Whether Asterisk speaks JSON in it."""
    return message.lstrip().startswith("{")


class ChanWebSocketWire:
    """`signaling.streams.wire.Wire`.

    Args:
        query: of the address that Asterisk came by: what the dialplan gave it with `v(…)`. `caller`, `called`
            and `direction` say who is on the line.
    """

    carrier = "chan_websocket"

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = dict(query)
        self._json = False
        self._passes_through = False

    @property
    def clears(self) -> bool:
        """In "passthrough mode" Asterisk keeps no queue, and knows neither marks nor flushing."""
        return not self._passes_through

    @property
    def most_ahead_s(self) -> float:
        return 0.0 if self._passes_through else 1.0

    def read(self, message: str | bytes) -> StreamEvent | None:
        if isinstance(message, bytes):
            return Heard(message)
        told = parse_message(message)
        match told:
            case None | QueueDrained() | MediaBufferingCompleted() | Status():
                return None
            case Error(error_text=text):
                return Objected(text)
            case MediaStart():
                self._json = is_json(message)
                return self._began(told)
            case DtmfEnd(digit=digit):
                return Pressed(digit)
            case MediaXoff():
                return Full()
            case MediaXon():
                return Drained()
            case MediaMarkProcessed(correlation_id=name):
                return Reached(name)
            case _:
                assert_never(told)

    def _began(self, start: MediaStart) -> Began:
        if start.format not in FORMATS:
            raise BadMessage(f"The channel's format is none of {', '.join(FORMATS)}: set it with c(…).")
        encoding, rate_hz = FORMATS[start.format]
        self._passes_through = encoding == "opus"
        parameters = {**start.channel_variables, **self._query}
        caller, called, direction = (parameters.pop(name, "") for name in ("caller", "called", "direction"))
        return Began(
            start.channel_id or start.connection_id,
            StreamFormat(encoding, rate_hz),
            caller,
            called,
            outbound=direction == "outbound",
            parameters=parameters,
        )

    def voice(self, payload: bytes, format: StreamFormat) -> bytes:
        return payload

    def mark(self, name: str) -> str:
        if self._json:
            return json.dumps({"command": "MARK_MEDIA", "correlation_id": name})
        return f"MARK_MEDIA {name}"

    def clear(self) -> str:
        return self._command("FLUSH_MEDIA")

    def digits(self, digits: str) -> None:
        return None

    def hang_up(self) -> str:
        return self._command("HANGUP")

    def _command(self, name: str) -> str:
        return json.dumps({"command": name}) if self._json else name
