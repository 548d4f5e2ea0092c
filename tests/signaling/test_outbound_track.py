"""What is sent of a voice, and what is not: packets of talkspurts, and a rare sign of life between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from media.audio import Audio
from media.clock import loop_time_s
from media.opus import OpusSettings, opus_decoder, opus_encoder, packet_samples
from media.pacing import SHORTEST_SPACING_S
from media.playout import AudioSettings, Playout
from signaling.outbound_track import KEEP_ALIVE_S, TAIL_FRAMES, OutboundTrack
from tests import virtual_time

RATE_HZ = 48_000
FRAME = 960


def tone(duration_s: float) -> Audio:
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return Audio((8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16), RATE_HZ)


class Sent:
    """Every packet of a track: when it left, its RTP time, its payload."""

    def __init__(self) -> None:
        self.playout = Playout(AudioSettings(), lambda _: None, lambda _: None)
        self.packets: list[tuple[float, int, bytes]] = []

    async def run(self) -> None:
        track = OutboundTrack(self.playout, opus_encoder(OpusSettings()))
        while True:
            packet = await track.recv()
            assert packet.pts is not None
            self.packets.append((loop_time_s(), packet.pts, bytes(packet)))

    def say(self, audio: Audio, response_id: str = "resp_1") -> None:
        self.playout.open(response_id)
        self.playout.append(response_id, audio)
        self.playout.complete(response_id)

    def after(self, at_s: float) -> list[tuple[float, int, bytes]]:
        return [packet for packet in self.packets if packet[0] >= at_s - 1e-6]


def sending(test: Callable[[Sent], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        sent = Sent()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(sent.run())
            await test(sent)
            running.cancel()

    virtual_time.run(main())


def test_silence_is_not_sent_but_for_signs_of_life() -> None:
    async def test(sent: Sent) -> None:
        await asyncio.sleep(0.5)
        # The stream begins at once, with what ends a talkspurt.
        assert len(sent.packets) == TAIL_FRAMES + 1
        assert len(sent.packets[-1][2]) == 1
        await asyncio.sleep(20)
        alive = sent.after(0.5)
        assert [round(at_s, 1) for at_s, _, _ in alive] == pytest.approx([5.1, 10.1, 15.1, 20.1], abs=0.1)
        assert all(len(payload) == 1 and packet_samples(payload) == FRAME for _, _, payload in alive)
        assert KEEP_ALIVE_S == 5

    sending(test)


def test_sound_leaves_at_once_and_rtps_time_went_on() -> None:
    async def test(sent: Sent) -> None:
        await asyncio.sleep(2.013)
        sent.say(tone(0.1))
        await asyncio.sleep(1)
        spoken = sent.after(2)
        assert spoken[0][0] == pytest.approx(2.013)
        assert [pts for _, pts, _ in spoken] == [round(2.013 * RATE_HZ) + index * FRAME for index in range(9)]
        assert [len(payload) > 1 for _, _, payload in spoken] == [True] * (5 + TAIL_FRAMES) + [False]
        first_step, *steps = np.diff([at_s for at_s, _, _ in spoken])
        # On the beat of all calls from the second one on, which is not late for that.
        assert SHORTEST_SPACING_S <= first_step <= 0.02
        assert steps == pytest.approx([0.02] * len(steps))
        await asyncio.sleep(0.031)
        sent.say(tone(0.04), "resp_2")
        await asyncio.sleep(0.2)
        again = sent.after(3.04)
        assert again[0][1] - spoken[0][1] == round((again[0][0] - spoken[0][0]) * RATE_HZ)

    sending(test)


def test_only_the_first_packet_of_a_talkspurt_begins_one() -> None:
    async def main() -> None:
        playout = Playout(AudioSettings(), lambda _: None, lambda _: None)
        track = OutboundTrack(playout, opus_encoder(OpusSettings()))
        begins: list[bool] = []
        for response_id in ("resp_1", "resp_2"):
            playout.open(response_id)
            playout.append(response_id, tone(0.06))
            playout.complete(response_id)
            begins += [(await track.next_packet()).begins_talkspurt for _ in range(3 + TAIL_FRAMES + 1)]
        spurt = [True] + [False] * (2 + TAIL_FRAMES + 1)
        assert begins == spurt * 2

    virtual_time.run(main())


def test_a_listener_hears_silence_when_nothing_comes() -> None:
    async def test(sent: Sent) -> None:
        sent.say(tone(0.3))
        await asyncio.sleep(1)
        decoder = opus_decoder(RATE_HZ)
        for _, _, payload in sent.packets:
            last = decoder.decode(payload)
        assert np.abs(last).max() < 100
        # What a player's decoder makes up for the packets that do not come.
        assert np.abs(decoder.conceal(FRAME)).max() < 100

    sending(test)


def test_a_cut_ends_in_a_fade_and_then_nothing_is_sent() -> None:
    async def test(sent: Sent) -> None:
        sent.say(tone(5.0))
        await asyncio.sleep(1.005)
        sent.playout.flush()
        cut_s = loop_time_s()
        await asyncio.sleep(2)
        assert len(sent.after(cut_s)) == 1 + TAIL_FRAMES + 1
        decoder = opus_decoder(RATE_HZ)
        heard = np.concatenate([decoder.decode(payload) for _, _, payload in sent.packets])
        steady = np.abs(np.diff(heard[RATE_HZ // 2 : RATE_HZ * 9 // 10].astype(int))).max()
        end = heard[-RATE_HZ // 5 :].astype(int)
        assert np.abs(np.diff(end)).max() <= 1.2 * steady, "a click"
        assert np.abs(end[-2 * FRAME :]).max() < 100

    sending(test)


def test_a_voice_that_is_held_is_not_sent_and_goes_on_at_once() -> None:
    async def test(sent: Sent) -> None:
        sent.say(tone(1.0))
        await asyncio.sleep(0.5)
        sent.playout.hold()
        await asyncio.sleep(0.5)
        assert len(sent.after(0.7)) == 0
        await asyncio.sleep(0.007)
        sent.playout.go_on()
        await asyncio.sleep(0.1)
        assert sent.after(0.8)[0][0] == pytest.approx(1.007)

    sending(test)
