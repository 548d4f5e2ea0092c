"""Written responses out of band: made beside whatever else is said, without a trace in the history."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from media.engines.protocols import Engines
from media.errors import CallerError, VoxtralKokoroError, first_error
from media.events import CallEvent, ResponseCreated, ResponseDone
from media.items import StatusReason
from media.playout import Playout
from media.reply import Reply, Writing

MAX_ASIDES = 4
"""As many at once in one call: each keeps an LLM from the voices of all."""

log = logging.getLogger(__name__)


class Asides:
    """The asides of one conversation.

    Args:
        engines: theirs is the LLM.
        playout: is never used, since nothing of an aside sounds.
        notify: told of everything that happens.
    """

    def __init__(self, engines: Engines, playout: Playout, notify: Callable[[CallEvent], None]) -> None:
        self._engines = engines
        self._playout = playout
        self._notify = notify
        self._replies: dict[str, Reply] = {}

    def begin(
        self, tasks: asyncio.TaskGroup, reply: Reply, writing: Callable[[], Awaitable[Writing]]
    ) -> None:
        """Begins one.

        Args:
            tasks: own its task.
            reply: a written one.
            writing: waits until it is known what is to be answered.

        Raises:
            CallerError: `too_many_responses`.
        """
        if len(self._replies) >= MAX_ASIDES:
            raise CallerError(
                f"{MAX_ASIDES} responses out of band are being made already", code="too_many_responses"
            )
        self._replies[reply.id] = reply
        self._notify(ResponseCreated(reply.response))
        reply.begin(self._notify)
        reply.task = tasks.create_task(self._make(reply, writing), name=f"aside {reply.id}")

    def cancel(self, response_id: str) -> bool:
        """Makes no more of one. Returns whether there is such a one."""
        reply = self._replies.get(response_id)
        if reply is not None:
            self._abandon(reply, "client_cancelled")
        return reply is not None

    def cancel_all(self) -> None:
        """Makes no more of any."""
        for reply in tuple(self._replies.values()):
            self._abandon(reply, "client_cancelled")

    def _abandon(self, reply: Reply, reason: StatusReason) -> None:
        reply.abandon(reason)
        self._conclude(reply)

    async def _make(self, reply: Reply, writing: Callable[[], Awaitable[Writing]]) -> None:
        try:
            relay = partial(self._relay, reply)
            await reply.make(await writing(), self._engines, self._playout, relay)
        except* VoxtralKokoroError as group:
            error = first_error(group)
            log.warning("a response out of band failed", extra={"error": str(error), "code": error.code})
            reply.fail(error)
        if reply.id in self._replies:
            self._conclude(reply)

    def _relay(self, reply: Reply, event: CallEvent) -> None:
        """One that was cancelled may have a word on its way."""
        if reply.id in self._replies:
            self._notify(event)

    def _conclude(self, reply: Reply) -> None:
        del self._replies[reply.id]
        reply.conclude(self._notify)
        self._notify(ResponseDone(reply.response))
