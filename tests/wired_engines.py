"""Scripted engines at the other end of a pair of sockets: the wire is real, and time can be virtual."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from media.engines.channel import Channel
from media.engines.host import EngineHost, HostedEngines
from media.engines.link import Connection, EngineLink
from media.engines.protocols import Engines
from media.engines.remote import RemoteLlm, RemoteStt, RemoteTts, RemoteTurnEnd
from media.engines.wire import ToEngines
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt

ROLES = ("turn_end", "stt", "llm", "tts")


@dataclass
class WiredEngines:
    """The media process's engines, and the process that they lead to, which may die and come back."""

    scripted: ScriptedEngines
    link: EngineLink
    tasks: asyncio.TaskGroup
    """What a test wants to happen meanwhile; waited for in the end."""
    hosts: asyncio.TaskGroup
    told: list[ToEngines] = field(default_factory=list)
    """All messages that arrived over there."""
    _far: Channel | None = None

    @property
    def llm(self) -> ScriptedLlm:
        return self.scripted.llm

    @property
    def stt(self) -> ScriptedStt:
        return self.scripted.stt

    def engines(self) -> Engines:
        """As `ScriptedEngines` does: a virtual call takes either."""
        link = self.link
        return Engines(
            self.scripted.vad, RemoteTurnEnd(link), RemoteStt(link), RemoteLlm(link), RemoteTts(link)
        )

    async def come_up(self) -> None:
        """A process begins, and its engines are started."""
        ours, theirs = socket.socketpair()
        inbox: asyncio.Queue[ToEngines | None] = asyncio.Queue()

        def arrived(message: ToEngines) -> None:
            self.told.append(message)
            inbox.put_nowait(message)

        far = self._far = Channel(arrived, lambda: inbox.put_nowait(None))
        near = Channel(lambda message: connection.received(message), lambda: connection.lost())
        connection = Connection(near)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: far, sock=theirs)
        await loop.create_unix_connection(lambda: near, sock=ours)
        scripted = self.scripted
        hosted = HostedEngines(scripted.turn_end, scripted.stt, scripted.llm, scripted.tts)
        self.hosts.create_task(EngineHost(hosted, far.send).serve(_messages(inbox)), name="engine host")
        self.link.connected(connection, hosted.facts)
        for role in ROLES:
            await self.link.start(role)

    def die(self) -> None:
        """The process ends, whatever it is at."""
        if self._far is not None:
            self._far.close()


@asynccontextmanager
async def wired(scripted: ScriptedEngines, wait_s: float = 20.0) -> AsyncIterator[WiredEngines]:
    async with asyncio.TaskGroup() as hosts:
        try:
            async with asyncio.TaskGroup() as tasks:
                process = WiredEngines(scripted, EngineLink(wait_s), tasks, hosts)
                await process.come_up()
                yield process
        finally:
            process.die()


async def _messages(inbox: asyncio.Queue[ToEngines | None]) -> AsyncIterator[ToEngines]:
    while (message := await inbox.get()) is not None:
        yield message
