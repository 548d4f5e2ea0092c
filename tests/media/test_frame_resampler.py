"""Small pieces at another rate: no seams, no delay but the filter's, only the band that both rates have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.audio import Audio
from media.frame_resampler import FrameResampler

Samples = npt.NDArray[np.int16]
RATES = [(48_000, 8_000), (48_000, 16_000), (8_000, 16_000), (16_000, 48_000), (24_000, 8_000)]


def tone(frequency_hz: float, rate_hz: int, duration_s: float = 0.5) -> Samples:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return np.asarray(16_000 * np.sin(2 * np.pi * frequency_hz * t), dtype=np.int16)


def converted(samples: Samples, from_hz: int, to_hz: int, piece_s: float = 0.02) -> Samples:
    resampler = FrameResampler(from_hz, to_hz)
    size = round(from_hz * piece_s)
    pieces = [
        resampler.push(Audio(samples[at : at + size], from_hz)).as_int16()
        for at in range(0, len(samples), size)
    ]
    return np.concatenate(pieces)


def level_db(samples: Samples) -> float:
    settled = samples[len(samples) // 5 :].astype(np.float64)
    return 10 * float(np.log10(np.mean(settled**2) / (16_000**2 / 2) + 1e-12))


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("part", [0.05, 0.3, 0.85])
def test_a_tone_of_both_bands_stays_as_it_is(from_hz: int, to_hz: int, part: float) -> None:
    frequency_hz = part * min(from_hz, to_hz) / 2
    heard = converted(tone(frequency_hz, from_hz), from_hz, to_hz)
    assert abs(level_db(heard)) < 0.5
    # It is the same tone, 16 samples of the lower rate later.
    delay = 16 * max(1, to_hz // from_hz)
    clean = tone(frequency_hz, to_hz)[: len(heard) - delay].astype(np.float64)
    settled = slice(to_hz // 50, None)
    gain = float(np.dot(clean[settled], heard[delay:][settled]) / np.dot(clean[settled], clean[settled]))
    error = heard[delay:] - gain * clean
    assert 10 * np.log10(np.mean(error[settled] ** 2) / np.mean(clean[settled] ** 2)) < -60


@pytest.mark.parametrize(("from_hz", "to_hz"), [rates for rates in RATES if rates[0] > rates[1]])
def test_what_the_lower_rate_does_not_have_is_gone(from_hz: int, to_hz: int) -> None:
    for part in (1.1, 1.3, 1.9):
        assert level_db(converted(tone(part * to_hz / 2, from_hz), from_hz, to_hz)) < -60


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_each_packet_gives_a_packet(from_hz: int, to_hz: int) -> None:
    resampler = FrameResampler(from_hz, to_hz)
    for piece_s in (0.02, 0.01, 0.0025, 0.06, 0.02):
        silence = np.zeros(round(from_hz * piece_s), dtype=np.int16)
        assert len(resampler.push(Audio(silence, from_hz))) == round(to_hz * piece_s)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=20), st.sampled_from(RATES))
def test_however_it_is_cut_it_is_the_same(sizes: list[int], rates: tuple[int, int]) -> None:
    from_hz, to_hz = rates
    noise = np.random.default_rng(1).integers(-32768, 32768, sum(sizes)).astype(np.int16)
    resampler = FrameResampler(from_hz, to_hz)
    pieces, at = [np.zeros(0, dtype=np.int16)], 0
    for size in sizes:
        pieces.append(resampler.push(Audio(noise[at : at + size], from_hz)).as_int16())
        at += size
    whole = FrameResampler(from_hz, to_hz).push(Audio(noise, from_hz)).as_int16()
    # The order in which products are added up differs, which may turn a rounding.
    heard = np.concatenate(pieces)
    assert len(heard) == len(whole)
    assert np.abs(heard.astype(np.int32) - whole).max(initial=0) <= 1


def test_full_scale_is_clipped_and_not_wrapped() -> None:
    square = np.tile(np.repeat(np.array([32767, -32768], dtype=np.int16), 60), 40)
    heard = converted(square, 48_000, 8_000)
    assert heard.max() == 32767
    assert heard.min() == -32768


def test_what_it_cannot_do_it_says() -> None:
    with pytest.raises(ValueError, match="multiples"):
        FrameResampler(48_000, 11_025)
    with pytest.raises(ValueError, match="takes 48000 Hz"):
        FrameResampler(48_000, 8_000).push(Audio(np.zeros(1, dtype=np.int16), 8_000))
    same = tone(440, 16_000)
    assert np.array_equal(converted(same, 16_000, 16_000), same)
