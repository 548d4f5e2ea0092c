"""What synthetic callers share on every transport: how they connect, what they heard, the wait for more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from media.errors import VoxtralKokoroError
from signaling.heard import HeardFrame, first_audible

Event = dict[str, Any]


class CallFailed(VoxtralKokoroError):
    """The call did not connect, or ended too early."""

    code = "call_failed"


@asynccontextmanager
async def connecting(limit_s: float, close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Within it a call is set up; whatever goes wrong, `close` is called.

    Raises:
        CallFailed: it takes longer than `limit_s`, or the server cannot be reached.
    """
    try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(close)
            async with asyncio.timeout(limit_s):
                yield
            stack.pop_all()
    except TimeoutError:
        raise CallFailed("The call did not connect in time.") from None
    except aiohttp.ClientError as error:
        raise CallFailed(f"The server cannot be reached: {error}") from error


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event of the server and its arrival, in loop time."""

    at_s: float
    event: Event

    @property
    def type(self) -> str:
        return str(self.event["type"])


class Hearing:
    """Keeps what came, until the call ends."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[ReceivedEvent | None] = asyncio.Queue()
        """None is the end of the call."""
        self._why = ""
        self.ended = asyncio.Event()
        self.events: list[ReceivedEvent] = []
        self.frames: list[HeardFrame] = []
        self.more = asyncio.Event()
        """Set with every piece of sound; whoever waits for more clears it."""

    def event_came(self, received: ReceivedEvent) -> None:
        self.events.append(received)
        self._unread.put_nowait(received)

    def sound_came(self, frame: HeardFrame) -> None:
        self.frames.append(frame)
        self.more.set()

    def end(self, why: str) -> None:
        """Nothing more comes: wakes whoever waits for it. `why` is what they are told."""
        self._why = why
        self.ended.set()
        self.more.set()
        self._unread.put_nowait(None)

    def failure(self) -> CallFailed:
        """Why there is nothing more."""
        return CallFailed(self._why)

    def require_standing(self) -> None:
        """Raises: CallFailed: the call has ended."""
        if self.ended.is_set():
            raise self.failure()

    async def next_event(self, *types: str) -> ReceivedEvent:
        """The next event of one of these types (of any, if none is given). Those before it are passed over.

        Waits for as long as it takes: the caller of this sets the limit.

        Raises:
            CallFailed: the call has ended, and there is none.
        """
        while True:
            received = await self._unread.get()
            if received is None:
                self._unread.put_nowait(None)
                raise self.failure()
            if not types or received.type in types:
                return received

    def first_audible(self, after_s: float) -> HeardFrame | None:
        """The first frame after a loop time that somebody would notice, or None so far."""
        return first_audible(self.frames, after_s)

    async def next_audible(self, after_s: float) -> HeardFrame:
        """Waits for the first frame after a loop time that somebody would notice.

        Raises:
            CallFailed: the call has ended, and there is none.
        """
        while (frame := self.first_audible(after_s)) is None:
            self.require_standing()
            self.more.clear()
            await self.more.wait()
        return frame
