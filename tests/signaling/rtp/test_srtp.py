"""Encrypted media: against libsrtp, replays, forgeries, and keys that change within a call."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from signaling.rtp.sdp import SRTP_SUITES, Crypto, SrtpSuite
from signaling.rtp.srtp import SrtpStreams, new_keys

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
TAG_BYTES = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}
SUITE = SRTP_SUITES[0]
REPORT = struct.pack("!BBHLL", 0x81, 200, 2, 7, 9)


def packet(number: int, payload: bytes = b"sound") -> bytes:
    return struct.pack("!BBHLL", 0x80, 0, number, number * 160, 7) + payload


def crypto(key: int, suite: SrtpSuite = SUITE) -> Crypto:
    return Crypto(1, suite, bytes([key]) * 30)


def joined(ours: int = 1, theirs: int = 2, suite: SrtpSuite = SUITE) -> tuple[SrtpStreams, SrtpStreams]:
    return (
        SrtpStreams(crypto(ours, suite), crypto(theirs, suite)),
        SrtpStreams(crypto(theirs, suite), crypto(ours, suite)),
    )


def test_each_call_has_keys_of_its_own() -> None:
    one, other = new_keys(), new_keys()
    assert len({*one.values(), *other.values()}) == 4
    assert all(len(key) == 30 for key in one.values())


@pytest.mark.parametrize("suite", SRTP_SUITES)
def test_libsrtp_reads_what_is_written_and_is_read(suite: SrtpSuite) -> None:
    ours, _ = joined(suite=suite)
    profile = PROFILES[suite]
    out = Session(Policy(key=bytes([2]) * 30, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
    into = Session(Policy(key=bytes([1]) * 30, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))
    written = ours.protect(packet(1))
    assert len(written) == len(packet(1)) + TAG_BYTES[suite]
    assert b"sound" not in written
    assert into.unprotect(written) == packet(1)
    assert ours.unprotect(out.protect(packet(1))) == packet(1)
    assert into.unprotect_rtcp(ours.protect_rtcp(REPORT)) == REPORT
    assert ours.unprotect_rtcp(out.protect_rtcp(REPORT)) == REPORT


def test_what_comes_twice_or_was_changed_is_dropped() -> None:
    ours, theirs = joined()
    written = theirs.protect(packet(1))
    changed = bytes([*written[:14], written[14] ^ 1, *written[15:]])
    assert ours.unprotect(changed) is None
    assert ours.unprotect(written) == packet(1)
    assert ours.unprotect(written) is None
    assert ours.unprotect(packet(2)) is None
    assert ours.unprotect_rtcp(REPORT) is None
    assert ours.unprotect(b"\x80" * 3000) is None
    assert ours.unprotect_rtcp(b"\x80" * 3000) is None


def test_a_key_that_stays_keeps_its_state() -> None:
    ours, theirs = joined()
    # Over the wrap of the sequence numbers, which each side counts.
    for number in range(65_500, 65_600):
        assert ours.unprotect(theirs.protect(packet(number & 0xFFFF))) is not None
    ours.renew(crypto(1), crypto(2))
    assert ours.unprotect(theirs.protect(packet(65_600 & 0xFFFF))) is not None


def test_a_new_key_is_taken_while_packets_under_the_old_one_are_on_their_way() -> None:
    ours, theirs = joined()
    assert ours.unprotect(theirs.protect(packet(1))) is not None
    on_its_way = theirs.protect(packet(2))
    later = theirs.protect(packet(3))
    ours.renew(crypto(1), crypto(5))
    theirs.renew(crypto(5), crypto(1))
    assert ours.unprotect(on_its_way) == packet(2)
    assert ours.unprotect(theirs.protect(packet(4))) == packet(4)
    # From then on the old key is worth nothing.
    assert ours.unprotect(later) is None
    assert theirs.unprotect(ours.protect(packet(1))) == packet(1)


def test_our_own_key_changes_with_the_suite() -> None:
    ours, theirs = joined()
    other = SRTP_SUITES[1]
    ours.renew(crypto(7, other), crypto(8, other))
    theirs.renew(crypto(8, other), crypto(7, other))
    assert theirs.unprotect(ours.protect(packet(1))) == packet(1)


@given(st.binary(max_size=1600))
def test_any_bytes_are_no_packet_of_the_far_side(datagram: bytes) -> None:
    ours, _ = joined()
    assert ours.unprotect(datagram) is None
    assert ours.unprotect_rtcp(datagram) is None
