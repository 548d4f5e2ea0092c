"""What a provider's webhook is answered with, as XML: have the call's sound streamed here, or something else.

Twilio's TwiML, Telnyx's TeXML, which follows it, and Plivo's XML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from xml.sax.saxutils import escape, quoteattr

Dialect = Literal["twilio", "telnyx", "plivo"]

CONTENT_TYPE: Final = "application/xml"
PLIVO_SOUND: Final = "audio/x-mulaw;rate=8000"
_SIP: Final = ("sip:", "sips:")


def connected(dialect: Dialect, stream_url: str, after_url: str, parameters: Mapping[str, str]) -> str:
    """The call talks to the stream; when that has ended, the provider asks again.

    Args:
        dialect: whose XML.
        stream_url: of the WebSocket.
        after_url: asked when the stream has ended.
        parameters: the stream begins with these, with Twilio.
    """
    url = quoteattr(stream_url)
    match dialect:
        case "twilio":
            given = "".join(
                f"<Parameter name={quoteattr(name)} value={quoteattr(value)}/>"
                for name, value in parameters.items()
            )
            stream = f"<Connect><Stream url={url}>{given}</Stream></Connect>"
        case "telnyx":
            sound = 'bidirectionalMode="rtp" bidirectionalCodec="PCMU" codec="PCMU"'
            stream = f"<Connect><Stream url={url} {sound}/></Connect>"
        case "plivo":
            sound = f"contentType={quoteattr(PLIVO_SOUND)}"
            stream = (
                f'<Stream bidirectional="true" keepCallAlive="true" {sound}>{escape(stream_url)}</Stream>'
            )
    return _response(f'{stream}<Redirect method="POST">{escape(after_url)}</Redirect>')


def busy(dialect: Dialect) -> str:
    """All lines are taken."""
    return _response('<Hangup reason="busy"/>' if dialect == "plivo" else '<Reject reason="busy"/>')


def hung_up() -> str:
    return _response("<Hangup/>")


def dialled(dialect: Dialect, target: str) -> str:
    """The call is joined to somebody else.

    Args:
        dialect: whose XML.
        target: a SIP URI, or a number.
    """
    sip = "User" if dialect == "plivo" else "Sip"
    noun = sip if target.startswith(_SIP) else "Number"
    return _response(f"<Dial><{noun}>{escape(target)}</{noun}></Dial>")


def _response(verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{verbs}</Response>'
