"""Encrypted media whose keys came in the SDP: SRTP (RFC 3711) by SDES (RFC 4568)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

from signaling.rtp.sdp import SRTP_KEY_BYTES, SRTP_SUITES, Crypto, SrtpSuite

LARGEST_DATAGRAM_BYTES: Final = 1_500
"""What libsrtp's Python binding takes at most."""

_PROFILES: Final[Mapping[SrtpSuite, int]] = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}


def new_keys() -> dict[SrtpSuite, bytes]:
    """One call's own keys, one for each suite: a key is never used with two."""
    return {suite: secrets.token_bytes(SRTP_KEY_BYTES) for suite in SRTP_SUITES}


class SrtpStreams:
    """Both directions of one call.

    Where the far side changes its key, its packets are taken under the old one until the first under the new
    one comes: some are on their way. A key that stays keeps its state, or the far side's rollover counter and
    the protection against replays would begin anew.
    """

    def __init__(self, protect: Crypto, unprotect: Crypto) -> None:
        self._ours, self._theirs = protect, unprotect
        self._out = _session(protect, Policy.SSRC_ANY_OUTBOUND)
        self._in = _session(unprotect, Policy.SSRC_ANY_INBOUND)
        self._before: Session | None = None

    def renew(self, protect: Crypto, unprotect: Crypto) -> None:
        """Other keys, or the same, were agreed on."""
        if _differ(protect, self._ours):
            self._ours = protect
            self._out = _session(protect, Policy.SSRC_ANY_OUTBOUND)
        if _differ(unprotect, self._theirs):
            self._theirs = unprotect
            self._before = self._in
            self._in = _session(unprotect, Policy.SSRC_ANY_INBOUND)

    def protect(self, packet: bytes) -> bytes:
        """RTP, encrypted."""
        return self._out.protect(packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """RTCP, encrypted."""
        return self._out.protect_rtcp(packet)

    def unprotect(self, datagram: bytes) -> bytes | None:
        """The RTP packet in it; None where it is not the far side's, or came before."""
        if len(datagram) > LARGEST_DATAGRAM_BYTES:
            return None
        try:
            packet = self._in.unprotect(datagram)
        except SrtpError:
            return self._unprotect_as_before(datagram)
        self._before = None
        return packet

    def unprotect_rtcp(self, datagram: bytes) -> bytes | None:
        """The RTCP packets in it, likewise."""
        if len(datagram) > LARGEST_DATAGRAM_BYTES:
            return None
        try:
            return self._in.unprotect_rtcp(datagram)
        except SrtpError:
            return None

    def _unprotect_as_before(self, datagram: bytes) -> bytes | None:
        if self._before is None:
            return None
        try:
            return self._before.unprotect(datagram)
        except SrtpError:
            return None


def _differ(one: Crypto, other: Crypto) -> bool:
    return (one.suite, one.key) != (other.suite, other.key)


def _session(crypto: Crypto, ssrc_type: int) -> Session:
    return Session(Policy(key=crypto.key, ssrc_type=ssrc_type, srtp_profile=_PROFILES[crypto.suite]))
