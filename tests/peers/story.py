"""What clients of the Realtime API talk about in the tests: a story that is broken off for the weather.

The caller asks for a story, hears it begin, and speaks over it: what is the weather? The client's own tool is
asked for that, and what it brought is spoken. So there is a spoken turn, an interruption and a function call.

A client is a program of its own. It says `ask.pcm` of the folder that it is given, waits until it has heard
`HEARD_S` of the story, says `break-in.pcm`, hears the answer out, writes all that it heard to `heard.pcm`,
and ends with a `Report` in JSON on stdout. The files hold samples of 16 bits, at the client's own rate.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.resampler import resample
from tests.peers.voices import sound_error_rate, spoken, transcribed, words

ROOT = Path(__file__).resolve().parent.parent.parent

ASK = "Please tell me a long story."
STORY = (
    "Once upon a time, a lighthouse stood on a rock in the sea, far away from the land. "
    "Every evening its keeper climbed the stairs and lit the lamp for the ships. "
    "One night a storm put out the light, and the waves rose higher than the windows. "
    "The keeper took a lantern, went out on the gallery, and held it up until the morning. "
    "Five ships came home that night, and their crews brought him a barrel of honey."
)
"""Half a minute, if nobody interrupts."""
BREAK_IN = "Wait, what is the weather in Madrid?"
WEATHER_TOOL = "get_weather"
WEATHER = "snow on the mountains and fog in the valley"
"""What the client's tool brings."""
HEARD_S = 2.0

CLIENT_LIMIT_S = 60.0
"""For what takes about twelve seconds where nothing else runs."""


def is_for_a_story(text: str) -> bool:
    return "story" in text.lower()


def is_about_weather(text: str) -> bool:
    return "weather" in text.lower() or "madrid" in text.lower()


def weather_answer(weather: str) -> str:
    return f"The weather service reports {weather}."


@dataclass(frozen=True, slots=True)
class Report:
    """What a client says about its call.

    Attributes:
        calls: the arguments that its tool was called with.
        interruptions: how often its own sign of one came.
        errors: what it took for one.
        said: the transcripts that it holds of what the caller said.
    """

    calls: Sequence[Mapping[str, str]]
    interruptions: int
    errors: Sequence[str]
    said: Sequence[str]


def write_voices(models: Path, folder: Path, rate_hz: int) -> None:
    """What the caller says."""
    for name, text in (("ask", ASK), ("break-in", BREAK_IN)):
        voice = resample(spoken(models, text, "bf_emma"), rate_hz)
        (folder / f"{name}.pcm").write_bytes(voice.as_int16().tobytes())


def run_client(command: Sequence[str | Path]) -> Report:
    """Runs a client to its end, which must be a good one."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=CLIENT_LIMIT_S
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise AssertionError(f"{error}\n{error.stdout!r}\n{error.stderr!r}"[-6000:]) from None
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def require_conversation(report: Report, models: Path, heard: Audio) -> None:
    """The whole of it took place, to the client and to ears that are not the server's own."""
    assert not report.errors, report
    assert sound_error_rate(ASK, report.said[0]) <= 0.2, report
    assert sound_error_rate(BREAK_IN, report.said[1]) <= 0.3, report
    assert report.calls == [{"city": "Madrid"}], report
    assert report.interruptions >= 1, report
    said = words(transcribed(models, resample(heard, SPEECH_RATE_HZ)))
    assert "lighthouse" in said, said
    assert "honey" not in said, said
    answer = weather_answer(WEATHER)
    assert sound_error_rate(answer, " ".join(said[-len(words(answer)) :])) <= 0.25, said


def samples(path: Path, rate_hz: int) -> Audio:
    """What a client wrote."""
    return Audio(np.frombuffer(path.read_bytes(), np.int16), rate_hz)
