"""A way to a TCP port that can be cut, as when the machine at its end dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class TcpRelay:
    """Passes bytes on to a port of loopback.

    Attributes:
        port: where it listens itself.
    """

    target_port: int
    port: int = 0
    _server: asyncio.Server | None = None
    _ways: set[asyncio.StreamWriter] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TcpRelay]:
        async with asyncio.TaskGroup() as tasks:

            async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
                self._ways |= {writer, far_writer}
                tasks.create_task(_pass_on(reader, far_writer))
                tasks.create_task(_pass_on(far_reader, writer))

            self._server = await asyncio.start_server(came, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                self.cut()

    def cut(self) -> None:
        """Breaks everything off; who comes now is refused."""
        if self._server is not None:
            self._server.close()
        for way in self._ways:
            way.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
