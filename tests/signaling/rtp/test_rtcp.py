"""Reports: what two ends tell each other, what comes of it, and whatever else comes on that port."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket
from hypothesis import given
from hypothesis import strategies as st

from signaling.rtp.rtcp import INTERVAL_S, Arrivals, Reports, Sent

RATE_HZ = 8_000
WALL_S = 1_790_000_000.0


@dataclass
class Packet:
    sequence_number: int
    timestamp: int
    ssrc: int = 9
    payload: bytes = b""


def arrivals(*indices: int, first: int = 65_530, late_s: float = 0.0) -> Arrivals:
    """Packets every 20 ms, each second one late by so much."""
    noted = Arrivals(9, RATE_HZ)
    for index in indices:
        at_s = 0.02 * index + late_s * (index % 2)
        noted.note(Packet((first + index) & 0xFFFF, (index * 160 + 2**32 - 320) & 0xFFFFFFFF), at_s)
    return noted


def test_nothing_lost_and_no_jitter() -> None:
    noted = arrivals(*range(100))
    block = noted.block(None)
    assert (block.fraction_lost, block.packets_lost, block.jitter) == (0, 0, 0)
    assert block.highest_sequence == 65_530 + 99
    assert noted.lost == 0


def test_losses_are_told_in_all_and_since_the_last_report() -> None:
    noted = arrivals(*(index for index in range(100) if index % 4))
    block = noted.block(None)
    assert block.packets_lost == noted.lost == 24
    assert block.fraction_lost == pytest.approx(256 * 24 / 99, abs=1)
    assert noted.block(None).fraction_lost == 0


def test_jitter_is_how_much_travelling_times_differ() -> None:
    assert arrivals(*range(400), late_s=0.01).jitter_s == pytest.approx(0.01, rel=0.05)


def test_what_is_overtaken_or_comes_twice_is_not_lost() -> None:
    assert arrivals(0, 2, 1, 3, 5, 4, 6).lost == 0
    twice = arrivals(0, 1, 1, 2)
    assert twice.lost == -1
    assert twice.block(None).fraction_lost == 0


def test_numbers_that_begin_anew_are_no_loss() -> None:
    noted = arrivals(*range(10))
    noted.note(Packet(30_000, 0), 1.0)
    assert noted.lost == 0


def test_two_ends_learn_losses_and_the_round_trip() -> None:
    """40 ms there, 60 ms back, and half a second in between."""
    left, right = Reports("left"), Reports("right")
    sent_left = Sent(1, RATE_HZ, packets=50, octets=8000, timestamp=8000, at_s=1.0)
    sent_right = Sent(2, RATE_HZ)
    heard = Arrivals(1, RATE_HZ)
    for number in [*range(20), *range(40, 60)]:
        heard.note(Packet(number, number * 160, ssrc=1), number * 0.02)
    right.take(left.report(sent_left, None, 1.0, WALL_S), sent_right, 1.04, WALL_S + 100)
    report = right.report(sent_right, heard, 1.54, WALL_S + 100.5)
    left.take(report, sent_left, 1.6, WALL_S + 0.6)
    assert left.round_trip_s == pytest.approx(0.1, abs=0.001)
    assert left.remote is not None
    assert left.remote.fraction_lost == pytest.approx(1 / 3, abs=0.01)
    # Nobody spoke of what the other one sent.
    assert right.round_trip_s is None


def test_a_report_says_what_was_sent_and_who_says_so() -> None:
    reports = Reports("somebody")
    sent = Sent(7, RATE_HZ, packets=50, octets=8000, timestamp=2**32 - 80, at_s=1.0)
    first, name, bye = RtcpPacket.parse(reports.farewell(sent, arrivals(0, 1), 1.02, WALL_S))
    assert isinstance(first, RtcpSrPacket)
    assert (first.ssrc, first.sender_info.packet_count, first.sender_info.octet_count) == (7, 50, 8000)
    # The timestamp is that of the report's time.
    assert first.sender_info.rtp_timestamp == 80
    assert first.sender_info.ntp_timestamp >> 32 == int(WALL_S) + 2_208_988_800
    assert [block.ssrc for block in first.reports] == [9]
    assert isinstance(name, RtcpSdesPacket)
    assert name.chunks[0].items == [(1, b"somebody")]
    assert isinstance(bye, RtcpByePacket)
    assert bye.sources == [7]
    # Who sent nothing reports as a receiver.
    assert isinstance(RtcpPacket.parse(reports.report(Sent(7, RATE_HZ), None, 1.0, WALL_S))[0], RtcpRrPacket)


def test_reports_are_due_about_every_five_seconds() -> None:
    reports = Reports("x")
    times = [step / 50 for step in range(50 * 600) if reports.due(step / 50)]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) >= INTERVAL_S / 2 - 0.02
    assert max(gaps) <= INTERVAL_S * 1.5 + 0.02
    assert sum(gaps) / len(gaps) == pytest.approx(INTERVAL_S, rel=0.15)


@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 2**32 - 1), st.floats(0, 1e6)), max_size=50))
def test_whatever_numbers_come_a_report_can_be_written(packets: list[tuple[int, int, float]]) -> None:
    noted = Arrivals(9, RATE_HZ)
    for sequence_number, timestamp, at_s in packets:
        noted.note(Packet(sequence_number, timestamp), at_s)
    sent = Sent(7, RATE_HZ, packets=2**33, octets=2**40, timestamp=5, at_s=-1e6)
    RtcpPacket.parse(Reports("x").report(sent, noted, 1e6, WALL_S))


SOME = Reports("somebody").farewell(Sent(7, RATE_HZ, packets=1, octets=2), arrivals(0, 1, 3), 1.0, WALL_S)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.integers(0, len(SOME) - 1), st.binary(min_size=1, max_size=8)).map(
            lambda change: SOME[: change[0]] + change[1] + SOME[change[0] + len(change[1]) :]
        ),
        st.integers(0, len(SOME)).map(lambda size: SOME[:size]),
    )
)
def test_any_bytes_are_a_report_or_none(datagram: bytes) -> None:
    Reports("x").take(datagram, Sent(9, RATE_HZ), 1.0, WALL_S)
