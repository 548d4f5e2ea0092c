"""The engine process's side: drives the real engines as the media process asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, assert_never

from media.engines.gpu_pool import pools
from media.engines.memory import free_caches
from media.engines.protocols import LlmEngine, SttEngine, SttSession, TtsEngine, TurnEndEngine
from media.engines.wire import (
    AbortSession,
    Cancel,
    Done,
    EngineFacts,
    Failed,
    Failure,
    FlushSession,
    FollowSession,
    FromEngines,
    GiveBack,
    Item,
    Judge,
    OpenSession,
    Ping,
    PushAudio,
    Reply,
    Request,
    SetLogLevel,
    Speak,
    StartEngine,
    ToEngines,
)
from media.errors import EngineError, VoxtralKokoroError

ENGINE_HOST = "voxtral-kokoro"
"""Who owns the models that are served over HTTP. By it our own adapters know that more than OpenAI's fields
is taken there."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostedEngines:
    """The engines that live in the engine process."""

    turn_end: TurnEndEngine
    stt: SttEngine
    llm: LlmEngine
    tts: TtsEngine

    @property
    def facts(self) -> EngineFacts:
        return EngineFacts(
            turn_end_name=self.turn_end.name,
            stt_name=self.stt.name,
            stt_languages=self.stt.languages,
            llm_name=self.llm.name,
            tts_name=self.tts.name,
            tts_rate_hz=self.tts.rate_hz,
            tts_voices=self.tts.voices,
        )

    async def close(self) -> None:
        for engine in (self.turn_end, self.stt, self.llm, self.tts):
            await engine.close()


class EngineHost:
    """Serves one media process.

    Args:
        engines: none of them started: that is asked for, too.
        send: sends a message to the media process.
    """

    def __init__(self, engines: HostedEngines, send: Callable[[FromEngines], None]) -> None:
        self._engines = engines
        self._send = send
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._sessions: dict[int, SttSession] = {}

    async def serve(self, messages: AsyncIterator[ToEngines]) -> None:
        """Does what the messages say until they end; then everything under way is given up."""
        async with asyncio.TaskGroup() as tasks:
            async for message in messages:
                await self._follow(message, tasks)
            for task in self._requests.values():
                task.cancel()
        for session in self._sessions.values():
            await session.abort()

    async def _follow(self, message: ToEngines, tasks: asyncio.TaskGroup) -> None:
        match message:
            case Request():
                task = tasks.create_task(self._answer(message), name=f"request {message.number}")
                self._requests[message.number] = task
                task.add_done_callback(lambda _: self._requests.pop(message.number))
            case Cancel():
                if task_of_it := self._requests.get(message.number):
                    task_of_it.cancel()
            # Here and not in tasks: a turn's audio stays in order, and before the flush that follows it.
            case OpenSession():
                self._open(message)
            case PushAudio():
                if pushed_to := self._sessions.get(message.session):
                    await pushed_to.push(message.audio)
            case AbortSession():
                # In a task: an endpoint's connection takes its time to close, and other calls wait here.
                if aborted := self._sessions.pop(message.session, None):
                    tasks.create_task(aborted.abort(), name=f"abort session {message.session}")
            case SetLogLevel():
                logging.getLogger().setLevel(message.level)
            case GiveBack():
                free_caches()
            case _:
                assert_never(message)

    def _open(self, message: OpenSession) -> None:
        """Opens a session. One that cannot be opened fails when its transcript is asked for."""
        try:
            self._sessions[message.session] = self._engines.stt.open(message.options)
        except VoxtralKokoroError as error:
            log.warning("a transcription could not begin", extra={"error": str(error)})

    async def _answer(self, request: Request) -> None:
        answer: FromEngines
        try:
            answer = Done(request.number, await self._result(request))
        except VoxtralKokoroError as error:
            answer = Failed(request.number, Failure.of(error))
        except Exception as error:  # the request's boundary: one that breaks ends nothing but itself
            log.exception("an engine broke", extra={"work": type(request.work).__name__})
            fault = EngineError(f"{type(error).__name__}: {error}", code="engine_fault")
            answer = Failed(request.number, Failure.of(fault))
        self._send(answer)

    async def _result(self, request: Request) -> Any:
        work = request.work
        match work:
            case StartEngine():
                await getattr(self._engines, work.role).start()
                return self._engines.facts
            case Judge():
                return await self._engines.turn_end.judge(work.turn)
            case FlushSession():
                return await self._session(work.session).flush()
            case FollowSession():
                return await self._relay(request, self._session(work.session).partials())
            case Reply():
                return await self._relay(request, self._engines.llm.reply(work.request))
            case Speak():
                return await self._relay(request, self._engines.tts.speak(work.request))
            case Ping():
                return pools()
            case _:
                assert_never(work)

    async def _relay(self, request: Request, items: AsyncIterator[Any]) -> None:
        async for item in items:
            self._send(Item(request.number, item))

    def _session(self, number: int) -> SttSession:
        session = self._sessions.get(number)
        if session is None:
            raise EngineError("The transcription was aborted, or never began.", code="aborted")
        return session
