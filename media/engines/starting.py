"""What does not start leaves nothing open, and can be started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from media.engines.inference import InferenceThreads
from media.engines.protocols import Engine


@asynccontextmanager
async def closed_unless_started(engine: Engine, *threads: InferenceThreads) -> AsyncIterator[None]:
    """Around an engine's start: closes it where that fails or is cancelled.

    Args:
        engine: is starting.
        threads: its own. They take work again where it was closed before.
    """
    for own in threads:
        own.reopen()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        yield
        stack.pop_all()
