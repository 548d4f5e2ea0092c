"""Where in a turn something begins after a pause."""

from __future__ import annotations

import numpy as np
import pytest

from media.engines.speech_blocks import Block, SpeechBlocks

RNG = np.random.default_rng(0)


def noise(duration_s: float, level: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return RNG.normal(0, level, round(duration_s * 16_000)).astype(np.int16)


def blocks_of(*parts: tuple[float, float], push_samples: int = 512) -> list[Block]:
    """Of sound of some durations and levels."""
    samples = np.concatenate([noise(duration_s, level) for duration_s, level in parts])
    blocks = SpeechBlocks()
    return [
        block
        for start in range(0, len(samples), push_samples)
        for block in blocks.push(samples[start : start + push_samples])
    ]


def begins_s(blocks: list[Block]) -> list[float]:
    """Where blocks begin that follow a pause."""
    ends = np.cumsum([len(block.samples) for block in blocks])
    return [
        float(end - len(block.samples)) / 16_000
        for block, end in zip(blocks, ends, strict=True)
        if block.after_pause
    ]


@pytest.mark.parametrize("push_samples", [100, 512, 20_000])
def test_all_of_the_sound_is_in_the_blocks(push_samples: int) -> None:
    blocks = blocks_of((0.5, 3000), (0.4, 0), (0.5, 3000), push_samples=push_samples)
    assert sum(len(block.samples) for block in blocks) == 22_400
    assert begins_s(blocks) == [pytest.approx(0.9, abs=0.04)]


@pytest.mark.parametrize(
    ("pause_s", "level", "found"),
    [
        (0.4, 0, True),  # digital silence
        (0.4, 30, True),  # a room
        (0.4, 120, True),  # a noisier one, 28 dB below
        (0.4, 1000, False),  # soft speech
        (0.2, 0, False),  # a stop within a word
    ],
)
def test_a_pause_is_long_and_much_softer_than_speech(pause_s: float, level: float, found: bool) -> None:
    assert bool(begins_s(blocks_of((1.0, 3000), (pause_s, level), (1.0, 3000)))) is found


def test_what_comes_before_the_first_word_is_no_pause() -> None:
    blocks = blocks_of((1.0, 0), (0.5, 3000))
    assert begins_s(blocks) == []
    assert [block.is_quiet for block in blocks[:31]] == [True] * 31


def test_one_loud_sound_does_not_make_all_that_follows_quiet() -> None:
    blocks = blocks_of((0.1, 20_000), *[(1.0, 900)] * 4)
    assert not blocks[-1].is_quiet
