"""Frames leave on time: on an absolute schedule, without bursts, without drift."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from media.clock import loop_time_s
from media.pacing import LONGEST_CATCH_UP_S, SHORTEST_SPACING_S, Pacer
from tests import virtual_time

RATE_HZ = 48_000
FRAME = 960


def paced(main: Callable[[Pacer, asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await main(Pacer(FRAME, RATE_HZ), asyncio.get_running_loop())

    virtual_time.run(run())


def test_it_never_drifts_however_long_each_frame_takes() -> None:
    async def main(pacer: Pacer, loop: asyncio.AbstractEventLoop) -> None:
        for index in range(500):
            assert await pacer.next_position() == index * FRAME
            assert loop.time() == pytest.approx(0.02 * index, abs=1e-5)
            await asyncio.sleep(0.013)
        assert pacer.lateness_ms == {0: 500}

    paced(main)


def test_lateness_is_made_good_frame_by_frame_and_counted() -> None:
    async def main(pacer: Pacer, loop: asyncio.AbstractEventLoop) -> None:
        await pacer.next_position()
        await asyncio.sleep(0.07)
        times = []
        for _ in range(8):
            await pacer.next_position()
            times.append(loop.time())
        assert np.diff(times).min() == pytest.approx(SHORTEST_SPACING_S, abs=1e-5)
        assert times[-1] == pytest.approx(8 * 0.02, abs=1e-5)
        assert max(pacer.lateness_ms) == 50

    paced(main)


def test_a_stall_moves_the_schedule_on() -> None:
    async def main(pacer: Pacer, loop: asyncio.AbstractEventLoop) -> None:
        await pacer.next_position()
        await asyncio.sleep(1.0)
        assert await pacer.next_position() == RATE_HZ
        assert await pacer.next_position() == RATE_HZ + FRAME
        assert loop.time() == pytest.approx(1.02, abs=1e-5)
        (stall_ms,) = [late_ms for late_ms in pacer.lateness_ms if late_ms >= 1000 * LONGEST_CATCH_UP_S]
        assert stall_ms == pytest.approx(980, abs=1)

    paced(main)


def test_after_a_pause_the_next_frame_is_due_at_once_and_nothing_was_late() -> None:
    async def main(pacer: Pacer, loop: asyncio.AbstractEventLoop) -> None:
        await pacer.next_position()
        pacer.pause()
        await asyncio.sleep(3.007)
        assert await pacer.next_position() == round(3.007 * RATE_HZ)
        assert loop.time() == pytest.approx(3.007)
        await pacer.next_position()
        await pacer.next_position()
        assert loop.time() <= 3.047
        assert set(pacer.lateness_ms) == {0}

    paced(main)


def test_a_short_pause_does_not_bring_frames_closer_together() -> None:
    async def main(pacer: Pacer, loop: asyncio.AbstractEventLoop) -> None:
        await pacer.next_position()
        pacer.pause()
        await asyncio.sleep(0.004)
        assert await pacer.next_position() == FRAME
        assert loop.time() == pytest.approx(0.02)

    paced(main)


def test_all_voices_leave_on_one_beat_soon_after_they_began_and_never_late() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left_s: list[list[float]] = []

        async def voice(begins_s: float) -> None:
            await asyncio.sleep(begins_s)
            pacer, times = Pacer(FRAME, RATE_HZ), list[float]()
            left_s.append(times)
            for index in range(6):
                await pacer.next_position()
                times.append(loop.time())
                assert pacer.heard_from_s == pytest.approx(begins_s + 0.02 * index, abs=1e-4)
            assert pacer.lateness_ms == {0: 6}

        async with asyncio.TaskGroup() as tasks:
            for begins_s in (0.1, 0.101, 0.109, 0.1165, 0.1199):
                tasks.create_task(voice(begins_s))
        begun = [times[0] for times in left_s]
        assert begun == pytest.approx([0.1, 0.101, 0.109, 0.1165, 0.1199], abs=1e-4)
        assert all(np.diff(times).min() >= SHORTEST_SPACING_S - 1e-5 for times in left_s)
        for times in left_s:
            assert times[2] % 0.02 == pytest.approx(0, abs=1e-4) or times[2] % 0.02 == pytest.approx(
                0.02, abs=1e-4
            )
            assert np.diff(times[2:]) == pytest.approx(0.02, abs=1e-4)

    virtual_time.run(main())


def test_a_phase_puts_frames_beside_the_beat() -> None:
    async def leave(phase_s: float) -> list[float]:
        pacer = Pacer(960, 48_000)
        pacer.phase_s = phase_s
        await asyncio.sleep(0.013)
        times = []
        for _ in range(6):
            await pacer.next_position()
            times.append(loop_time_s())
        return times

    for phase_s in (0.0, 0.005, 0.01, 0.015):
        _, *later = virtual_time.run(leave(phase_s))
        assert [round((at_s - phase_s) / 0.02, 6) % 1 for at_s in later[1:]] == [0.0] * 4
