"""Speech to text with Whisper, as a streaming session over a model that does not stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from media.audio import SPEECH_RATE_HZ
from media.engines.inference import InferenceThreads
from media.engines.memory import give_back_freed
from media.engines.protocols import SttOptions
from media.engines.starting import closed_unless_started
from media.engines.stt_languages import require_language
from media.engines.whisper_decoder import WhisperDecoder
from media.engines.whisper_session import WhisperSession
from media.errors import EngineError


class Whisper:
    """The model, shared by all calls: their transcriptions wait for each other, flushes before partials.

    Args:
        model_dir: a CTranslate2 conversion of a Whisper model.
        threads: for one transcription.
        model_name: for people: `tiny.en`.
        partial_interval_s: how much new speech a partial transcript is worth.
    """

    def __init__(self, model_dir: Path, *, threads: int, model_name: str, partial_interval_s: float) -> None:
        self._model_dir = model_dir
        self._threads = threads
        self._model_name = model_name
        self._partial_interval_s = partial_interval_s
        self._inference = InferenceThreads(f"whisper-{model_name}")
        self._decoder: WhisperDecoder | None = None

    @property
    def name(self) -> str:
        return f"whisper ({self._model_name})"

    @property
    def languages(self) -> tuple[str, ...]:
        """As Whisper writes them: BCP-47 primary tags, but for `jw` (Javanese). None before `start`."""
        return self._decoder.languages if self._decoder is not None else ()

    async def start(self) -> None:
        if self._decoder is not None:
            return
        async with closed_unless_started(self, self._inference):
            self._decoder = await self._inference.run(self._load)

    async def close(self) -> None:
        await self._inference.close()
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()
            give_back_freed()

    def open(self, options: SttOptions) -> WhisperSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`, or the engine is not started.
        """
        if self._decoder is None:
            raise EngineError(f"The engine {self.name} is not started.")
        require_language(self, options)
        return WhisperSession(self._decoder, self._inference, options, self._partial_interval_s)

    def _load(self) -> WhisperDecoder:
        decoder = WhisperDecoder(self._model_dir, threads=self._threads)
        hum = np.sin(np.arange(SPEECH_RATE_HZ, dtype=np.float32) * 0.1)
        decoder.transcribe(hum)  # silence would not reach the model
        give_back_freed()
        return decoder
