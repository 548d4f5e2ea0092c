"""What is made up for lost packets: like what was said, without a click, and gone after 60 ms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.concealment import PitchConcealment

Samples = npt.NDArray[np.int16]
RATES = (8_000, 16_000)


def voiced(duration_s: float, rate_hz: int, pitch_hz: float = 140.0) -> Samples:
    """A voice's spectrum at a steady pitch."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    sound = sum(np.sin(2 * np.pi * pitch_hz * n * t + n * n) / n for n in range(1, 20))
    return np.asarray(4000 * sound, dtype=np.int16)


def frames(samples: Samples, rate_hz: int) -> list[Samples]:
    size = rate_hz // 50
    return [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]


def played(samples: Samples, rate_hz: int, lost: set[int]) -> Samples:
    """20 ms by 20 ms, some of them lost."""
    concealment = PitchConcealment(rate_hz)
    pieces = [
        concealment.conceal(len(frame)) if index in lost else concealment.heard(frame)
        for index, frame in enumerate(frames(samples, rate_hz))
    ]
    return np.concatenate(pieces)


def power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("pitch_hz", [80.0, 117.0, 190.0, 260.0])
def test_a_frame_of_a_steady_voice_is_hardly_missed(rate_hz: int, pitch_hz: float) -> None:
    said = voiced(0.4, rate_hz, pitch_hz)
    heard = played(said, rate_hz, {10})
    size = rate_hz // 50
    gap = slice(10 * size, 11 * size)
    error = power(heard[gap].astype(np.int32) - said[gap])
    # Silence in its place would be an error of 0 dB; what fades by a fifth is one of -14 dB at the best.
    assert 10 * np.log10(error / power(said[gap])) < -6
    # Outside of the loss nothing changes, but for the blending after it.
    assert np.array_equal(heard[: 10 * size], said[: 10 * size])
    assert np.array_equal(heard[12 * size :], said[12 * size : len(heard)])


@pytest.mark.parametrize("rate_hz", RATES)
def test_no_step_is_heard_where_a_loss_begins_or_ends(rate_hz: int) -> None:
    said = voiced(0.5, rate_hz, 123.0)
    heard = played(said, rate_hz, {10, 11, 16})
    assert np.abs(np.diff(heard.astype(np.int32))).max() <= 1.3 * np.abs(np.diff(said.astype(np.int32))).max()


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_long_loss_fades_and_is_silent_after_60_ms(rate_hz: int) -> None:
    heard = frames(played(voiced(0.6, rate_hz), rate_hz, {*range(10, 20)}), rate_hz)
    levels = [power(frame) for frame in heard[10:14]]
    assert levels[0] > 2 * levels[1] > 4 * levels[2]
    assert levels[3] == 0
    assert all(power(frame) == 0 for frame in heard[13:20])
    assert power(heard[21]) > 0


@pytest.mark.parametrize("rate_hz", RATES)
def test_where_next_to_nothing_was_heard_nothing_is_made_up(rate_hz: int) -> None:
    concealment = PitchConcealment(rate_hz)
    assert not concealment.conceal(rate_hz // 50).any()
    concealment.heard(voiced(0.02, rate_hz))
    concealment.reset()
    assert not concealment.conceal(rate_hz // 50).any()


def test_silence_stays_silent() -> None:
    concealment = PitchConcealment(8_000)
    for _ in range(5):
        concealment.heard(np.zeros(160, dtype=np.int16))
    assert not concealment.conceal(160).any()


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=30),
    st.sampled_from(RATES),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_lost_the_time_is_kept(parts: list[tuple[bool, int]], rate_hz: int, seed: int) -> None:
    """Pieces of any multiple of 2.5 ms, of noise at full scale."""
    noise = np.random.default_rng(seed)
    concealment = PitchConcealment(rate_hz)
    for lost, quarters in parts:
        size = quarters * rate_hz // 400
        if lost:
            assert len(concealment.conceal(size)) == size
        else:
            said = noise.integers(-32768, 32768, size).astype(np.int16)
            assert len(concealment.heard(said)) == size
