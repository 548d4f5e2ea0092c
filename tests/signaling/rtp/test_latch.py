"""Whose packets are taken, and where ours go: a NAT is followed, an attacker is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from signaling.rtp.latch import LOST_AFTER_S, PROBATION_PACKETS, Latch, follows
from signaling.rtp.socket import Address

SAID: Address = ("192.168.1.5", 4000)
NAT: Address = ("198.51.100.7", 61_000)
ATTACKER: Address = ("203.0.113.66", 9)


@dataclass
class Packet:
    sequence_number: int
    ssrc: int = 1
    timestamp: int = 0
    payload: bytes = b""


class Line:
    """Packets every 20 ms, from wherever."""

    def __init__(self, latch: Latch) -> None:
        self.latch = latch
        self.now_s = 0.0

    def send(self, source: Address, *numbers: int, ssrc: int = 1, authentic: bool = False) -> list[bool]:
        admitted = []
        for number in numbers:
            self.now_s += 0.02
            admitted.append(self.latch.admits(source, Packet(number & 0xFFFF, ssrc), self.now_s, authentic))
        return admitted


def test_what_comes_from_where_the_sdp_says_is_trusted_at_once() -> None:
    line = Line(Latch(SAID, follows=True))
    assert line.latch.destination == SAID
    assert line.send(SAID, 1) == [True]
    assert line.latch.destination == SAID
    assert not any(line.send(ATTACKER, *range(100, 200)))
    assert line.latch.destination == SAID


def test_a_nat_is_followed_after_a_few_packets_in_order() -> None:
    line = Line(Latch(SAID, follows=True))
    admitted = line.send(NAT, 65_533, 65_534, 65_535, 65_536, 65_537)
    assert admitted == [False] * (PROBATION_PACKETS - 1) + [True, True]
    assert line.latch.destination == NAT


@pytest.mark.parametrize("follows", [True, False])
def test_where_the_source_is_not_followed_it_is_heard_all_the_same(follows: bool) -> None:
    line = Line(Latch(SAID, follows=follows))
    assert line.send(NAT, *range(10))[-1]
    assert line.latch.destination == (NAT if follows else SAID)


def test_single_packets_of_many_sources_are_trusted_never() -> None:
    line = Line(Latch(SAID, follows=True))
    for number in range(200):
        assert not any(line.send(("203.0.113.1", 1000 + number), number))
        # Nor are guesses that do not follow on one another.
        assert not any(line.send(ATTACKER, number * 7))
    assert line.latch.destination == SAID


def test_the_true_source_replaces_one_that_was_only_guessed() -> None:
    line = Line(Latch(SAID, follows=True))
    line.send(ATTACKER, *range(10), ssrc=66)
    assert line.latch.destination == ATTACKER
    assert line.send(SAID, 1) == [True]
    assert line.latch.destination == SAID
    assert not any(line.send(ATTACKER, *range(10, 30), ssrc=66))


def test_where_the_signalling_comes_from_replaces_one_that_is_elsewhere() -> None:
    line = Line(Latch(SAID, follows=True, far_side=NAT[0]))
    assert line.send(ATTACKER, *range(10), ssrc=66)[-1]
    # Neither that it goes on, nor that it is first again, keeps the telephone out.
    for number in range(PROBATION_PACKETS):
        line.send(ATTACKER, number + 10, ssrc=66)
        line.send(NAT, number, ssrc=1)
    assert line.latch.destination == NAT
    assert not any(line.send(ATTACKER, *range(20, 40), ssrc=66))
    # Nor does another one of that machine's ports.
    assert not any(line.send((NAT[0], 9), *range(20), ssrc=67))
    assert line.latch.destination == NAT


def test_a_stranger_does_not_interrupt_the_probation_of_where_the_signalling_comes_from() -> None:
    line = Line(Latch(SAID, follows=True, far_side=NAT[0]))
    for number in range(PROBATION_PACKETS):
        line.send(NAT, number, ssrc=1)
        line.send(ATTACKER, number, ssrc=66)
    assert line.latch.destination == NAT


def test_what_the_sdp_says_counts_for_more_than_where_the_signalling_comes_from() -> None:
    line = Line(Latch(SAID, follows=True, far_side=NAT[0]))
    assert line.send(SAID, 1) == [True]
    assert not any(line.send(NAT, *range(10), ssrc=2))
    assert line.latch.destination == SAID


def test_nobody_takes_over_a_source_that_is_trusted_and_speaks() -> None:
    line = Line(Latch(SAID, follows=True))
    line.send(NAT, *range(10))
    for number in range(10, 500):
        assert line.send(NAT, number) == [True]
        # Not even with the stream's own numbers.
        assert line.send(ATTACKER, number + 1) == [False]
    assert line.latch.destination == NAT


def test_a_nat_that_gives_another_port_is_followed_once_the_old_one_is_silent() -> None:
    moved = (NAT[0], 61_777)
    line = Line(Latch(SAID, follows=True))
    line.send(NAT, *range(10))
    assert not any(line.send(moved, *range(10, 60)))
    line.now_s += LOST_AFTER_S
    # Another stream is no move; nor are numbers that are far off.
    assert not any(line.send(ATTACKER, *range(60, 80), ssrc=2))
    assert not any(line.send(ATTACKER, *range(30_000, 30_020)))
    assert line.send(moved, *range(80, 84))[-1]
    assert line.latch.destination == moved


def test_authentic_packets_are_trusted_wherever_they_come_from() -> None:
    line = Line(Latch(SAID, follows=True))
    assert line.send(NAT, 1, authentic=True) == [True]
    assert line.send(("198.51.100.8", 1), 2, authentic=True) == [True]
    assert line.latch.destination == ("198.51.100.8", 1)


def test_without_an_address_nothing_can_be_sent_until_somebody_spoke() -> None:
    line = Line(Latch(None, follows=True))
    assert line.latch.destination is None
    line.send(NAT, *range(5))
    assert line.latch.destination == NAT


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("192.168.1.5", True),
        ("10.0.0.1", True),
        ("100.64.3.4", True),
        ("127.0.0.1", True),
        ("fd00::1", True),
        ("", True),
        ("8.8.8.8", False),
        ("2606:4700::1", False),
    ],
)
def test_private_addresses_are_those_that_nobody_reaches_from_elsewhere(address: str, private: bool) -> None:
    assert follows(address, "private") is private
    assert follows(address, "always")
    assert not follows(address, "never")
