"""Windows cover the clause, once, and the sound never runs dry where it can be helped."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media.engines.window_plan import (
    LARGEST_FRAMES,
    LATE_FRAMES,
    SMALLEST_FRAMES,
    first_window,
    next_window,
    time_of,
)


def played(frames: int, cost: float, lead: float, trimmed: float = 0.0) -> tuple[list[int], float]:
    """The windows of a clause on a machine of this cost, and the longest silence between two of them."""
    sizes = [first_window(frames, cost, lead)]
    clock = time_of(sizes[0], cost)
    sounds_until = max(clock, lead) + sizes[0] - trimmed
    gap = 0.0
    while (left := frames - sum(sizes)) > 0:
        sizes.append(next_window(left, cost, sounds_until - clock))
        clock += time_of(sizes[-1], cost)
        gap = max(gap, clock - sounds_until)
        sounds_until = max(clock, sounds_until) + sizes[-1]
    return sizes, gap


@example(frames=121, cost=0.9921875, lead=0.0, trimmed=4.0)
@given(
    frames=st.integers(1, 600),
    cost=st.floats(0.05, 3.0),
    lead=st.floats(0, 300),
    trimmed=st.floats(0, 5),
)
def test_windows_cover_the_clause_without_a_gap(
    frames: int, cost: float, lead: float, trimmed: float
) -> None:
    sizes, gap = played(frames, cost, lead, trimmed)
    assert sum(sizes) == frames
    assert min(sizes) >= min(frames, SMALLEST_FRAMES // 2)
    # Slower than real time, the last windows can come a moment late; never by more than one of them takes.
    assert gap <= (1e-6 if cost < 1 else time_of(LATE_FRAMES, cost))


@pytest.mark.parametrize("cost", [0.2, 0.3, 0.5])
def test_a_quick_machine_is_heard_after_a_small_window(cost: float) -> None:
    first, *others = played(300, cost, 0)[0]
    assert first <= {0.2: 18, 0.3: 26, 0.5: 38}[cost]
    assert max(others) > 2 * first
    assert max(others) <= LARGEST_FRAMES + SMALLEST_FRAMES // 2


def test_a_slow_machine_makes_more_before_it_is_heard() -> None:
    sizes = [first_window(300, cost, 0) for cost in (0.3, 0.6, 0.9, 1.5)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 120


def test_sound_that_is_still_to_be_heard_buys_time() -> None:
    assert len(played(300, 0.6, 80)[0]) < len(played(300, 0.6, 0)[0])


@given(unheard=st.floats(0, 20), cost=st.floats(0.05, 0.4))
def test_a_late_window_of_a_quick_machine_is_small(unheard: float, cost: float) -> None:
    """The gap is as short as it can be: the sound that follows grows anyway."""
    size = next_window(200, cost, unheard)
    assert size == SMALLEST_FRAMES or time_of(size, cost) <= unheard
