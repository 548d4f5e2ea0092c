"""The voice going out: order, pace, what was heard, and no click."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from media.audio import Audio, concatenate
from media.playout import FADE_SAMPLES, FRAME_SAMPLES, PLAYOUT_RATE_HZ, AudioSettings, Playout
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


class FarSide:
    """Plays what it is sent, one frame after the other, once it has come."""

    def __init__(self, playout: Playout, lag_s: float = 0.05) -> None:
        self.playout = playout
        self.lag_s = playout.heard_lag_s = lag_s
        self.waiting: list[tuple[float, Audio]] = []
        """Frames, each with when it begins to be heard."""
        self.cleared = 0
        self.kept = 0.0
        """The most that ever waited, in seconds."""
        self.free_s = float("-inf")
        playout.ahead_s = 0.1
        playout.silenced = self.clear

    def clear(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self.cleared += 1
        self.waiting = [(at_s, frame) for at_s, frame in self.waiting if at_s < now_s - 1e-6]
        self.free_s = now_s

    async def carry(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame, _ = await self.playout.next_frame()
            if self.playout.spoke:
                at_s = max(self.free_s, loop.time() + self.lag_s)
                self.waiting.append((at_s, frame))
                self.free_s = at_s + 0.02
                self.kept = max(self.kept, self.free_s - loop.time() - self.lag_s)
            elif not self.playout.pending:
                await self.playout.until_sound(1.0)

    def sound(self) -> Audio:
        return concatenate([frame for _, frame in self.waiting], PLAYOUT_RATE_HZ)


def ramp(duration_s: float) -> Audio:
    """Sound in which every sample tells where it is."""
    return Audio((np.arange(round(duration_s * PLAYOUT_RATE_HZ)) // 4 + 1).astype(np.int16), PLAYOUT_RATE_HZ)


def test_frames_leave_ahead_of_their_time_by_no_more_than_was_asked() -> None:
    async def main() -> None:
        heard = Heard()
        far = FarSide(heard.playout)
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(far.carry())
            heard.playout.open("a")
            heard.playout.append("a", ramp(1.0))
            await asyncio.sleep(0.03)
            assert 0.08 <= far.kept <= 0.12 + 1e-6
            heard.playout.complete("a")
            await asyncio.sleep(1.5)
            assert far.kept <= 0.12 + 1e-6
            carrying.cancel()
        assert far.sound().as_int16().tolist()[:48_000] == ramp(1.0).as_int16().tolist()
        # As if it had been played on the spot: without a gap.
        begins = np.array([at_s for at_s, _ in far.waiting])
        assert np.diff(begins) == pytest.approx(0.02, abs=1e-6)

    virtual_time.run(main())


def test_a_response_ahead_of_its_time_ends_when_it_was_heard() -> None:
    async def main() -> None:
        heard = Heard()
        far = FarSide(heard.playout)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(far.carry())
            heard.playout.open("a")
            heard.playout.append("a", ramp(0.5))
            assert heard.playout.complete("a")
            heard.playout.open("b")
            heard.playout.append("b", ramp(0.1))
            began_s = loop.time()
            while ("ended", "a") not in heard.log:
                await asyncio.sleep(0.01)
                assert loop.time() < 5
            assert loop.time() - began_s == pytest.approx(0.5 + far.lag_s, abs=0.045)
            await asyncio.sleep(0.05)
            assert ("began", "b") in heard.log
            await asyncio.sleep(0.2)
            # All of it was heard: the rest is only to be made.
            assert not heard.playout.complete("b")
            carrying.cancel()
        assert heard.log == [("began", "a"), ("ended", "a"), ("began", "b"), ("ended", "b")]

    virtual_time.run(main())


def test_what_is_taken_back_by_a_hold_is_heard_after_it() -> None:
    async def main() -> None:
        heard = Heard()
        far = FarSide(heard.playout)
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(far.carry())
            heard.playout.open("a")
            heard.playout.append("a", ramp(2.0))
            for held_s in (0.333, 0.4, 0.01):
                await asyncio.sleep(held_s)
                before_s = heard.playout.heard_s("a")
                heard.playout.hold()
                assert heard.playout.held_at == ("a", before_s)
                await asyncio.sleep(0.3)
                assert heard.playout.heard_s("a") == before_s
                heard.playout.go_on()
            assert far.cleared == 3
            heard.playout.complete("a")
            await asyncio.sleep(3)
            carrying.cancel()
        assert heard.log == [("began", "a"), ("ended", "a")]
        # Each sample is there, but for those that faded in where it went on.
        missing = set(range(1, 24_001)) - set(far.sound().as_int16().tolist())
        assert len(missing) <= 3 * FADE_SAMPLES // 4
        assert far.sound().duration_s == pytest.approx(2.0, abs=0.07)

    virtual_time.run(main())


def test_a_flush_clears_the_far_side_even_where_all_was_handed_out() -> None:
    async def main() -> None:
        heard = Heard()
        far = FarSide(heard.playout)
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(far.carry())
            heard.playout.open("a")
            heard.playout.append("a", ramp(0.3))
            assert heard.playout.complete("a")
            await asyncio.sleep(0.25)
            assert not heard.playout.pending
            assert heard.playout.sounding == ("a",)
            assert heard.playout.heard_s("a") == pytest.approx(0.22, abs=0.021)
            heard.playout.flush()
            assert far.cleared == 1
            await asyncio.sleep(0.5)
            carrying.cancel()
        assert far.sound().duration_s < 0.25
        assert heard.log == [("began", "a")]

    virtual_time.run(main())


def test_what_was_found_to_be_heard_stays_so_when_the_far_side_falls_behind() -> None:
    async def main() -> None:
        heard = Heard()
        playout = heard.playout
        playout.open("a")
        playout.append("a", ramp(2.0))
        await heard.frames(30)
        before_s = playout.heard_s("a")
        assert before_s > 0.4
        playout.heard_lag_s = 0.5
        assert playout.heard_s("a") == before_s
        await heard.frames(20)
        assert playout.heard_s("a") == before_s
        await heard.frames(20)
        assert playout.heard_s("a") == pytest.approx(0.9, abs=0.021)

    virtual_time.run(main())


def test_a_late_synthesis_is_waited_for_before_silence_is_put_in() -> None:
    """What leaves ahead of its time would otherwise be full of holes."""

    async def main() -> None:
        heard = Heard()
        far = FarSide(heard.playout)
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(far.carry())
            heard.playout.open("a")
            sound = ramp(0.6)
            for start_s in np.arange(0, 0.6, 0.06):
                heard.playout.append("a", sound.slice_s(start_s, start_s + 0.06))
                await asyncio.sleep(0.055)
            heard.playout.complete("a")
            await asyncio.sleep(0.5)
            carrying.cancel()
        assert far.sound().as_int16().tolist()[:28_800] == sound.as_int16().tolist()

    virtual_time.run(main())
