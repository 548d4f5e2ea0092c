"""What this user agent says of itself, and what it understands."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from sipmessage import Message, Request

from media.errors import CallerError
from signaling.sip.fields import quoted, split_list

USER_AGENT: Final = f"Voxtral-Kokoro/{version('voxtral-kokoro')}"

METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INFO", "REFER", "NOTIFY")
"""What is answered with something else than 405, some of it within a call only."""

EXTENSIONS: Final = frozenset({"timer"})
"""The option tags that may stand in Require. Reliable provisional responses (100rel) are none of them: calls
are answered at once."""

SDP: Final = "application/sdp"
_ACCEPTED: Final = ("application/sdp", "application/dtmf-relay", "message/sipfrag")


def describe(message: Message) -> None:
    """Adds what the far side needs to know of this one (RFC 3261, 13.2.1)."""
    message.headers.set("Allow", ", ".join(METHODS))
    message.headers.set("Supported", ", ".join(sorted(EXTENSIONS)))
    message.headers.set("User-Agent" if isinstance(message, Request) else "Server", USER_AGENT)


def describe_bodies(message: Message) -> None:
    """Adds which bodies are understood: for OPTIONS, and 415."""
    message.headers.set("Accept", ", ".join(_ACCEPTED))


def unsupported(request: Request) -> Sequence[str]:
    """What the request requires and this side has not: for 420.

    Raises:
        BadMessage: the header field cannot be read.
    """
    wanted = [option for line in request.headers.getlist("Require") for option in split_list(line)]
    return [option for option in wanted if option.lower() not in EXTENSIONS]


def allows(message: Message, method: str) -> bool:
    """Whether the far side says that it takes the method.

    Raises:
        BadMessage: the header field cannot be read.
    """
    return any(
        method == name.upper() for line in message.headers.getlist("Allow") for name in split_list(line)
    )


def warning(error: CallerError) -> str:
    """A Warning header field (RFC 3261, 20.43): why something cannot be, in words."""
    return "399 voxtral-kokoro " + quoted(str(error)[:200])
