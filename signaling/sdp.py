"""What must be done to SDP texts before and after aiortc reads and writes them. Pure functions.

aiortc accepts much that cannot work (an empty text, a section without ICE credentials) and fails on some that
could (bundle-only sections, which leave the transport's lines to the first section). The offer is therefore
checked and completed first, and the answer is given what aiortc leaves out.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

from media.errors import CallerError

Direction = Literal["sendrecv", "sendonly", "recvonly"]

# What aiortc's parser raises on text that is almost SDP: it splits, indexes, converts and asserts.
_PARSER_FAULTS = (ValueError, AssertionError, IndexError, KeyError, StopIteration, AttributeError, TypeError)

_TRANSPORT_LINES = (
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=ice-options:",
    "a=fingerprint:",
    "a=setup:",
    "a=candidate:",
)
_OPUS_RTPMAP = re.compile(r"a=rtpmap:(\d+) opus/48000/2", re.IGNORECASE)
_OPUS_FMTP = "minptime=10;useinbandfec=1"


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that can be answered.

    Attributes:
        sdp: the text, completed for aiortc.
        audio: the caller's direction for audio: `sendonly` brings a voice and hears none. None without audio,
            and where its section is declined or inactive.
        data_channel: the caller will open a data channel.
        first_mid: names the section whose transport carries all.
    """

    sdp: str
    audio: Direction | None
    data_channel: bool
    first_mid: str

    @property
    def caller_speaks(self) -> bool:
        return self.audio in ("sendrecv", "sendonly")

    @property
    def caller_listens(self) -> bool:
        return self.audio in ("sendrecv", "recvonly")


@dataclass(frozen=True, slots=True)
class TrickledCandidate:
    """A remote candidate that came after the offer: the value of `RTCIceCandidate.candidate` in a page."""

    line: str


def read_offer(sdp: str) -> Offer:
    """Checks and completes a caller's offer.

    Raises:
        CallerError: `invalid_sdp` (not SDP, or without what WebRTC needs), `unsupported_media` (neither audio
            nor a data channel, or no codec in common).
    """
    if not sdp.lstrip().startswith("v=0"):
        raise _invalid("An SDP offer begins with v=0.")
    completed = _complete(sdp)
    try:
        parsed = SessionDescription.parse(completed)
    except _PARSER_FAULTS as error:
        raise _invalid("The offer is not SDP that can be read; is it cut short?") from error
    if any(media.kind not in ("audio", "video", "application") for media in parsed.media):
        raise _invalid("The offer has a section that is neither audio, video nor application.")
    mids = [media.rtp.muxId for media in parsed.media]
    bundled = next((group.items for group in parsed.group if group.semantic == "BUNDLE"), [])
    # Port 0 declines a section, unless it is one that leaves its transport to the bundle.
    offered = [media for media in parsed.media if media.port or media.rtp.muxId in bundled]
    data_channel = any(media.kind == "application" for media in offered)
    audio = next((media for media in parsed.media if media.kind == "audio"), None)
    if audio not in offered or (audio and audio.direction == "inactive"):
        audio = None
    if not audio and not data_channel:
        raise _unsupported("The offer has neither active audio nor a data channel.")
    for media in parsed.media:
        _require_secure_transport(media)
    if len(set(mids)) < len(mids):
        raise _invalid("Two of the offer's sections have the same name (a=mid).")
    if len(mids) > 1 and not set(mids).issubset(bundled):
        raise _invalid(
            "The offer's sections are not bundled (a=group:BUNDLE); one transport carries all here."
        )
    if bundled and bundled[0] not in mids:
        raise _invalid("The section whose transport the bundle has (a=group:BUNDLE) is not in the offer.")
    if audio and not any(codec.mimeType.lower() == "audio/opus" for codec in audio.rtp.codecs):
        raise _unsupported("The offer's audio has no Opus.")
    return Offer(
        sdp=completed,
        audio=_direction(audio.direction) if audio else None,
        data_channel=data_channel,
        first_mid=parsed.media[0].rtp.muxId,
    )


