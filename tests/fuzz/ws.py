"""Calls over `/ws` with real conversations; their clients send anything. Beside each is a decent one."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from media.audio import Audio
from media.conversation import Conversation, ConversationSettings
from media.events import CallEvent
from media.session import SessionConfig
from signaling.running_calls import RunningCalls
from signaling.socket_call import Ending
from signaling.ws_messages import MessageError, ServerMessage, parse_message
from signaling.ws_routes import WsCall
from tests import virtual_time
from tests.fuzz.json_texts import texts
from tests.scripted import ScriptedEngines, ScriptedLlm, calls, quiet, speech
from tests.signaling.scripted_call import ScriptedHost

BATCH = 12
"""Messages in one call."""
LIMIT_S = 120.0


def _base64(audio: Audio) -> str:
    return b64encode(audio.as_int16().astype("<i2").tobytes()).decode()


SPEECH, SILENCE = _base64(speech(0.6)), _base64(quiet(0.5))
TOOL = {"name": "clock", "description": "Tells it.", "parameters": {"type": "object"}}
SETTINGS: dict[str, Any] = {
    "instructions": "Sing.",
    "greeting": "Good day.",
    "voice": "bf_emma",
    "speed": 1.5,
    "language": "en",
    "modality": "audio",
    "max_output_tokens": 30,
    "turn_detection": {"type": "server_vad", "silence_duration_ms": 300, "idle_timeout_ms": 6000},
    "tools": [TOOL],
}
MESSAGES: list[dict[str, Any]] = [
    {"type": "start", "id": "m1"},
    {
        "type": "start",
        "input": {"encoding": "float32", "rate_hz": 48_000},
        "output": {"encoding": "float32", "rate_hz": 8_000},
        "latency": True,
        "settings": SETTINGS,
        "items": [
            {"role": "user", "text": "Hi."},
            {"role": "assistant", "text": "Hello.", "item_id": "item_1"},
        ],
    },
    {"type": "start", "text_only": True},
    {"type": "audio", "audio": SPEECH},
    {"type": "audio", "audio": SILENCE, "encoding": "int16", "rate_hz": 16_000},
    {"type": "audio", "audio": "AAAAAA==", "encoding": "float32", "rate_hz": 96_000},
    {"type": "text", "text": "Hello.", "id": "m2"},
    {"type": "text", "text": "Hello.", "item_id": "item_2"},
    {"type": "interrupt"},
    {"type": "played", "item_id": "item_1", "audio_ms": 200},
    {"type": "settings", "settings": SETTINGS},
    {"type": "settings", "settings": {"turn_detection": None, "modality": "text"}},
    {"type": "commit"},
    {"type": "clear"},
    {"type": "respond"},
    {"type": "respond", "instructions": "Sing.", "modality": "text", "max_output_tokens": "inf"},
    {"type": "item", "item": {"role": "system", "text": "Be kind."}, "previous_item_id": "item_1"},
    {"type": "tool_result", "call_id": "call_1", "output": "noon"},
    {"type": "delete_item", "item_id": "item_2"},
    {"type": "reset"},
    {"type": "ping", "id": "m3"},
    {"type": "pong"},
]
"""Every message of a client but the one that hangs up."""

PAUSES_S = st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.4, 2.0])
STEPS = st.lists(st.tuples(texts(MESSAGES), PAUSES_S), min_size=BATCH, max_size=BATCH)
LEAVING = st.sampled_from(['{"type": "hang_up"}', None])

_SENT: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


def check(examples: int) -> None:
    """Tries so many calls."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(STEPS, LEAVING)
    def calls_survive(steps: list[tuple[str, float]], goodbye: str | None) -> None:
        virtual_time.run(_two_calls(steps, goodbye))

    calls_survive()


