"""Who is on the line, as the conversation's side is told."""

from __future__ import annotations

import re
from typing import Final

from sipmessage import URI, Request

from signaling.phone.leg import Party
from signaling.sip.fields import format_uri
from signaling.sip.messages import call_id, from_address, to_address

_X_HEADERS_KEPT: Final = 32
_NUMBER: Final = re.compile(r"\+[0-9]{3,15}")


def inbound_party(invite: Request) -> Party:
    """Whoever sent an INVITE.

    Raises:
        BadMessage: nobody can tell.
    """
    names = [name for name in invite.headers.keys() if name.lower().startswith("x-")]  # noqa: SIM118
    return Party(
        "inbound",
        "sip",
        caller=number_or_uri(from_address(invite).uri),
        called=number_or_uri(invite.uri if invite.uri.user else to_address(invite).uri),
        call_ref=call_id(invite),
        parameters={name.lower(): invite.headers[name] for name in names[:_X_HEADERS_KEPT]},
    )


def number_or_uri(uri: URI) -> str:
    """A telephone number as it is, any other address without its parameters."""
    if uri.scheme == "tel" or (uri.user and _NUMBER.fullmatch(uri.user)):
        return uri.user or ""
    return format_uri(URI(scheme=uri.scheme, host=uri.host, user=uri.user, port=uri.port))
