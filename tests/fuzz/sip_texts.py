"""SIP messages that should not be: those of telephones, with something changed, and bytes that are none.

In a message `$tag` stands for this side's tag in the latest dialog, `$port` for where the sender listens, and
`$branch` for the branch of this side's latest request.
"""

from __future__ import annotations

import re

from hypothesis import strategies as st

from tests.fuzz.spoilt_lines import Fault, Spoiling

_SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def _message(first: str, via: str, to: str, call: int, cseq: str, *more: str, body: str = "") -> str:
    return "\r\n".join(
        [
            first,
            f"Via: SIP/2.0/UDP 127.0.0.1:$port;branch={via}",
            "Max-Forwards: 70",
            'From: "Alice" <sip:alice@127.0.0.1>;tag=a1',
            f"To: <sip:assistant@127.0.0.1>{to}",
            f"Call-ID: call-{call}",
            f"CSeq: {cseq}",
            "Contact: <sip:alice@127.0.0.1:$port>",
            *more,
            f"Content-Length: {len(body)}",
            "",
            body,
        ]
    )


_URI = "sip:assistant@127.0.0.1"
_TYPE = "Content-Type: application/sdp"
REQUESTS: tuple[str, ...] = tuple(
    text
    for call in (1, 2)
    for text in (
        _message(
            f"INVITE {_URI} SIP/2.0",
            f"z9hG4bKi{call};rport",
            "",
            call,
            "1 INVITE",
            _TYPE,
            "Supported: timer, 100rel",
            "Session-Expires: 1800;refresher=uac",
            "Record-Route: <sip:127.0.0.1:$port;lr>",
            body=_SDP,
        ),
        _message(f"ACK {_URI} SIP/2.0", f"z9hG4bKa{call};rport", ";tag=$tag", call, "1 ACK"),
        _message(f"ACK {_URI} SIP/2.0", f"z9hG4bKi{call};rport", ";tag=$tag", call, "1 ACK"),
        _message(f"CANCEL {_URI} SIP/2.0", f"z9hG4bKi{call};rport", "", call, "1 CANCEL"),
        _message(f"BYE {_URI} SIP/2.0", f"z9hG4bKb{call};rport", ";tag=$tag", call, "2 BYE"),
        _message(
            f"INVITE {_URI} SIP/2.0",
            f"z9hG4bKr{call};rport",
            ";tag=$tag",
            call,
            "2 INVITE",
            _TYPE,
            body=_SDP.replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n"),
        ),
        _message(f"UPDATE {_URI} SIP/2.0", f"z9hG4bKu{call};rport", ";tag=$tag", call, "3 UPDATE"),
        _message(
            f"INFO {_URI} SIP/2.0",
            f"z9hG4bKn{call}",
            ";tag=$tag",
            call,
            "4 INFO",
            "Content-Type: application/dtmf-relay",
            body="Signal=5\r\nDuration=160\r\n",
        ),
        _message(
            f"REFER {_URI} SIP/2.0",
            f"z9hG4bKf{call}",
            ";tag=$tag",
            call,
            "5 REFER",
            "Refer-To: <sip:x@127.0.0.1:$port>",
        ),
        _message(
            f"NOTIFY {_URI} SIP/2.0",
            f"z9hG4bKy{call}",
            ";tag=$tag",
            call,
            "6 NOTIFY",
            "Event: refer",
            "Subscription-State: terminated;reason=noresource",
            "Content-Type: message/sipfrag",
            body="SIP/2.0 200 OK\r\n",
        ),
        _message(f"OPTIONS {_URI} SIP/2.0", f"z9hG4bKo{call};rport", "", call, "1 OPTIONS"),
        _message(
            f"REGISTER {_URI} SIP/2.0",
            f"z9hG4bKg{call}",
            "",
            call,
            "1 REGISTER",
            "Expires: 60",
            'Authorization: Digest username="a", realm="r", nonce="n", uri="sip:x", response="0"',
        ),
    )
)
INVITE, ACK = (text.encode() for text in REQUESTS[:2])
"""A call, and that it is answered."""
RESPONSES: tuple[str, ...] = tuple(
    _message(f"SIP/2.0 {status}", "$branch", ";tag=f1", 1, f"1 {method}", *more)
    for method in ("INVITE", "OPTIONS")
    for status, *more in (
        ("100 Trying",),
        ("180 Ringing", "Require: 100rel", "RSeq: 1"),
        ("200 OK", _TYPE),
        ("302 Moved", "Contact: <sip:y@127.0.0.1:$port>"),
        ("401 Unauthorized", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth,auth-int"'),
        ("422 Small", "Min-SE: 90"),
        ("486 Busy",),
        ("600 Busy",),
    )
)
MESSAGES = (*REQUESTS, *RESPONSES)
LINES = sorted({line for text in MESSAGES for line in text.split("\r\n") if line})

_TOKENS = (
    *("", " ", "0", "1", "-1", "65536", "2147483648", "9" * 30, "1e9", "٣", "é", "\0", "\n", "\r", "\u2028"),
    *(
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "invite",
        "sip:",
        "sips:h",
        "tel:+1",
        "[::1]",
        "127.0.0.1",
        "0.0.0.0",
    ),
    *("z9hG4bK", "z9hG4bKi1", "SIP/2.0/TCP", "self", "tag", "rport=x", '"', '\\"', "<", ">", ";", ",", "%00"),
    *("x" * 3000, ";a" * 500, "<" * 500, '"' * 501, "\\" * 501, " " * 2000, "," * 2000),
)
_TOKEN = re.compile(r"[^ :=/;,<>]+")
_FAULTS: tuple[Fault, ...] = (
    "drop",
    "drop",
    "double",
    "swap",
    "token",
    "token",
    "token",
    "cut",
    "insert",
    "insert",
    "fold",
    "nonsense",
)

_SPOILT = Spoiling(
    lines=LINES,
    tokens=_TOKENS,
    token=_TOKEN,
    faults=_FAULTS,
    endings=["\r\n"] * 8 + ["\n", "\r"],
    ends=False,
)


SIP: st.SearchStrategy[bytes] = st.one_of(
    st.sampled_from(MESSAGES).map(str.encode),
    *[_SPOILT.of(MESSAGES).map(lambda text: text.encode(errors="surrogatepass"))] * 5,
    st.binary(max_size=200),
)
"""Messages: right, nearly so, or nonsense."""


def filled_in(message: bytes, *, port: int, tag: str, branch: str) -> bytes:
    """The message with what only the moment knows."""
    for name, value in (("$port", str(port)), ("$tag", tag), ("$branch", branch)):
        message = message.replace(name.encode(), value.encode())
    return message
