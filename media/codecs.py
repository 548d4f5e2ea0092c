"""What codecs of a voice over RTP are to those who use them: packets that become sound, and sound packets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Samples16 = npt.NDArray[np.int16]

CodecName = Literal["opus", "g722", "pcmu", "pcma"]


class PacketError(ValueError):
    """A decoder cannot take this packet."""


class VoiceDecoder(Protocol):
    """One stream's decoder, mono int16 at the rate it was made for. Samples are counted at that rate."""

    def decode(self, payload: bytes) -> Samples16:
        """A packet's sound.

        Raises:
            PacketError: it is no packet of this codec.
        """

    def recover(self, payload: bytes, samples: int) -> Samples16:
        """The sound of the packet before this one, from the copy that this one may carry; else concealed.

        `samples` is what is missing: a multiple of 2.5 ms.

        Raises:
            PacketError: it is no packet of this codec.
        """

    def conceal(self, samples: int) -> Samples16:
        """What may have been said where a packet is missing, and fades. A multiple of 2.5 ms."""

    def silence(self, samples: int) -> Samples16:
        """A pause, in which nothing was sent."""

    def reset(self) -> None:
        """Another stream begins."""


class VoiceEncoder(Protocol):
    """One stream's encoder."""

    def encode(self, samples: Samples16) -> bytes:
        """One frame's payload."""


@dataclass(frozen=True, slots=True)
class PacketFormat:
    """How a stream's packets are read.

    Attributes:
        clock_rate_hz: of the RTP timestamps.
        packet_samples: how much sound a payload holds, at that rate; 0 where it holds none.
        decoder: makes one whose sound has the given rate.
    """

    clock_rate_hz: int
    packet_samples: Callable[[bytes], int]
    decoder: Callable[[int], VoiceDecoder]


G722_CLOCK_RATE_HZ: Final = 8_000
"""Half of what it samples at: an error of RFC 1890 that stays (RFC 3551, section 4.5.2)."""
