"""Keys in RTP: each press is told once, whatever is lost, doubled or overtaken; and what is sent for one."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.rtp.dtmf import FORGOTTEN_AFTER_S, KEYS, PACKET_S, EventPacket, PressedKeys, press_packets

RATE_HZ = 8_000
Sent = tuple[float, int, bytes]
"""When, under which timestamp, what."""


def event(key: str, duration: int, *, end: bool = False) -> bytes:
    return struct.pack("!BBH", KEYS.index(key), 0x8A if end else 0x0A, duration)


def press(key: str, at_s: float = 0.0, *, packets: int = 6, tick: int = 160, ends: int = 3) -> list[Sent]:
    timestamp = round(at_s * RATE_HZ)
    growing = [(at_s + PACKET_S * n, timestamp, event(key, tick * (n + 1))) for n in range(packets)]
    end = event(key, tick * packets, end=True)
    return [*growing, *((at_s + PACKET_S * (packets + n), timestamp, end) for n in range(ends))]


def told(sent: Iterable[Sent], keys: PressedKeys | None = None) -> str:
    keys = keys or PressedKeys(RATE_HZ)
    return "".join(keys.push(payload, timestamp, at_s) or "" for at_s, timestamp, payload in sent)


@pytest.mark.parametrize("key", KEYS)
def test_a_press_is_told_once_and_with_its_first_packet(key: str) -> None:
    sent = press(key)
    assert told(sent) == told(sent[:1]) == key


def test_the_same_key_twice_is_two_presses() -> None:
    assert told([*press("5"), *press("5", 0.25)]) == "55"


def test_a_press_whose_packets_each_have_a_timestamp_of_their_own_is_one() -> None:
    """Some gateways do it, with the three ends, too."""
    sent = [
        (at_s, round(at_s * RATE_HZ), payload)
        for begun_s in (0.0, 0.3)
        for at_s, _, payload in press("5", begun_s)
    ]
    assert told(sent) == "55"


@given(lost=st.sets(st.integers(0, 8)))
def test_any_packet_of_a_press_will_do(lost: set[int]) -> None:
    kept = [one for at, one in enumerate(press("7")) if at not in lost]
    assert told(kept) == ("7" if kept else "")


def test_where_all_ends_are_lost_the_next_press_is_another() -> None:
    keys = PressedKeys(RATE_HZ)
    assert told(press("1", ends=0), keys) == "1"
    assert keys.pressed
    assert told(press("1", 0.2), keys) == "1"
    assert told(press("2", 1.0, ends=0), keys) == "2"
    # Even if it came under a timestamp that seems to go on with the old one.
    late_s = 1.1 + FORGOTTEN_AFTER_S + 0.01
    assert told([(late_s, round(1.0 * RATE_HZ) + 100, event("2", 160))], keys) == "2"


def test_packets_that_come_late_are_no_new_press() -> None:
    first, second = press("1"), press("2", 0.25)
    assert told([*first[:-1], *second[:3], first[-1], first[2], *second[3:]]) == "12"


def test_a_press_that_lasts_is_one_though_its_duration_does_not_fit() -> None:
    """RFC 4733, section 2.5.1.3: the sender goes on under another timestamp."""
    full = 0xFFFF
    sent = [(n * 0.02, 0, event("9", min(full, 160 * (n + 1)))) for n in range(410)]
    sent += [(8.2 + n * 0.02, full, event("9", 160 * (n + 1))) for n in range(10)]
    sent += [(8.4, full, event("9", 1600, end=True))]
    assert told(sent) == "9"


def test_a_sender_that_renews_the_timestamp_with_each_packet_presses_once() -> None:
    sent = [(n * 0.02, n * 160, event("3", 160 * (n + 1))) for n in range(6)]
    sent.append((0.12, 5 * 160, event("3", 960, end=True)))
    assert told([*sent, *press("3", 0.4)]) == "33"


@pytest.mark.parametrize("payload", [b"", b"\x05", b"\x05\x0a\x00", event("1", 0)[:3]])
def test_what_is_cut_short_is_no_press(payload: bytes) -> None:
    assert PressedKeys(RATE_HZ).push(payload, 0, 0.0) is None


def test_the_hook_and_tones_are_no_keys() -> None:
    for code in range(16, 256):
        assert PressedKeys(RATE_HZ).push(bytes([code, 10, 0, 160]), 0, 0.0) is None


@given(
    st.lists(
        st.tuples(st.binary(max_size=8), st.integers(0, 2**32 - 1), st.floats(0, 10, allow_nan=False)),
        max_size=40,
    )
)
def test_any_bytes_are_a_key_or_none(packets: list[tuple[bytes, int, float]]) -> None:
    keys = PressedKeys(RATE_HZ)
    for payload, timestamp, at_s in packets:
        assert (keys.push(payload, timestamp, at_s) or "0") in KEYS


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_what_is_sent_for_a_key(rate_hz: int) -> None:
    beats = list(press_packets("#", rate_hz))
    packets = [one for one in beats if one is not None]
    read = [struct.unpack("!BBH", one.payload) for one in packets]
    assert {code for code, _, _ in read} == {11}
    assert [one.first for one in packets] == [True, *[False] * (len(packets) - 1)]
    durations = [duration for _, _, duration in read]
    tick = rate_hz // 50
    assert durations == [tick, 2 * tick, 3 * tick, 4 * tick, 5 * tick, 6 * tick, 6 * tick, 6 * tick]
    assert [bool(flags & 0x80) for _, flags, _ in read] == [False] * 5 + [True] * 3
    # A pause follows, in which nothing is sent: 80 ms at least from a key's end to the next (Q.24: 70).
    assert beats[: len(packets)] == packets
    assert len(beats) * PACKET_S - 6 * PACKET_S >= 0.08


@given(st.text(KEYS, min_size=1, max_size=20))
def test_what_is_sent_is_what_is_heard(digits: str) -> None:
    keys = PressedKeys(RATE_HZ)
    heard, timestamp = "", 0
    for beat, packet in enumerate(press_packets(digits, RATE_HZ)):
        if isinstance(packet, EventPacket):
            timestamp = beat * 160 if packet.first else timestamp
            heard += keys.push(packet.payload, timestamp, beat * PACKET_S) or ""
    assert heard == digits
