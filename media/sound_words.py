"""What a short sound over the assistant's voice says, asked of the transcriber once the sound is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from media.audio import Audio
from media.engines.protocols import SttEngine, SttOptions
from media.errors import EngineError
from media.overlap_verdict import Words
from media.overlap_words import words_in

log = logging.getLogger(__name__)


class SoundWords:
    """One sound at a time.

    Args:
        stt: hears it, beside whatever turn it may become.
    """

    def __init__(self, stt: SttEngine) -> None:
        self._stt = stt
        self._task: asyncio.Task[None] | None = None

    def ask(
        self, tasks: asyncio.TaskGroup, sound: Audio, language: str | None, told: Callable[[Words], None]
    ) -> None:
        """Begins to find out, instead of what it was asked before.

        Args:
            tasks: own the work.
            sound: 16 kHz, with a little of what came before it.
            language: the caller's; None to detect it.
            told: is told, unless the answer is dropped first.
        """
        self.drop()
        self._task = tasks.create_task(self._tell(sound, language, told), name="words of a sound")

    def drop(self) -> None:
        """Nobody wants to know any more. May be called twice, and by whoever is told."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _tell(self, sound: Audio, language: str | None, told: Callable[[Words], None]) -> None:
        told(await self._words(sound, language))

    async def _words(self, sound: Audio, language: str | None) -> Words:
        try:
            session = self._stt.open(SttOptions(language, partials=False))
            try:
                await session.push(sound)
                transcript = await session.flush()
            finally:
                await session.abort()
        except EngineError as error:
            log.warning("a sound could not be transcribed", extra={"code": error.code})
            return Words.UNKNOWN
        return words_in(transcript.text, transcript.language or language)
