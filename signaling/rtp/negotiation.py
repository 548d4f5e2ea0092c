"""Offer and answer of a telephone's audio (RFC 3264): what is offered, and what two texts agree on. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from media.telephone_codecs import TELEPHONE_CODECS, TelephoneCodec
from signaling.rtp.sdp import (
    SRTP_SUITES,
    Crypto,
    Direction,
    Format,
    MediaSection,
    NotAcceptable,
    SrtpSuite,
    parse_sdp,
)
from signaling.rtp.settings import CodecName, SrtpUse

PACKET_MS: Final = 20
SHORT_PACKET_MS: Final = 10
"""For whoever takes no longer ones."""
EVENTS: Final = "telephone-event"
EVENT_CODES: Final = "0-16"
"""The keys and the hook (RFC 4733, section 3.2)."""
COMFORT_NOISE: Final = "cn"

_PROFILES: Final = frozenset({"RTP/AVP", "RTP/SAVP", "RTP/AVPF", "RTP/SAVPF"})
_OFFERED_OPUS_TYPE: Final = 96
_DYNAMIC_TYPES: Final = range(96, 128)
_OFFERED_EVENT_TYPES: Final = {8_000: 101, 48_000: 97}
_OFFERED_NOISE_TYPE: Final = 13
_OPUS_PARAMETERS: Final = "useinbandfec=1; sprop-stereo=0; stereo=0"
_NOWHERE: Final = frozenset({"0.0.0.0", "::"})
_MIRRORED: Final[Mapping[Direction, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
_HELD: Final[Mapping[Direction, Direction]] = {
    "sendrecv": "sendonly",
    "sendonly": "sendonly",
    "recvonly": "inactive",
    "inactive": "inactive",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one side's packets go to. `address` is an IP address, or "" where there is none."""

    address: str
    port: int
    rtcp_address: str
    rtcp_port: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """What this side wants of a call's media: the part of the settings that is negotiated.

    Attributes:
        codecs: the best first.
        srtp: whether packets are encrypted.
        comfort_noise: whether it may stand for silence.
    """

    codecs: tuple[CodecName, ...]
    srtp: SrtpUse
    comfort_noise: bool


@dataclass(frozen=True, slots=True)
class Section:
    """What one side says of its audio: written as an `m=` section.

    Attributes:
        profile: as in the line.
        formats: in the order of preference.
        direction: as this side sees it.
        cryptos: of which one is taken.
        rtcp_mux: whether RTCP comes on RTP's port.
    """

    profile: str
    formats: tuple[Format, ...]
    direction: Direction
    cryptos: tuple[Crypto, ...] = ()
    rtcp_mux: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A section of theirs that is not taken, for its place among the others (RFC 3264, section 6)."""

    kind: str
    profile: str
    format_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides said, put together.

    Attributes:
        codec: that we speak.
        payload_type: what it is called to the far side.
        hears: the codec of each payload type that may come.
        events_type: of telephone events, as the far side wants them; None: it takes none.
        events_rate_hz: of their durations.
        events_heard: payload types under which they may come.
        noise_type: of comfort noise, likewise; None: silence is sent as sound.
        noise_heard: as events.
        there: where to send to.
        sends: whether the far side wants to hear us.
        listens: whether it speaks, and we want to hear it.
        remote_holds: whether the far side does not want to hear us.
        packet_ms: how much sound goes into a packet.
        protect: the key that we encrypt with; None: no encryption.
        unprotect: the far side's.
        rtcp_mux: whether RTCP goes to RTP's port.
    """

    codec: TelephoneCodec
    payload_type: int
    hears: Mapping[int, TelephoneCodec]
    events_type: int | None
    events_rate_hz: int
    events_heard: frozenset[int]
    noise_type: int | None
    noise_heard: frozenset[int]
    there: Place
    sends: bool
    listens: bool
    remote_holds: bool
    packet_ms: int
    protect: Crypto | None
    unprotect: Crypto | None
    rtcp_mux: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """An offer's answer.

    Attributes:
        section: our audio.
        position: its place among the sections; the others are `refused`, in order.
        agreement: what comes of it.
    """

    section: Section
    position: int
    refused: tuple[Refused, ...]
    agreement: Agreement