class _Client:
    """A socket's far end: `signaling.socket_call.TextSocket`, and what is to come out of it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.ending: Ending | None = None
        self._says: asyncio.Queue[str | None] = asyncio.Queue()
        self._news = asyncio.Event()

    async def receive(self) -> str | None:
        return await self._says.get()

    async def send(self, text: str) -> None:
        _SENT.validate_json(text)
        self.told.append(json.loads(text))
        self._news.set()

    async def close(self, ending: Ending) -> None:
        self.ending = ending
        self._news.set()

    def say(self, text: str | None) -> None:
        """A message; None is the end of the connection."""
        self._says.put_nowait(text)

    async def until(self, kind: str, count: int = 1, **fields: Any) -> None:
        """Waits until so many messages of the kind, with these fields, have come."""
        async with asyncio.timeout(LIMIT_S):
            while (
                sum({"type": kind, **fields}.items() <= _flat(found).items() for found in self.told) < count
            ):
                assert self.ending is None, (self.ending, self.told)
                self._news.clear()
                await self._news.wait()

    def errors(self, fault: str) -> list[dict[str, Any]]:
        return [found for found in self.told if found["type"] == "error" and found["fault"] == fault]


def _flat(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if isinstance(value, str | int)}


async def _two_calls(steps: list[tuple[str, float]], goodbye: str | None) -> None:
    """One is tried, the other goes on as if nothing was."""
    engines, tried_engines = ScriptedEngines(), ScriptedEngines()
    tried_engines.llm = ScriptedLlm(
        replies=("One two three. Four.", calls("clock", says="Let me see."), "Five.")
    )
    waiting = [engines, tried_engines]

    def converse(session: SessionConfig, notify: Callable[[CallEvent], None]) -> Conversation:
        return Conversation(waiting.pop(0).engines(), ConversationSettings(), session, notify)

    async with asyncio.TaskGroup() as tasks:
        host = ScriptedHost(tasks, slots=2, converse=converse)
        running = RunningCalls()
        decent, tried = _Client(), _Client()
        for client in (decent, tried):
            slot = host.admit()
            call = WsCall(host, slot, client)
            call.open()
            running.start(slot, call.carrier, call.session)
        talking = tasks.create_task(_talk(decent))
        for at, (text, pause_s) in enumerate(steps):
            await _send(tried, text, f"ping_{at}")
            await asyncio.sleep(pause_s)
        tried.say(goodbye)
        await talking
        decent.say(None)
        async with asyncio.timeout(LIMIT_S):
            await host.all_free()
    assert host.failures == []
    assert decent.errors("client") + decent.errors("server") == []
    assert tried.ending is not None
    for used in (engines, tried_engines):
        assert used.llm.open_requests == 0, "a reply kept its slot"
        assert all(stt.aborted for stt in used.stt.sessions), "a transcription was left open"


async def _talk(client: _Client) -> None:
    """A whole exchange, spoken and written."""
    client.say(json.dumps({"type": "start", "settings": {"greeting": ""}}))
    for audio in (SPEECH, SILENCE, SILENCE):
        client.say(json.dumps({"type": "audio", "audio": audio}))
        await asyncio.sleep(0.5)
    await client.until("conversation_complete", status="completed")
    client.say(json.dumps({"type": "text", "text": "Hello."}))
    await client.until("conversation_complete", 2, status="completed")


async def _send(client: _Client, text: str, mark: str) -> None:
    """Sends a message. One that is none is answered by one error, which says what is wrong with it."""
    before = len(client.errors("client"))
    client.say(text)
    client.say(json.dumps({"type": "ping", "id": mark}))
    await client.until("pong", id=mark)
    errors = client.errors("client")[before:]
    mistake = _mistake_in(text)
    if mistake is not None:
        assert [found["code"] for found in errors] == [mistake.code], (text, errors)
        assert errors[0].get("reply_to") == mistake.message_id
    else:
        assert len(errors) <= 1, (text, errors)
        message_id = json.loads(text).get("id")
        assert all(found.get("reply_to") == message_id for found in errors), (text, errors)


def _mistake_in(text: str) -> MessageError | None:
    try:
        parse_message(text)
    except MessageError as error:
        return error
    return None
