"""What Voxtral is asked, as token ids: to transcribe a recording, or to answer a question about it."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import numpy as np
from mistral_common.protocol.instruct.chunk import AudioChunk, TextChunk
from mistral_common.protocol.instruct.messages import UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.transcription.request import TranscriptionRequest

from media.audio import SPEECH_RATE_HZ
from media.wav import wav_bytes


class VoxtralPrompts:
    """Asks mistral-common for a prompt, with a moment of silence for a recording, and lets that
    last as many windows as the real one does: so no recording is written to a file to be counted.

    Args:
        tokenizer: mistral-common's `MistralTokenizer`.
        audio_token: stands in a prompt for 80 ms of sound.
    """

    def __init__(self, tokenizer: Any, audio_token: int) -> None:
        self._tokenizer = tokenizer
        self._audio_token = audio_token
        self._transcription = cache(self._transcription_of_a_window)

    def transcription(self, windows: int, language: str | None) -> list[int]:
        """Asks for the words of so many windows of 30 s; without a language, Voxtral detects it."""
        return self._lasting(self._transcription(language), windows)

    def question(self, windows: int, question: str) -> list[int]:
        """Asks something about a recording of so many windows."""
        message = UserMessage(content=[AudioChunk(input_audio=_SILENCE), TextChunk(text=question)])
        encoded = self._tokenizer.encode_chat_completion(ChatCompletionRequest(messages=[message]))
        return self._lasting(tuple(encoded.tokens), windows)

    def _transcription_of_a_window(self, language: str | None) -> tuple[int, ...]:
        request = TranscriptionRequest(audio=_SILENCE, language=language)
        return tuple(self._tokenizer.encode_transcription(request).tokens)

    def _lasting(self, tokens: tuple[int, ...], windows: int) -> list[int]:
        """A prompt for one window as one for several: each is 375 audio tokens, one behind the other."""
        begin = tokens.index(self._audio_token)
        window = [self._audio_token] * tokens.count(self._audio_token)
        return [*tokens[:begin], *window * windows, *tokens[begin + len(window) :]]


_SILENCE = base64.b64encode(wav_bytes(np.zeros(SPEECH_RATE_HZ // 10, np.int16), SPEECH_RATE_HZ)).decode()
