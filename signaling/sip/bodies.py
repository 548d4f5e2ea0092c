"""Bodies of requests within a call: session descriptions, keys that were pressed, outcomes of transfers."""

from __future__ import annotations

import re
from typing import Final

from sipmessage import Message

from signaling.phone.leg import DIGITS
from signaling.sip.errors import BadMessage
from signaling.sip.identity import SDP

_SIGNAL: Final = re.compile(r"^\s*Signal\s*=\s*(\S{1,8})\s*$", re.IGNORECASE | re.MULTILINE)
_STATUS_LINE: Final = re.compile(r"^SIP/2\.0 +([1-6][0-9]{2})\b")

_DIGIT_EVENTS: Final = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
"""RFC 4733, 3.2: some phones give the event's number instead of the key."""


class UnsupportedBody(Exception):
    """A body that is of no use here: answer 415."""


def media_type(message: Message) -> str:
    """The body's, in lower case and without parameters; "" where there is none."""
    return (message.headers.get("Content-Type", "") or "").partition(";")[0].strip().lower()


def sdp_of(message: Message) -> str | None:
    """The session description that the message carries, or None.

    Raises:
        UnsupportedBody: it carries something else.
        BadMessage: it is no text.
    """
    if not message.body:
        return None
    if media_type(message) != SDP:
        raise UnsupportedBody
    return _text(message)


def put_sdp(message: Message, sdp: str) -> None:
    """Gives the message a session description."""
    message.headers.set("Content-Type", SDP)
    message.body = sdp.encode()


def pressed_key(message: Message) -> str | None:
    """The key that an INFO reports; None for what is no key (a hook flash).

    Raises:
        UnsupportedBody: it reports something else.
        BadMessage: it is no text.
    """
    match media_type(message):
        case "application/dtmf-relay":
            found = _SIGNAL.search(_text(message))
            key = found[1] if found else ""
        case "application/dtmf":
            key = _text(message).strip()
        case _:
            raise UnsupportedBody
    key = _DIGIT_EVENTS.get(key, key.upper())
    return key if key in DIGITS else None


def outcome_of(message: Message) -> int | None:
    """The status code in a transfer's NOTIFY (RFC 3515, 2.4.5); None where it has none.

    Raises:
        BadMessage: it is no text.
    """
    found = _STATUS_LINE.match(_text(message).lstrip())
    return int(found[1]) if found else None


def _text(message: Message) -> str:
    try:
        return message.body.decode()
    except UnicodeDecodeError:
        raise BadMessage("The body is not UTF-8.") from None
