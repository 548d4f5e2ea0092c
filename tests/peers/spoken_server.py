"""A server that hears and speaks with the real engines and answers by rote, in a process of its own.

    python -m tests.peers.spoken_server SETTINGS [scripted]

SETTINGS is configuration, in JSON. With `scripted`, the engines hear and speak nothing real, for tests in
which nobody listens. The process writes its address to stdout and then, a line of JSON each,
what its calls are about: whatever transport a client has chosen, and whether or not it is told itself. It
ends with its stdin. `spoken_server` starts one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil

from media.clock import loop_time_s
from media.engines.protocols import LlmRequest
from media.events import CallEvent, DigitPressed, OutputBufferStopped, TranscriptCompleted
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
from server.telephone import Telephone
from server.warm_up import WarmUp
from signaling.ice import gathering_for
from signaling.running_calls import RunningCalls
from tests.peers.story import STORY, WEATHER_TOOL, is_about_weather, is_for_a_story, weather_answer
from tests.peers.voices import sound_error_rate
from tests.scripted import Calls as ToolCalls
from tests.scripted import ScriptedEngines, ScriptedLlm, calls

ROOT = Path(__file__).resolve().parent.parent.parent

ANSWER = "The library opens at nine, and it closes at half past five."
"""Whatever was asked, but for a story, or to one that has the tool, the weather."""
GREETING = "Hello there."
"""Where it is asked to speak first."""
GOODBYE = "Thank you for calling, and goodbye."
"""To who says goodbye on a telephone, before it hangs up."""
CONNECTING = "One moment, I will connect you."
"""To who wants to be connected, before they are."""
PRESSES = "12#"
"""The keys that it presses, where it is asked to press any and can."""
FAILED = "I am sorry, that did not work."
"""When a tool of the telephone has told how it went."""
KEY = "a-key-of-sixteen-letters"
"""What telephone calls are placed with, where `server.api_keys` names it."""

READY_LIMIT_S = 60.0
END_LIMIT_S = 30.0

Note = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpokenServer:
    """A server that is ready.

    Attributes:
        url: of the page.
        notes: what its calls were about since they were last asked after.
        pid: of its process.
    """

    url: str
    notes: Queue[Note]
    pid: int

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

    def until_pressed(self, digits: str, limit_s: float = 20.0) -> None:
        """Waits until a caller has pressed these keys, and no others between them."""
        for digit in digits:
            note = self._until(lambda note: "pressed" in note, f"{digit} was not pressed", limit_s)
            assert note["pressed"] == digit, f"{note} where {digit} was pressed"

    def place(self, to: str, **more: Any) -> str:
        """Has it call somebody. Returns the call's id."""
        body = json.dumps({"to": to, **more}).encode()
        return str(self._asked("/api/calls", body)["call_id"])

    def record(self, call_id: str) -> dict[str, Any]:
        """What has become of a telephone call."""
        return self._asked(f"/api/calls/{call_id}")

    def until_record(self, call_id: str, limit_s: float = 30.0, **fields: Any) -> dict[str, Any]:
        """Waits until a telephone call's record says so. Returns it."""
        deadline_s = time.monotonic() + limit_s
        while any((record := self.record(call_id)).get(name) != value for name, value in fields.items()):
            assert time.monotonic() < deadline_s, f"{fields} did not become true of {record}"
            time.sleep(0.05)
        return record

    def hang_up(self, call_id: str) -> None:
        """Has it end a telephone call, or call it off."""
        self._asked(f"/api/calls/{call_id}", method="DELETE")

    def until_free(self, ports: range, limit_s: float = 20.0) -> None:
        """Waits until it holds none of these UDP ports."""
        deadline_s = time.monotonic() + limit_s
        while held := self._udp_ports() & set(ports):
            assert time.monotonic() < deadline_s, f"the ports {sorted(held)} were not given back"
            time.sleep(0.05)

    def _udp_ports(self) -> set[int]:
        return {one.laddr.port for one in psutil.Process(self.pid).net_connections("udp")}

    def _asked(self, path: str, body: bytes | None = None, method: str | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.url}{path}", body, headers, method=method)
        with urllib.request.urlopen(asked, timeout=20) as response:
            answer: dict[str, Any] = json.loads(response.read() or "{}")
        return answer

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
def spoken_server(*, scripted: bool = False, **settings: Any) -> Iterator[SpokenServer]:
    """Starts the server, with these sections of configuration on top, and ends it.

    Args:
        scripted: with engines that hear and speak nothing real.
        settings: sections of configuration.
    """
    command = [sys.executable, "-m", "tests.peers.spoken_server", json.dumps(settings)]
    if scripted:
        command.append("scripted")
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
            yield SpokenServer(url, notes, process.pid)
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
        tools = {tool.name for tool in request.tools}
        if last.role == "tool":
            return weather_answer(last.text) if WEATHER_TOOL in tools else FAILED
        text = last.text.lower()
        if ("goodbye" in text or "pressed 9" in text) and "hang_up" in tools:
            return calls("hang_up", says=GOODBYE)
        if ("connect" in text or "pressed 0" in text) and "transfer_call" in tools:
            return calls("transfer_call", json.dumps({"target": "colleague"}), says=CONNECTING)
        if "press" in text and "send_digits" in tools:
            return calls("send_digits", json.dumps({"digits": PRESSES}), says="I am pressing keys.")
        if is_about_weather(last.text) and WEATHER_TOOL in tools:
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
        case DigitPressed():
            _tell({"pressed": event.digit})
        case _:
            pass


def _tell(note: Note) -> None:
    print(json.dumps(note), flush=True)


async def _serve(settings: dict[str, Any], *, scripted: bool = False) -> None:
    config = Config.model_validate(settings)
    engines = replace(ScriptedEngines().engines() if scripted else build_engines(config), llm=Rote())
    warm_up = WarmUp(engines, voice=config.tts.voice, instructions="", language=config.model.language_hint)
    engine_set = EngineSet(engines, warm_up)
    try:
        async with asyncio.TaskGroup() as tasks:
            await engine_set.start()
            metrics = Metrics(clock=loop_time_s, latency_window_turns=10)
            calls = Calls(tasks, engine_set, RuntimeSettings(config), metrics, OverlapClassifier())
            async with gathering_for(config.ice) as gathering:
                host = NotingHost(calls)
                telephone = Telephone(host, RunningCalls(), streams=config.streams)
                app = page_app(host, gathering, telephone=telephone)
                async with (
                    listening(app, "127.0.0.1", 0, setting="server.port") as port,
                    telephone.running(config),
                ):
                    print(f"http://127.0.0.1:{port}", flush=True)
                    await asyncio.to_thread(sys.stdin.read)
                    await calls.drain(0)
    finally:
        await engine_set.close()


if __name__ == "__main__":
    prepare_environment()
    asyncio.run(_serve(json.loads(sys.argv[1]), scripted="scripted" in sys.argv[2:]))
