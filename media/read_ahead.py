"""Reading what was said while nobody waits for an answer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace

from media.engines.protocols import LlmEngine, LlmRequest
from media.errors import VoxtralKokoroError

log = logging.getLogger(__name__)


class ReadAhead:
    """Has an LLM read one conversation up to where it is, so that a reply has only the newest words to read.

    What changes the conversation's middle (a reply cut to what was heard, a compaction) costs its time here,
    not when the caller waits.
    """

    def __init__(self, llm: LlmEngine) -> None:
        self._llm = llm
        self._task: asyncio.Task[None] | None = None
        self._latest: LlmRequest | None = None

    def begin(self, tasks: asyncio.TaskGroup, request: LlmRequest) -> None:
        """Reads the request's messages instead of what was being read. Twice the same is read once."""
        request = replace(request, max_tokens=0)
        if request == self._latest:
            return
        self.drop()
        self._latest = request
        self._task = tasks.create_task(self._read(request), name="read ahead")

    def drop(self) -> None:
        """Reads no further: the engine is wanted. What was read stays read. May be called twice."""
        self._latest = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _read(self, request: LlmRequest) -> None:
        try:
            async with aclosing(self._llm.reply(request)) as nothing:
                async for _ in nothing:
                    pass
        except VoxtralKokoroError as error:
            # Whoever asks for the reply will hear of it.
            log.debug("could not read ahead", extra={"code": error.code})
