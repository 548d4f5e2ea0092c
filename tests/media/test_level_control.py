"""A quiet voice is raised, a line's hiss is not, and nothing clicks."""

from __future__ import annotations

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio, silence
from media.level_control import TARGET_DBFS, LevelControl
from tests.talk import talk

FRAME = SPEECH_RATE_HZ // 50


def at_dbfs(sound: Audio, dbfs: float) -> Audio:
    """With its loudest 20 ms at this level."""
    loudest = max(
        Audio(sound.samples[at : at + FRAME], sound.rate_hz).level_dbfs()
        for at in range(0, len(sound), FRAME)
    )
    gain = 10 ** ((dbfs - loudest) / 20)
    return Audio((sound.as_float32() * np.float32(gain)).astype(np.float32), sound.rate_hz)


def heard(control: LevelControl, sound: Audio) -> Audio:
    samples = sound.as_int16()
    pieces = [
        control.push(Audio(samples[at : at + FRAME], SPEECH_RATE_HZ)) for at in range(0, len(samples), FRAME)
    ]
    return Audio(np.concatenate([piece.as_int16() for piece in pieces]), SPEECH_RATE_HZ)


@pytest.mark.parametrize(("dbfs", "gain_db"), [(-38, 17), (-42, 20), (-20, 1), (-3, 0)])
def test_a_voice_is_raised_to_where_the_ear_hears_best(dbfs: float, gain_db: float) -> None:
    control = LevelControl(20.0)
    voice = at_dbfs(talk(1, 8.0, SPEECH_RATE_HZ), dbfs)
    out = heard(control, voice)
    assert len(out) == len(voice)
    assert control.gain_db == pytest.approx(gain_db, abs=3.5)
    last = slice(-SPEECH_RATE_HZ, None)
    gained = Audio(out.samples[last], SPEECH_RATE_HZ).level_dbfs()
    before = Audio(voice.as_int16()[last], SPEECH_RATE_HZ).level_dbfs()
    assert gained - before == pytest.approx(control.gain_db, abs=1.5)


def test_what_is_loud_enough_is_left_as_it_is() -> None:
    voice = at_dbfs(talk(1, 4.0, SPEECH_RATE_HZ), TARGET_DBFS + 6)
    samples = voice.as_int16()
    assert (heard(LevelControl(0.0), voice).samples == samples).all()


def test_hiss_is_not_raised() -> None:
    control = LevelControl(20.0)
    hiss = np.random.default_rng(1).normal(0, 10 ** (-60 / 20), SPEECH_RATE_HZ * 10)
    heard(control, Audio(hiss.astype(np.float32), SPEECH_RATE_HZ))
    assert control.gain_db == 0


def test_the_gain_stays_in_a_pause_and_falls_at_a_shout() -> None:
    control = LevelControl(20.0)
    heard(control, at_dbfs(talk(1, 6.0, SPEECH_RATE_HZ), -40))
    raised_db = control.gain_db
    heard(control, silence(5.0, SPEECH_RATE_HZ))
    assert control.gain_db == raised_db
    shout = heard(control, at_dbfs(talk(2, 0.5, SPEECH_RATE_HZ), -3))
    assert control.gain_db == 0
    assert np.abs(shout.as_int16()).max() <= 32767


def test_nothing_clicks() -> None:
    control = LevelControl(20.0)
    t = np.arange(3 * SPEECH_RATE_HZ) / SPEECH_RATE_HZ
    tone = Audio((0.01 * np.sin(2 * np.pi * 200 * t)).astype(np.float32), SPEECH_RATE_HZ)
    out = heard(control, tone).as_float32()
    assert control.gain_db > 10
    steepest = 2 * np.pi * 200 / SPEECH_RATE_HZ * np.abs(out).max()
    assert np.abs(np.diff(out)).max() < 1.3 * steepest
