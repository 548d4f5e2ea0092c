"""What offers are taken, how they are completed, and what the answer is given."""

from __future__ import annotations

import contextlib

import pytest

from media.errors import CallerError
from signaling.sdp import finish_answer, parse_candidate, read_offer

SESSION = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n"
TRANSPORT = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\na=setup:actpass\r\n"
)
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"
)
CHANNEL = (
    "m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\n"
    "c=IN IP4 0.0.0.0\r\na=mid:1\r\na=sctp-port:5000\r\n"
)
HOST = "a=candidate:1 1 udp 2122260223 192.168.1.7 50000 typ host\r\n"
MDNS = "a=candidate:2 1 udp 2122194687 1b2f-4c.local 50001 typ host generation 0\r\n"
TCP = "a=candidate:3 1 tcp 1518280447 192.168.1.7 9 typ host tcptype active\r\n"


def channel(port: int = 9) -> str:
    return CHANNEL.format(port=port)


def refusal(sdp: str) -> CallerError:
    with pytest.raises(CallerError) as refused:
        read_offer(sdp)
    assert refused.value.param == "sdp"
    return refused.value


def test_a_whole_offer_is_read() -> None:
    offer = read_offer(SESSION + AUDIO + TRANSPORT + HOST + channel() + TRANSPORT)
    assert offer.audio == "sendrecv"
    assert offer.data_channel
    assert offer.first_mid == "0"
    assert offer.caller_speaks
    assert offer.caller_listens


@pytest.mark.parametrize(
    ("direction", "speaks", "listens"),
    [("sendonly", True, False), ("recvonly", False, True)],
)
def test_directions_are_the_callers(direction: str, speaks: bool, listens: bool) -> None:
    audio = AUDIO.replace("a=sendrecv", f"a={direction}")
    offer = read_offer(SESSION.replace("0 1", "0") + audio + TRANSPORT)
    assert (offer.caller_speaks, offer.caller_listens) == (speaks, listens)
    assert not offer.data_channel


def test_inactive_audio_is_no_audio() -> None:
    idle = AUDIO.replace("a=sendrecv", "a=inactive") + TRANSPORT
    assert refusal(SESSION.replace("0 1", "0") + idle).code == "unsupported_media"
    offer = read_offer(SESSION + idle + channel() + TRANSPORT)
    assert offer.audio is None
    assert offer.data_channel
    assert not offer.caller_listens


def test_bundle_only_sections_get_the_transport_of_the_first() -> None:
    bare = channel(port=0) + "a=bundle-only\r\n"
    offer = read_offer(SESSION + AUDIO + TRANSPORT + HOST + bare)
    second = offer.sdp.split("m=application")[1]
    for line in (TRANSPORT + HOST).split("\r\n"):
        assert line in second
    assert offer.data_channel


def test_a_second_transport_gives_way_to_the_first() -> None:
    """Browsers gather for each section until the answer bundles them; aiortc would take the last one's."""
    other = HOST.replace("50000", "60000")
    offer = read_offer(SESSION + AUDIO + TRANSPORT + HOST + channel() + TRANSPORT + other)
    assert offer.sdp.count("50000") == 2
    assert "60000" not in offer.sdp


def test_useless_candidates_go() -> None:
    ended = "a=end-of-candidates\r\n"
    sdp = read_offer(SESSION.replace("0 1", "0") + AUDIO + TRANSPORT + MDNS + TCP + HOST + ended).sdp
    assert ".local" not in sdp
    assert "tcptype" not in sdp
    assert "end-of-candidates" not in sdp
    assert "192.168.1.7 50000" in sdp


def test_a_credential_at_session_level_serves_all() -> None:
    offer = read_offer(SESSION + TRANSPORT + AUDIO + channel())
    assert offer.audio == "sendrecv"


@pytest.mark.parametrize(
    ("sdp", "code", "word"),
    [
        ("", "invalid_sdp", "v=0"),
        ("hello", "invalid_sdp", "v=0"),
        ("v=0\r\n", "unsupported_media", "neither"),
        (SESSION, "unsupported_media", "neither"),
        (SESSION + AUDIO[:60], "invalid_sdp", ""),
        (SESSION + AUDIO + channel(), "invalid_sdp", "ICE"),
        (SESSION + AUDIO + TRANSPORT.replace("a=setup:actpass\r\n", ""), "invalid_sdp", "DTLS"),
        (SESSION + AUDIO.replace("opus/48000/2", "speex/8000") + TRANSPORT, "unsupported_media", "Opus"),
        (SESSION + AUDIO.replace("a=rtpmap:111 opus/48000/2\r\n", "") + TRANSPORT, "invalid_sdp", "read"),
        (SESSION + AUDIO.replace("m=audio 9 ", "m=audio 0 ").replace("a=mid:0", "a=mid:7") + TRANSPORT,
         "unsupported_media", "neither"),
        (SESSION + channel() + TRANSPORT, "invalid_sdp", "whose transport the bundle has"),
        (SESSION + AUDIO + TRANSPORT + channel().replace("a=mid:1", "a=mid:0") + TRANSPORT,
         "invalid_sdp", "same name"),
        (SESSION.replace("a=group:BUNDLE 0 1\r\n", "") + AUDIO + TRANSPORT + channel() + TRANSPORT,
         "invalid_sdp", "bundled"),
        (SESSION + AUDIO.replace("m=audio", "m=text") + TRANSPORT, "invalid_sdp", "neither"),
        (SESSION + AUDIO.replace("audio", "video").replace("opus/48000/2", "VP8/90000") + TRANSPORT,
         "unsupported_media", "neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_words(sdp: str, code: str, word: str) -> None:
    error = refusal(sdp)
    assert error.code == code
    assert word in str(error)


@pytest.mark.parametrize("length", range(0, 690, 10))
def test_a_cut_offer_is_read_or_refused_and_nothing_worse(length: int) -> None:
    whole = SESSION + AUDIO + TRANSPORT + HOST + channel() + TRANSPORT
    with contextlib.suppress(CallerError):
        assert read_offer(whole[:length]).audio == "sendrecv"


def test_the_answer_asks_for_in_band_fec() -> None:
    answer = "v=0\r\nm=audio 9 X 96\r\na=msid:s t\r\na=rtpmap:96 opus/48000/2\r\na=candidate:1\r\n"
    finished = finish_answer(answer)
    assert "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 minptime=10;useinbandfec=1\r\n" in finished
    assert "a=msid:s t\r\n" in finished
    assert finish_answer(finished) == finished


def test_trickled_candidates_belong_to_the_bundle() -> None:
    candidate = parse_candidate(HOST.strip(), "0")
    assert candidate is not None
    assert (candidate.ip, candidate.port, candidate.sdpMid) == ("192.168.1.7", 50000, "0")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "candidate:",
        MDNS.strip(),
        TCP.strip(),
        HOST.strip().replace("50000", "-1"),
        HOST.strip().replace("50000", "0"),
        HOST.strip().replace("50000", "65536"),
    ],
)
def test_candidates_of_no_use_are_none(line: str) -> None:
    assert parse_candidate(line, "0") is None


@pytest.mark.parametrize("line", ["candidate:nonsense", "candidate:1 x udp y 1.2.3.4 z typ host"])
def test_a_candidate_that_cannot_be_read_is_refused(line: str) -> None:
    with pytest.raises(CallerError) as refused:
        parse_candidate(line, "0")
    assert refused.value.code == "invalid_candidate"
