"""Audio in events: long ones are decoded in turns with whatever else goes on, and mean the same."""

from __future__ import annotations

import asyncio
import base64
from typing import Literal

import numpy as np
import pytest

from media.errors import CallerError
from signaling.realtime_audio import MAX_AUDIO_CHARS, audio_in_turns, audio_of
from signaling.realtime_base import AudioFormat


@pytest.mark.parametrize("name", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_long_audio_is_decoded_in_turns(name: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]) -> None:
    form = AudioFormat(type=name)
    text = base64.b64encode(np.random.default_rng(1).bytes(1_000_000)).decode()

    async def main() -> int:
        turns = 0

        async def other_call() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(other_call())
            audio = await audio_in_turns(text, form)
            other.cancel()
        assert audio.rate_hz == audio_of(text, form).rate_hz
        assert np.array_equal(audio.samples, audio_of(text, form).samples)
        assert len(audio) == 1_000_000 // (2 if name == "audio/pcm" else 1)
        return turns

    assert asyncio.run(main()) >= 5


def test_audio_of_the_largest_event() -> None:
    data = bytes(MAX_AUDIO_CHARS * 3 // 4)
    assert len(audio_of(base64.b64encode(data).decode(), AudioFormat())) == len(data) // 2
    with pytest.raises(CallerError, match="15 MiB"):
        audio_of("A" * (MAX_AUDIO_CHARS + 4), AudioFormat())


@pytest.mark.parametrize("at", [4, 256 * 1024, 256 * 1024 + 4])
def test_padding_is_at_the_end_alone(at: int) -> None:
    text = "A" * 600_000
    with pytest.raises(CallerError, match="not base64"):
        audio_of(f"{text[: at - 2]}=={text[at:]}", AudioFormat())


def test_no_audio_is_audio() -> None:
    assert len(audio_of("", AudioFormat())) == 0
