"""Puts a stream's packets in order, and says what to do about those that do not come. No I/O, no clock.

A machine that listens needs order, not a playout delay (a player's jitter buffer trades delay for an even
flow, and nobody here minds an uneven one):

- A packet in order is played at once.
- A gap is waited on for as long as reordering explains it: 20 ms, or more where packets were seen to overtake
  each other by more, up to 60 ms. Then it is given up: the packet after it may carry a copy of the last one
  that is missing (in-band FEC), what is before that is concealed for a moment, and the rest is silence. The
  sound keeps to RTP's time, so that no delay stays.
- A leap of the timestamps between two packets in sequence is silence that was not sent (DTX): no loss.
- A packet that comes after it was given up is dropped, and counted.

The names are RFC 3550's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from media.codecs import PacketFormat
from media.opus import OPUS_PACKETS

SHORTEST_WAIT_S: Final = 0.02
LONGEST_WAIT_S: Final = 0.06
"""Between these a gap is waited on."""
LONGEST_CONCEALMENT_MS: Final = 80
"""What is made up beyond this is no speech any more."""
LONGEST_SILENCE_S: Final = 1
"""A pause that lasted longer (a call on hold) is not heard any longer than this."""
GAPS_PER_S: Final = 400
"""The smallest gap is 2.5 ms, Opus's shortest frame. Timestamps that are off by less are merely inexact."""
MAX_DROPOUT: Final = 3000
MAX_MISORDER: Final = 100
"""Packets. Sequence numbers that leap further begin a new sequence, if the next packet confirms it
(RFC 3550, appendix A.1)."""

_WAIT_MARGIN: Final = 1.25
_WAIT_DECAY: Final = 0.002
"""By how much of its excess over the shortest the wait shrinks with each packet: half in 7 s."""
_REMEMBERED_GAPS: Final = 64


class Packet(Protocol):
    """What is read of an RTP packet: aiortc's has it, and ours."""

    ssrc: int
    sequence_number: int
    timestamp: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode a packet."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Recover:
    """Take the packet before this one from the copy in it, or conceal it: so many samples."""

    payload: bytes
    samples: int


@dataclass(frozen=True, slots=True)
class Conceal:
    """Make up so many samples."""

    samples: int


