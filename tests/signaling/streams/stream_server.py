"""A server whole, with scripted engines, to which providers' far sides connect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.config import Config
from server.serve import Server, running_server
from signaling.phone.call import PhoneCall
from signaling.phone.leg import PhoneLeg
from tests.scripted import ScriptedEngines

AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
STREAM_TOKEN = "a-token-for-streams"
LIMIT_S = 60.0


@dataclass
class StreamServer:
    """Attributes: server: it; engines: what it hears, thinks and speaks with."""

    server: Server
    engines: ScriptedEngines

    @property
    def url(self) -> str:
        return self.server.url

    def ws(self, path: str) -> str:
        return f"{self.server.url.replace('http', 'ws', 1)}{path}"

    @property
    def leg(self) -> PhoneLeg:
        """Of the only call."""
        calls = self.server.telephone.calls
        (call_id,) = calls._calls
        call = calls.get(call_id)
        assert isinstance(call, PhoneCall)
        assert call.leg is not None
        return call.leg


@asynccontextmanager
async def stream_server(
    engines: ScriptedEngines | None = None, streams: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[StreamServer]:
    scripted = engines or ScriptedEngines()
    wanted = {
        "server": {"port": 0, "health_port": 0, "drain_timeout_s": 0, "max_calls": 2},
        "speech_to_speech": {"greeting": ""},
        "telephone": {"greeting_delay_s": 0},
        "interruption": {"classify": False},
        "streams": streams or {},
    }
    config = Config.model_validate({**wanted, **sections})
    async with asyncio.timeout(LIMIT_S), running_server(config, scripted.engines()) as server:
        await server.engine_set.until_ready()
        scripted.llm.requests.clear()
        yield StreamServer(server, scripted)


def run(test: Callable[[StreamServer], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with stream_server(**options) as served:
            await test(served)

    asyncio.run(main())
