"""Telephone calls in virtual time: a scripted leg on one side, the server's own calls on the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.errors import ToolError
from server.calls import Calls
from server.config import Config
from server.engine_set import EngineSet
from server.metrics import Metrics
from server.runtime_settings import RuntimeSettings
from server.warm_up import WarmUp
from signaling.call_host import VoiceOut
from signaling.phone.call_starter import PhoneCallStarter
from signaling.phone.leg import Ability, LegFigures, NotAnswered, Party, PhoneEar, PhoneLeg
from signaling.phone.record import CallRecord, CallRecords
from signaling.running_calls import RunningCalls
from tests import virtual_time
from tests.scripted import ScriptedEngines, quiet

FRAME_S = 0.02
AUDIBLE_DBFS = -45.0
INBOUND = Party("inbound", "sip", caller="+493012345", called="sip:100@here", call_ref="call-1")
OUTBOUND = Party("outbound", "sip", caller="", called="+4930999", call_ref="call-2")


@dataclass
class ScriptedLeg:
    """A telephone that notes what it hears and is told to do."""

    party: Party = INBOUND
    abilities: frozenset[Ability] = frozenset({"digits", "transfer"})
    transfer_fails: str | None = None
    silent_for_s: float = 0.0
    """After it is answered, no sound comes for so long."""
    levels: list[tuple[float, float]] = field(default_factory=list)
    digits: list[str] = field(default_factory=list)
    transferred: list[str] = field(default_factory=list)
    answered_s: float = 0.0
    ended_s: float | None = None
    figures: LegFigures = field(default_factory=lambda: LegFigures(10, 1, 20))
    _says: asyncio.Queue[Audio] = field(default_factory=asyncio.Queue)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _why: str = "the far side hung up"
    ear: PhoneEar | None = None

    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str:
        self.ear, self.answered_s = ear, loop_time_s()
        try:
            async with asyncio.TaskGroup() as tasks:
                carrying = [
                    tasks.create_task(self._listen(voice), name="far ear"),
                    tasks.create_task(self._speak(ear), name="far mouth"),
                ]
                await self._ended.wait()
                for task in carrying:
                    task.cancel()
        finally:
            self.ended_s = loop_time_s()
        return self._why

    def hang_up(self) -> None:
        self._ended.set()

    async def send_digits(self, digits: str) -> None:
        await asyncio.sleep(0.2 * len(digits))
        self.digits.append(digits)

    async def transfer(self, target: str) -> None:
        await asyncio.sleep(0.5)
        if self.transfer_fails is not None:
            raise ToolError(self.transfer_fails)
        self.transferred.append(target)

    async def say(self, *parts: Audio) -> None:
        """Speaks, and returns when it has spoken."""
        for part in parts:
            self._says.put_nowait(part)
        await asyncio.sleep(sum(part.duration_s for part in parts))

    def press(self, *digits: str) -> None:
        assert self.ear is not None
        for digit in digits:
            self.ear.digit(digit)

    def first_sound_s(self, after_s: float = 0.0) -> float:
        """When the assistant was heard first since then."""
        return next(at_s for at_s, level in self.levels if at_s >= after_s and level > AUDIBLE_DBFS)

    def last_sound_s(self) -> float:
        return max(at_s for at_s, level in self.levels if level > AUDIBLE_DBFS)

    async def _listen(self, voice: VoiceOut) -> None:
        while True:
            frame, _ = await voice.next_frame()
            self.levels.append((loop_time_s(), frame.level_dbfs()))

    async def _speak(self, ear: PhoneEar) -> None:
        await asyncio.sleep(self.silent_for_s)
        step = round(FRAME_S * SPEECH_RATE_HZ)
        while True:
            part = quiet(FRAME_S) if self._says.empty() else self._says.get_nowait()
            for start in range(0, len(part), step):
                ear.hear(Audio(part.samples[start : start + step], part.rate_hz))
                await asyncio.sleep(FRAME_S)


@dataclass
class ScriptedDialler:
    """Rings, and then does as it is told."""

    leg: ScriptedLeg
    rings_s: float = 1.0
    answers_s: float = 3.0
    fails: NotAnswered | None = None
    dialled: list[tuple[str, str | None]] = field(default_factory=list)
    called_off: int = 0

    async def dial(self, to: str, caller: str | None, ringing: Callable[[], None]) -> PhoneLeg:
        self.dialled.append((to, caller))
        try:
            await asyncio.sleep(self.rings_s)
            ringing()
            await asyncio.sleep(self.answers_s - self.rings_s)
        except asyncio.CancelledError:
            self.called_off += 1
            raise
        if self.fails is not None:
            raise self.fails
        return self.leg


@dataclass
class Exchange:
    """A server in virtual time, whose calls are those of telephones."""

    host: Calls
    calls: RunningCalls
    starter: PhoneCallStarter
    engines: ScriptedEngines

    def take(self, leg: ScriptedLeg) -> tuple[CallRecord, asyncio.Event]:
        """A call that comes, answered."""
        admission = self.starter.admit()
        over = admission.start(leg)
        return self.starter.records.get(admission.call_id), over

    def joined(self, call_id: str) -> list[dict[str, Any]]:
        """What a Realtime client that joins the call is sent, from now on."""
        events: list[dict[str, Any]] = []
        self.calls.session(call_id).join(lambda text: events.append(json.loads(text)), lambda: None)
        return events


@asynccontextmanager
async def exchange(engines: ScriptedEngines, sections: dict[str, Any]) -> AsyncIterator[Exchange]:
    """The block ends when all its calls have."""
    config = Config.model_validate(
        {"server": {"max_calls": 2}, "speech_to_speech": {"greeting": ""}} | sections
    )
    ports = engines.engines()
    engine_set = EngineSet(ports, WarmUp(ports, voice="af_heart", instructions="Be kind.", language="en"))
    await engine_set.start()
    # What warming up has used of the scripts.
    engines.llm.requests.clear()
    engines.stt.sessions.clear()
    metrics = Metrics(clock=asyncio.get_running_loop().time)
    async with asyncio.TaskGroup() as tasks:
        host = Calls(tasks, engine_set, RuntimeSettings(config), metrics)
        calls = RunningCalls()
        yield Exchange(host, calls, PhoneCallStarter(host, calls, CallRecords(metrics.telephone)), engines)
        await host.until_nobody_calls()
    await engine_set.close()


def run(
    main: Callable[[Exchange], Coroutine[Any, Any, None]],
    engines: ScriptedEngines | None = None,
    **sections: Any,
) -> None:
    """Runs a test on an exchange, in virtual time.

    Args:
        main: the test.
        engines: what the server hears, thinks and speaks with.
        sections: of the configuration.
    """

    async def hosted() -> None:
        async with exchange(engines or ScriptedEngines(), sections) as exchanged:
            async with asyncio.timeout(600):
                await main(exchanged)

    virtual_time.run(hosted())