def offered_section(wishes: Wishes, keys: Mapping[SrtpSuite, bytes], direction: Direction) -> Section:
    """What we offer where nothing was agreed on yet.

    `optional` encryption is offered as telephones do it: keys beside a profile without encryption.
    """
    formats = _offered_formats(wishes)
    suites = SRTP_SUITES if wishes.srtp != "off" else ()
    cryptos = tuple(Crypto(tag, suite, keys[suite]) for tag, suite in enumerate(suites, 1))
    profile = "RTP/SAVP" if wishes.srtp == "required" else "RTP/AVP"
    return Section(profile, formats, direction, cryptos)


def _offered_formats(wishes: Wishes) -> tuple[Format, ...]:
    formats = [_offered_format(TELEPHONE_CODECS[name]) for name in wishes.codecs]
    rates = dict.fromkeys(one.clock_rate_hz for one in formats)
    formats += [Format(_OFFERED_EVENT_TYPES[rate], EVENTS, rate, 1, EVENT_CODES) for rate in rates]
    if wishes.comfort_noise and 8_000 in rates:
        formats.append(Format(_OFFERED_NOISE_TYPE, COMFORT_NOISE, 8_000))
    return tuple(formats)


def renewed_section(standing: Section, wishes: Wishes, direction: Direction) -> Section:
    """An offer of all that we speak, within a call: what stands comes first and keeps its payload types.

    Whoever asks for an offer may hand it on to somebody else, who speaks another codec: a transfer by a PBX.
    """
    formats = list(standing.formats)
    taken = {one.payload_type for one in formats}
    stands = {(one.encoding, one.clock_rate_hz) for one in formats}
    for one in _offered_formats(wishes):
        if (one.encoding, one.clock_rate_hz) not in stands:
            free = (number for number in (one.payload_type, *_DYNAMIC_TYPES) if number not in taken)
            formats.append(replace(one, payload_type=next(free)))
            taken.add(formats[-1].payload_type)
    return replace(standing, formats=tuple(formats), direction=direction)


def answered(
    offer_sdp: str,
    wishes: Wishes,
    keys: Mapping[SrtpSuite, bytes],
    held: bool,
    current: CodecName | None = None,
) -> Answered:
    """Answers an offer: the audio section that suits us best; all others are refused.

    Args:
        offer_sdp: theirs.
        wishes: ours.
        keys: what we encrypt with.
        held: whether we do not want to hear them.
        current: the codec that is spoken now, which is kept if it is offered again.

    Raises:
        NotAcceptable: there is no section that can be used.
    """
    sections = parse_sdp(offer_sdp)
    found: Answered | None = None
    best = 0
    reasons: list[str] = []
    for position, theirs in enumerate(sections):
        if theirs.kind != "audio" or theirs.port == 0:
            continue
        try:
            answer = _answered_section(sections, position, wishes, keys, held, current)
        except NotAcceptable as error:
            reasons.append(str(error))
            continue
        rank = 2 if answer.agreement.unprotect is not None else 1
        if rank > best:
            found, best = answer, rank
    if found is None:
        raise NotAcceptable(reasons[0] if reasons else "The offer has no audio.")
    return found


def agreed(answer_sdp: str, ours: Section, position: int, wishes: Wishes) -> Agreement:
    """What an answer to our offer comes to.

    Raises:
        NotAcceptable: it cannot be used.
    """
    sections = parse_sdp(answer_sdp)
    if position >= len(sections) or sections[position].kind != "audio":
        raise NotAcceptable("The answer has no audio where the offer has it.")
    theirs = sections[position]
    if theirs.port == 0:
        raise NotAcceptable("The answer refuses the audio.")
    if theirs.profile not in _PROFILES:
        raise NotAcceptable(f"The answer's profile {theirs.profile} was not offered.")
    protect, unprotect = _answered_cryptos(theirs, ours, wishes)
    return _agreement(theirs, ours, protect, unprotect, ours.direction)


def description(
    section: Section, position: int, refused: Sequence[Refused], here: Place, session_id: int, version: int
) -> str:
    """The text: RFC 8866. Lines end in CR LF."""
    lines = [
        "v=0",
        f"o=- {session_id} {version} IN {_ip_version(here.address)} {here.address}",
        "s=-",
        f"c=IN {_ip_version(here.address)} {here.address}",
        "t=0 0",
    ]
    sections = [_refused_lines(one) for one in refused]
    sections.insert(position, _section_lines(section, here))
    for one in sections:
        lines += one
    return "".join(f"{line}\r\n" for line in lines)


