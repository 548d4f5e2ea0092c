"""Speech to text by Voxtral Realtime on a vLLM server: words are written while they are said.

An engine host of ours speaks the same protocol, whatever it transcribes with.
"""

from __future__ import annotations

from functools import partial
from typing import Unpack

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.openai_endpoint import EndpointOptions, OpenAiEndpoint
from media.engines.openai_faults import STT
from media.engines.protocols import SttOptions
from media.engines.starting import closed_unless_started
from media.engines.stt_languages import require_language
from media.engines.vllm_session import VllmSession
from media.engines.vllm_stream import VllmStream

_NOISE_DBFS = -40.0
"""What is transcribed to see that it works."""


class VllmRealtime:
    """Satisfies `SttEngine`.

    Args:
        base_url: without a slash at its end: `/realtime` follows it.
        model: as the server calls it.
        languages: in which turns may be announced, as BCP-47 primary tags. The model is told none: it hears
            which one it is.
        options: of the endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        languages: tuple[str, ...],
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._endpoint = OpenAiEndpoint(STT, base_url, model, **options)
        self._languages = languages

    @property
    def name(self) -> str:
        return self._endpoint.name.replace("openai", "vllm-realtime", 1)

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    async def start(self) -> None:
        """Asks which models there are, and has half a second of soft noise transcribed.

        Raises:
            EngineError: the server cannot be reached, does not accept the key, or does not transcribe.
        """
        if self._endpoint.is_started:
            return
        async with closed_unless_started(self):
            await self._endpoint.start()
            level = 32768 * 10 ** (_NOISE_DBFS / 20)
            noise = np.random.default_rng(0).normal(0.0, level, SPEECH_RATE_HZ // 2)
            session = self.open(SttOptions())
            try:
                await session.push(Audio(noise.astype(np.int16), SPEECH_RATE_HZ))
                await session.flush()
            finally:
                await session.abort()

    async def close(self) -> None:
        await self._endpoint.close()

    async def probe(self) -> None:
        """Asks, once, whether the server is there.

        Raises:
            EngineError: it is not.
        """
        await self._endpoint.probe()

    def open(self, options: SttOptions) -> VllmSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`.
        """
        require_language(self, options)
        opened = partial(VllmStream.open, self._endpoint, options)
        return VllmSession(opened, options, self._endpoint.patience)
