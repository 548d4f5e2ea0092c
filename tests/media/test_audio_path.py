"""Small pieces of the way in: audio, rates, the inbox, the gate, interim words, latency."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from media.audio import SILENCE_DBFS, Audio, concatenate, silence
from media.inbox import AudioInbox
from media.latency import ReplyTimes, Stage, TurnTimes, measure
from media.resampler import StreamResampler, resample
from media.stable_words import StableWords
from media.vad_gate import GatePaused, GateStarted, VadGate, VadSettings
from tests import virtual_time


def sine(duration_s: float, rate_hz: int, frequency_hz: float = 440.0) -> Audio:
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32), rate_hz)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "words"),
    [
        (np.zeros((2, 10), np.int16), 16_000, "shape"),
        (np.zeros(10, np.float64), 16_000, "float64"),
        (np.zeros(10, np.int16), 0, "rate"),
    ],
)
def test_audio_is_checked_when_it_is_made(samples: np.ndarray, rate_hz: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Audio(samples, rate_hz)


def test_audio_is_clipped_not_wrapped() -> None:
    loud = Audio(np.array([1.5, -1.5, 1.0, 0.0], np.float32), 16_000)
    assert loud.as_int16().tolist() == [32767, -32768, 32767, 0]
    there_and_back = Audio(loud.as_int16(), 16_000).as_float32()
    assert there_and_back == pytest.approx([1.0, -1.0, 1.0, 0.0], abs=1e-4)


def test_levels() -> None:
    assert silence(1, 16_000).level_dbfs() == SILENCE_DBFS
    assert silence(0, 16_000).level_dbfs() == SILENCE_DBFS
    assert sine(1, 16_000).level_dbfs() == pytest.approx(-9.03, abs=0.05)


def test_joining_wants_one_rate() -> None:
    with pytest.raises(ValueError, match="48000"):
        concatenate([silence(1, 48_000)], 16_000)
    assert concatenate([sine(0.5, 16_000), silence(0.5, 16_000)], 16_000).duration_s == 1.0


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(48_000, 16_000), (24_000, 48_000), (8_000, 16_000), (44_100, 16_000)]
)
def test_a_tone_keeps_its_pitch_and_has_no_seams(from_hz: int, to_hz: int) -> None:
    whole = sine(1.0, from_hz)
    converter = StreamResampler(from_hz, to_hz)
    step = from_hz // 50
    parts = [
        converter.push(Audio(whole.samples[start : start + step], from_hz))
        for start in range(0, from_hz, step)
    ]
    pieces = concatenate([*parts, converter.finish()], to_hz)
    assert pieces.duration_s == pytest.approx(1.0, abs=0.002)
    at_once = resample(whole, to_hz).as_float32()
    assert np.abs(pieces.as_float32()[: len(at_once)] - at_once[: len(pieces)]).max() < 1e-3
    spectrum = np.abs(np.fft.rfft(at_once[: to_hz // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)


def test_a_converter_refuses_another_rate() -> None:
    with pytest.raises(ValueError, match="44100"):
        StreamResampler(48_000, 16_000).push(silence(0.02, 44_100))


def test_the_inbox_drops_the_oldest_and_counts_it() -> None:
    async def main() -> None:
        inbox = AudioInbox(limit_s=0.1)
        for level in range(10):
            inbox.put(Audio(np.full(320, level, np.int16), 16_000))
        assert inbox.dropped_s == pytest.approx(0.1)
        window = await inbox.window()
        assert window is not None
        assert list(np.unique(window.samples, return_counts=True)[0]) == [5, 6]
        assert list(np.unique(window.samples, return_counts=True)[1]) == [320, 192]
        inbox.close()

    virtual_time.run(main())


def test_the_inbox_wakes_its_reader_once_a_window() -> None:
    async def main() -> None:
        inbox = AudioInbox(limit_s=1)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(inbox.window())
            inbox.put(silence(0.02, 16_000))
            await asyncio.sleep(0.1)
            assert not reading.done()
            inbox.put(silence(0.02, 16_000))
        window = reading.result()
        assert window is not None
        assert (window.duration_s, window.rate_hz) == (0.032, 16_000)
        inbox.close()

    virtual_time.run(main())


def test_the_inbox_tells_each_half_second_that_nothing_comes() -> None:
    async def main() -> None:
        inbox = AudioInbox(limit_s=1)
        told_s = []
        async with asyncio.TaskGroup() as tasks:

            async def read() -> None:
                while len(told_s) < 4:
                    if await inbox.window() is None:
                        told_s.append(round(asyncio.get_running_loop().time() - begin_s, 3))

            begin_s = asyncio.get_running_loop().time()
            tasks.create_task(read())
            for _ in range(15):
                await asyncio.sleep(0.1)
                inbox.put(silence(0.02, 16_000))
        assert told_s == [2.0, 2.5, 3.0, 3.5]
        inbox.close()

    virtual_time.run(main())


def gate_changes(probabilities: list[float]) -> list[tuple[int, GateStarted | GatePaused]]:
    gate = VadGate(VadSettings(start_ms=96, pause_ms=192))
    changes = [(at, gate.push(probability)) for at, probability in enumerate(probabilities)]
    return [(at, change) for at, change in changes if change is not None]


def test_speech_starts_where_it_started_and_pauses_where_it_paused() -> None:
    assert gate_changes([0.0] * 5 + [0.9] * 10 + [0.0] * 10) == [
        (7, GateStarted(5 * 512)),
        (20, GatePaused(15 * 512)),
    ]


def test_a_click_and_a_dip_change_nothing() -> None:
    assert gate_changes([0.0] * 5 + [0.9] * 2 + [0.0] * 5) == []
    dips = [0.9] * 5 + [0.0] * 5 + [0.9] * 5 + [0.4] * 20
    assert gate_changes(dips) == [(2, GateStarted(0))]


def test_a_first_window_without_speech_is_a_fade() -> None:
    gate = VadGate(VadSettings(start_ms=32))
    fading = []
    for probability in (0.0, 0.9, 0.9, 0.3, 0.9, 0.3, 0.3, 0.0, 0.0, 0.0):
        gate.push(probability)
        fading.append(gate.fading)
    # From the fourth such window on it is a pause.
    assert fading == [False, False, False, True, False, True, True, True, False, False]


def test_forcing_a_pause() -> None:
    gate = VadGate(VadSettings(start_ms=32))
    assert gate.force_pause() is None
    gate.push(0.9)
    assert gate.speaking
    assert gate.force_pause() == GatePaused(512)
    assert not gate.speaking
    gate.push(0.9)
    gate.reset()
    assert (gate.speaking, gate.samples) == (False, 1024)


def test_words_settle_when_two_transcripts_agree() -> None:
    words = StableWords()
    assert words.push("I would like") == ""
    assert words.push("I would like a") == "I would like"
    assert words.push("I would like a table four") == " a"
    assert words.push("I would like a table for two") == " table"
    assert words.push("Eye would") == ""
    assert words.push("I would like a table for two") == ""
    assert words.push("I would like a table for two please") == " for two"


def test_stages_are_measured_from_the_end_of_speech() -> None:
    turn = TurnTimes(speech_end_s=10.0, ended_s=10.32, stt_start_s=10.2, stt_end_s=10.33)
    reply = ReplyTimes(asked_s=10.34, first_clause_s=10.42, synthesis_s=10.42, first_sound_s=10.9)
    latency = measure("resp", "item", turn, reply, began_s=10.91)
    assert latency.stages == (
        Stage("endpoint", 0.0, 320.0),
        Stage("stt", 200.0, 130.0),
        Stage("llm", 340.0, 80.0),
        Stage("tts", 420.0, 480.0),
        Stage("playout", 900.0, 10.0),
    )
    assert latency.total_ms == 910.0
    typed = measure("resp", None, None, reply, began_s=10.91)
    assert (typed.total_ms, typed.stages[0]) == (570.0, Stage("llm", 0.0, 80.0))


def test_speech_fades_with_its_level_before_the_network_doubts() -> None:
    gate = VadGate(VadSettings(start_ms=32))
    fading = []
    for probability, level_dbfs in ((0.99, -20.0), (0.99, -22.0), (0.99, -65.0), (0.9, -65.0), (0.9, -40.0)):
        gate.push(probability, level_dbfs)
        fading.append(gate.fading)
    assert fading == [False, False, False, True, False]
    assert gate.speaking, "the level alone ends nothing"


def test_who_mumbles_on_has_not_faded() -> None:
    gate = VadGate(VadSettings(start_ms=32))
    fading = []
    for probability, level_dbfs in ((0.99, -20.0), *(((0.9, -65.0),) * 4), (0.1, -70.0)):
        gate.push(probability, level_dbfs)
        fading.append(gate.fading)
    assert fading == [False, True, True, False, False, True]


def test_a_loud_room_leaves_fading_to_the_network() -> None:
    gate = VadGate(VadSettings(start_ms=32))
    for probability in (0.99, 0.99, 0.6):
        gate.push(probability, -30.0)
    assert not gate.fading
    gate.push(0.2, -30.0)
    assert gate.fading
