"""When the answer was audible, and when the question ended."""

from __future__ import annotations

import numpy as np
import pytest

from media.audio import Audio, concatenate, silence
from signaling.heard import HeardFrame, first_audible, recording, speech_end_s

LOUD, FAINT, NOTHING = 3000, 100, 0
"""−24 dBFS, −53 dBFS."""


def frames(*levels: int, start_s: float = 10.0) -> list[HeardFrame]:
    return [
        HeardFrame(start_s + 0.02 * n, 960 * n, Audio(np.full(960, level, dtype=np.int16), 48_000))
        for n, level in enumerate(levels)
    ]


@pytest.mark.parametrize(
    ("levels", "first"),
    [
        ((NOTHING, LOUD, LOUD, LOUD), 1),
        ((FAINT, FAINT, LOUD, NOTHING, LOUD, NOTHING, LOUD), 2),
        ((LOUD, NOTHING, NOTHING, NOTHING, LOUD, LOUD, LOUD), 4),
        ((NOTHING,) * 10, None),
        ((FAINT,) * 10, None),
        ((LOUD, LOUD), None),
        ((), None),
    ],
)
def test_the_first_audible_frame(levels: tuple[int, ...], first: int | None) -> None:
    heard = frames(*levels)
    assert first_audible(heard, 0.0) is (None if first is None else heard[first])


def test_what_was_heard_before_does_not_count() -> None:
    heard = frames(LOUD, LOUD, LOUD, NOTHING, NOTHING, LOUD, LOUD, LOUD)
    assert first_audible(heard, heard[3].at_s) is heard[5]


def test_speech_ends_where_its_energy_does() -> None:
    speech = Audio(np.full(16_000, LOUD, dtype=np.int16), 16_000)
    assert speech_end_s(concatenate([speech, silence(0.7, 16_000)], 16_000)) == pytest.approx(1.0)
    assert speech_end_s(speech) == pytest.approx(1.0)


def test_a_click_in_the_tail_is_no_speech() -> None:
    speech = Audio(np.full(16_000, LOUD, dtype=np.int16), 16_000)
    click = Audio(np.full(320, LOUD, dtype=np.int16), 16_000)
    audio = concatenate([speech, silence(0.5, 16_000), click, silence(0.2, 16_000)], 16_000)
    assert speech_end_s(audio) == pytest.approx(1.0)


def test_silence_ends_at_its_end() -> None:
    assert speech_end_s(silence(0.5, 16_000)) == 0.5
    assert speech_end_s(silence(0, 16_000)) == 0


def test_the_recording_lies_on_the_senders_timeline() -> None:
    first, second, third = frames(LOUD, FAINT, LOUD)
    audio = recording([first, third], 48_000)
    assert len(audio) == 3 * 960
    assert not audio.samples[960:1920].any()
    assert recording([third, second], 48_000).samples[0] == FAINT
    assert len(recording([], 48_000)) == 0
