"""Whether a history says what was heard: its words beside those that Whisper hears in what arrived."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from media.audio import SPEECH_RATE_HZ
from media.engines.whisper_decoder import WhisperDecoder
from media.resampler import resample
from server.model_store import ModelStore, default_root
from signaling.heard import HeardFrame, recording


class HistoryCheck:
    """Holds the transcriber."""

    def __init__(self) -> None:
        self._whisper = WhisperDecoder(ModelStore(default_root()).path("whisper-tiny.en"), threads=2)

    def wrong_words(self, frames: Sequence[HeardFrame], history: str) -> int:
        """By how many words the end of the history is off."""
        heard = resample(recording(frames, frames[0].audio.rate_hz), SPEECH_RATE_HZ)
        text = self._whisper.transcribe(heard.as_float32(), language="en").text
        return words_off(_words(text), _words(history))


def words_off(heard: Sequence[str], kept: Sequence[str]) -> int:
    """How many words one of the two has more, after the last that they have in common."""
    blocks = [
        block
        for block in SequenceMatcher(None, heard, kept, autojunk=False).get_matching_blocks()
        if block.size
    ]
    if not blocks:
        return max(len(heard), len(kept))
    last = blocks[-1]
    return max(len(heard) - last.a - last.size, len(kept) - last.b - last.size)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())
