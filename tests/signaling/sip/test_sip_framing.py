"""Streams of SIP messages, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.sip.errors import BadMessage
from signaling.sip.framing import PING, Framer
from tests.signaling.sip.sip_texts import request_text

ONE = request_text("INVITE", body="v=0\r\n\r\no=-\r\n")
TWO = request_text("BYE").replace(b"Content-Length", b"l ")
THREE = request_text("OPTIONS").replace(b"Content-Length: 0\r\n", b"")


@given(st.lists(st.integers(1, 40), max_size=60))
def test_messages_come_whole_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"\r\n" + ONE + PING + TWO + b"\r\n" + THREE + ONE
    framer = Framer()
    found: list[bytes] = []
    for length in cuts:
        found += framer.feed(stream[:length])
        stream = stream[length:]
    found += framer.feed(stream)
    assert found == [ONE, PING, TWO, THREE, ONE]


def test_a_stream_that_comes_byte_by_byte() -> None:
    framer = Framer()
    stream = ONE + PING + TWO + THREE
    found = [piece for at in range(len(stream)) for piece in framer.feed(stream[at : at + 1])]
    assert found == [ONE, PING, TWO, THREE]


def test_half_a_ping_is_waited_for() -> None:
    framer = Framer()
    assert framer.feed(b"\r\n") == []
    assert framer.feed(b"\r") == []
    assert framer.feed(b"\n") == [PING]
    assert framer.feed(b"\r\n") == []
    assert framer.feed(TWO) == [TWO]


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1 " + b"x" * 20_000,
        b"\rx",
        ONE.replace(b"Content-Length: ", b"l: 7\r\nContent-Length: "),
        request_text(headers=("Content-Length: 99999999",)).replace(b"Content-Length: 0\r\n", b""),
        b"OPTIONS x" + b"x" * 17_000 + b"\r\n\r\n",
    ],
)
def test_a_stream_of_something_else_is_given_up(stream: bytes) -> None:
    with pytest.raises(BadMessage):
        Framer().feed(stream)
