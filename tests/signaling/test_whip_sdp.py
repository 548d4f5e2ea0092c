"""WHIP's offers, answers and fragments: what is taken and what is refused; that nothing breaks the reader."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sdp import AUDIO, SESSION, TRANSPORT, channel

from media.errors import CallerError
from signaling.whip_sdp import (
    MAX_CANDIDATES,
    Fragment,
    IceCredentials,
    finish_publication,
    read_fragment,
    read_publication,
)

ICE = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
SECTION = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
CANDIDATE = "a=candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host\r\n"
SPOKEN = AUDIO.replace("sendrecv", "sendonly")
VIDEO = (
    "m=video {port} UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"
)


def fault(text: str) -> str:
    with pytest.raises(CallerError) as refused:
        read_fragment(text, {"0", "1"})
    return refused.value.code


def read(text: str) -> Fragment:
    return read_fragment(text, {"0", "1"})


@pytest.mark.parametrize("direction", ["sendonly", "sendrecv"])
def test_a_publishers_offer_is_read(direction: str) -> None:
    audio = AUDIO.replace("sendrecv", direction)
    publication = read_publication(SESSION + audio + TRANSPORT + channel() + TRANSPORT)
    assert publication.ice == IceCredentials("abcd", "abcdefghijklmnopqrstuv")
    assert publication.mids == {"0", "1"}
    assert publication.offer.audio == direction
    assert publication.offer.data_channel


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ([channel().replace("mid:1", "mid:0")], "unsupported_tracks"),
        ([AUDIO.replace("sendrecv", "recvonly")], "unsupported_tracks"),
        ([AUDIO.replace("sendrecv", "inactive")], "unsupported_tracks"),
        ([SPOKEN.replace("opus/48000/2", "PCMU/8000")], "unsupported_tracks"),
        ([SPOKEN, VIDEO.format(port=9)], "unsupported_tracks"),
        ([SPOKEN, VIDEO.format(port=0) + "a=bundle-only\r\n"], "unsupported_tracks"),
        ([SPOKEN, SPOKEN.replace("mid:0", "mid:1")], "unsupported_tracks"),
        ([SPOKEN, "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:1\r\n"], "invalid_sdp"),
        ([], "unsupported_tracks"),
    ],
)
def test_an_offer_that_could_be_answered_only_in_part_is_refused_whole(
    sections: list[str], code: str
) -> None:
    with pytest.raises(CallerError) as refused:
        read_publication(SESSION + "".join(section + TRANSPORT for section in sections))
    assert refused.value.code == code
    assert refused.value.param == "sdp"


def test_the_answer_says_that_rtcp_has_no_port_of_its_own() -> None:
    answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtcp-mux\r\na=mid:0\r\n"
    assert finish_publication(answer).splitlines()[2:4] == ["a=rtcp-mux", "a=rtcp-mux-only"]


def test_a_fragment_is_read() -> None:
    """The example of RFC 9725, section 4.3.2, with its TCP candidates and its extensions."""
    fragment = read(
        "a=group:BUNDLE 0 1\r\n" + SECTION + ICE + "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 "
        "typ host generation 0 ufrag EsAw network-id 1\r\n"
        "a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n"
        "a=candidate:5 1 udp 1518280447 a1b2.local 50000 typ host\r\n"
        "a=candidate:6 2 udp 1518280447 192.0.2.1 50001 typ host\r\n"
        "a=end-of-candidates\r\n"
    )
    assert fragment.ice == IceCredentials("abcd", "abcdefghijklmnopqrstuv")
    assert [candidate.line.split()[0] for candidate in fragment.candidates] == ["1387637174"]
    assert fragment.ended


def test_credentials_may_stand_before_the_sections_and_again_in_each() -> None:
    other = SECTION.replace("mid:0", "mid:1")
    fragment = read(ICE + SECTION + ICE + CANDIDATE + other + CANDIDATE)
    assert len(fragment.candidates) == 2
    assert not fragment.ended


def test_lines_may_end_as_in_unix() -> None:
    assert read((ICE + SECTION + CANDIDATE).replace("\r\n", "\n")).candidates
    assert read((ICE + SECTION + CANDIDATE).rstrip()).candidates


def test_who_counts_components_from_nought_is_understood() -> None:
    fragment = read(ICE + SECTION + CANDIDATE.replace(":1 1 ", ":1 0 "))
    assert fragment.candidates[0].line.startswith("1 1 udp")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        SECTION + CANDIDATE,
        ICE + CANDIDATE,
        ICE + "a=mid:0\r\n" + CANDIDATE,
        ICE + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" + CANDIDATE,
        ICE + SECTION.replace("mid:0", "mid:7") + CANDIDATE,
        ICE + SECTION + "a=mid:1\r\n",
        ICE + "m=audio\r\n",
        ICE + "v=0\r\n",
        ICE + "\r\n" + SECTION,
        ICE + ICE.replace("abcd\r", "efgh\r"),
        "a=ice-ufrag:ab\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n",
        "a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n",
        "a=ice-ufrag:abcd\r\n",
        ICE + "a=extension:" + "x" * 1000 + "\r\n",
        ICE + "a=extension:\0\r\n",
        ICE + SECTION + CANDIDATE * (MAX_CANDIDATES + 1),
    ],
)
def test_what_is_no_fragment_is_refused(text: str) -> None:
    assert fault(text) == "invalid_sdp_fragment"


def test_a_candidate_that_is_none_is_refused() -> None:
    assert fault(ICE + SECTION + "a=candidate:x\r\n") == "invalid_candidate"


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*ICE.split("\r\n"), *SECTION.split("\r\n"), CANDIDATE, "a=end-of-candidates"]),
            st.text(max_size=40),
            st.text(max_size=40).map("a=candidate:{}".format),
            st.text(max_size=40).map("a=ice-ufrag:{}".format),
        ),
        max_size=12,
    )
)
def test_no_fragment_breaks_the_reader(lines: list[str]) -> None:
    with contextlib.suppress(CallerError):
        read("\r\n".join(lines))
