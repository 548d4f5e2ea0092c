"""Order, gaps, pauses and new beginnings of a stream of packets: pure, with stated times of arrival."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.reception import (
    LONGEST_CONCEALMENT_MS,
    LONGEST_SILENCE_S,
    LONGEST_WAIT_S,
    SHORTEST_WAIT_S,
    Action,
    Conceal,
    Decode,
    Reception,
    Recover,
    Restart,
    Silence,
)

FRAME = 960
TOC = 0b01001_0_00
"""SILK, 20 ms, one frame."""


@dataclass
class Packet:
    sequence_number: int
    timestamp: int
    payload: bytes
    ssrc: int = 1


def packet(index: int, *, sequence: int = 0, timestamp: int = 0, ssrc: int = 1) -> Packet:
    """The packet of that index of a stream that began with these numbers. Its payload tells its index."""
    return Packet(
        (sequence + index) % (1 << 16),
        (timestamp + index * FRAME) % (1 << 32),
        bytes([TOC, index % 256, index // 256]),
        ssrc,
    )


def index_of(payload: bytes) -> int:
    return payload[1] + 256 * payload[2]


def told(actions: Iterable[Action]) -> list[str]:
    """Actions in short: decoded packets by index, made-up sound in frames."""
    words = []
    for action in actions:
        match action:
            case Decode():
                words.append(str(index_of(action.payload)))
            case Recover():
                words.append(f"from {index_of(action.payload)}: {action.samples / FRAME:g}")
            case Conceal():
                words.append(f"conceal {action.samples / FRAME:g}")
            case Silence():
                words.append(f"silence {action.samples / FRAME:g}")
            case Restart():
                words.append("restart")
    return words


def samples(actions: Iterable[Action]) -> int:
    """How much sound comes of it, at 48 kHz."""
    return sum(FRAME if isinstance(a, Decode) else getattr(a, "samples", 0) for a in actions)


def play(
    arrivals: Iterable[tuple[float, Packet]], reception: Reception | None = None
) -> list[tuple[float, str]]:
    """Everything that is done, and when, with the timer that a shell would set."""
    reception = reception or Reception()
    done: list[tuple[float, str]] = []

    def note(at_s: float, actions: list[Action]) -> None:
        done.extend((round(at_s, 6), word) for word in told(actions))

    for at_s, arrived in arrivals:
        while (due_s := reception.due_s) is not None and due_s < at_s:
            note(due_s, reception.poll(due_s))
        note(at_s, reception.push(arrived, at_s))
    while (due_s := reception.due_s) is not None:
        note(due_s, reception.poll(due_s))
    return done


def on_time(*indices: int, **numbers: int) -> list[tuple[float, Packet]]:
    return [(0.02 * index, packet(index, **numbers)) for index in indices]


def test_what_is_in_order_is_played_at_once() -> None:
    assert play(on_time(*range(5))) == [(0.02 * index, str(index)) for index in range(5)]


def test_numbers_wrap() -> None:
    stream = on_time(*range(6), sequence=65_533, timestamp=(1 << 32) - 2 * FRAME)
    assert [word for _, word in play(stream)] == [str(index) for index in range(6)]
    lossy = [arrival for index, arrival in enumerate(stream) if index != 3]
    assert [word for _, word in play(lossy)] == ["0", "1", "2", "from 4: 1", "4", "5"]


def test_a_lost_packet_is_waited_for_as_briefly_as_reordering_takes_and_then_recovered() -> None:
    done = play(on_time(0, 1, 3, 4, 5))
    assert [word for _, word in done] == ["0", "1", "from 3: 1", "3", "4", "5"]
    # Packet 3 waits for 20 ms; packet 4 comes then, and 5 finds no delay left.
    assert [at_s for at_s, _ in done] == pytest.approx([0, 0.02, 0.08, 0.08, 0.08, 0.1])


def test_a_packet_that_was_overtaken_is_waited_for() -> None:
    done = play([(0.0, packet(0)), (0.02, packet(2)), (0.03, packet(1)), (0.06, packet(3))])
    assert done == [(0.0, "0"), (0.03, "1"), (0.03, "2"), (0.06, "3")]


def test_several_losses_are_concealed_but_the_last_which_is_recovered() -> None:
    assert [word for _, word in play(on_time(0, 1, 4))] == ["0", "1", "conceal 1", "from 4: 1", "4"]


def test_a_long_outage_leaves_no_delay_and_keeps_the_time() -> None:
    reception = Reception()
    indices = [*range(10), *range(25, 40)]
    done = play(on_time(*indices), reception)
    words = [word for _, word in done]
    filling = [f"conceal {LONGEST_CONCEALMENT_MS / 20:g}", "silence 10", "from 25: 1"]
    assert words == [*map(str, range(10)), *filling, *map(str, range(25, 40))]
    # From the second packet after it on, each is played as it comes.
    assert done[-13:] == [(round(0.02 * index, 6), str(index)) for index in range(27, 40)]
    assert reception.counts.lost == 15


def test_two_gaps_are_waited_on_one_by_one() -> None:
    done = play(on_time(0, 2, 4, 5, 6))
    assert [word for _, word in done] == ["0", "from 2: 1", "2", "from 4: 1", "4", "5", "6"]
    assert {word: at_s for at_s, word in done}["6"] == pytest.approx(0.12)


def test_a_pause_of_the_sender_is_silence_and_no_loss() -> None:
    reception = Reception()
    pausing = [(0.0, packet(0)), (0.5, Packet(1, 25 * FRAME, packet(1).payload))]
    assert [word for _, word in play(pausing, reception)] == ["0", "silence 24", "1"]
    assert reception.counts.lost == 0


def test_a_loss_next_to_a_pause_conceals_only_what_was_lost() -> None:
    """Packet 1 is lost; then the sender pauses for nine frames."""
    done = play([(0.0, packet(0)), (0.22, Packet(2, 11 * FRAME, packet(2).payload))])
    assert [word for _, word in done] == ["0", "silence 9", "from 2: 1", "2"]


def test_a_pause_for_minutes_is_not_made_up_for() -> None:
    resumed = Packet(1, 48_000 * 120, packet(1).payload)
    (silence,) = [word for _, word in play([(0.0, packet(0)), (120.0, resumed)]) if "silence" in word]
    assert silence == f"silence {LONGEST_SILENCE_S / 0.02:g}"


def test_timestamps_that_go_back_or_are_inexact_leave_no_gap() -> None:
    jittery = [Packet(index, index * FRAME + (index * 37) % 80, packet(index).payload) for index in range(8)]
    assert [word for _, word in play((0.02 * i, p) for i, p in enumerate(jittery))] == [*map(str, range(8))]
    back = [
        (0.0, packet(10)),
        (0.02, Packet(11, 5, packet(11).payload)),
        (0.04, Packet(12, 965, packet(12).payload)),
    ]
    assert [word for _, word in play(back)] == ["10", "11", "12"]


def test_what_comes_late_is_dropped_and_what_comes_twice_too() -> None:
    reception = Reception()
    arrivals = [*on_time(0, 1, 3, 4, 5), (0.11, packet(2)), (0.111, packet(4)), (0.12, packet(6))]
    assert [word for _, word in play(arrivals, reception)][-2:] == ["5", "6"]
    counts = reception.counts
    assert (counts.lost, counts.late, counts.duplicate, counts.played) == (1, 1, 1, 6)


def test_a_duplicate_while_a_gap_is_waited_on() -> None:
    reception = Reception()
    done = play([(0, packet(0)), (0.02, packet(2)), (0.021, packet(2)), (0.03, packet(1))], reception)
    assert [word for _, word in done] == ["0", "1", "2"]
    assert reception.counts.duplicate == 1


def test_the_wait_adapts_to_how_far_packets_overtake_each_other() -> None:
    reception = Reception()
    # Each tenth packet comes 45 ms after the next one: given up the first time, waited for from then on.
    arrivals = []
    for index in range(60):
        delay_s = 0.065 if index % 10 == 5 else 0.0
        arrivals.append((0.02 * index + delay_s, packet(index)))
    play(sorted(arrivals, key=lambda arrival: arrival[0]), reception)
    assert reception.counts.lost == 1
    assert 0.045 < reception.wait_s <= LONGEST_WAIT_S
    play(on_time(*range(60, 4000)), reception)
    assert reception.wait_s == pytest.approx(SHORTEST_WAIT_S, abs=0.001)


def test_a_packet_that_is_very_late_teaches_nothing() -> None:
    reception = Reception()
    play([*on_time(0, 2, 3, 4), (0.5, packet(1))], reception)
    assert reception.wait_s == pytest.approx(SHORTEST_WAIT_S)


def test_another_source_begins_anew() -> None:
    other = packet(0, sequence=40_000, timestamp=123, ssrc=2)
    reception = Reception()
    done = play(
        [*on_time(0, 1), (0.04, other), (0.06, packet(1, sequence=40_000, timestamp=123, ssrc=2))], reception
    )
    assert [word for _, word in done] == ["0", "1", "restart", "0", "1"]
    assert reception.counts.restarts == 1


def test_a_leap_of_the_numbers_begins_anew_only_if_the_next_packet_confirms_it() -> None:
    stray = packet(500, sequence=30_000)
    assert [word for _, word in play([*on_time(0, 1), (0.03, stray), *on_time(2, 3)])] == ["0", "1", "2", "3"]
    again = [(0.04 + 0.02 * n, packet(n, sequence=30_000, timestamp=77)) for n in range(3)]
    assert [word for _, word in play([*on_time(0, 1), *again])] == ["0", "1", "restart", "0", "1", "2"]


def test_padding_has_a_number_but_no_time() -> None:
    padding = Packet(1, 0, b"")
    after = Packet(2, FRAME, packet(2).payload)
    assert [word for _, word in play([(0.0, packet(0)), (0.01, padding), (0.02, after)])] == ["0", "2"]


@given(
    lost=st.sets(st.integers(1, 58), max_size=30),
    delays_ms=st.lists(st.integers(0, 70), min_size=60, max_size=60),
    twice=st.sets(st.integers(0, 59), max_size=5),
)
def test_whatever_happens_the_time_is_kept_and_nothing_waits_long(
    lost: set[int], delays_ms: list[int], twice: set[int]
) -> None:
    arrivals = [(0.02 * index + delays_ms[index] / 1000, index) for index in range(60) if index not in lost]
    arrivals += [(at_s + 0.005, index) for at_s, index in arrivals if index in twice]
    # The last one comes after all others, so that nothing waits any more.
    arrivals = [*sorted(arrivals), (2.0, 60)]
    first = arrivals[0][1]
    reception = Reception()
    actions: list[Action] = []
    decoded: list[int] = []
    for at_s, index in arrivals:
        while (due_s := reception.due_s) is not None and due_s < at_s:
            assert due_s - at_s <= LONGEST_WAIT_S
            actions += reception.poll(due_s)
        actions += reception.push(packet(index), at_s)
    while (due_s := reception.due_s) is not None:
        assert due_s <= 2.0 + LONGEST_WAIT_S
        actions += reception.poll(due_s)
    decoded = [index_of(action.payload) for action in actions if isinstance(action, Decode)]
    assert decoded == sorted(set(decoded))
    assert samples(actions) == (61 - first) * FRAME
