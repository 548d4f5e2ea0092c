"""The voice going out: order, pace, what was heard, and no click."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from media.audio import Audio, concatenate
from media.playout import FRAME_SAMPLES, PLAYOUT_RATE_HZ, AudioSettings, Playout
from tests import virtual_time


def tone(duration_s: float, rate_hz: int = 24_000, level: float = 0.5) -> Audio:
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((level * np.sin(2 * np.pi * 300 * times)).astype(np.float32), rate_hz)


class Heard:
    def __init__(self, settings: AudioSettings | None = None) -> None:
        self.log: list[tuple[str, str]] = []
        self.playout = Playout(
            settings or AudioSettings(),
            lambda response_id: self.log.append(("began", response_id)),
            lambda response_id: self.log.append(("ended", response_id)),
        )

    async def frames(self, count: int) -> Audio:
        return concatenate([(await self.playout.next_frame())[0] for _ in range(count)], PLAYOUT_RATE_HZ)


def test_frames_are_due_every_20_ms_and_silent_without_speech() -> None:
    async def main() -> None:
        heard = Heard()
        loop = asyncio.get_running_loop()
        times, positions = [], []
        for _ in range(5):
            frame, position = await heard.playout.next_frame()
            times.append(loop.time())
            positions.append(position)
            assert len(frame) == FRAME_SAMPLES
            assert not frame.samples.any()
        assert times == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])
        assert positions == [n * FRAME_SAMPLES for n in range(5)]

    virtual_time.run(main())


def test_a_stall_moves_the_schedule_and_is_not_caught_up_in_a_burst() -> None:
    async def main() -> None:
        heard = Heard()
        loop = asyncio.get_running_loop()
        await heard.playout.next_frame()
        await asyncio.sleep(1.0)
        times, positions = [], []
        for _ in range(3):
            _, position = await heard.playout.next_frame()
            times.append(loop.time())
            positions.append(position)
        assert np.diff(times) == pytest.approx([0.02, 0.02], abs=0.001)
        assert positions[0] == pytest.approx(PLAYOUT_RATE_HZ, abs=FRAME_SAMPLES)

    virtual_time.run(main())


def test_a_small_lateness_is_made_good() -> None:
    async def main() -> None:
        heard = Heard()
        loop = asyncio.get_running_loop()
        await heard.playout.next_frame()
        await asyncio.sleep(0.05)
        for _ in range(9):
            await heard.playout.next_frame()
        assert loop.time() == pytest.approx(9 * 0.02)

    virtual_time.run(main())


def test_responses_are_heard_whole_and_in_order() -> None:
    async def main() -> None:
        heard = Heard()
        playout = heard.playout
        for response_id in ("a", "b"):
            playout.open(response_id)
            playout.append(response_id, tone(0.101))
            assert playout.complete(response_id)
        assert playout.sounding == ("a", "b")
        audio = await heard.frames(15)
        assert heard.log == [("began", "a"), ("ended", "a"), ("began", "b"), ("ended", "b")]
        assert playout.sounding == ()
        loud = np.abs(audio.as_float32()) > 0.001
        assert np.flatnonzero(loud)[-1] / PLAYOUT_RATE_HZ == pytest.approx(0.202, abs=0.002)

    virtual_time.run(main())


def test_a_response_that_is_made_slowly_ends_only_when_it_is_complete() -> None:
    async def main() -> None:
        heard = Heard()
        playout = heard.playout
        playout.open("a")
        playout.append("a", tone(0.04))
        await heard.frames(5)
        assert heard.log == [("began", "a")]
        playout.append("a", tone(0.04))
        await heard.frames(5)
        assert heard.log == [("began", "a")]
        # The converter's last few samples come with the end.
        assert playout.complete("a")
        await heard.frames(1)
        assert heard.log == [("began", "a"), ("ended", "a")]

    virtual_time.run(main())


def test_what_comes_after_the_end_is_not_heard() -> None:
    """A synthesis that was cancelled may have one more chunk on its way."""

    async def main() -> None:
        heard = Heard()
        heard.playout.open("a")
        heard.playout.append("a", tone(0.1))
        heard.playout.complete("a")
        heard.playout.append("a", tone(0.1))
        sound = await heard.frames(10)
        assert np.count_nonzero(sound.slice_s(0.12, 0.2).samples) == 0

    virtual_time.run(main())


def test_a_response_without_sound_neither_begins_nor_ends() -> None:
    async def main() -> None:
        heard = Heard()
        heard.playout.open("a")
        assert not heard.playout.complete("a")
        await heard.frames(2)
        assert heard.log == []

    virtual_time.run(main())


def test_a_cut_ends_in_a_fade() -> None:
    async def main() -> None:
        heard = Heard()
        heard.playout.open("a")
        heard.playout.append("a", tone(2.0))
        before = (await heard.frames(10)).as_float32()
        heard.playout.flush()
        after = (await heard.frames(3)).as_float32()
        joined = np.concatenate([before, after])
        speech_step = np.abs(np.diff(before)).max()
        assert np.abs(np.diff(joined)).max() <= speech_step * 1.05
        assert not after[PLAYOUT_RATE_HZ // 200 + 1 :].any()
        assert heard.log == [("began", "a")]
        heard.playout.append("a", tone(0.5))
        assert not (await heard.frames(3)).samples.any()

    virtual_time.run(main())


def test_what_was_heard_lags_behind_what_was_sent() -> None:
    async def main() -> None:
        heard = Heard(AudioSettings(heard_lag_ms=100))
        heard.playout.open("a")
        heard.playout.append("a", tone(2.0))
        await heard.frames(4)
        assert heard.playout.heard_s("a") == 0
        await heard.frames(46)
        assert heard.playout.heard_s("a") == pytest.approx(0.9)
        assert heard.playout.heard_s("unknown") == 0

    virtual_time.run(main())


def test_synthesis_waits_when_it_is_too_far_ahead() -> None:
    async def main() -> None:
        heard = Heard(AudioSettings(lead_s=1.0))
        playout = heard.playout
        playout.open("a")
        async with asyncio.timeout(0.01):
            await playout.room("a")
        playout.append("a", tone(1.5))
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(playout.room("a"))
            await heard.frames(20)
            assert not waiting.done()
            await heard.frames(10)
            assert waiting.done()
        playout.append("a", tone(3.0))
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(playout.room("a"))
            await asyncio.sleep(0)
            playout.flush()
        assert waiting.done()

    virtual_time.run(main())


def test_gain() -> None:
    async def main() -> None:
        heard = Heard(AudioSettings(output_gain_db=-6.02))
        heard.playout.open("a")
        told = heard.playout.append("a", tone(1.0, level=0.8))
        for loud in (told, await heard.frames(30)):
            assert np.abs(loud.as_float32()).max() == pytest.approx(0.4, rel=0.02)

    virtual_time.run(main())
