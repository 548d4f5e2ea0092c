"""Callers without echo cancellation: the assistant hears itself, and knows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.conversation_settings import ConversationSettings
from media.engines.protocols import SpeechChunk, SpokenWord, TtsRequest
from media.events import (
    OutputBufferCleared,
    OutputBufferHeld,
    OutputBufferStarted,
    OutputBufferStopped,
    SpeechStarted,
)
from media.overlap_verdict import InterruptionSettings
from tests import virtual_time
from tests.scripted import LevelVad, ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts
from tests.talk import talk
from tests.virtual_call import FRAME_S, VirtualCall, virtual_call

STORY = "One two three four five six seven. Eight nine ten eleven twelve thirteen. And that is all of it."
DELAY_FRAMES = 9
ECHO_GAIN = 0.25
FRAME_SAMPLES = round(FRAME_S * SPEECH_RATE_HZ)


class KeenVad(LevelVad):
    """Hears an echo, too."""

    async def push(self, window: Audio) -> float:
        return 0.95 if window.level_dbfs() > -45 else 0.02


@dataclass
class TalkingTts(ScriptedTts):
    """Speaks in syllables, half a second a word."""

    word_s: float = 0.5

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        await asyncio.sleep(self.takes_s)
        self.spoken.append(request.text)
        words = request.text.split()
        yield SpeechChunk(
            talk(len(self.spoken), len(words) * self.word_s, self.rate_hz),
            tuple(
                SpokenWord(word, index * self.word_s, (index + 1) * self.word_s)
                for index, word in enumerate(words)
            ),
        )


def talkative() -> ScriptedEngines:
    return ScriptedEngines(
        vad=KeenVad(),
        stt=ScriptedStt(says=("stop it",)),
        llm=ScriptedLlm(replies=("All right.",)),
        tts=TalkingTts(),
    )


async def listen(call: VirtualCall, length_s: float, caller: Audio | None = None) -> None:
    """So much of the call, in a room where the assistant's voice comes back; the caller may speak over it."""
    own = caller.as_float32() if caller is not None else np.zeros(0, np.float32)
    chance = np.random.default_rng(3)
    for frame in range(round(length_s / FRAME_S)):
        microphone = chance.normal(size=FRAME_SAMPLES).astype(np.float32) * np.float32(1e-3)
        if len(call.frames) > DELAY_FRAMES:
            back = call.frames[-DELAY_FRAMES].as_float32().reshape(FRAME_SAMPLES, -1).mean(axis=1)
            microphone += back * np.float32(ECHO_GAIN)
        said = own[frame * FRAME_SAMPLES : (frame + 1) * FRAME_SAMPLES]
        microphone[: len(said)] += said
        call.conversation.hear(Audio(microphone, SPEECH_RATE_HZ))
        await asyncio.sleep(FRAME_S)


def settings(echo_guard: str) -> ConversationSettings:
    # Any speech interrupts: what the echo is taken for is not left to a classifier.
    interruption = InterruptionSettings.model_validate(
        {"echo_guard": echo_guard, "classify": False, "after_s": 0.6}
    )
    return ConversationSettings(interruption=interruption)


def test_without_the_guard_the_assistant_stutters() -> None:
    async def main() -> None:
        async with virtual_call(talkative(), settings("off"), greeting=STORY) as call:
            await listen(call, 13.0)
            assert not call.of(OutputBufferStopped), "it was held again and again"

    virtual_time.run(main())


def test_the_guard_lets_it_speak() -> None:
    async def main() -> None:
        async with virtual_call(talkative(), settings("auto"), greeting=STORY) as call:
            await listen(call, 13.0)
            assert call.at_s(OutputBufferStopped) - call.at_s(OutputBufferStarted) < 19 * 0.5 + 2.0

    virtual_time.run(main())


def test_an_echo_neither_interrupts_nor_becomes_a_turn() -> None:
    async def main() -> None:
        async with virtual_call(talkative(), settings("auto"), greeting=STORY) as call:
            await listen(call, 16.0)
            assert call.said() == [("assistant", STORY)]
            assert not call.of(SpeechStarted)
            assert call.of(OutputBufferStopped)

    virtual_time.run(main())


def test_before_it_is_known_the_echo_does_not_interrupt_either() -> None:
    """Even if whatever is speech does at once."""

    async def main() -> None:
        eager = InterruptionSettings(classify=False, after_s=0.1)
        async with virtual_call(
            talkative(), ConversationSettings(interruption=eager), greeting=STORY
        ) as call:
            await listen(call, 14.0)
            assert call.of(OutputBufferHeld), "it was not known from the first word on"
            assert not call.of(SpeechStarted)
            assert call.of(OutputBufferStopped)

    virtual_time.run(main())


def test_a_caller_interrupts_over_the_echo() -> None:
    async def main() -> None:
        async with virtual_call(talkative(), settings("auto"), greeting=STORY) as call:
            await listen(call, 5.0)
            assert not call.of(SpeechStarted)
            onset_s = asyncio.get_running_loop().time()
            await listen(call, 3.0, talk(4, 1.6, SPEECH_RATE_HZ))
            assert call.at_s(OutputBufferCleared) - onset_s < 1.2
            assert call.of(SpeechStarted)[0].audio_start_ms > (onset_s - 0.1) * 1000
            assert [role for role, _ in call.said()][:2] == ["assistant", "user"]

    virtual_time.run(main())
