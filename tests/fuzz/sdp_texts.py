"""Offers that should not be: those of real stacks, with something changed, and texts that are none."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.json_texts import WORDS

OFFERS: dict[str, str] = {
    path.stem: path.read_text().replace("\n", "\r\n")
    for path in sorted((Path(__file__).parent / "recorded_offers").glob("*.sdp"))
}
"""Sound and a data channel, as each stack offers them. Nobody is at their addresses."""

LINES = sorted({line for offer in OFFERS.values() for line in offer.splitlines()})
CANDIDATES = [line for line in LINES if line.startswith("a=candidate:")]

_TOKENS = (
    *("", " ", "0", "1", "-1", "2", "111", "65535", "65536", "4294967296", "9" * 25, "1e9", "NaN", "٣"),
    *("audio", "video", "application", "text", "sendonly", "recvonly", "inactive", "active", "holdconn"),
    *("opus/48000/2", "opus/8000", "PCMU/8000", "UDP", "tcp", "UDP/DTLS/SCTP", "webrtc-datachannel"),
    *("127.0.0.1", "::1", "0.0.0.0", "x.local", "typ", "relay", "raddr", "sha-256", "md5", "AA:BB"),
    *("BUNDLE", "é", "\0", "\u2028", "x" * 3000),
)
_TOKEN = re.compile(r"[^ :=/;,]+")
_FAULTS = ("drop", "double", "swap", "token", "token", "token", "cut", "insert", "insert", "nonsense")


@st.composite
def spoilt_lines(draw: st.DrawFn, texts: tuple[str, ...]) -> str:
    """One of the texts with some of its lines changed."""
    lines = draw(st.sampled_from(texts)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        match draw(st.sampled_from(_FAULTS)) if lines else "nonsense":
            case "drop":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "token":
                lines[at] = draw(_other_token(lines[at]))
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, 12))]
            case "insert":
                lines.insert(at, draw(st.sampled_from(LINES)))
            case _:
                lines.insert(at, draw(WORDS))
    text = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"])).join([*lines, ""])
    return text if draw(st.integers(0, 9)) else text[: draw(st.integers(0, len(text)))]


@st.composite
def _other_token(draw: st.DrawFn, line: str) -> str:
    found = list(_TOKEN.finditer(line))
    if not found:
        return line
    token = draw(st.sampled_from(found))
    return line[: token.start()] + draw(st.sampled_from(_TOKENS)) + line[token.end() :]


SDP: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(tuple(OFFERS.values())),
    *[spoilt_lines(tuple(OFFERS.values()))] * 4,
    st.lists(st.sampled_from(LINES) | WORDS, max_size=6).map("\r\n".join),
)
"""Offers: right, nearly so, or nonsense."""