@dataclass(frozen=True, slots=True)
class Silence:
    """So many samples in which nothing is heard."""

    samples: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Another stream begins: what the decoder remembers is void."""


Action: TypeAlias = Decode | Recover | Conceal | Silence | Restart


@dataclass(slots=True)
class ReceptionCounts:
    """What became of the packets.

    Attributes:
        played: in order, early or late enough.
        lost: given up.
        late: came after they were given up; they count as lost, too.
        duplicate: came twice.
        restarts: how often the sender began anew.
    """

    played: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    packet: Packet
    at_s: float


class Reception:
    """One source's packets.

    Give it every packet with its time of arrival, and carry out what it answers; when `due_s` has come,
    `poll` it. The times are of any one clock; samples are counted at the packets' clock rate.
    """

    def __init__(self, packets: PacketFormat = OPUS_PACKETS) -> None:
        self.counts = ReceptionCounts()
        self._samples_in = packets.packet_samples
        self._smallest_gap = packets.clock_rate_hz // GAPS_PER_S
        self._longest_silence = packets.clock_rate_hz * LONGEST_SILENCE_S
        self._longest_concealment = packets.clock_rate_hz * LONGEST_CONCEALMENT_MS // 1000
        self._ssrc: int | None = None
        self._next = 0
        """The sequence number that is next to play, without wrapping."""
        self._next_timestamp = 0
        """Where its sound should begin; 32 bits, which wrap."""
        self._duration = packets.clock_rate_hz // 50
        """Of the last packet played."""
        self._waiting: dict[int, _Waiting] = {}
        """Packets after a gap, by sequence number without wrapping."""
        self._given_up: dict[int, float] = {}
        """When the gaps were noticed that were given up of late, by sequence number."""
        self._wait_s = SHORTEST_WAIT_S
        self._leapt: Packet | None = None
        """A packet far out of sequence."""

    @property
    def due_s(self) -> float | None:
        """When the gap that is waited on will be given up; None without one."""
        if not self._waiting:
            return None
        return min(waiting.at_s for waiting in self._waiting.values()) + self._wait_s

    @property
    def wait_s(self) -> float:
        """How long a gap is waited on at present."""
        return self._wait_s

    def push(self, packet: Packet, at_s: float) -> list[Action]:
        """A packet has arrived: what is to be done now."""
        if packet.ssrc != self._ssrc:
            return self._begin(packet)
        sequence = self._next + _signed(packet.sequence_number - self._next, 16)
        ahead = sequence - self._next
        if not -MAX_MISORDER <= ahead <= MAX_DROPOUT:
            return self._leap(packet)
        self._leapt = None
        if ahead == 0:
            self._learn_from_filling(at_s)
            actions = self._play(packet)
            return actions + self._play_waiting() if self._waiting else actions
        if ahead < 0:
            self._learn_from_late(sequence, at_s)
            return []
        if sequence in self._waiting:
            self.counts.duplicate += 1
        else:
            self._waiting[sequence] = _Waiting(packet, at_s)
        return self.poll(at_s)

    def poll(self, at_s: float) -> list[Action]:
        """Time has passed: what is to be done now."""
        actions: list[Action] = []
        while (due_s := self.due_s) is not None and due_s <= at_s:
            actions += self._give_up()
            actions += self._play_waiting()
        return actions

    def _begin(self, packet: Packet) -> list[Action]:
        first = self._ssrc is None
        self._ssrc = packet.ssrc
        self._next, self._next_timestamp = packet.sequence_number, packet.timestamp
        self._waiting.clear()
        self._given_up.clear()
        self._leapt = None
        if first:
            return self._play(packet)
        self.counts.restarts += 1
        return [Restart(), *self._play(packet)]

    def _leap(self, packet: Packet) -> list[Action]:
        """A number far off: of a stray packet, or the first of a sequence that the next one confirms."""
        before, self._leapt = self._leapt, packet
        if before is None or (packet.sequence_number - before.sequence_number) & 0xFFFF != 1:
            return []
        return self._begin(before) + self._play(packet)

    def _play(self, packet: Packet) -> list[Action]:
        """The next packet in sequence, after the silence before it if the sender paused."""
        self._next += 1
        self.counts.played += 1
        self._wait_s -= (self._wait_s - SHORTEST_WAIT_S) * _WAIT_DECAY
        samples = self._samples_in(packet.payload)
        if not samples:
            # Padding: it has a number, but no place in time.
            return []
        actions: list[Action] = []
        gap = _signed(packet.timestamp - self._next_timestamp, 32)
        if gap >= self._smallest_gap:
            actions.append(Silence(min(gap, self._longest_silence)))
        actions.append(Decode(packet.payload))
        self._duration = samples
        self._next_timestamp = packet.timestamp + samples
        return actions

    def _play_waiting(self) -> list[Action]:
        actions: list[Action] = []
        while (waiting := self._waiting.pop(self._next, None)) is not None:
            actions += self._play(waiting.packet)
        return actions

    def _give_up(self) -> list[Action]:
        """Fills the gap before the first packet that waits: it is the next one then."""
        following = min(self._waiting)
        waiting = self._waiting[following]
        lost = following - self._next
        for sequence in range(max(self._next, following - _REMEMBERED_GAPS), following):
            self._given_up[sequence] = waiting.at_s
        while len(self._given_up) > _REMEMBERED_GAPS:
            del self._given_up[next(iter(self._given_up))]
        self.counts.lost += lost
        gap = _signed(waiting.packet.timestamp - self._next_timestamp, 32)
        self._next = following
        if gap < self._smallest_gap:
            return []
        self._next_timestamp = waiting.packet.timestamp
        return self._filling(min(gap, self._longest_silence), lost, waiting.packet.payload)

    def _filling(self, gap: int, lost: int, following: bytes) -> list[Action]:
        """What is heard in place of lost packets: `gap` samples, of which some may be the sender's pause."""
        missing = min(gap, lost * self._duration)
        recovered = min(missing, self._duration)
        recovered -= recovered % self._smallest_gap
        concealed = min(missing - recovered, self._longest_concealment)
        concealed -= concealed % self._smallest_gap
        silent = gap - recovered - concealed
        actions: list[Action] = []
        if concealed:
            actions.append(Conceal(concealed))
        if silent:
            actions.append(Silence(silent))
        if recovered:
            actions.append(Recover(following, recovered))
        return actions

    def _learn_from_filling(self, at_s: float) -> None:
        """A packet came that others had overtaken, in time."""
        if self._waiting:
            self._note_overtaking(at_s - min(waiting.at_s for waiting in self._waiting.values()))

    def _learn_from_late(self, sequence: int, at_s: float) -> None:
        noticed_s = self._given_up.pop(sequence, None)
        if noticed_s is None:
            self.counts.duplicate += 1
            return
        self.counts.late += 1
        self._note_overtaking(at_s - noticed_s)

    def _note_overtaking(self, by_s: float) -> None:
        """Waits longer from now on, where that would have helped."""
        if by_s <= LONGEST_WAIT_S:
            self._wait_s = min(LONGEST_WAIT_S, max(self._wait_s, by_s * _WAIT_MARGIN))


def _signed(difference: int, bits: int) -> int:
    """A difference of two numbers of so many bits, which wrap."""
    half = 1 << (bits - 1)
    return (difference + half) % (1 << bits) - half
