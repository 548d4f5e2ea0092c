"""A client that joins a call which goes on: it sees the events, and may act."""

from __future__ import annotations

import asyncio
import logging

from signaling.outbox import Outbox
from signaling.realtime_session import RealtimeSession
from signaling.socket_call import CLIENT_GONE, HUNG_UP, NOT_READING, OVER, Ending, TextSocket, say_the_rest

log = logging.getLogger(__name__)


class SocketVisit:
    """One client's stay in a running call. `run` it once; the call goes on without it.

    Args:
        call_id: for task names.
        socket: open.
        session: of the call.
    """

    def __init__(self, call_id: str, socket: TextSocket, session: RealtimeSession) -> None:
        self._call_id = call_id
        self._socket = socket
        self._session = session
        self._outbox = Outbox(lambda: self.end(NOT_READING))
        self._send = self._outbox.put
        self._ending: Ending | None = None
        self._ended = asyncio.Event()

    def end(self, ending: Ending) -> None:
        """Ends the visit soon. May be called twice."""
        if self._ending is None:
            self._ending = ending
        self._ended.set()

    async def run(self) -> None:
        """Stays until the client leaves or the call is over. Closes the socket, whatever happens."""
        self._session.join(self._send, lambda: self.end(OVER))
        try:
            async with asyncio.TaskGroup() as tasks:
                carrying = [
                    tasks.create_task(self._read(), name=f"{self._call_id} visitor's reader"),
                    tasks.create_task(self._write(), name=f"{self._call_id} visitor's writer"),
                ]
                await self._ended.wait()
                for task in carrying:
                    task.cancel()
        finally:
            self._session.leave(self._send)
            ending = self._ending or HUNG_UP
            log.info("a client left the call", extra={"why": ending.reason})
            if ending not in (CLIENT_GONE, NOT_READING):
                await say_the_rest(self._outbox, self._socket)
            await self._socket.close(ending)

    async def _read(self) -> None:
        while (text := await self._socket.receive()) is not None:
            await self._session.receive_in_order(text, self._send)
        self.end(CLIENT_GONE)

    async def _write(self) -> None:
        while True:
            await self._socket.send(await self._outbox.next())
