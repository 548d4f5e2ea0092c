"""Offers that should not be: those of real stacks, with something changed, and texts that are none."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.json_texts import WORDS
from tests.fuzz.spoilt_lines import Fault, Spoiling

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
_FAULTS: tuple[Fault, ...] = (
    "drop",
    "double",
    "swap",
    "token",
    "token",
    "token",
    "cut",
    "insert",
    "insert",
    "nonsense",
)

SPOILT_LINES = Spoiling(
    lines=LINES,
    tokens=_TOKENS,
    token=_TOKEN,
    faults=_FAULTS,
    endings=["\r\n", "\r\n", "\r\n", "\n", "\r"],
    ends=True,
)


SDP: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(tuple(OFFERS.values())),
    *[SPOILT_LINES.of(tuple(OFFERS.values()))] * 4,
    st.lists(st.sampled_from(LINES) | WORDS, max_size=6).map("\r\n".join),
)
"""Offers: right, nearly so, or nonsense."""
