"""Whose packets are a call's, and where its own go (symmetric RTP, RFC 4961). Pure.

Telephones behind a NAT name an address that nobody reaches; what they send comes from one that answers reach.
So media follows its source, but not any source, or whoever guesses a port takes over a call:

- What comes from where the SDP says is trusted at once, and replaces a source that was only guessed.
- Another source is trusted when several packets in a row came from it, of one stream and in order; where
  packets are authentic (SRTP), with the first.
- Once a source is trusted, all others are dropped; but one on the machine that the call's signalling comes
  from replaces one that is elsewhere, which may be anybody's who tried all ports. Only when the trusted one
  has fallen silent may another continue the very same stream: a NAT that gave the telephone another port.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from media.reception import Packet
from signaling.rtp.settings import LatchingUse
from signaling.rtp.socket import Address

PROBATION_PACKETS: Final = 4
"""RFC 3550, appendix A.1, asks for 2 to believe in a stream; they may come at once."""
LOST_AFTER_S: Final = 2.0
"""A trusted source that sent nothing for so long may have moved."""
_MOST_SKIPPED: Final = 3_000
"""Packets between the last from the old place and the first from the new one."""


@dataclass(slots=True)
class _Candidate:
    source: Address
    ssrc: int
    next_sequence: int
    packets: int
    last_s: float


class Latch:
    """One agreement's.

    Args:
        announced: where the SDP says that packets go to; None where it names no address.
        follows: whether packets are sent to a trusted source rather than there.
        far_side: the IP address that the signalling comes from; "" where nobody knows.
    """

    def __init__(self, announced: Address | None, follows: bool, far_side: str = "") -> None:
        self._announced = announced
        self._follows = follows
        self._far_side = far_side
        self._trusted: Address | None = None
        self._candidate: _Candidate | None = None
        self._ssrc = 0
        self._sequence = 0
        self._last_s = float("-inf")

    @property
    def announced(self) -> Address | None:
        """Where the SDP says that packets go to."""
        return self._announced

    @property
    def trusted(self) -> Address | None:
        """The source whose packets are taken; None so far."""
        return self._trusted

    @property
    def destination(self) -> Address | None:
        """Where packets are to be sent; None where nobody said yet."""
        return self._trusted if self._follows and self._trusted is not None else self._announced

    def admits(self, source: Address, packet: Packet, at_s: float, authentic: bool) -> bool:
        """Whether the packet is the call's. `authentic`: it was encrypted with the far side's key."""
        if source != self._trusted and not self._comes_to_be_trusted(source, packet, at_s, authentic):
            return False
        self._ssrc, self._sequence, self._last_s = packet.ssrc, packet.sequence_number, at_s
        return True

    def _comes_to_be_trusted(self, source: Address, packet: Packet, at_s: float, authentic: bool) -> bool:
        if authentic or source == self._announced:
            self._trust(source)
            return True
        trusted, near = self._trusted, source[0] == self._far_side
        replaces = near and trusted is not None and trusted[0] != source[0] and trusted != self._announced
        if trusted is not None and not replaces and not self._may_have_moved(packet, at_s):
            return False
        candidate = self._candidate
        if (
            candidate is not None
            and candidate.source[0] == self._far_side
            and not near
            and at_s - candidate.last_s < LOST_AFTER_S
        ):
            return False
        if (
            candidate is None
            or (candidate.source, candidate.ssrc) != (source, packet.ssrc)
            or candidate.next_sequence != packet.sequence_number
        ):
            candidate = self._candidate = _Candidate(source, packet.ssrc, 0, 0, at_s)
        candidate.next_sequence = (packet.sequence_number + 1) & 0xFFFF
        candidate.packets += 1
        candidate.last_s = at_s
        if candidate.packets < PROBATION_PACKETS:
            return False
        self._trust(source)
        return True

    def _may_have_moved(self, packet: Packet, at_s: float) -> bool:
        skipped = (packet.sequence_number - self._sequence) & 0xFFFF
        return at_s - self._last_s > LOST_AFTER_S and packet.ssrc == self._ssrc and skipped <= _MOST_SKIPPED

    def _trust(self, source: Address) -> None:
        self._trusted, self._candidate = source, None


def follows(address: str, latching: LatchingUse) -> bool:
    """Whether packets go to where the far side's come from.

    Args:
        address: that its SDP names: an IP address, or "" for none.
        latching: as configured.
    """
    if latching == "private":
        return not address or not ipaddress.ip_address(address).is_global
    return latching == "always"
