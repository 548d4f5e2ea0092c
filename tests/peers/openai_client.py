"""`openai`'s own Realtime client: what it leaves to its users, playing sound and running tools, is done here.

    python openai_client.py URL KEY FOLDER WEATHER HEARD_S

What happens: `tests.peers.story`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

RATE_HZ = 24_000
STEP_S = 0.02
STEP_BYTES = round(STEP_S * RATE_HZ) * 2
AUDIBLE = 300

SESSION: Any = {
    "type": "realtime",
    "instructions": "Be brief.",
    "audio": {"input": {"transcription": {"model": "whisper-1"}}},
    "tools": [
        {
            "type": "function",
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    ],
}


class Caller:
    """Says pieces in real time, silence between them, and hears what comes, in real time, too."""

    def __init__(self, enough_s: float) -> None:
        self.heard = bytearray()
        self.heard_enough = asyncio.Event()
        self.heard_out = asyncio.Event()
        self.waiting = bytearray()
        self.played_bytes = 0
        """Of what plays."""
        self._to_say: deque[bytes] = deque()
        self._enough_s = enough_s
        self._audible_s = 0.0

    def say(self, path: Path) -> None:
        data = path.read_bytes()
        self._to_say.extend(data[at : at + STEP_BYTES] for at in range(0, len(data), STEP_BYTES))

    def play(self, data: bytes) -> None:
        self.waiting += data
        self.heard_out.clear()

    async def run(self, connection: AsyncRealtimeConnection) -> None:
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            piece = self._to_say.popleft() if self._to_say else b""
            audio = base64.b64encode(piece.ljust(STEP_BYTES, b"\0")).decode()
            await connection.input_audio_buffer.append(audio=audio)
            self._hear(bytes(self.waiting[:STEP_BYTES]))
            due_s += STEP_S
            await asyncio.sleep(max(0.0, due_s - clock()))

    def _hear(self, piece: bytes) -> None:
        del self.waiting[: len(piece)]
        self.played_bytes += len(piece)
        self.heard += piece
        if any(abs(sample) > AUDIBLE for sample in memoryview(piece).cast("h")):
            self._audible_s += STEP_S
        if self._audible_s >= self._enough_s:
            self.heard_enough.set()
        if not self.waiting:
            self.heard_out.set()


async def take_part(
    connection: AsyncRealtimeConnection, caller: Caller, report: dict[str, Any], weather: str
) -> None:
    """Follows the events until the answer is complete."""
    playing = ""
    async for event in connection:
        match event.type:
            case "error":
                report["errors"].append(event.error.message)
            case "conversation.item.input_audio_transcription.completed":
                report["said"].append(event.transcript)
            case "response.output_audio.delta":
                if event.item_id != playing:
                    playing, caller.played_bytes = event.item_id, 0
                caller.play(base64.b64decode(event.delta))
            case "input_audio_buffer.speech_started" if playing and caller.waiting:
                report["interruptions"] += 1
                caller.waiting.clear()
                end_ms = caller.played_bytes * 500 // RATE_HZ
                await connection.conversation.item.truncate(
                    item_id=playing, content_index=0, audio_end_ms=end_ms
                )
            case "response.done":
                for item in event.response.output or []:
                    if item.type == "function_call":
                        report["calls"].append(json.loads(item.arguments))
                        assert item.call_id is not None
                        output: Any = {
                            "type": "function_call_output",
                            "call_id": item.call_id,
                            "output": weather,
                        }
                        await connection.conversation.item.create(item=output)
                        await connection.response.create()
                    elif item.type == "message" and weather in (item.content[0].transcript or ""):
                        return
            case _:
                pass


async def main(url: str, key: str, folder: Path, weather: str, heard_s: float) -> None:
    report: dict[str, Any] = {"calls": [], "interruptions": 0, "errors": [], "said": []}
    caller = Caller(heard_s)
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as api,
        api.realtime.connect(model="gpt-realtime") as connection,
        asyncio.TaskGroup() as tasks,
    ):
        await connection.session.update(session=SESSION)
        speaking = tasks.create_task(caller.run(connection))
        answering = tasks.create_task(take_part(connection, caller, report, weather))
        caller.say(folder / "ask.pcm")
        await caller.heard_enough.wait()
        caller.say(folder / "break-in.pcm")
        await answering
        await caller.heard_out.wait()
        speaking.cancel()
    (folder / "heard.pcm").write_bytes(caller.heard)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    _, url, key, folder, weather, heard_s = sys.argv
    asyncio.run(main(url, key, Path(folder), weather, float(heard_s)))
