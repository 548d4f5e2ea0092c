"""One call over a socket that carries text, from its first message to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from signaling.call_host import CallConversation
from signaling.outbox import Outbox
from signaling.socket_leg import SocketLeg

_FAREWELL_S: Final = 1.0
"""When the call is over, what still waits to be sent has this long."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a socket is closed: WebSocket's close code (RFC 6455, 7.4.1), and the reason in words."""

    code: int
    reason: str


OVER: Final = Ending(1000, "the call is over")
HUNG_UP: Final = Ending(1000, "hung up")
CLIENT_GONE: Final = Ending(1000, "the client left")
NOT_BEGUN: Final = Ending(1008, "the client did not begin the call")
STOPPING: Final = Ending(1001, "the server stops")
NOT_READING: Final = Ending(1008, "the client does not read what it is sent")
FAILED: Final = Ending(1011, "the call failed")


class TextSocket(Protocol):
    """A WebSocket, as a call needs it. Whatever happens to the connection, nothing raises."""

    async def receive(self) -> str | None:
        """The client's next message; None once there will be no more."""

    async def send(self, text: str) -> None:
        """Sends one message, at the pace at which the client reads."""

    async def close(self, ending: Ending) -> None:
        """Closes within a bounded time, also where the client does not answer."""


class SocketCall:
    """A call whose audio and events are messages. `run` it once.

    Args:
        call_id: for task names.
        socket: open.
        conversation: not running yet.
        leg: of that conversation.
        outbox: what is to be sent; it is filled by whoever translates the conversation's events.
        receive: takes each of the client's messages, one after the other.
        begin_limit_s: the conversation waits so long for `begin`; None: it begins at once.
    """

    def __init__(
        self,
        call_id: str,
        socket: TextSocket,
        conversation: CallConversation,
        leg: SocketLeg,
        outbox: Outbox,
        receive: Callable[[str], Awaitable[None]],
        *,
        begin_limit_s: float | None = None,
    ) -> None:
        self._call_id = call_id
        self._socket = socket
        self._conversation = conversation
        self._leg = leg
        self._outbox = outbox
        self._receive = receive
        self._begin_limit_s = begin_limit_s
        self._begun = asyncio.Event()
        self._ending: Ending | None = None

    async def begin(self) -> None:
        """Begins the conversation; returns when it takes wishes."""
        self._begun.set()
        await asyncio.sleep(0)

    def end(self, ending: Ending) -> None:
        """Ends the call soon. May be called twice, and before it runs."""
        if self._ending is None:
            self._ending = ending
        self._conversation.close()
        self._begun.set()

    def hang_up(self) -> None:
        """Ends the call soon. May be called twice."""
        self.end(HUNG_UP)

    def stop(self) -> None:
        """Ends the call soon, since the server stops. May be called twice."""
        self.end(STOPPING)

    async def run(self) -> None:
        """The call, until either side ends it. Closes the socket, whatever happens."""
        failed = True
        try:
            async with asyncio.TaskGroup() as tasks:
                conversation = tasks.create_task(self._converse(), name=f"{self._call_id} conversation")
                carrying = [
                    tasks.create_task(self._leg.run(), name=f"{self._call_id} leg"),
                    tasks.create_task(self._read(), name=f"{self._call_id} reader"),
                    tasks.create_task(self._write(), name=f"{self._call_id} writer"),
                ]
                await asyncio.wait({conversation})
                for task in carrying:
                    task.cancel()
            failed = False
        finally:
            ending = FAILED if failed else self._ending or OVER
            log.info("connection ended", extra={"why": ending.reason})
            if ending not in (CLIENT_GONE, NOT_READING):
                await say_the_rest(self._outbox, self._socket)
            await self._socket.close(ending)

    async def _converse(self) -> None:
        if self._begin_limit_s is not None:
            try:
                async with asyncio.timeout(self._begin_limit_s):
                    await self._begun.wait()
            except TimeoutError:
                self.end(NOT_BEGUN)
        if self._ending is None:
            await self._conversation.run()

    async def _read(self) -> None:
        while (text := await self._socket.receive()) is not None:
            await self._receive(text)
        self.end(CLIENT_GONE)

    async def _write(self) -> None:
        while True:
            await self._socket.send(await self._outbox.next())


async def say_the_rest(outbox: Outbox, socket: TextSocket) -> None:
    """Sends what still waits, to a client that reads it."""
    try:
        async with asyncio.timeout(_FAREWELL_S):
            for text in outbox.rest():
                await socket.send(text)
    except TimeoutError:
        log.info("the client did not read the end")
