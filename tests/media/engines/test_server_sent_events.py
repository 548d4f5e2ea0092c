"""Server-sent events, cut wherever a network may cut them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.engines.server_sent_events import EVENT_LIMIT_BYTES, EventReader
from media.errors import EngineError

STREAM = (
    "\N{ZERO WIDTH NO-BREAK SPACE}: a comment\r\n\r\n"
    "event: chunk\r\ndata: größer 日本\r\n\r\n"
    "data:two\ndata: lines\nid: 7\n\n"
    "retry: 100\n\ndata:\n\n"
    "data\rdata:  spaces \r\r"
    "data: [DONE]\n\n"
).encode()
EVENTS = ["größer 日本", "two\nlines", "\n spaces ", "[DONE]"]


def read(pieces: list[bytes]) -> list[str]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.push(piece)] + reader.finish()


def test_events_are_read_whole() -> None:
    assert read([STREAM]) == EVENTS


def test_events_are_read_byte_by_byte() -> None:
    assert read([STREAM[at : at + 1] for at in range(len(STREAM))]) == EVENTS


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_wherever_they_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[start:end] for start, end in pairwise(edges)]) == EVENTS


def test_a_last_event_without_its_empty_line_counts() -> None:
    assert read([b"data: [DONE]"]) == ["[DONE]"]
    assert read([b"data: [DONE]\r"]) == ["[DONE]"]
    assert read([b""]) == []


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 65_536, b"data: " + b"x" * 65_536 + b"\n"])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    reader = EventReader()

    def read_on() -> None:
        for _ in range(EVENT_LIMIT_BYTES // len(piece) + 2):
            reader.push(piece)

    with pytest.raises(EngineError, match="bytes"):
        read_on()


@given(st.binary(max_size=200))
def test_no_bytes_break_it(bytes_: bytes) -> None:
    read([bytes_])
