"""How one of several engines of a role has done, as those know who choose among them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from media.engines.on_need import Loading
from media.engines.silence import EngineSilence
from media.engines.wire import LoadState


@dataclass(slots=True)
class Standing:
    """How an engine has done.

    Attributes:
        rank: 0 is wanted first. Those beside each other have the same.
        silence: None where it is waited for without end.
        under_way: requests.
        asked: when it was asked last, as one more than whoever was asked before.
        loading: of one that is loaded when it is needed.
        starting: held while it is started.
    """

    rank: int
    silence: EngineSilence | None
    loading: Loading | None = None
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    under_way: int = 0
    asked: int = 0
    started: bool = False
    left_over: bool = False
    """It was started once, and is to be closed before it is started again."""
    stuck: bool = False
    """Only another process mends it: here its closing would wait for its step, which may never end."""
    starts: int = 0
    failures: int = 0
    """In a row."""
    rests_until_s: float = 0.0
    failed_step: object | None = None
    """The last one that failed of those that compute several requests."""

    @property
    def waits(self) -> bool:
        """It is loaded when it is needed, and was not yet."""
        return self.loading is not None and self.loading.state is LoadState.WAITS
