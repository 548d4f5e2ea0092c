"""A server that hears and speaks with the real engines and answers by rote, in a process of its own.

    python -m tests.peers.spoken_server SETTINGS

SETTINGS is configuration, in JSON. The process writes its address to stdout and then, a line of JSON each,
what its calls are about: whatever transport a client has chosen, and whether or not it is told itself. It
ends with its stdin. `spoken_server` starts one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from media.clock import loop_time_s
from media.engines.protocols import LlmRequest
from media.events import CallEvent, OutputBufferStopped, TranscriptCompleted
from media.overlap import OverlapClassifier
from media.session import SessionConfig
from server.app import listening, page_app
from server.calls import Calls
from server.config import Config
from server.engine_set import EngineSet
from server.engines import build_engines
from server.environment import prepare_environment
from server.metrics import Metrics
from server.runtime_settings import RuntimeSettings
from server.warm_up import WarmUp
from signaling.ice import gathering_for
from tests.peers.story import STORY, WEATHER_TOOL, is_about_weather, is_for_a_story, weather_answer
from tests.peers.voices import sound_error_rate
from tests.scripted import Calls as ToolCalls
from tests.scripted import ScriptedLlm, calls

ROOT = Path(__file__).resolve().parent.parent.parent

ANSWER = "The library opens at nine, and it closes at half past five."
"""Whatever was asked, but for a story, or to one that has the tool, the weather."""
GREETING = "Hello there."
"""Where it is asked to speak first."""

READY_LIMIT_S = 60.0
END_LIMIT_S = 30.0

Note = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpokenServer:
    """A server that is ready.

    Attributes:
        url: of the page.
        notes: what its calls were about since they were last asked after.
    """

    url: str
    notes: Queue[Note]

    def until_heard(self, text: str, limit_s: float = 20.0) -> str:
        """Waits until a caller has said this, within a fifth of its phonemes, and returns the transcript."""
        note = self._until(lambda note: _is_about(note, text), f"{text!r} was not heard", limit_s)
        return str(note["heard"])

    def until_answered(self, limit_s: float = 30.0) -> None:
        """Waits until an answer has been heard out."""
        self._until(lambda note: "heard_out" in note, "nothing was answered", limit_s)

    def until_ended(self, limit_s: float = 10.0) -> None:
        """Waits until a call has ended."""
        self._until(lambda note: "ended" in note, "no call ended", limit_s)

    def forget(self) -> None:
        """So that what comes is the present test's."""
        while not self.notes.empty():
            self.notes.get_nowait()

    def _until(self, wanted: Callable[[Note], bool], otherwise: str, limit_s: float) -> Note:
        came: list[Note] = []
        while True:
            try:
                note = self.notes.get(timeout=limit_s)
            except Empty:
                raise AssertionError(f"{otherwise}; there came {came}") from None
            if wanted(note):
                return note
            came.append(note)


def _is_about(note: Note, text: str) -> bool:
    return "heard" in note and sound_error_rate(text, note["heard"]) <= 0.2


@contextmanager
def spoken_server(**settings: Any) -> Iterator[SpokenServer]:
    """Starts the server, with these sections of configuration on top, and ends it."""
    command = [sys.executable, "-m", "tests.peers.spoken_server", json.dumps(settings)]
    with (
        ThreadPoolExecutor(1, "notes of the server") as reading,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            notes: Queue[Note] = Queue()
            reading.submit(_read, process.stdout, notes)
            yield SpokenServer(url, notes)
        finally:
            process.stdin.close()
            assert process.wait(timeout=END_LIMIT_S) == 0


def _read(lines: Iterator[str], notes: Queue[Note]) -> None:
    for line in lines:
        notes.put(json.loads(line))


# In the process


class Rote(ScriptedLlm):
    """Answers by what was said last. A count would not do: it is asked ahead, while words come."""

    def script(self, request: LlmRequest) -> str | ToolCalls:
        last = request.messages[-1]
        if all(message.role == "system" for message in request.messages):
            return GREETING
        if last.role == "tool":
            return weather_answer(last.text)
        if is_about_weather(last.text) and any(tool.name == WEATHER_TOOL for tool in request.tools):
            return calls(WEATHER_TOOL, json.dumps({"city": "Madrid"}))
        return STORY if is_for_a_story(last.text) else ANSWER


class _Passing:
    """Stands before something of the server and passes on whatever it does not do itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class NotingHost(_Passing):
    """The server, of which each call's events are noted."""

    def admit(self) -> NotingSlot:
        return NotingSlot(self._inner.admit())


class NotingSlot(_Passing):
    def conversation(
        self, session: SessionConfig, notify: Callable[[CallEvent], None], *more: Any, **named: Any
    ) -> Any:
        def note_and_tell(event: CallEvent) -> None:
            _note(event)
            notify(event)

        return self._inner.conversation(session, note_and_tell, *more, **named)

    def start(self, main: Any, hang_up: Callable[[], None]) -> None:
        async def noted() -> None:
            try:
                await main
            finally:
                _tell({"ended": self._inner.call_id})

        self._inner.start(noted(), hang_up)


def _note(event: CallEvent) -> None:
    match event:
        case TranscriptCompleted():
            _tell({"heard": event.transcript, "audio_s": round(event.audio_s, 2)})
        case OutputBufferStopped():
            _tell({"heard_out": event.response_id})
        case _:
            pass


def _tell(note: Note) -> None:
    print(json.dumps(note), flush=True)


async def _serve(settings: dict[str, Any]) -> None:
    config = Config.model_validate(settings)
    engines = replace(build_engines(config), llm=Rote())
    warm_up = WarmUp(engines, voice=config.tts.voice, instructions="", language=config.model.language_hint)
    engine_set = EngineSet(engines, warm_up)
    try:
        async with asyncio.TaskGroup() as tasks:
            await engine_set.start()
            metrics = Metrics(clock=loop_time_s, latency_window_turns=10)
            calls = Calls(tasks, engine_set, RuntimeSettings(config), metrics, OverlapClassifier())
            async with gathering_for(config.ice) as gathering:
                app = page_app(NotingHost(calls), gathering)
                async with listening(app, "127.0.0.1", 0, setting="server.port") as port:
                    print(f"http://127.0.0.1:{port}", flush=True)
                    await asyncio.to_thread(sys.stdin.read)
                    await calls.drain(0)
    finally:
        await engine_set.close()


if __name__ == "__main__":
    prepare_environment()
    asyncio.run(_serve(json.loads(sys.argv[1])))
