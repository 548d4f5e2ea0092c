"""Voice activity whose probabilities are some: a network that went astray once hears nothing ever again."""

from __future__ import annotations

import logging

from media.audio import Audio
from media.engines.protocols import GARBAGE, VadStream
from media.errors import EngineError

log = logging.getLogger(__name__)


class CheckedVad:
    """Satisfies `VadStream`. Where the stream gives no probability, it forgets what it heard, and goes on.

    Args:
        stream: the engine's.
    """

    def __init__(self, stream: VadStream) -> None:
        self._stream = stream
        self._astray = False

    async def push(self, window: Audio) -> float:
        """P(speech) of the next window; none where the engine gave no probability.

        Raises:
            EngineError: it gave none twice in a row.
        """
        probability = await self._stream.push(window)
        if 0 <= probability <= 1:
            self._astray = False
            return probability
        if self._astray:
            raise EngineError("The voice activity engine gives no probabilities.", code=GARBAGE)
        log.warning("voice activity went astray, and begins anew")
        self._astray = True
        self._stream.reset()
        return 0.0

    def reset(self) -> None:
        self._stream.reset()
