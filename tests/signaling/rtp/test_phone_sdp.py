"""What telephones write: read, answered, agreed on; and whatever else comes is refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs import CodecName
from signaling.rtp.negotiation import (
    Agreement,
    Answered,
    Place,
    Section,
    Wishes,
    agreed,
    answered,
    description,
    offered_section,
)
from signaling.rtp.sdp import SRTP_SUITES, NotAcceptable, parse_sdp
from signaling.rtp.settings import SrtpUse

KEYS: Any = {suite: bytes([at]) * 30 for at, suite in enumerate(SRTP_SUITES)}
HERE = Place("192.0.2.9", 16_384, "192.0.2.9", 16_385)
ALL: tuple[CodecName, ...] = ("opus", "g722", "pcmu", "pcma")

LINPHONE = """v=0
o=alice 3500 1200 IN IP4 192.0.2.7
s=Talk
c=IN IP4 192.0.2.7
t=0 0
a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics
m=audio 7078 RTP/AVPF 96 97 98 0 8 18 99 100 101
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:97 speex/16000
a=rtpmap:98 speex/8000
a=fmtp:18 annexb=yes
a=rtpmap:99 telephone-event/48000
a=rtpmap:100 telephone-event/16000
a=rtpmap:101 telephone-event/8000
a=rtcp-fb:* trr-int 5000
m=video 9078 RTP/AVPF 96 97
a=rtpmap:96 VP8/90000
"""


def wishes(*codecs: CodecName, srtp: SrtpUse = "optional", comfort_noise: bool = True) -> Wishes:
    return Wishes(codecs or ALL, srtp, comfort_noise)


def audio(*lines: str, types: str = "0 8 101", session: str = "c=IN IP4 192.0.2.7") -> str:
    return "\r\n".join(
        [
            "v=0",
            "o=- 1 1 IN IP4 192.0.2.7",
            "s=-",
            session,
            "t=0 0",
            f"m=audio 4000 RTP/AVP {types}",
            "a=rtpmap:101 telephone-event/8000",
            *lines,
            "",
        ]
    )


def answer_to(offer: str, ours: Wishes | None = None, *, held: bool = False) -> Answered:
    return answered(offer, ours or wishes(), KEYS, held)


def text_of(answer: Answered) -> str:
    return description(answer.section, answer.position, answer.refused, HERE, 7, 1)


def test_events_are_taken_at_the_codecs_clock_rate_and_video_is_refused_in_its_place() -> None:
    answer = answer_to(LINPHONE)
    assert text_of(answer).splitlines() == [
        "v=0",
        "o=- 7 1 IN IP4 192.0.2.9",
        "s=-",
        "c=IN IP4 192.0.2.9",
        "t=0 0",
        "m=audio 16384 RTP/AVPF 96 99",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1; sprop-stereo=0; stereo=0",
        "a=rtpmap:99 telephone-event/48000",
        "a=fmtp:99 0-16",
        "a=rtcp:16385",
        "a=ptime:20",
        "a=sendrecv",
        "m=video 0 RTP/AVPF 96 97",
    ]
    assert answer_to(LINPHONE, wishes("pcma", "pcmu")).agreement.events_type == 101


def test_a_fax_beside_the_voice_is_refused_by_the_name_that_it_was_offered_by() -> None:
    answer = answer_to(audio() + "m=image 4002 udptl t38\r\na=T38FaxVersion:0\r\n")
    assert text_of(answer).splitlines()[-1] == "m=image 0 udptl t38"
    with pytest.raises(NotAcceptable):
        answer_to("v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 0 RTP/AVP 0\r\nm=image 4002 udptl t38\r\n")


@pytest.mark.parametrize("first", ALL)
def test_our_order_decides(first: CodecName) -> None:
    offer = audio("a=rtpmap:107 opus/48000/2", types="8 9 0 107 101")
    answer = answer_to(offer, wishes(first, *(name for name in ALL if name != first)))
    assert answer.agreement.codec.name == first
    assert answer.agreement.payload_type == {"opus": 107, "g722": 9, "pcmu": 0, "pcma": 8}[first]


def test_a_dynamic_type_for_a_static_codec_is_mirrored() -> None:
    answer = answer_to(audio("a=rtpmap:120 PCMA/8000", types="120 101"), wishes("pcma"))
    assert answer.agreement.payload_type == 120
    assert "m=audio 16384 RTP/AVP 120 101" in text_of(answer)


@pytest.mark.parametrize(
    ("theirs", "held", "ours", "sends", "listens", "remote_holds"),
    [
        ("sendrecv", False, "sendrecv", True, True, False),
        ("sendonly", False, "recvonly", False, True, True),
        ("recvonly", False, "sendonly", True, False, False),
        ("inactive", False, "inactive", False, False, True),
        ("sendrecv", True, "sendonly", True, False, False),
        ("sendonly", True, "inactive", False, False, True),
    ],
)
@pytest.mark.parametrize("at_session", [False, True])
def test_directions(
    theirs: str, held: bool, ours: str, sends: bool, listens: bool, remote_holds: bool, at_session: bool
) -> None:
    line = f"a={theirs}"
    offer = audio(session=f"c=IN IP4 192.0.2.7\r\n{line}") if at_session else audio(line)
    answer = answer_to(offer, held=held)
    assert answer.section.direction == ours
    agreement = answer.agreement
    assert (agreement.sends, agreement.listens, agreement.remote_holds) == (sends, listens, remote_holds)


@pytest.mark.parametrize("nowhere", ["IN IP4 0.0.0.0", "IN IP6 ::"])
def test_an_address_of_zeros_is_a_hold(nowhere: str) -> None:
    answer = answer_to(audio(f"c={nowhere}"))
    assert answer.section.direction == "recvonly"
    assert answer.agreement.remote_holds
    assert not answer.agreement.sends


def test_where_media_and_reports_go() -> None:
    assert answer_to(audio()).agreement.there == Place("192.0.2.7", 4000, "192.0.2.7", 4001)
    own = answer_to(audio("c=IN IP4 192.0.2.8", "a=rtcp:5000"))
    assert own.agreement.there == Place("192.0.2.8", 4000, "192.0.2.8", 5000)
    other = answer_to(audio("a=rtcp:5000 IN IP4 192.0.2.11"))
    assert other.agreement.there == Place("192.0.2.7", 4000, "192.0.2.11", 5000)
    mux = answer_to(audio("a=rtcp-mux", "a=rtcp:5000"))
    assert mux.agreement.there == Place("192.0.2.7", 4000, "192.0.2.7", 4000)
    assert "a=rtcp-mux" in text_of(mux)
    six = answer_to(audio(session="c=IN IP6 2001:db8::7"))
    assert six.agreement.there.address == "2001:db8::7"
    assert answer_to(audio(session="c=IN IP4 phone.example.org")).agreement.there.address == ""


@pytest.mark.parametrize(
    ("lines", "packet_ms"),
    [
        ((), 20),
        (("a=ptime:30",), 20),
        (("a=maxptime:10",), 10),
        (("a=maxptime:40",), 20),
        (("a=maxptime:0",), 20),
    ],
)
def test_packets_are_no_longer_than_is_asked_for(lines: tuple[str, ...], packet_ms: int) -> None:
    assert answer_to(audio(*lines)).agreement.packet_ms == packet_ms


def test_comfort_noise_is_taken_where_it_is_offered_and_wanted() -> None:
    offer = audio(types="0 13 101")
    assert answer_to(offer).agreement.noise_type == 13
    assert answer_to(offer, wishes(comfort_noise=False)).agreement.noise_type is None
    assert answer_to(audio()).agreement.noise_type is None
    # Its clock is a telephone's: it does not go with Opus.
    with_opus = audio("a=rtpmap:96 opus/48000/2", types="96 13 101")
    assert answer_to(with_opus).agreement.noise_type is None


CRYPTO = "a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"


def encrypted(*lines: str) -> str:
    return audio(*lines).replace("RTP/AVP", "RTP/SAVP")


def test_encryption_is_answered_with_our_own_key_under_their_tag() -> None:
    answer = answer_to(encrypted("a=crypto:1 AEAD_AES_256_GCM inline:AAAA", CRYPTO + "|2^20"))
    agreement = answer.agreement
    assert agreement.unprotect is not None
    assert agreement.protect is not None
    assert agreement.unprotect.key == bytes(range(30))
    assert agreement.protect.key == KEYS["AES_CM_128_HMAC_SHA1_32"]
    assert "a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:AQEBAQEB" in text_of(answer)
    assert "RTP/SAVP" in text_of(answer)
    # Keys are not for logs.
    assert "\\x" not in repr(agreement)


@pytest.mark.parametrize(
    ("offer", "srtp"),
    [
        (encrypted(CRYPTO), "off"),
        (audio(), "required"),
        (encrypted(), "optional"),
        (encrypted(CRYPTO + "|2^20|1:4"), "optional"),
        (encrypted(CRYPTO + " UNENCRYPTED_SRTP"), "optional"),
        (encrypted("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA"), "optional"),
        (encrypted("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"), "required"),
    ],
)
def test_what_cannot_be_encrypted_as_it_should_is_refused(offer: str, srtp: SrtpUse) -> None:
    with pytest.raises(NotAcceptable):
        answer_to(offer, wishes(srtp=srtp))


def test_of_two_sections_the_encrypted_one_is_taken() -> None:
    plain = audio()
    secure = encrypted(CRYPTO)
    both = plain + secure[secure.index("m=") :]
    assert answer_to(both).position == 1
    assert answer_to(both, wishes(srtp="off")).position == 0
    assert "m=audio 0 RTP/AVP 0 8 101\r\nm=audio 16384 RTP/SAVP" in text_of(answer_to(both))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0",
        "hello",
        "v=1\r\nm=audio 1 RTP/AVP 0",
        "v=0\r\nm=audio",
        "v=0\r\nm=audio 70000 RTP/AVP 0",
        "v=0\r\nm=audio 4000 RTP/AVP 18",
        "v=0\r\nm=audio 0 RTP/AVP 0",
        "v=0\r\nm=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000",
        "v=0\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0",
        "v=0\r\nm=audio 4000 RTP/AVP x 300 -1",
        "v=0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000",
        "v=0\r\n" + "m=audio 0 RTP/AVP 0\r\n" * 40,
        "v=0\r\n" + "a=x\r\n" * 20_000,
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(NotAcceptable, match=r"^[A-Z].*\.$"):
        answer_to(text)


def offer_and_answer(caller: Wishes, called: Wishes) -> tuple[Section, Agreement, Agreement]:
    ours = offered_section(caller, KEYS, "sendrecv")
    offer = description(ours, 0, (), HERE, 1, 1)
    answer = answer_to(offer, called)
    return ours, answer.agreement, agreed(text_of(answer), ours, 0, caller)


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("srtp", ["off", "optional", "required"])
def test_both_sides_come_to_the_same(codec: CodecName, srtp: SrtpUse) -> None:
    _, theirs, ours = offer_and_answer(wishes(srtp=srtp), wishes(codec, srtp=srtp))
    assert ours.codec is theirs.codec
    assert ours.codec.name == codec
    assert ours.payload_type == theirs.payload_type
    assert set(ours.hears) == set(theirs.hears) == {ours.payload_type}
    assert ours.events_type is not None
    assert ours.events_type == theirs.events_type
    assert (ours.noise_type is None) is (codec == "opus")
    assert (ours.protect is None) is (srtp == "off")


def test_the_answers_payload_type_is_what_it_wants_to_get() -> None:
    ours = offered_section(wishes("opus", "pcmu"), KEYS, "sendrecv")
    answer = audio("a=rtpmap:111 opus/48000/2", types="111 0")
    agreement = agreed(answer, ours, 0, wishes("opus", "pcmu"))
    assert agreement.payload_type == 111
    assert {payload_type: codec.name for payload_type, codec in agreement.hears.items()} == {
        96: "opus",
        0: "pcmu",
    }


@pytest.mark.parametrize(
    ("answer", "srtp"),
    [
        (audio(types="18"), "off"),
        (audio().replace("m=audio 4000", "m=audio 0"), "off"),
        (audio().replace("m=audio", "m=video"), "off"),
        (audio(), "required"),
        (encrypted(CRYPTO), "optional"),
        (audio(CRYPTO), "off"),
    ],
)
def test_answers_that_do_not_answer(answer: str, srtp: SrtpUse) -> None:
    ours = offered_section(wishes(srtp=srtp), KEYS, "sendrecv")
    with pytest.raises(NotAcceptable):
        agreed(answer, ours, 0, wishes(srtp=srtp))


LINES = st.one_of(
    st.sampled_from(
        [*LINPHONE.splitlines(), *audio(CRYPTO).splitlines(), CRYPTO, "a=rtcp-mux", "a=inactive"]
    ),
    st.from_regex(r"\A[acmvos]=[ -~]{0,60}\Z"),
    st.from_regex(r"\Am=audio [0-9]{1,6} RTP/S?AVPF?( [0-9]{1,4}){1,5}\Z"),
    st.from_regex(r"\Aa=(rtpmap|fmtp|crypto|rtcp|maxptime|ptime):[0-9]{1,4}[ -~]{0,40}\Z"),
    st.from_regex(r"\Ac=IN IP[46] [0-9.:/a-f%]{0,30}\Z"),
    st.text(max_size=30),
)


@given(st.lists(LINES, max_size=30), st.booleans(), st.sampled_from(["\r\n", "\n", "\r"]))
def test_any_text_is_answered_or_refused(lines: list[str], begins: bool, end: str) -> None:
    text = end.join((["v=0"] if begins else []) + lines)
    try:
        sections = parse_sdp(text)
    except NotAcceptable:
        sections = ()
    try:
        answer = answer_to(text)
    except NotAcceptable:
        return
    # The answer has as many sections as the offer, and can be read by others.
    assert len(parse_sdp(text_of(answer))) == len(sections)


@given(st.lists(LINES, max_size=30))
def test_any_answer_is_agreed_on_or_refused(lines: list[str]) -> None:
    ours = offered_section(wishes(), KEYS, "sendrecv")
    try:
        agreement = agreed("\r\n".join(["v=0", "c=IN IP4 192.0.2.7", *lines]), ours, 0, wishes())
    except NotAcceptable:
        return
    assert agreement.payload_type in range(128)
    assert agreement.hears
