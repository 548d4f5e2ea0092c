"""Speech to text with Mistral's Voxtral Realtime in this process: words are written while they are said.

The streams of all calls that are ready write their next token together, 12.5 for each second of speech.
"""

from __future__ import annotations

from collections.abc import Sequence

from media.engines.batcher import Batcher
from media.engines.gpu_pool import gave_back, took
from media.engines.hub_model import short_name
from media.engines.inference import InferenceThreads
from media.engines.memory import give_back_freed
from media.engines.protocols import SttOptions
from media.engines.starting import closed_unless_started
from media.engines.stt_languages import require_language
from media.engines.torch_device import place_of
from media.engines.voxtral_audio import hum
from media.engines.voxtral_realtime_session import NextStream, Steps, VoxtralRealtimeSession
from media.engines.voxtral_stream import RealtimeModel, VoxtralStream
from media.errors import EngineError


class VoxtralRealtime:
    """Satisfies `SttEngine`. All calls share the model: flushes go before what is heard in the background.

    Args:
        model: a hub's repository, or a directory.
        languages: in which turns may be announced, as BCP-47 primary tags. The model is told none: it hears
            which one it is.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        largest_batch: streams that write at once.
    """

    def __init__(
        self, model: str, *, languages: tuple[str, ...], device: str = "auto", largest_batch: int = 8
    ) -> None:
        self._model_name = model
        self._device = device
        self._languages = languages
        self._inference = InferenceThreads("voxtral-realtime")
        self._steps: Steps = Batcher(self._inference, self._step, largest=largest_batch)
        self._model: RealtimeModel | None = None

    @property
    def name(self) -> str:
        return f"voxtral-realtime ({short_name(self._model_name)})"

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    async def start(self) -> None:
        if self._model is not None:
            return
        async with closed_unless_started(self, self._inference):
            self._model = await self._inference.run(self._load)

    async def close(self) -> None:
        await self._inference.close()
        model, self._model = self._model, None
        if model is not None:
            gave_back(self.name)
            model.close()
            give_back_freed()

    def open(self, options: SttOptions) -> VoxtralRealtimeSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`, or the engine is not started.
        """
        if self._model is None:
            raise EngineError(f"The engine {self.name} is not started.")
        require_language(self, options)
        return VoxtralRealtimeSession(self._model, self._steps, options)

    # What follows runs on the engine's thread.

    def _step(self, asked: Sequence[NextStream]) -> list[None]:
        """Each of those who ask has a stream write a token, if it has one that can."""
        assert self._model is not None, "started"
        streams = dict.fromkeys(stream for following in asked if (stream := following()) is not None)
        if streams:
            self._model.advance(list(streams))
        return [None] * len(asked)

    def _load(self) -> RealtimeModel:
        model = RealtimeModel(self._model_name, place_of(self._device))
        warmed = VoxtralStream(model)
        warmed.push(hum())
        warmed.finished_text()
        took(self.name, model.tensors)
        give_back_freed()
        return model
