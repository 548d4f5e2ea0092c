"""INVITEs with nonsense in one place each, as rows for SIPp's `sends_nonsense.xml`."""

from __future__ import annotations

import itertools
from pathlib import Path

ANYWHERE = (
    "",
    " ",
    "0",
    "-1",
    "99999999999999999999999",
    "NaN",
    "<<<>>>",
    '"',
    "sip:",
    "sip:@",
    "sip:a@[::1",
    "sip:a@127.0.0.1:99999",
    "tel:+1",
    "%00%ff%",
    "\u00ff\u00fe",
    "x" * 3000,
    "a,b,c,,,",
    "=,=,=",
    "1 1 1 1 1",
    "IN IP6 ::1",
    "audio 65536 RTP/AVP 0 0 0 0 999",
    "fmtp:101 0-",
    "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:!!!",
)


def _sound(port: int) -> tuple[str, ...]:
    """What each field is where it makes sense, of who calls from this port."""
    return (
        "sip:assistant@127.0.0.1",
        f"127.0.0.1:{port}",
        f'"SIPp" <sip:sipp@127.0.0.1:{port}>',
        "<sip:assistant@127.0.0.1>",
        "1 INVITE",
        f"<sip:sipp@127.0.0.1:{port}>",
        "70",
        "Subject: nothing",
        "application/sdp",
        "IN IP4 127.0.0.1",
        "audio 9 RTP/AVP 0",
        "rtpmap:0 PCMU/8000",
    )


def write_rows(path: Path, port: int) -> int:
    """Writes them, for who calls from this port. Returns how many. SIPp's rows are divided by semicolons."""
    sound = _sound(port)
    rows = []
    for at, nonsense in itertools.product(range(len(sound)), ANYWHERE):
        rows.append(";".join(nonsense if number == at else field for number, field in enumerate(sound)))
    path.write_bytes("".join(f"{row}\n" for row in ["SEQUENTIAL", *rows]).encode("latin-1"))
    return len(rows)
