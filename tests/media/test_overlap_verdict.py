"""What a sound is taken for, from its score and how long it lasts: a pure table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from media.overlap_verdict import (
    InterruptionSettings,
    OverlapSound,
    Verdict,
    Words,
    verdict,
    verdict_of_lasting,
    verdict_of_words,
)

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


@dataclass(frozen=True)
class Scores:
    interruption: float
    noise: float


def backchannel(interruption: float) -> Scores:
    """What is no interruption is a backchannel."""
    return Scores(interruption, 0.0)


def noise(interruption: float) -> Scores:
    """What is no interruption is a noise."""
    return Scores(interruption, 1.0 - interruption)


@pytest.mark.parametrize(
    ("heard", "scores", "expected"),
    [
        pytest.param(sound(3), backchannel(0.9), Verdict.INTERRUPTION, id="sure at once"),
        pytest.param(sound(3), backchannel(0.75), Verdict.UNDECIDED, id="likely, and early"),
        pytest.param(sound(11), backchannel(0.75), Verdict.INTERRUPTION, id="likely, and time to judge"),
        pytest.param(sound(11), backchannel(0.6), Verdict.UNDECIDED, id="rather likely, and time to judge"),
        pytest.param(sound(22), backchannel(0.6), Verdict.QUESTIONABLE, id="rather likely, and goes on"),
        pytest.param(sound(22), backchannel(0.75), Verdict.INTERRUPTION, id="likely, and goes on"),
        pytest.param(sound(5, 3), backchannel(0.6), Verdict.QUESTIONABLE, id="rather likely, and over"),
        pytest.param(sound(5, 3), backchannel(0.02), Verdict.QUESTIONABLE, id="a backchannel, and over"),
        pytest.param(sound(5, 3), noise(0.1), Verdict.HARMLESS, id="a noise, and over"),
        pytest.param(sound(3), noise(0.01), Verdict.UNDECIDED, id="a breath, or a noise"),
        pytest.param(sound(7), noise(0.01), Verdict.HARMLESS, id="surely a noise"),
        pytest.param(sound(7), noise(0.08), Verdict.UNDECIDED, id="surely a noise only later"),
        pytest.param(sound(11), noise(0.08), Verdict.HARMLESS, id="a noise, and time to judge"),
        pytest.param(
            sound(11), backchannel(0.01), Verdict.UNDECIDED, id="surely a backchannel, and it goes on"
        ),
        pytest.param(sound(30), backchannel(0.3), Verdict.UNDECIDED, id="in doubt for longer"),
        pytest.param(sound(32), backchannel(0.3), Verdict.QUESTIONABLE, id="in doubt for too long"),
        pytest.param(
            sound(16, gaps=16), noise(0.3), Verdict.HARMLESS, id="in doubt for too long, half of it speech"
        ),
    ],
)
def test_a_sound_while_the_voice_is_held(heard: OverlapSound, scores: Scores, expected: Verdict) -> None:
    assert verdict(heard, scores, InterruptionSettings(), tolerated=False) is expected


def test_where_the_assistant_is_not_silent_meanwhile_it_is_judged_in_time() -> None:
    settings = InterruptionSettings()
    likely = backchannel(0.6)
    assert verdict(sound(10), likely, settings, tolerated=False, waits=False) is Verdict.UNDECIDED
    assert verdict(sound(11), likely, settings, tolerated=False, waits=False) is Verdict.INTERRUPTION
    lasting = backchannel(0.3)
    assert verdict(sound(31), lasting, settings, tolerated=False, waits=False) is Verdict.UNDECIDED
    assert verdict(sound(32), lasting, settings, tolerated=False, waits=False) is Verdict.INTERRUPTION


@pytest.mark.parametrize(
    ("words", "interruption", "expected"),
    [
        (Words.BACKCHANNEL, 0.8, Verdict.HARMLESS),
        (Words.DEMAND, 0.01, Verdict.INTERRUPTION),
        (Words.OTHERS, 0.2, Verdict.INTERRUPTION),
        (Words.OTHERS, 0.1, Verdict.HARMLESS),
        (Words.NONE, 0.1, Verdict.INTERRUPTION),
        (Words.UNKNOWN, 0.1, Verdict.INTERRUPTION),
    ],
)
def test_the_words_of_a_sound_that_goes_on(words: Words, interruption: float, expected: Verdict) -> None:
    assert verdict_of_lasting(interruption, words, InterruptionSettings()) is expected


def test_who_says_yeah_yeah_may_do_so_for_longer() -> None:
    settings = InterruptionSettings()
    for windows, expected in ((49, Verdict.HARMLESS), (51, Verdict.INTERRUPTION)):
        listening = sound(windows)
        listening.wants_nothing = True
        assert verdict(listening, backchannel(0.1), settings, tolerated=True) is expected


@pytest.mark.parametrize(
    ("heard", "scores", "expected"),
    [
        (sound(12), noise(0.3), Verdict.HARMLESS),
        (sound(12), backchannel(0.1), Verdict.HARMLESS),
        (sound(12), noise(0.6), Verdict.UNDECIDED),
        (sound(12), noise(0.9), Verdict.INTERRUPTION),
        (sound(32), backchannel(0.1), Verdict.INTERRUPTION),
        (sound(49), noise(0.1), Verdict.HARMLESS),
        (sound(51), noise(0.1), Verdict.INTERRUPTION),
    ],
)
def test_a_sound_that_was_found_harmless(heard: OverlapSound, scores: Scores, expected: Verdict) -> None:
    assert verdict(heard, scores, InterruptionSettings(), tolerated=True) is expected


@pytest.mark.parametrize(
    ("words", "interruption", "expected"),
    [
        (Words.BACKCHANNEL, 0.8, Verdict.HARMLESS),
        (Words.DEMAND, 0.01, Verdict.INTERRUPTION),
        (Words.OTHERS, 0.2, Verdict.INTERRUPTION),
        (Words.OTHERS, 0.1, Verdict.HARMLESS),
        (Words.NONE, 0.8, Verdict.HARMLESS),
        (Words.NONE, 0.9, Verdict.INTERRUPTION),
        (Words.UNKNOWN, 0.4, Verdict.HARMLESS),
        (Words.UNKNOWN, 0.6, Verdict.INTERRUPTION),
    ],
)
def test_the_words_of_a_sound_that_is_over(words: Words, interruption: float, expected: Verdict) -> None:
    assert verdict_of_words(interruption, words, InterruptionSettings()) is expected


def test_what_may_be_the_assistants_own_voice_must_outlast_it() -> None:
    settings = InterruptionSettings()
    for windows, expected in ((12, Verdict.UNDECIDED), (40, Verdict.UNDECIDED), (41, Verdict.INTERRUPTION)):
        heard = sound(windows)
        heard.may_be_own = True
        assert verdict(heard, backchannel(0.99), settings, tolerated=False) is expected
    lasting = sound(60)
    lasting.may_be_own = True
    assert verdict(lasting, backchannel(0.99), settings, tolerated=True) is Verdict.HARMLESS
    over = sound(12, 3)
    over.may_be_own = True
    assert verdict(over, backchannel(0.99), settings, tolerated=False) is Verdict.HARMLESS
    assert verdict(over, None, settings, tolerated=False) is Verdict.HARMLESS


@pytest.mark.parametrize("sensitivity", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_who_is_more_sensitive_never_goes_on_where_others_stop(sensitivity: float) -> None:
    less, more = InterruptionSettings(sensitivity=sensitivity), InterruptionSettings(sensitivity=1.0)
    for tenths in range(11):
        for windows in (3, 8, 11, 20, 29):
            scores = backchannel(tenths / 10)
            if verdict(sound(windows), scores, less, tolerated=False) is Verdict.INTERRUPTION:
                assert verdict(sound(windows), scores, more, tolerated=False) is Verdict.INTERRUPTION


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