def finish_answer(sdp: str) -> str:
    """The answer with what aiortc leaves out: Opus's parameters, so that the peer sends in-band FEC."""
    lines: list[str] = []
    for line in sdp.splitlines():
        lines.append(line)
        opus = _OPUS_RTPMAP.fullmatch(line)
        if opus and f"a=fmtp:{opus[1]} " not in sdp:
            lines.append(f"a=fmtp:{opus[1]} {_OPUS_FMTP}")
    return "\r\n".join(lines) + "\r\n"


def parse_candidate(line: str, mid: str) -> RTCIceCandidate | None:
    """A trickled candidate, for the section `mid`. None for one that is of no use here.

    Of no use are the end of candidates (a call has its own time limit, and candidates that were left out may
    still be discovered), names (mDNS hides the address; the caller's own checks reveal it), TCP, and
    components but the first (RTCP comes with RTP).

    Raises:
        CallerError: `invalid_candidate`.
    """
    value = line.removeprefix("a=").removeprefix("candidate:").strip()
    if not value:
        return None
    try:
        candidate = candidate_from_sdp(value)
    except _PARSER_FAULTS as error:
        raise CallerError(
            "The candidate is none that can be read.", code="invalid_candidate", param="candidate"
        ) from error
    if not _is_usable(value):
        return None
    candidate.sdpMid = mid
    return candidate


def _complete(sdp: str) -> str:
    """The offer with one transport for all sections, and without candidates that are of no use.

    The first section that has ICE credentials is the one whose transport carries the bundle; aiortc would
    read the candidates of another.
    """
    session, *sections = _sections(sdp)
    carrier = next((s for s in sections if any(line.startswith("a=ice-ufrag:") for line in s)), [])
    transport = [line for line in carrier if line.startswith(_TRANSPORT_LINES)]
    completed = session
    for section in sections:
        if carrier and section is not carrier:
            section = [line for line in section if not line.startswith(_TRANSPORT_LINES)] + transport
        completed = completed + section
    return "\r\n".join(completed) + "\r\n"


def _sections(sdp: str) -> list[list[str]]:
    """The lines of the session's part, then of each media section, without useless candidates."""
    sections: list[list[str]] = [[]]
    for raw in sdp.splitlines():
        line = raw.strip()
        if line.startswith("m="):
            sections.append([])
        if line == "a=end-of-candidates":
            continue
        if line.startswith("a=candidate:") and not _is_usable(line.removeprefix("a=candidate:")):
            continue
        if line:
            sections[-1].append(line)
    return sections


def _is_usable(candidate: str) -> bool:
    """Whether a candidate (`foundation component transport priority address port …`) is UDP, and no name."""
    fields = candidate.split()
    if len(fields) < 8 or fields[1] != "1" or fields[2].lower() != "udp":
        return False
    try:
        ipaddress.ip_address(fields[4])
        return 1 <= int(fields[5]) <= 65_535
    except ValueError:
        return False


def _require_secure_transport(media: MediaDescription) -> None:
    if not (media.ice and media.ice.usernameFragment and media.ice.password):
        raise _invalid("The offer has no ICE credentials (a=ice-ufrag, a=ice-pwd).")
    if not (media.dtls and media.dtls.fingerprints):
        raise _invalid("The offer has no DTLS fingerprint (a=fingerprint, a=setup); WebRTC is encrypted.")


def _direction(attribute: str | None) -> Direction:
    match attribute:
        case "sendonly" | "recvonly":
            return attribute
        case _:
            return "sendrecv"


def _invalid(sentence: str) -> CallerError:
    return CallerError(sentence, code="invalid_sdp", param="sdp")


def _unsupported(sentence: str) -> CallerError:
    return CallerError(sentence, code="unsupported_media", param="sdp")
