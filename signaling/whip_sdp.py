"""What WHIP (RFC 9725) asks of offers and answers, and the fragments that are trickled. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiortc.sdp import SessionDescription

from media.errors import CallerError
from signaling.sdp import Offer, TrickledCandidate, parse_candidate, read_offer

MAX_CANDIDATES = 100
"""In one fragment. A machine with many networks has a dozen."""
MAX_LINE_CHARS = 1000

# RFC 8839, section 5.4.
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
# RFC 8840, section 9.2: media, port, protocol, formats.
_MEDIA = re.compile(r"m=[a-z]+ \d{1,5}(?:/\d+)? \S+(?: \S+)+")
_ATTRIBUTE = re.compile(r"a=([!#-'*+\-.0-9A-Z^-~]+)(?::(.*))?")
_COMPONENT_0 = re.compile(r"(\S+) 0 ")


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """They tell one ICE session from another."""

    ufrag: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Publication:
    """An offer that can be answered by WHIP's rules.

    Attributes:
        offer: one audio section, in which the publisher speaks, and a data channel perhaps.
        ice: of the publisher.
        mids: of all its sections.
    """

    offer: Offer
    ice: IceCredentials
    mids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a publisher says about its ICE session after the offer.

    Attributes:
        ice: which session; one that is new asks for an ICE restart.
        candidates: those that are of use here.
        ended: there will be no more.
    """

    ice: IceCredentials
    candidates: tuple[TrickledCandidate, ...]
    ended: bool


def read_publication(sdp: str) -> Publication:
    """Checks and completes a publisher's offer. One that can be answered only in part is refused whole.

    Raises:
        CallerError: `invalid_sdp`, or `unsupported_tracks` (anything but one Opus track that the publisher
            sends, RFC 9725, sections 4.4.2 and 4.4.3).
    """
    try:
        offer = read_offer(sdp)
    except CallerError as error:
        if error.code == "unsupported_media":
            raise _unsupported(str(error)) from error
        raise
    sections = SessionDescription.parse(offer.sdp).media
    kinds = [section.kind for section in sections]
    if "video" in kinds:
        raise _unsupported("The offer has video; only audio is taken here.")
    if kinds.count("audio") != 1 or kinds.count("application") > 1:
        raise _unsupported("The offer must have one audio section, and one data channel at most.")
    if not offer.caller_speaks:
        raise _unsupported("The offer's audio must be sendonly or sendrecv: WHIP is for publishers.")
    ice = sections[0].ice
    assert ice is not None, "`read_offer` has seen to it"
    credentials = IceCredentials(ice.usernameFragment or "", ice.password or "")
    return Publication(offer, credentials, frozenset(section.rtp.muxId for section in sections))


def finish_publication(answer: str) -> str:
    """The answer with what WHIP wants in it: RTP and RTCP on one port only (RFC 8858)."""
    return answer.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n")


def read_fragment(text: str, mids: Iterable[str]) -> Fragment:
    """Reads a body of `application/trickle-ice-sdpfrag` (RFC 8840, section 9).

    Attributes that are not known mean nothing. Candidates that cannot be used here (names, TCP) are left out.

    Args:
        text: the body.
        mids: the sections that there are.

    Raises:
        CallerError: `invalid_sdp_fragment` or `invalid_candidate`. Nothing of the fragment holds then.
    """
    reading = _Reading(frozenset(mids))
    for line in text.removesuffix("\n").split("\n"):
        reading.take(line.removesuffix("\r"))
    return reading.done()


class _Reading:
    """A fragment, line by line."""

    def __init__(self, mids: frozenset[str]) -> None:
        self._mids = mids
        self._ufrag: str | None = None
        self._password: str | None = None
        self._in_section = False
        self._mid: str | None = None
        self._count = 0
        self._candidates: list[TrickledCandidate] = []
        self._ended = False

    def take(self, line: str) -> None:
        if len(line) > MAX_LINE_CHARS or not line.isprintable():
            raise _malformed("A line of the fragment is too long, or is no text.")
        if _MEDIA.fullmatch(line):
            self._leave_section()
            self._in_section = True
            return
        attribute = _ATTRIBUTE.fullmatch(line)
        if attribute is None:
            raise _malformed("The fragment may hold a= and m= lines only, and one of its lines is neither.")
        self._take_attribute(attribute[1], attribute[2] or "")

    def done(self) -> Fragment:
        self._leave_section()
        if self._ufrag is None or self._password is None:
            raise _malformed("The fragment must name its ICE session (a=ice-ufrag, a=ice-pwd).")
        return Fragment(IceCredentials(self._ufrag, self._password), tuple(self._candidates), self._ended)

    def _take_attribute(self, name: str, value: str) -> None:
        match name:
            case "ice-ufrag":
                self._ufrag = _only(self._ufrag, value, _UFRAG, name)
            case "ice-pwd":
                self._password = _only(self._password, value, _PASSWORD, name)
            case "mid":
                if not self._in_section or self._mid is not None or value not in self._mids:
                    raise _malformed("An a=mid is not where it belongs, or names no section of the offer.")
                self._mid = value
            case "candidate":
                self._take_candidate(value)
            case "end-of-candidates":
                self._ended = True

    def _take_candidate(self, value: str) -> None:
        if self._mid is None:
            raise _malformed("A candidate belongs to a section: m=, then a=mid, then a=candidate.")
        self._count += 1
        if self._count > MAX_CANDIDATES:
            raise _malformed(f"The fragment has more than {MAX_CANDIDATES} candidates.")
        # @eyevinn/whip-web-client counts components from 0; there is no such component.
        value = _COMPONENT_0.sub(r"\1 1 ", value, count=1) if _COMPONENT_0.match(value) else value
        if parse_candidate(value, self._mid) is not None:
            self._candidates.append(TrickledCandidate(value))

    def _leave_section(self) -> None:
        if self._in_section and self._mid is None:
            raise _malformed("A section of the fragment has no a=mid.")
        self._mid = None


def _only(known: str | None, value: str, grammar: re.Pattern[str], name: str) -> str:
    """The value, if it is well-formed and all that the fragment says of it."""
    if not grammar.fullmatch(value) or known not in (None, value):
        raise _malformed(f"The fragment's a={name} is malformed, or there are two that differ.")
    return value


def _malformed(sentence: str) -> CallerError:
    return CallerError(sentence, code="invalid_sdp_fragment")


def _unsupported(sentence: str) -> CallerError:
    return CallerError(sentence, code="unsupported_tracks", param="sdp")
