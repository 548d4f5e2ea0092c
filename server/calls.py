"""The calls of this server: who gets a slot, what each call is given, and how they end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from media.clock import loop_time_s
from media.conversation import Conversation
from media.errors import ConfigError, ServerFull
from media.events import CallEvent
from media.items import new_id
from media.playout import Playout
from media.session import SessionConfig
from media.tools import JoinedToolbox, Toolbox
from media.yielding import OverlapJudge
from server.config import Config
from server.engine_set import EngineSet
from server.logs import current_call, set_level
from server.metrics import Metrics
from server.page_config import page_config
from server.runtime_settings import RuntimeSettings
from signaling.settings import SignalingSettings

_log = logging.getLogger(__name__)

_RETRY_WHEN_FULL_S = 5
_RETRY_WHEN_STARTING_S = 2
_HANG_UP_GRACE_S = 3.0
"""A call that was asked to end has this long to say goodbye; then it is cancelled."""


class Slot:
    """One admitted call: `signaling.call_host.CallSlot`."""

    def __init__(self, calls: Calls, call_id: str) -> None:
        self._calls = calls
        self._call_id = call_id
        self._task: asyncio.Task[bool] | None = None
        self._hang_up: Callable[[], None] | None = None
        self._began_s = loop_time_s()
        self._playouts: list[Playout] = []

    @property
    def lateness_ms(self) -> Counter[int]:
        """How many frames of the call's voice were so late."""
        return sum((playout.pacer.lateness_ms for playout in self._playouts), Counter())

    @property
    def call_id(self) -> str:
        return self._call_id

    def conversation(
        self,
        session: SessionConfig,
        notify: Callable[[CallEvent], None],
        telephone: Toolbox | None = None,
    ) -> Conversation:
        """The call's conversation, with the settings of this moment; its events are counted on their way."""
        observe = self._calls.metrics.observe

        def count_and_tell(event: CallEvent) -> None:
            observe(event)
            notify(event)

        calls = self._calls
        settings, toolbox = calls.config.conversation_settings(), calls.toolbox
        if telephone is not None:
            echoing = settings.interruption.model_copy(update={"echo_guard": "auto"})
            # A transfer takes as long as the target lets it ring.
            rings_s = calls.config.telephone.ring_timeout_s
            patient = settings.tools.model_copy(update={"timeout_s": max(settings.tools.timeout_s, rings_s)})
            settings = settings.model_copy(update={"interruption": echoing, "tools": patient})
            toolbox = JoinedToolbox(telephone, *(() if toolbox is None else (toolbox,)))
        conversation = Conversation(
            calls.engines, settings, session, count_and_tell, calls.overlap_judge, toolbox
        )
        self._playouts.append(conversation.playout)
        return conversation

    def start(self, main: Coroutine[Any, Any, None], hang_up: Callable[[], None]) -> None:
        """Runs the call in the server's task group. If the server stopped since, the call ends at once."""
        context = contextvars.copy_context()
        context.run(current_call.set, self._call_id)
        self._hang_up = hang_up
        self._task = self._calls.tasks.create_task(self._run(main), name=self._call_id, context=context)
        self._task.add_done_callback(lambda task: self._over(task, main), context=context)
        if self._calls.stopped:
            hang_up()

    def release(self) -> None:
        """Gives the slot back, where the call never started. May be called twice."""
        if self._task is None:
            self._calls.ended(self, failed=False)

    def hang_up(self) -> None:
        """Asks the call to end."""
        if self._hang_up is not None:
            self._hang_up()

    def cancel(self) -> None:
        """Ends the call without asking."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, main: Coroutine[Any, Any, None]) -> bool:
        """The call. Returns whether it failed."""
        _log.info("call started")
        try:
            await main
        except Exception:  # noqa: BLE001 - the call boundary: whatever breaks a call ends that call only
            _log.exception("call failed")
            return True
        return False

    def _over(self, task: asyncio.Task[bool], main: Coroutine[Any, Any, None]) -> None:
        """Not at the end of `_run`: a task that is cancelled before its first step never enters it."""
        main.close()
        self._calls.ended(self, failed=not task.cancelled() and task.result())
        _log.info("call ended", extra={"duration_s": round(loop_time_s() - self._began_s, 1)})


class Calls:
    """All calls of the process: `signaling.call_host.CallHost`.

    Args:
        tasks: the server's task group; it owns each call's task.
        engine_set: the engines; nobody is admitted before they are ready.
        runtime: the configuration and what was changed since.
        metrics: told of every call and all that happens in it.
        overlap_judge: what callers' sounds over the assistant's voice are; None: any speech interrupts.
        toolbox: what LLMs may call in this server.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        engine_set: EngineSet,
        runtime: RuntimeSettings,
        metrics: Metrics,
        overlap_judge: OverlapJudge | None = None,
        toolbox: Toolbox | None = None,
    ) -> None:
        self.tasks = tasks
        self.engines = engine_set.engines
        self.metrics = metrics
        self.overlap_judge = overlap_judge
        self.toolbox = toolbox
        self._engine_set = engine_set
        self._runtime = runtime
        self._slots: dict[str, Slot] = {}
        self._lateness_ms: Counter[int] = Counter()
        """Of the calls that are over."""
        metrics.frames.lateness_ms = self._frame_lateness_ms
        self._nobody_calls = asyncio.Event()
        self._nobody_calls.set()
        self._draining = False
        self._stopped = False

    @property
    def config(self) -> Config:
        """The settings for calls that begin now."""
        return self._runtime.config

    @property
    def active(self) -> int:
        """How many slots are taken."""
        return len(self._slots)

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def stopped(self) -> bool:
        """The time for draining is over: nothing starts any more."""
        return self._stopped

    @property
    def settings(self) -> SignalingSettings:
        config = self.config
        return SignalingSettings(
            ice=config.ice, access=config.server, opus=config.audio, telephone=config.telephone
        )

    def admit(self) -> Slot:
        """Takes a slot, in one step of the loop. The task that admits a call logs under its id from then on.

        Raises:
            ServerFull: all slots are taken, the engines are not ready, or the server is draining.
        """
        refusal = self.refusal()
        if refusal is not None:
            self.metrics.call_refused()
            raise refusal
        slot = Slot(self, new_id("rtc"))
        self._slots[slot.call_id] = slot
        self._nobody_calls.clear()
        self.metrics.call_admitted()
        current_call.set(slot.call_id)
        return slot

    def refusal(self) -> ServerFull | None:
        """Why a call that came now would be refused, or None."""
        if self._draining:
            return _draining()
        if not self._engine_set.ready:
            return ServerFull(
                "The engines are still loading. Try again in a moment.",
                retry_after_s=_RETRY_WHEN_STARTING_S,
                code="server_starting",
            )
        limit = self.config.server.max_calls
        if len(self._slots) >= limit:
            busy = "The only line is busy" if limit == 1 else f"All {limit} lines are busy"
            return ServerFull(f"{busy}. Try again in a moment.", retry_after_s=_RETRY_WHEN_FULL_S)
        return None

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of the voices that a session can have."""
        return tuple(voice.name for voice in self.engines.tts.voices if voice.unavailable is None)

    def session_defaults(self) -> SessionConfig:
        """What a call begins with."""
        return self.config.session_defaults()

    def page_config(self) -> dict[str, Any]:
        """What a page may know."""
        return page_config(self.config, self.engines)

    def change_settings(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Changes settings for calls that begin afterwards.

        Raises:
            ConfigError: an unknown key, a value that cannot be, a voice or a language that is not there.
        """
        changed, _ = self._runtime.tried(patch)
        self._require_spoken(changed)
        self._runtime.apply(patch)
        set_level(changed.logging.level)
        _log.info("settings changed", extra={"settings": _names(patch)})
        return self._runtime.overlay

    async def drain(self, timeout_s: float) -> None:
        """Admits nobody any more and lets running calls end, for so long; then ends them."""
        self._draining = True
        if self._slots:
            _log.info("draining", extra={"calls": self.active, "timeout_s": timeout_s})
        await self._nobody_calls_within(timeout_s)
        self._stopped = True
        for slot in tuple(self._slots.values()):
            slot.hang_up()
        await self._nobody_calls_within(_HANG_UP_GRACE_S)
        for slot in tuple(self._slots.values()):
            _log.warning("call cancelled", extra={"cancelled_call": slot.call_id})
            slot.cancel()

    def ended(self, slot: Slot, *, failed: bool) -> None:
        """A slot is free again. For the slot itself; a second time changes nothing."""
        if self._slots.pop(slot.call_id, None) is None:
            return
        self.metrics.call_ended(failed=failed)
        self._lateness_ms.update(slot.lateness_ms)
        if not self._slots:
            self._nobody_calls.set()

    async def until_nobody_calls(self) -> None:
        """Returns when no slot is taken."""
        await self._nobody_calls.wait()

    async def _nobody_calls_within(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self.until_nobody_calls()
        except TimeoutError:
            return

    def _frame_lateness_ms(self) -> Counter[int]:
        return sum((slot.lateness_ms for slot in self._slots.values()), self._lateness_ms)

    def _require_spoken(self, config: Config) -> None:
        """The two settings that only the engines can judge."""
        voice = next((voice for voice in self.engines.tts.voices if voice.name == config.tts.voice), None)
        if voice is None:
            raise ConfigError(f"There is no voice {config.tts.voice}.", param="tts.voice")
        if voice.unavailable is not None:
            raise ConfigError(
                f"The voice {voice.name} cannot speak here: {voice.unavailable}", param="tts.voice"
            )
        language = config.model.language_hint
        if language is not None and language not in self.engines.stt.languages:
            raise ConfigError(f"The language {language} is not understood here.", param="model.language")


def _draining() -> ServerFull:
    return ServerFull(
        "The server is shutting down.", retry_after_s=_RETRY_WHEN_FULL_S, code="server_draining"
    )


def _names(patch: Mapping[str, Any]) -> str:
    """Which settings, not their values: instructions are nobody's business in a log."""
    return ",".join(f"{section}.{key}" for section, keys in patch.items() for key in keys)
