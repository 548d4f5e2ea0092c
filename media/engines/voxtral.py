"""Speech to text with Mistral's Voxtral: the requests of all calls meet in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.backend_failures import is_out_of_memory
from media.engines.batcher import Batcher
from media.engines.gpu_pool import gave_back, took
from media.engines.hub_model import short_name
from media.engines.inference import InferenceThreads, Urgency
from media.engines.memory import give_back_freed
from media.engines.protocols import SttOptions
from media.engines.recorded_session import Heard, RecordedSession
from media.engines.starting import closed_unless_started
from media.engines.stt_languages import require_language
from media.engines.torch_device import give_back_gpu_memory, place_of
from media.engines.voxtral_audio import hum, mel_windows, prepared
from media.engines.voxtral_model import VoxtralModel, VoxtralRow
from media.errors import CallerError, EngineError

LONGEST_RECORDING_S = 600.0
"""Of one request: 7,500 tokens of prompt, some 0.9 GB of cache. The model itself takes 40 minutes."""

_TOKENS_PER_S = 12.0
"""Fast speech, in the most talkative of its languages' spellings."""
_TOKENS_SPARE = 24

_PREPARED_AT_ONCE = 2


class Voxtral:
    """Satisfies `SttEngine`. The model is shared by all calls: flushes go before partials.

    Args:
        model: a hub's repository, or a directory.
        languages: that it can be told, as BCP-47 primary tags.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        load_in_4bit: weights of 4 bits (CUDA only).
        compiled: decode by CUDA graphs (CUDA only): quicker, and minutes of warming up.
        largest_batch: recordings that are transcribed at once.
        partial_interval_s: how much new speech a partial transcript is worth.
    """

    def __init__(
        self,
        model: str,
        *,
        languages: tuple[str, ...],
        device: str = "auto",
        load_in_4bit: bool = False,
        compiled: bool = False,
        largest_batch: int = 8,
        partial_interval_s: float = 0.5,
    ) -> None:
        self._model_name = model
        self._device = device
        self._load_in_4bit = load_in_4bit
        self._compiled = compiled
        self._largest_batch = largest_batch
        self._partial_interval_s = partial_interval_s
        self._languages = languages
        self._inference = InferenceThreads("voxtral")
        self._preparing = InferenceThreads("voxtral-audio", threads=_PREPARED_AT_ONCE)
        self._batcher: Batcher[VoxtralRow, str | None] = Batcher(
            self._inference, self._step, largest=largest_batch
        )
        self._pressing: set[VoxtralRow] = set()
        """What somebody waits for in silence, and no step has taken up yet."""
        self._model: VoxtralModel | None = None

    @property
    def name(self) -> str:
        return f"voxtral ({short_name(self._model_name)})"

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    async def start(self) -> None:
        if self._model is not None:
            return
        async with closed_unless_started(self, self._inference, self._preparing):
            self._model = await self._inference.run(self._load)

    async def close(self) -> None:
        await self._preparing.close()
        await self._inference.close()
        model, self._model = self._model, None
        if model is not None:
            gave_back(self.name)
            model.close()
            give_back_freed()

    def open(self, options: SttOptions) -> RecordedSession:
        """Starts a turn. Words that may come are not told to the model: it takes none.

        Raises:
            EngineError: the language is none of `languages`, or the engine is not started.
        """
        self._started()
        require_language(self, options)
        return RecordedSession(self.hear, options, self._partial_interval_s)

    async def hear(
        self,
        samples: npt.NDArray[np.int16],
        language: str | None,
        _prompt: str = "",
        urgency: Urgency = Urgency.NOW,
    ) -> Heard:
        """What a recording says. Cancelling frees its place in the batch.

        Args:
            samples: 16 kHz, up to 10 minutes.
            language: one of `languages`; None to detect it, which the model does without telling.
            urgency: a partial transcript gives way to what somebody waits for, and is begun again.

        Raises:
            CallerError: there is nothing in it, or too much.
            EngineError: the model failed.
        """
        model = self._started()

        def row() -> VoxtralRow:
            heard = prepared(Audio(samples, SPEECH_RATE_HZ), longest_s=LONGEST_RECORDING_S)
            windows = mel_windows(heard)
            most = _TOKENS_SPARE + round(len(heard) / SPEECH_RATE_HZ * _TOKENS_PER_S)
            return VoxtralRow(model.prompts.transcription(len(windows), language), windows, most, urgency)

        return Heard(await self._answer(await self._preparing.run(row, urgency=urgency)), language)

    async def understand(self, audio: Audio, question: str, *, max_tokens: int = 256) -> str:
        """What the model answers to a question about a recording: a summary, who speaks, in which mood.

        Args:
            audio: at any rate, up to 10 minutes.
            question: in any of its languages.
            max_tokens: the answer ends there.

        Raises:
            CallerError: there is no question, nothing to be heard, or too much.
            EngineError: the model failed.
        """
        model = self._started()
        if not question.strip():
            raise CallerError("A question is expected.", param="question")

        def row() -> VoxtralRow:
            windows = mel_windows(prepared(audio, longest_s=LONGEST_RECORDING_S))
            return VoxtralRow(model.prompts.question(len(windows), question), windows, max_tokens)

        return await self._answer(await self._preparing.run(row))

    async def _answer(self, row: VoxtralRow) -> str:
        if row.urgency is Urgency.NOW:
            self._pressing.add(row)
        try:
            while (text := await self._run(row)) is None:
                pass  # it gave way
            return text
        finally:
            row.unwanted = True
            self._pressing.discard(row)

    async def _run(self, row: VoxtralRow) -> str | None:
        return await self._batcher.run(row, urgency=row.urgency, since_s=row.since_s)

    def _started(self) -> VoxtralModel:
        if self._model is None:
            raise EngineError(f"The engine {self.name} is not started.")
        return self._model

    # What follows runs on the engine's thread.

    def _load(self) -> VoxtralModel:
        model = VoxtralModel(
            self._model_name,
            place_of(self._device),
            load_in_4bit=self._load_in_4bit,
            compiled=self._compiled,
        )
        model.warm_up(
            VoxtralRow(model.prompts.transcription(1, None), mel_windows(hum()), _TOKENS_SPARE),
            self._largest_batch,
        )
        took(self.name, model.tensors)
        give_back_freed()
        return model

    def _step(self, rows: Sequence[VoxtralRow]) -> Sequence[str | None]:
        self._pressing.difference_update(rows)
        return self._answers(rows)

    def _answers(self, rows: Sequence[VoxtralRow]) -> list[str | None]:
        """A batch for which there is no memory is computed in halves."""
        model = self._started()
        try:
            return model.answers(rows, lambda: bool(self._pressing))
        except RuntimeError as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
        give_back_gpu_memory()
        half = len(rows) // 2
        return [*self._answers(rows[:half]), *self._answers(rows[half:])]