def _answered_section(
    sections: Sequence[MediaSection],
    position: int,
    wishes: Wishes,
    keys: Mapping[SrtpSuite, bytes],
    held: bool,
    current: CodecName | None,
) -> Answered:
    """Raises: NotAcceptable."""
    theirs = sections[position]
    if theirs.profile not in _PROFILES:
        raise NotAcceptable(f"Media by {theirs.profile} is not spoken here.")
    crypto = _chosen_crypto(theirs, wishes.srtp)
    order = [current, *wishes.codecs] if current in wishes.codecs else list(wishes.codecs)
    chosen = next((one for name in order if name and (one := _spoken(theirs, name)) is not None), None)
    if chosen is None:
        raise NotAcceptable(f"None of the codecs offered is spoken here: {', '.join(wishes.codecs)} are.")
    # Parameters say what this side wants to get: not what theirs does.
    formats = [replace(chosen, parameters=_OPUS_PARAMETERS if chosen.encoding == "opus" else "")]
    if (events := _events(theirs, chosen.clock_rate_hz)) is not None:
        formats.append(replace(events, parameters=EVENT_CODES))
    if wishes.comfort_noise and (noise := _noise(theirs, chosen.clock_rate_hz)) is not None:
        formats.append(noise)
    offered_direction: Direction = theirs.direction
    if theirs.address in _NOWHERE and offered_direction == "sendrecv":
        # A hold as RFC 2543 had it.
        offered_direction = "sendonly"
    direction = _MIRRORED[offered_direction]
    ours_crypto = None if crypto is None else Crypto(crypto.tag, crypto.suite, keys[crypto.suite])
    ours = Section(
        theirs.profile,
        tuple(formats),
        _HELD[direction] if held else direction,
        () if ours_crypto is None else (ours_crypto,),
        theirs.rtcp_mux,
    )
    agreement = _agreement(theirs, ours, ours_crypto, crypto, ours.direction)
    refused = tuple(
        Refused(one.kind, one.profile, one.format_names) for at, one in enumerate(sections) if at != position
    )
    return Answered(ours, position, refused, agreement)


def _agreement(
    theirs: MediaSection,
    ours: Section,
    protect: Crypto | None,
    unprotect: Crypto | None,
    direction: Direction,
) -> Agreement:
    """Raises: NotAcceptable."""
    hears = {one.payload_type: codec for one in ours.formats if (codec := _codec(one)) is not None}
    spoken = next(
        (
            (one, codec)
            for one in theirs.formats
            if (codec := _codec(one)) is not None and codec in hears.values()
        ),
        None,
    )
    if len(hears) == 1:
        # Ours is an answer: it says which.
        (only,) = hears.values()
        spoken = next(((one, only) for one in theirs.formats if _codec(one) is only), None)
    if spoken is None:
        raise NotAcceptable("The answer has none of the codecs that were offered.")
    spoken_format, codec = spoken
    agreed_codecs = {_codec(one) for one in theirs.formats}
    events = _events(theirs, codec.packets.clock_rate_hz)
    events_heard = frozenset(one.payload_type for one in ours.formats if one.encoding == EVENTS)
    noise = _noise(theirs, codec.packets.clock_rate_hz)
    noise_heard = frozenset(one.payload_type for one in ours.formats if one.encoding == COMFORT_NOISE)
    nowhere = theirs.address in _NOWHERE
    wanted = theirs.direction in ("sendrecv", "recvonly") and not nowhere
    rtcp_mux = ours.rtcp_mux and theirs.rtcp_mux
    return Agreement(
        codec=codec,
        payload_type=spoken_format.payload_type,
        hears={payload_type: one for payload_type, one in hears.items() if one in agreed_codecs},
        events_type=events.payload_type if events is not None and events_heard else None,
        events_rate_hz=events.clock_rate_hz if events is not None else codec.packets.clock_rate_hz,
        events_heard=events_heard,
        noise_type=noise.payload_type if noise is not None and noise_heard else None,
        noise_heard=noise_heard,
        there=_place(theirs, rtcp_mux),
        sends=wanted and direction in ("sendrecv", "sendonly"),
        listens=direction in ("sendrecv", "recvonly") and theirs.direction in ("sendrecv", "sendonly"),
        remote_holds=not wanted,
        packet_ms=SHORT_PACKET_MS if (theirs.longest_packet_ms or PACKET_MS) < PACKET_MS else PACKET_MS,
        protect=protect,
        unprotect=unprotect,
        rtcp_mux=rtcp_mux,
    )


