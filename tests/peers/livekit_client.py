"""LiveKit's agent on its OpenAI plugin's realtime model, both unmodified. Runs in an environment of its own.

    python livekit_client.py URL KEY FOLDER WEATHER HEARD_S

What happens: `tests.peers.story`. The agent has no room: its ears and its mouth are here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp
from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai

RATE_HZ = 24_000
STEP_S = 0.02
STEP_BYTES = round(STEP_S * RATE_HZ) * 2
AUDIBLE = 300


class Ear(io.AudioInput):
    """What the caller says, piece by piece in real time, and silence otherwise."""

    def __init__(self) -> None:
        super().__init__(label="caller")
        self._to_say: deque[bytes] = deque()
        self._due_s = 0.0

    def say(self, path: Path) -> None:
        data = path.read_bytes()
        self._to_say.extend(data[at : at + STEP_BYTES] for at in range(0, len(data), STEP_BYTES))

    async def __anext__(self) -> rtc.AudioFrame:
        now_s = asyncio.get_running_loop().time()
        self._due_s = (self._due_s or now_s) + STEP_S
        await asyncio.sleep(max(0.0, self._due_s - now_s))
        piece = self._to_say.popleft() if self._to_say else b""
        return rtc.AudioFrame(piece.ljust(STEP_BYTES, b"\0"), RATE_HZ, 1, STEP_BYTES // 2)


class Mouth(io.AudioOutput):
    """Plays in real time and keeps what was played."""

    def __init__(self, enough_s: float) -> None:
        super().__init__(
            label="caller", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE_HZ
        )
        self.heard = bytearray()
        self.heard_enough = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._enough_s = enough_s
        self._audible_s = 0.0
        self._waiting = bytearray()
        self._segment_bytes = 0
        self._complete = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self.idle.is_set():
            self.idle.clear()
            self._segment_bytes, self._complete = 0, False
            self.on_playback_started(created_at=time.time())
        self._waiting += bytes(frame.data)

    def flush(self) -> None:
        super().flush()
        self._complete = True

    def clear_buffer(self) -> None:
        self._waiting.clear()
        if not self.idle.is_set():
            self._finish(interrupted=True)

    async def play(self) -> None:
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            due_s += STEP_S
            await asyncio.sleep(max(0.0, due_s - clock()))
            piece = bytes(self._waiting[:STEP_BYTES])
            del self._waiting[:STEP_BYTES]
            self._segment_bytes += len(piece)
            self.heard += piece
            if any(abs(sample) > AUDIBLE for sample in memoryview(piece[: len(piece) // 2 * 2]).cast("h")):
                self._audible_s += STEP_S
                if self._audible_s >= self._enough_s:
                    self.heard_enough.set()
            if not self._waiting and self._complete and not self.idle.is_set():
                self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        self.idle.set()
        position_s = self._segment_bytes / 2 / RATE_HZ
        self.on_playback_finished(playback_position=position_s, interrupted=interrupted)


async def main(url: str, key: str, folder: Path, weather: str, heard_s: float) -> None:
    report: dict[str, Any] = {"calls": [], "interruptions": 0, "errors": [], "said": []}
    ear, mouth = Ear(), Mouth(heard_s)
    answered = asyncio.Event()

    @function_tool
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        report["calls"].append({"city": city})
        return weather

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        model = openai.realtime.RealtimeModel(
            base_url=f"{url}/v1", api_key=key, model="gpt-realtime", http_session=http
        )
        session: AgentSession[None] = AgentSession(llm=model, vad=None, aec_warmup_duration=None)

        @session.on("user_input_transcribed")
        def heard_caller(event: Any) -> None:
            if event.is_final:
                report["said"].append(event.transcript)

        @session.on("error")
        def failed(event: Any) -> None:
            report["errors"].append(str(event.error))

        @session.on("conversation_item_added")
        def added(event: Any) -> None:
            item = event.item
            if item.type != "message" or item.role != "assistant":
                return
            report["interruptions"] += item.interrupted
            if weather in (item.text_content or ""):
                answered.set()

        session.input.audio = ear
        session.output.audio = mouth
        playing = tasks.create_task(mouth.play())
        await session.start(Agent(instructions="Be brief.", tools=[get_weather]))
        ear.say(folder / "ask.pcm")
        await mouth.heard_enough.wait()
        ear.say(folder / "break-in.pcm")
        await answered.wait()
        await mouth.idle.wait()
        (folder / "heard.pcm").write_bytes(mouth.heard)
        await session.aclose()
        playing.cancel()
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    _, url, key, folder, weather, heard_s = sys.argv
    asyncio.run(main(url, key, Path(folder), weather, float(heard_s)))
