"""What the wires of all providers have in common: what comes over one, and what can be sent over it.

Each provider's own messages are in a file of their own; here is what they mean to a call.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from media.errors import CallerError

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""A longer message closes the socket: a second of uncompressed sound at 48 kHz in base64 has half of that."""
MAX_PARAMETERS: Final = 50
MAX_PARAMETER_CHARS: Final = 1000

Encoding = Literal["pcmu", "pcma", "g722", "opus", "l16-little", "l16-big"]


class BadMessage(CallerError):
    """What came is none of the wire's messages. Nothing ends by it."""

    code = "bad_stream_message"


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How sound is written on a wire, mono.

    Attributes:
        encoding: its codec.
        rate_hz: of uncompressed samples; the codecs' own elsewhere.
    """

    encoding: Encoding
    rate_hz: int = 8_000


@dataclass(frozen=True, slots=True)
class Began:
    """The stream is open, and this is whose it is.

    Attributes:
        call_ref: the provider's name for the call.
        format: of the sound, both ways.
        caller: "" where the provider does not say.
        called: likewise.
        outbound: the provider called somebody, and has them talk to us.
        asks_after: when the stream has ended, the provider asks this server what to do with the call.
        parameters: what else came with the call.
    """

    call_ref: str
    format: StreamFormat
    caller: str = ""
    called: str = ""
    outbound: bool = False
    asks_after: bool = False
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Heard:
    """Sound.

    Attributes:
        payload: encoded.
        chunk: its place in the order, where the wire may change that.
        at_ms: where it lies on the far side's timeline, where the wire says so.
        format: where it is said with each piece.
    """

    payload: bytes
    chunk: int | None = None
    at_ms: int | None = None
    format: StreamFormat | None = None


@dataclass(frozen=True, slots=True)
class Pressed:
    """A key."""

    digit: str


@dataclass(frozen=True, slots=True)
class Reached:
    """What was sent before the mark has been played, or was cleared."""

    mark: str


@dataclass(frozen=True, slots=True)
class Full:
    """The far side's buffer takes no more for now."""


@dataclass(frozen=True, slots=True)
class Drained:
    """It takes more again."""


@dataclass(frozen=True, slots=True)
class Objected:
    """It cannot do something that it was told. `why`: for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The far side is done. `why`: for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What the webhook of a call said that was answered here, before its stream came.

    Attributes:
        call_ref: the provider's name for the call.
        caller: who calls.
        called: whom.
        outbound: the provider called somebody, and has them talk to us.
    """

    call_ref: str
    caller: str = ""
    called: str = ""
    outbound: bool = False


StreamEvent: TypeAlias = Began | Heard | Pressed | Reached | Full | Drained | Objected | Ended


class Wire(Protocol):
    """One call's protocol, without I/O. It remembers what the stream is called once it has begun."""

    @property
    def carrier(self) -> str:
        """As metrics name it."""

    @property
    def clears(self) -> bool:
        """Whether what was sent can be taken back, and marks tell what was played."""

    @property
    def most_ahead_s(self) -> float:
        """So much may be sent before it is due, at most."""

    def read(self, message: str | bytes) -> StreamEvent | None:
        """What a message means; None: nothing to a call, or an event that is not known.

        Raises:
            BadMessage: it is malformed.
        """

    def voice(self, payload: bytes, format: StreamFormat) -> str | bytes:
        """20 ms of sound."""

    def mark(self, name: str) -> str | None:
        """To be given back when what was sent before it was played."""

    def clear(self) -> str | None:
        """What was sent and not played is to be thrown away."""

    def digits(self, digits: str) -> str | None:
        """Keys that the far side is to press; None: the wire cannot say so."""

    def hang_up(self) -> str | bytes | None:
        """Ends the call; None: closing the socket does."""


class Told(BaseModel):
    """An object of a provider's message. They add fields as they like, and write figures as text."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class CamelTold(Told):
    """With names in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


def _parameters(value: object) -> object:
    """Those that are text or figures, as many and as long as are reasonable."""
    if not isinstance(value, dict):
        return {}
    plain = [(str(name), given) for name, given in value.items() if isinstance(given, str | int | float)]
    return {
        name[:MAX_PARAMETER_CHARS]: str(given)[:MAX_PARAMETER_CHARS] for name, given in plain[:MAX_PARAMETERS]
    }


Parameters = Annotated[dict[str, str], BeforeValidator(_parameters)]
Name = Annotated[str, Field(max_length=512)]
"""A provider's name for a call, a stream, a party."""

TellingT = TypeVar("TellingT")


def read_json(message: str | bytes, adapter: TypeAdapter[TellingT], tag: str) -> TellingT | None:
    """A message as one of a provider's union; None for an event that is none of it.

    Args:
        message: as it came.
        adapter: of the union.
        tag: the field that tells its members apart.

    Raises:
        BadMessage: it is no JSON object, has no such field, or a field of it is not what it must be.
    """
    try:
        # What is well-formed, fifty pieces of sound a second, is read once.
        return adapter.validate_json(message.encode() if isinstance(message, str) else message)
    except UnicodeEncodeError:
        raise BadMessage("The message is not JSON.") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if fault["type"] == "union_tag_invalid" and isinstance(_tag_of(message, tag), str):
            return None
        where = ".".join(str(step) for step in fault["loc"][:4])
        raise BadMessage(f"{where}: {fault['msg']}"[:200]) from None


def _tag_of(message: str | bytes, tag: str) -> Any:
    found = from_json(message)
    return found.get(tag) if isinstance(found, dict) else None


def unpacked(payload: str) -> bytes:
    """Sound out of base64.

    Raises:
        BadMessage: it is none.
    """
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise BadMessage("The payload is not base64.") from None


def packed(payload: bytes) -> str:
    """Sound as base64."""
    return base64.b64encode(payload).decode()
