"""What does not start leaves nothing open."""

from __future__ import annotations

import asyncio

import pytest

from media.engines.starting import closed_unless_started
from media.errors import EngineError


class Started:
    """An engine that notes whether it was closed."""

    name = "noted"

    def __init__(self) -> None:
        self.closed = False

    async def start(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


def test_what_started_stays_open() -> None:
    async def main() -> None:
        engine = Started()
        async with closed_unless_started(engine):
            await engine.start()
        assert not engine.closed

    asyncio.run(main())


def test_what_failed_is_closed() -> None:
    async def main() -> None:
        engine = Started()
        with pytest.raises(EngineError, match="no model"):
            async with closed_unless_started(engine):
                raise EngineError("no model")
        assert engine.closed

    asyncio.run(main())


def test_what_was_cancelled_is_closed() -> None:
    async def main() -> None:
        engine = Started()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), closed_unless_started(engine):
                await asyncio.Event().wait()
        assert engine.closed

    asyncio.run(main())
