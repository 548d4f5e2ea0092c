"""Two transcribers as one: the small English one for English, the multilingual one for everything else."""

from __future__ import annotations

import asyncio

from media.engines.protocols import SttEngine, SttOptions, SttSession

ENGLISH = "en"


class SttByLanguage:
    """Chooses by the language that a turn is announced in. An unannounced one goes to the multilingual.

    Args:
        english: transcribes English, faster or better than the other.
        multilingual: transcribes, and detects, the rest.
    """

    def __init__(self, english: SttEngine, multilingual: SttEngine) -> None:
        self._english = english
        self._multilingual = multilingual

    @property
    def name(self) -> str:
        return f"{self._english.name}, {self._multilingual.name}"

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._english.languages, *self._multilingual.languages)))

    async def start(self) -> None:
        """Starts both, side by side. If one fails the other is given up, and the first failure is raised."""
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self._english.start(), name="start the English transcriber")
                starting.create_task(self._multilingual.start(), name="start the multilingual transcriber")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def close(self) -> None:
        await self._english.close()
        await self._multilingual.close()

    def open(self, options: SttOptions) -> SttSession:
        engine = self._english if options.language == ENGLISH else self._multilingual
        return engine.open(options)