def _place(theirs: MediaSection, rtcp_mux: bool) -> Place:
    if rtcp_mux:
        return Place(theirs.address, theirs.port, theirs.address, theirs.port)
    # Port 65535 has none above it.
    port, address = theirs.rtcp or (min(theirs.port + 1, 65_535), "")
    return Place(theirs.address, theirs.port, address or theirs.address, port)


def _codec(one: Format) -> TelephoneCodec | None:
    for codec in TELEPHONE_CODECS.values():
        if (
            one.encoding == codec.encoding
            and one.clock_rate_hz == codec.packets.clock_rate_hz
            and one.channels == codec.channels
        ):
            return codec
    return None


def _spoken(theirs: MediaSection, name: CodecName) -> Format | None:
    return next((one for one in theirs.formats if _codec(one) is TELEPHONE_CODECS[name]), None)


def _events(theirs: MediaSection, clock_rate_hz: int) -> Format | None:
    """At the codec's clock rate, whose timestamps they share; else at 8 kHz, as many devices do it."""
    for rate in (clock_rate_hz, 8_000):
        for one in theirs.formats:
            if one.encoding == EVENTS and one.clock_rate_hz == rate:
                return one
    return None


def _noise(theirs: MediaSection, clock_rate_hz: int) -> Format | None:
    return next(
        (
            one
            for one in theirs.formats
            if one.encoding == COMFORT_NOISE and one.clock_rate_hz == clock_rate_hz
        ),
        None,
    )


def _chosen_crypto(theirs: MediaSection, srtp: SrtpUse) -> Crypto | None:
    """Which of the offered ways to encrypt is taken. Raises: NotAcceptable."""
    encrypted = "SAVP" in theirs.profile
    if srtp == "off":
        if encrypted:
            raise NotAcceptable("Encrypted media is offered, and is off here.")
        return None
    if theirs.cryptos:
        return theirs.cryptos[0]
    if encrypted:
        raise NotAcceptable("Encrypted media is offered without a key that can be used (SDES, AES-128).")
    if srtp == "required":
        raise NotAcceptable("Media must be encrypted (RTP/SAVP with keys in the SDP).")
    return None


def _answered_cryptos(
    theirs: MediaSection, ours: Section, wishes: Wishes
) -> tuple[Crypto | None, Crypto | None]:
    """Our key and theirs, of the way that the answer takes. Raises: NotAcceptable."""
    for crypto in theirs.cryptos:
        for offered in ours.cryptos:
            if (offered.tag, offered.suite) == (crypto.tag, crypto.suite):
                return offered, crypto
    if wishes.srtp == "required" or "SAVP" in theirs.profile or theirs.cryptos:
        raise NotAcceptable("The answer takes none of the offered ways to encrypt.")
    return None, None


def _offered_format(codec: TelephoneCodec) -> Format:
    payload_type = _OFFERED_OPUS_TYPE if codec.static_type is None else codec.static_type
    parameters = _OPUS_PARAMETERS if codec.name == "opus" else ""
    return Format(payload_type, codec.encoding, codec.packets.clock_rate_hz, codec.channels, parameters)


def _section_lines(section: Section, here: Place) -> list[str]:
    types = " ".join(str(one.payload_type) for one in section.formats)
    lines = [f"m=audio {here.port} {section.profile} {types}"]
    for one in section.formats:
        channels = f"/{one.channels}" if one.channels > 1 else ""
        encoding = one.encoding if one.encoding in ("opus", EVENTS) else one.encoding.upper()
        lines.append(f"a=rtpmap:{one.payload_type} {encoding}/{one.clock_rate_hz}{channels}")
        if one.parameters:
            lines.append(f"a=fmtp:{one.payload_type} {one.parameters}")
    lines += [one.line for one in section.cryptos]
    if section.rtcp_mux:
        lines.append("a=rtcp-mux")
    else:
        lines.append(f"a=rtcp:{here.rtcp_port}")
    return [*lines, f"a=ptime:{PACKET_MS}", f"a={section.direction}"]


def _refused_lines(refused: Refused) -> list[str]:
    return [f"m={refused.kind} 0 {refused.profile} {' '.join(refused.format_names)}"]


def _ip_version(address: str) -> str:
    return f"IP{ipaddress.ip_address(address).version}"
