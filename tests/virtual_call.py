"""A call in virtual time: a scripted caller on one side, what they would have heard on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.events import CallEvent, ItemDone
from media.items import Message
from media.session import SessionConfig
from media.tools import Toolbox
from media.yielding import OverlapJudge
from tests.scripted import ScriptedEngines, quiet

SESSION = SessionConfig(instructions="Be brief.", greeting="", voice="af_heart")
FRAME_S = 0.02
AUDIBLE_DBFS = -45.0

EventT = TypeVar("EventT")


@dataclass
class VirtualCall:
    """The call under test, its events with their times, and the level of each frame that went out."""

    conversation: Conversation
    running: asyncio.Task[None] | None = None
    """It ends when the call does."""
    events: list[tuple[float, CallEvent]] = field(default_factory=list)
    levels: list[tuple[float, float]] = field(default_factory=list)
    frames: list[Audio] = field(default_factory=list)
    """The frames themselves, one every 20 ms."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, event: CallEvent) -> None:
        self.events.append((loop_time_s(), event))
        self._news.set()

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def at_s(self, kind: type[EventT], index: int = 0) -> float:
        return [at_s for at_s, event in self.events if isinstance(event, kind)][index]

    def names(self) -> list[str]:
        return [type(event).__name__ for _, event in self.events]

    async def until(self, condition: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Waits for something that an event brings about."""
        async with asyncio.timeout(limit_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def event(self, kind: type[EventT], count: int = 1) -> EventT:
        """The `count`-th event of a kind, waiting for it."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    async def say(self, *parts: Audio) -> None:
        """Speaks in real time, 20 ms after 20 ms."""
        step = round(FRAME_S * SPEECH_RATE_HZ)
        for part in parts:
            for start in range(0, len(part), step):
                self.conversation.hear(Audio(part.samples[start : start + step], part.rate_hz))
                await asyncio.sleep(FRAME_S)

    async def listen(self) -> None:
        """Says nothing for a second, so that a turn can end."""
        await self.say(quiet(1.0))

    def audible_between(self, start_s: float, end_s: float) -> float:
        """How many seconds of it were audible."""
        loud = [at_s for at_s, level in self.levels if start_s <= at_s < end_s and level > AUDIBLE_DBFS]
        return len(loud) * FRAME_S

    def said(self) -> list[tuple[str, str]]:
        """The history: who said what."""
        return [(item.role, item.text) for item in self.conversation.items if isinstance(item, Message)]

    def done_texts(self, role: str) -> list[str]:
        items = [event.item for event in self.of(ItemDone)]
        return [item.text for item in items if isinstance(item, Message) and item.role == role]


@asynccontextmanager
async def virtual_call(
    engines: ScriptedEngines,
    settings: ConversationSettings | None = None,
    judge: OverlapJudge | None = None,
    toolbox: Toolbox | None = None,
    **session: object,
) -> AsyncIterator[VirtualCall]:
    """A running call; on the way out it is closed, and everything of it must end."""
    calls: list[VirtualCall] = []
    conversation = Conversation(
        engines.engines(),
        settings or ConversationSettings(),
        replace(SESSION, **session),  # type: ignore[arg-type]
        lambda event: calls[0].note(event),
        judge,
        toolbox,
    )
    call = VirtualCall(conversation)
    calls.append(call)

    async def hear() -> None:
        while True:
            frame, _ = await conversation.playout.next_frame()
            call.levels.append((loop_time_s(), frame.level_dbfs()))
            call.frames.append(frame)

    async with asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(hear())
        running = call.running = tasks.create_task(conversation.run())
        await asyncio.sleep(0)
        yield call
        conversation.close()
        await running
        hearing.cancel()
    assert engines.llm.open_requests == 0, "a reply kept its slot"
    assert all(session.aborted for session in engines.stt.sessions), "a transcription was left open"
