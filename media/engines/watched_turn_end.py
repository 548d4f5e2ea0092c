"""The turn-end engine, whose failures are told of: without its verdict turns end by their words alone."""

from __future__ import annotations

from collections.abc import Callable

from media.audio import Audio
from media.engines.fallback_order import FallbackEvent, FallbackOrder
from media.engines.garbage import require_probability
from media.engines.protocols import TurnEndEngine
from media.errors import EngineError

VERDICTS_LIMIT_S = 10.0
"""A verdict takes some 30 ms. Who waits for one gives up when the pause is over, after 2 s at most: it takes
a handful of turns until it is known that none comes any more."""


class WatchedTurnEnd:
    """Satisfies `TurnEndEngine`.

    Args:
        engine: has no other to stand in for it.
        tell: given what happens.
        silence_limit_s: an engine that was waited for so long, in all, without a single verdict is stuck.
    """

    def __init__(
        self,
        engine: TurnEndEngine,
        tell: Callable[[FallbackEvent], None],
        silence_limit_s: float = VERDICTS_LIMIT_S,
    ) -> None:
        self._order: FallbackOrder[TurnEndEngine] = FallbackOrder(
            "turn_end", (engine,), tell, silence_limit_s
        )

    @property
    def name(self) -> str:
        return self._order.name

    async def start(self) -> None:
        await self._order.start()

    async def close(self) -> None:
        await self._order.close()

    async def judge(self, turn: Audio) -> float:
        """P(the turn is complete).

        Raises:
            EngineError: the engine failed, or is being started again.
        """
        try:
            await self._order.ready(0)
            async with self._order.awaited(0):
                probability = await self._order.first.judge(turn)
            probability = require_probability(probability)
        except EngineError as error:
            self._order.failed(0, error)
            raise
        self._order.worked(0)
        return probability
