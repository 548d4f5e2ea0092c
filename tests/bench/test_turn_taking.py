"""Turn-taking's bench: what it counts, how it replays, what its peers do, what it draws."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.turn_taking_curve import Curve, Point, svg
from bench.turn_taking_figures import figures, outcome
from bench.turn_taking_fit import heard, lasting, waits
from bench.turn_taking_peers import smart_turn, timer
from bench.turn_taking_recordings import AFTER_S, LEAD_S, Recording, as_called, recordings
from bench.turn_taking_replay import Delays, Replay, Replayer
from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.caller_floor import TurnTakingSettings
from media.endpointing import FITTED, LONGEST
from media.engines.protocols import VAD_WINDOW_SAMPLES, Engines, Transcript
from tests.scripted import ScriptedEngines, quiet, speech


class ScriptedWitnesses:
    """Speech is what is loud; one verdict and one transcript for everything."""

    def __init__(self, verdict: float, text: str = "Book a room") -> None:
        self.engines: Engines = ScriptedEngines().engines()
        self._verdict = verdict
        self._text = text

    def speech(self, audio: Audio) -> tuple[float, ...]:
        windows = audio.as_float32()[: len(audio) // VAD_WINDOW_SAMPLES * VAD_WINDOW_SAMPLES]
        levels = np.abs(windows).reshape(-1, VAD_WINDOW_SAMPLES).mean(axis=1)
        return tuple(np.where(levels > 0.1, 0.95, 0.02).tolist())

    def verdict(self, turn: Audio) -> float:
        return self._verdict

    def transcript(self, turn: Audio, language: str | None) -> Transcript:
        return Transcript(self._text, turn.duration_s, language)


def paused(pause_s: float) -> Recording:
    """Two words with a pause between them, and then silence."""
    parts = [quiet(0.5), speech(0.8), quiet(pause_s), speech(0.8), quiet(4.0)]
    end_s = 2.1 + pause_s
    return Recording(
        name="paused",
        speaker="nobody",
        language="en",
        audio=concatenate(parts, SPEECH_RATE_HZ),
        pauses_s=((1.3, 1.3 + pause_s),),
        pause_class="hold",
        end_s=end_s,
        ends_turn=True,
        is_natural=False,
    )


def test_a_turn_that_sounds_complete_is_cut_into() -> None:
    recording = paused(0.8)
    replay = Replayer(ScriptedWitnesses(0.99), Delays()).replay(recording, TurnTakingSettings())
    counted = outcome(recording, replay)
    assert (counted.pauses, counted.cut, counted.stray) == (1, 1, 0)
    assert counted.wait_ms is not None


def test_a_turn_that_sounds_open_is_not() -> None:
    recording = paused(0.8)
    replay = Replayer(ScriptedWitnesses(0.01), Delays()).replay(recording, TurnTakingSettings())
    counted = outcome(recording, replay)
    assert counted.cut == 0
    assert counted.wait_ms == pytest.approx(1000 * LONGEST * TurnTakingSettings().patience_s, abs=70)


def test_the_words_come_when_they_are_said_to() -> None:
    recording = paused(0.3)
    slow = Delays(judge_s=0.04, transcribe_s=0.7)
    replay = Replayer(ScriptedWitnesses(0.99), slow).replay(recording, TurnTakingSettings())
    counted = outcome(recording, replay)
    # They are asked for with the first window without speech.
    assert counted.wait_ms == pytest.approx(32 + 700, abs=40)


def test_a_timer_cuts_into_what_lasts_as_long() -> None:
    witnesses = ScriptedWitnesses(0.5)
    assert outcome(paused(0.8), timer(witnesses, paused(0.8), 0.5)).cut == 1
    counted = outcome(paused(0.4), timer(witnesses, paused(0.4), 0.5))
    assert counted.cut == 0
    assert counted.wait_ms == pytest.approx(500, abs=35)


def test_pipecats_smart_turn_judges_once_and_then_waits_for_three_seconds() -> None:
    complete = smart_turn(ScriptedWitnesses(0.9), paused(0.8), Delays())
    assert outcome(paused(0.8), complete).cut == 1
    open_ended = outcome(paused(0.8), smart_turn(ScriptedWitnesses(0.4), paused(0.8), Delays()))
    assert open_ended.cut == 0
    assert open_ended.wait_ms == pytest.approx(3000, abs=35)


def test_each_pause_counts_once_and_what_is_cut_elsewhere_is_stray() -> None:
    recording = paused(1.0)
    counted = outcome(recording, Replay((0.9, 1.7, 2.0, recording.end_s + 0.4)))
    assert (counted.cut, counted.stray) == (1, 1)
    assert counted.wait_ms == pytest.approx(400)
    known = figures([counted, outcome(recording, Replay((recording.end_s + 0.6,)))])
    assert known.holds.percent == known.all_pauses.percent == 50
    assert known.read_aloud.pauses == 0
    assert known.ends is not None
    assert known.ends.p50 == pytest.approx(500)
    assert known.natural is None


def test_recordings_come_with_their_room(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    samples = np.concatenate([random.normal(0, level, 8000) for level in (3000, 30, 3000)]).astype("<i2")
    with wave.open(str(tmp_path / "clip.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE_HZ)
        file.writeframes(samples.tobytes())
    entry = {
        "path": "clip.wav",
        "seconds": 1.5,
        "language": "en",
        "use": ["turn-end", "mid-pause"],
        "pause_class": "hold",
        "energy_end_s": 1.5,
        "vad_speech_s": [[0.0, 0.5], [1.0, 1.5]],
        "vad_pauses_s": [0.5],
    }
    (tmp_path / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    (recording,) = recordings(tmp_path)
    assert recording.pauses_s == ((LEAD_S + 0.5, LEAD_S + 1.0),)
    assert not recording.is_natural
    assert recording.audio.duration_s == pytest.approx(LEAD_S + 1.5 + AFTER_S)
    room = recording.audio.slice_s(recording.end_s)
    pause = recording.audio.slice_s(*recording.pauses_s[0])
    assert room.level_dbfs() == pytest.approx(pause.level_dbfs(), abs=3)
    (silent,) = recordings(tmp_path, room=False)
    assert not silent.audio.slice_s(silent.end_s).samples.any()


def test_a_call_brings_the_same_words_from_farther_away() -> None:
    silent = paused(0.8)
    hum = 8000 * np.sin(np.arange(len(silent.audio)) * 0.1) * (silent.audio.as_int16() != 0)
    recording = replace(silent, audio=Audio(hum.astype(np.int16), SPEECH_RATE_HZ))
    called = as_called(recording)
    assert len(called.audio) == len(recording.audio)
    assert called.pauses_s == recording.pauses_s
    near, far = (each.audio.slice_s(0.6, 1.2).level_dbfs() for each in (recording, called))
    assert far == pytest.approx(near - 6, abs=1)
    before, after = called.audio.slice_s(0.46, 0.49), called.audio.slice_s(0.51, 0.54)
    assert before.level_dbfs() < after.level_dbfs() - 20, "nothing comes sooner or later"


@pytest.mark.parametrize(("verdict", "wait_s"), [(0.99, 0.3), (0.01, 2.25)])
def test_what_is_fitted_is_played_to_the_endpointer(verdict: float, wait_s: float) -> None:
    known = heard(ScriptedWitnesses(verdict), paused(0.8), Delays())
    assert [pause.length_s for pause in known.pauses] == [pytest.approx(0.8, abs=0.04), None]
    played = waits(known, FITTED, 0.3, Delays())
    ((pause_class, length_s, waited_s),) = played.inner
    assert (pause_class, length_s) == ("hold", pytest.approx(0.8, abs=0.04))
    assert waited_s == pytest.approx(wait_s)
    assert played.end_s is None, "it is no natural request"


def test_the_longer_the_wait_the_fewer_pauses_last() -> None:
    shares = [lasting(wait_s) for wait_s in (0.05, 0.3, 0.8, 2.4)]
    assert shares == sorted(shares, reverse=True)
    assert shares[2] == pytest.approx(0.5)


def test_the_curve_is_a_picture() -> None:
    ours = Curve("Ours & more", (Point("0.2 s", 300, 30), Point("0.3 s", 400, 14)), shipped="0.3 s")
    drawn = svg([ours, Curve("a timer", (Point("0.5 s", 560, 53),))], aim_ms=800, aim_percent=15)
    picture = ElementTree.fromstring(drawn)
    spot = "{http://www.w3.org/2000/svg}circle"
    assert len(picture.findall(spot)) == 3
    lines = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "0.3 s (default)" in lines
    assert "Ours & more" in lines
