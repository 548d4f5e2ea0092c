"""What a sound is taken for, from its score and how long it lasts: a pure table."""

from __future__ import annotations

import pytest

from media.overlap_verdict import InterruptionSettings, OverlapSound, Verdict, verdict

WINDOW_S = 0.032


def sound(speech_windows: int, quiet_windows: int = 0, gaps: int = 0) -> OverlapSound:
    """So much speech, with so many windows in it that only hint at some, and then silence."""
    found = OverlapSound(counts=True)
    for _ in range(gaps):
        found.add(WINDOW_S, speech=False, hint=True)
    for _ in range(speech_windows):
        found.add(WINDOW_S, speech=True, hint=True)
    for _ in range(quiet_windows):
        found.add(WINDOW_S, speech=False, hint=False)
    return found


@pytest.mark.parametrize(
    ("heard", "interruption", "expected"),
    [
        pytest.param(sound(3), 0.9, Verdict.INTERRUPTION, id="sure at once"),
        pytest.param(sound(3), 0.7, Verdict.UNDECIDED, id="likely, and early"),
        pytest.param(sound(11), 0.6, Verdict.INTERRUPTION, id="likely, and time to judge"),
        pytest.param(sound(5, 3), 0.6, Verdict.INTERRUPTION, id="likely, and over"),
        pytest.param(sound(5, 3), 0.4, Verdict.HARMLESS, id="unlikely, and over"),
        pytest.param(sound(3), 0.02, Verdict.HARMLESS, id="surely harmless at once"),
        pytest.param(sound(3), 0.1, Verdict.UNDECIDED, id="surely harmless only later"),
        pytest.param(sound(11), 0.1, Verdict.HARMLESS, id="harmless, and time to judge"),
        pytest.param(sound(11), 0.3, Verdict.UNDECIDED, id="in doubt, and it goes on"),
        pytest.param(sound(27), 0.3, Verdict.UNDECIDED, id="in doubt for longer"),
        pytest.param(sound(29), 0.3, Verdict.INTERRUPTION, id="in doubt for too long"),
        pytest.param(
            sound(15, gaps=14), 0.3, Verdict.HARMLESS, id="in doubt for too long, half of it speech"
        ),
    ],
)
def test_a_sound_while_the_voice_is_held(heard: OverlapSound, interruption: float, expected: Verdict) -> None:
    assert verdict(heard, interruption, InterruptionSettings(), tolerated=False) is expected


@pytest.mark.parametrize(
    ("heard", "interruption", "expected"),
    [
        (sound(12), 0.6, Verdict.HARMLESS),
        (sound(12), 0.9, Verdict.INTERRUPTION),
        (sound(29), 0.1, Verdict.INTERRUPTION),
    ],
)
def test_a_sound_that_was_found_harmless(heard: OverlapSound, interruption: float, expected: Verdict) -> None:
    assert verdict(heard, interruption, InterruptionSettings(), tolerated=True) is expected


@pytest.mark.parametrize("sensitivity", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_who_is_more_sensitive_never_goes_on_where_others_stop(sensitivity: float) -> None:
    less, more = InterruptionSettings(sensitivity=sensitivity), InterruptionSettings(sensitivity=1.0)
    for tenths in range(11):
        for windows in (3, 8, 11, 20, 29):
            if verdict(sound(windows), tenths / 10, less, tolerated=False) is Verdict.INTERRUPTION:
                assert verdict(sound(windows), tenths / 10, more, tolerated=False) is Verdict.INTERRUPTION


def test_what_is_too_short_to_count_is_harmless_once_it_is_over() -> None:
    click = sound(1, 2)
    click.counts = False
    assert verdict(click, None, InterruptionSettings(), tolerated=False) is Verdict.HARMLESS
    begun = sound(1)
    begun.counts = False
    assert verdict(begun, None, InterruptionSettings(), tolerated=False) is Verdict.UNDECIDED


def test_unclassified_speech_interrupts_by_its_length() -> None:
    settings = InterruptionSettings(after_s=0.2)
    assert verdict(sound(5), None, settings, tolerated=False) is Verdict.UNDECIDED
    assert verdict(sound(7), None, settings, tolerated=False) is Verdict.INTERRUPTION
    assert verdict(sound(5, 3), None, settings, tolerated=False) is Verdict.HARMLESS
    assert verdict(sound(6, 3), None, settings, tolerated=False) is Verdict.HARMLESS


def test_a_harmless_sound_fades() -> None:
    assert not sound(5, 4).faded
    assert sound(5, 5).faded
