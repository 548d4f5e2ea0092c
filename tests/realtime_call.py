"""A Realtime session over a real conversation with scripted engines, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from media.audio import SPEECH_RATE_HZ, Audio
from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.events import CallEvent
from media.items import Message
from media.session import SessionConfig
from media.tools import Toolbox
from signaling.realtime_session import RealtimeSession
from signaling.realtime_session_objects import SessionUpdate
from signaling.socket_leg import play_unheard
from tests.scripted import ScriptedEngines, quiet
from tests.virtual_call import FRAME_S, SESSION


@dataclass
class RealtimeCall:
    """The session under test, and what its client was sent, in order."""

    session: RealtimeSession
    conversation: Conversation
    events: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, text: str) -> None:
        self.events.append(json.loads(text))
        self._news.set()

    def send(self, event_type: str, **fields: Any) -> list[dict[str, Any]]:
        """Sends an event; returns what came back at once."""
        before = len(self.events)
        self.session.receive(json.dumps({"type": event_type, **fields}))
        return self.events[before:]

    def of(self, event_type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == event_type]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
        """Waits for something that an event brings about."""
        async with asyncio.timeout(limit_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def event(self, event_type: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of a type, waiting for it."""
        await self.until(lambda: len(self.of(event_type)) >= count)
        return self.of(event_type)[count - 1]

    async def response(self, count: int = 1) -> dict[str, Any]:
        """The `count`-th response, when it is done."""
        response: dict[str, Any] = (await self.event("response.done", count))["response"]
        return response

    async def say(self, *parts: Audio) -> None:
        """Speaks in real time, 20 ms after 20 ms."""
        step = round(FRAME_S * SPEECH_RATE_HZ)
        for part in parts:
            for start in range(0, len(part), step):
                self.conversation.hear(Audio(part.samples[start : start + step], part.rate_hz))
                await asyncio.sleep(FRAME_S)

    async def listen(self, for_s: float = 1.0) -> None:
        """Says nothing."""
        await self.say(quiet(for_s))

    def said(self) -> list[tuple[str, str]]:
        """The history: who said what."""
        return [(item.role, item.text) for item in self.conversation.items if isinstance(item, Message)]


@asynccontextmanager
async def realtime_call(
    engines: ScriptedEngines,
    settings: ConversationSettings | None = None,
    update: dict[str, Any] | None = None,
    session: SessionConfig = SESSION,
    toolbox: Toolbox | None = None,
    **options: Any,
) -> AsyncIterator[RealtimeCall]:
    """A running call and its session; on the way out it is closed, and everything of it must end.

    Args:
        engines: what it hears, thinks and speaks with.
        settings: the server's.
        update: the session that the client brings along.
        session: what the server begins with.
        toolbox: what the server runs.
        options: of `RealtimeSession`.
    """
    calls: list[RealtimeCall] = []
    conversations: list[Conversation] = []

    def converse(first: SessionConfig, notify: Callable[[CallEvent], None]) -> Conversation:
        conversations.append(
            Conversation(
                engines.engines(), settings or ConversationSettings(), first, notify, toolbox=toolbox
            )
        )
        return conversations[-1]

    given = SessionUpdate.model_validate_json(json.dumps(update)) if update is not None else None
    opened = RealtimeSession(session, given, converse, lambda text: calls[0].note(text), **options)
    conversation = conversations[0]
    call = RealtimeCall(opened, conversation)
    calls.append(call)

    async def hear() -> None:
        if opened.leg is not None:
            await opened.leg.run()
        else:
            await play_unheard(conversation.playout)

    async with asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(hear())
        running = tasks.create_task(conversation.run())
        await asyncio.sleep(0)
        opened.open()
        yield call
        conversation.close()
        await running
        hearing.cancel()
    assert engines.llm.open_requests == 0, "a reply kept its slot"
    assert all(stt.aborted for stt in engines.stt.sessions), "a transcription was left open"
