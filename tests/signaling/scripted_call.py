"""A server whose conversations are scripted: all of signalling is real, sockets and media included."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Middleware

from media.audio import Audio
from media.clock import loop_time_s
from media.errors import CallerError, ConfigError, ServerFull
from media.events import CallEvent, ItemAdded, ItemDone
from media.items import Item, Message, ResponseOptions, new_id
from media.overhearing import Overhearing
from media.session import SessionConfig
from media.tools import Toolbox
from signaling.call_host import CallConversation, CallHost, CallSlot
from signaling.client_secrets import ClientSecrets
from signaling.guard import guard, headers_signal, key_guard
from signaling.ice import gathering_for
from signaling.page_routes import page_routes
from signaling.problem import problem_middleware
from signaling.realtime_routes import realtime_routes
from signaling.realtime_session import ConversationFactory
from signaling.realtime_socket_routes import realtime_socket_routes
from signaling.running_calls import RunningCalls
from signaling.settings import AccessSettings, IceSettings, SignalingSettings
from signaling.whip_routes import whip_routes
from signaling.ws_routes import ws_routes

RATE_HZ = 48_000
FRAME_SAMPLES = 960
SESSION = SessionConfig(instructions="Be brief.", greeting="Hello!", voice="af_heart")


class TonePlayout:
    """Silence, and a tone of 440 Hz while `sounding`. Paced as the real one."""

    def __init__(self) -> None:
        self.pausable = True
        self.ahead_s = 0.0
        self.heard_lag_s = 0.08
        self.phase_s = 0.0
        self.silenced: Callable[[], None] | None = None
        self.heard_from_s = float("-inf")
        self._sounds = asyncio.Event()
        self.began_s: float | None = None
        """When the first frame of the tone was handed over."""
        self.unstuck = asyncio.Event()
        """While it is clear, no frame comes, and not even a cancellation gets through."""
        self.unstuck.set()
        self.got_stuck = asyncio.Event()
        self._epoch_s: float | None = None
        self._position = 0

    @property
    def sounding(self) -> bool:
        return self._sounds.is_set()

    @property
    def spoke(self) -> bool:
        return self.sounding

    @property
    def pending(self) -> bool:
        return self.sounding

    def sound(self) -> None:
        """Begins the tone."""
        self._sounds.set()

    async def until_sound(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._sounds.wait()
        now_position = round((loop_time_s() - (self._epoch_s or 0)) * RATE_HZ)
        self._position = max(self._position, now_position)

    async def next_frame(self) -> tuple[Audio, int]:
        while not self.unstuck.is_set():
            self.got_stuck.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self.unstuck.wait()
        now_s = loop_time_s()
        if self._epoch_s is None:
            self._epoch_s = now_s
        due_s = self._epoch_s + self._position / RATE_HZ
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        self.heard_from_s = loop_time_s()
        position, self._position = self._position, self._position + FRAME_SAMPLES
        if not self.sounding:
            return Audio(np.zeros(FRAME_SAMPLES, dtype=np.int16), RATE_HZ), position
        if self.began_s is None:
            self.began_s = loop_time_s()
        t = (position + np.arange(FRAME_SAMPLES)) / RATE_HZ
        return Audio((8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16), RATE_HZ), position


class ScriptedConversation:
    """Notes what it is told to do, and does the little that a test needs."""

    def __init__(self, session: SessionConfig, notify: Callable[[CallEvent], None]) -> None:
        self._session = session
        self.notify = notify
        self._playout = TonePlayout()
        self.acts: list[tuple[Any, ...]] = []
        self.heard: list[Audio] = []
        self.more_heard = asyncio.Event()
        self.lacks_samples = 0
        self.overhearing: Overhearing | None = None
        self._items: dict[str, Item] = {}
        self.began = asyncio.Event()
        self.refuses: CallerError | None = None
        self.fails: Exception | None = None
        self._closed = asyncio.Event()

    @property
    def playout(self) -> TonePlayout:
        return self._playout

    @property
    def session(self) -> SessionConfig:
        return self._session

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items.values())

    @property
    def voices(self) -> tuple[str, ...]:
        return ("af_heart", "bf_emma")

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    async def run(self) -> None:
        self.began.set()
        self._playout.sound()
        await self._closed.wait()
        if self.fails:
            raise self.fails

    def close(self) -> None:
        self._closed.set()

    def hear(self, audio: Audio) -> None:
        self.heard.append(audio)
        self.more_heard.set()

    @property
    def lacking_samples(self) -> int:
        return self.lacks_samples

    async def heard_all(self) -> None:
        """All is heard at once."""

    def press(self, digit: str) -> None:
        self._act("press", digit)

    async def until_said(self) -> None:
        """All is said at once."""

    async def until_quiet(self, for_s: float) -> None:
        await asyncio.sleep(for_s)

    def forgo(self) -> None:
        self._act("forgo")

    def update(self, session: SessionConfig) -> None:
        self._act("update")
        self._session = session

    def add_item(self, item: Item, previous_item_id: str | None = None) -> None:
        self._act("add_item", item, previous_item_id)
        self._items[item.id] = item
        self.notify(ItemAdded(item, previous_item_id))
        self.notify(ItemDone(item, previous_item_id))

    def add_recording(
        self, item: Message, recordings: Mapping[int, Audio], previous_item_id: str | None = None
    ) -> None:
        self._act("add_recording", item, recordings, previous_item_id)

    def delete_item(self, item_id: str) -> None:
        self._act("delete_item", item_id)

    def item(self, item_id: str) -> Item:
        if item_id not in self._items:
            raise CallerError("There is none.", code="item_retrieve_invalid_item_id", param="item_id")
        return self._items[item_id]

    def truncate_item(self, item_id: str, audio_end_ms: int) -> None:
        self._act("truncate_item", item_id, audio_end_ms)

    def create_response(self, options: ResponseOptions = ResponseOptions()) -> None:  # noqa: B008 - frozen
        self._act("create_response", options)

    def cancel_response(self, response_id: str | None = None) -> None:
        self._act("cancel_response", response_id)

    def clear_output(self) -> None:
        self._act("clear_output")

    def commit_input(self) -> None:
        self._act("commit_input")

    def clear_input(self) -> None:
        self._act("clear_input")

    def reset(self) -> None:
        self._act("reset")

    def _act(self, *what: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.acts.append(what)


@dataclass
class ScriptedHost:
    """A server's worth of slots."""

    tasks: asyncio.TaskGroup
    slots: int = 4
    settings: SignalingSettings = field(default_factory=SignalingSettings)
    converse: ConversationFactory = ScriptedConversation
    taken: list[ScriptedSlot] = field(default_factory=list)
    conversations: list[ScriptedConversation] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a slot came free."""

    def admit(self) -> ScriptedSlot:
        if len(self.taken) >= self.slots:
            raise ServerFull("All lines are busy.", retry_after_s=7)
        slot = ScriptedSlot(self, new_id("rtc"))
        self.taken.append(slot)
        return slot

    @property
    def voices(self) -> tuple[str, ...]:
        return (SESSION.voice,)

    def session_defaults(self) -> SessionConfig:
        return SESSION

    def page_config(self) -> dict[str, Any]:
        return {"voices": ["af_heart"]}

    def change_settings(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := set(patch) - {"tts"}:
            raise ConfigError("There is no such setting.", param=min(unknown))
        return dict(patch)

    async def all_free(self) -> None:
        while self.taken:
            self.freed.clear()
            await self.freed.wait()


@dataclass
class ScriptedSlot:
    host: ScriptedHost
    call_id: str

    def conversation(
        self,
        session: SessionConfig,
        notify: Callable[[CallEvent], None],
        telephone: Toolbox | None = None,
    ) -> CallConversation:
        conversation = self.host.converse(session, notify)
        if isinstance(conversation, ScriptedConversation):
            self.host.conversations.append(conversation)
        return conversation

    def start(self, main: Coroutine[Any, Any, None], hang_up: Callable[[], None]) -> None:
        self.host.tasks.create_task(self._run(main), name=self.call_id)

    def release(self) -> None:
        if self in self.host.taken:
            self.host.taken.remove(self)
            self.host.freed.set()

    async def _run(self, main: Coroutine[Any, Any, None]) -> None:
        try:
            await main
        except Exception as error:  # noqa: BLE001 - the call boundary, as in the server
            self.host.failures.append(error)
        finally:
            self.release()


def _satisfy(host: CallHost, slot: CallSlot, conversation: CallConversation) -> None:
    """The type checker holds the scripted ones to the Protocols."""


def _checked(host: ScriptedHost, slot: ScriptedSlot, conversation: ScriptedConversation) -> None:
    _satisfy(host, slot, conversation)


@dataclass
class Serving:
    host: ScriptedHost
    calls: RunningCalls
    url: str


@asynccontextmanager
async def serving(
    *middlewares: Middleware,
    slots: int = 4,
    converse: ConversationFactory = ScriptedConversation,
    access: AccessSettings = AccessSettings(),  # noqa: B008 - frozen
    **ice: Any,
) -> AsyncIterator[Serving]:
    """A server on loopback. The block ends when all its calls have. The middlewares are the innermost."""
    settings = SignalingSettings(ice=IceSettings(**ice), access=access)
    async with gathering_for(settings.ice) as gathering, asyncio.TaskGroup() as tasks:
        host = ScriptedHost(tasks, slots, settings, converse)
        calls = RunningCalls()
        secrets = ClientSecrets()
        keys = key_guard(access, secrets, frozenset())
        app = web.Application(middlewares=[problem_middleware, guard(access), keys, *middlewares])
        app.on_response_prepare.append(headers_signal(host.settings.access))
        app.add_routes(page_routes(host))
        app.add_routes(whip_routes(host, calls, gathering))
        app.add_routes(ws_routes(host, calls))
        app.add_routes(realtime_routes(host, calls, gathering, secrets))
        app.add_routes(realtime_socket_routes(host, calls, secrets))
        runner = web.AppRunner(app, access_log=None, lingering_time=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield Serving(host, calls, f"http://127.0.0.1:{runner.addresses[0][1]}")
            await host.all_free()
        finally:
            await runner.cleanup()
