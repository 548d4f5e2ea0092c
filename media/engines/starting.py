"""What does not start leaves nothing open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from media.engines.protocols import Engine


@asynccontextmanager
async def closed_unless_started(engine: Engine) -> AsyncIterator[None]:
    """Around an engine's start: closes it where that fails or is cancelled."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        yield
        stack.pop_all()
