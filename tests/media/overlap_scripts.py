"""Calls in which the caller makes a sound while the assistant tells a story."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.events import OutputBufferStarted
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, quiet, speech
from tests.virtual_call import VirtualCall

LONG_REPLY = (
    "One two three four five six seven. Eight nine ten eleven twelve thirteen. And that is all of it."
)
REPLY_S = 19 * 0.3
MURMUR = 0.2
NOTICED_S = 0.1
"""A window, and a frame that was out already."""


def murmur(duration_s: float) -> Audio:
    """A backchannel or a noise, to the scripted classifier: quieter than speech."""
    return Audio(np.full(round(duration_s * SPEECH_RATE_HZ), MURMUR, dtype=np.float32), SPEECH_RATE_HZ)


@dataclass(frozen=True)
class Scores:
    interruption: float
    noise: float


@dataclass
class LevelJudge:
    """Murmurs are noises, or backchannels if it is not `noisy`; it is surer the more it has heard."""

    windows: int = 0
    noisy: bool = True

    def judge(self, sound: Audio, speech: Sequence[float], /) -> Scores:
        assert len(sound) == 512 * len(speech)
        assert len(speech) >= 6, "some of before the onset is there"
        self.windows += 1
        loud = max(float(np.abs(window).mean()) for window in sound.as_float32().reshape(-1, 512))
        sure = min(0.45, 0.04 * sum(probability > 0.5 for probability in speech))
        interruption = 0.5 + sure if loud > 2 * MURMUR else 0.5 - sure
        return Scores(interruption, 0.97 if self.noisy and interruption < 0.5 else 0.0)


def storyteller(**stt: object) -> ScriptedEngines:
    return ScriptedEngines(
        stt=ScriptedStt(says=("tell me a story", "stop it"), **stt),  # type: ignore[arg-type]
        llm=ScriptedLlm(replies=(LONG_REPLY, "All right."), word_s=0.25),
    )


async def told_a_story(call: VirtualCall, heard_s: float) -> None:
    """Asks, and listens to so much of the answer."""
    await call.say(quiet(0.3), speech(0.8), quiet(0.2))
    while not call.of(OutputBufferStarted):
        await call.say(quiet(0.02))
    await call.say(quiet(heard_s))


def now_s() -> float:
    return asyncio.get_running_loop().time()
