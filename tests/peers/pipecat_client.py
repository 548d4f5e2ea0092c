"""Pipecat's service for the Realtime API, unmodified, in a pipeline. Runs in an environment of its own.

    python pipecat_client.py URL KEY FOLDER WEATHER HEARD_S

What happens: `tests.peers.story`. Both ends of the pipeline are here; they keep real time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SessionProperties,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 24_000
STEP_S = 0.02
STEP_BYTES = round(STEP_S * RATE_HZ) * 2
AUDIBLE = 300


class Mouth(BaseOutputTransport):
    """The end of the pipeline: plays in real time and keeps what was played."""

    def __init__(self, enough_s: float) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_sample_rate=RATE_HZ))
        self.heard = bytearray()
        self.heard_enough = asyncio.Event()
        self.greeted = asyncio.Event()
        """From here on, what is played is kept."""
        self._enough_s = enough_s
        self._audible_s = 0.0
        self._due_s = 0.0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        now_s = asyncio.get_running_loop().time()
        length_s = len(frame.audio) / 2 / RATE_HZ
        self._due_s = max(self._due_s, now_s) + length_s
        await asyncio.sleep(self._due_s - now_s)
        if not self.greeted.is_set():
            return True
        self.heard += frame.audio
        if any(abs(sample) > AUDIBLE for sample in memoryview(frame.audio).cast("h")):
            self._audible_s += length_s
            if self._audible_s >= self._enough_s:
                self.heard_enough.set()
        return True


class Watch(BaseObserver):
    """Notes interruptions and errors, and when the answer has been heard out."""

    def __init__(self, report: dict[str, Any], mouth: Mouth) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        self._report = report
        self._mouth = mouth
        self._seen: set[int] = set()

    async def on_push_frame(self, data: FramePushed) -> None:
        frame: Frame = data.frame
        if frame.id in self._seen:
            return
        self._seen.add(frame.id)
        match frame:
            case ErrorFrame():
                self._report["errors"].append(frame.error)
            case InterruptionFrame() if self._mouth.heard:
                self._report["interruptions"] += 1
            case BotStoppedSpeakingFrame() if self._report["calls"]:
                self.answered.set()
            case BotStoppedSpeakingFrame():
                self._mouth.greeted.set()
            case _:
                pass


async def speak(worker: PipelineWorker, to_say: asyncio.Queue[bytes]) -> None:
    """What the caller says, piece by piece in real time, and silence otherwise."""
    clock = asyncio.get_running_loop().time
    due_s = clock()
    while True:
        piece = b"" if to_say.empty() else to_say.get_nowait()
        audio = piece.ljust(STEP_BYTES, b"\0")
        await worker.queue_frame(InputAudioRawFrame(audio=audio, sample_rate=RATE_HZ, num_channels=1))
        due_s += STEP_S
        await asyncio.sleep(max(0.0, due_s - clock()))


async def main(url: str, key: str, folder: Path, weather: str, heard_s: float) -> None:
    report: dict[str, Any] = {"calls": [], "interruptions": 0, "errors": [], "said": []}
    to_say: asyncio.Queue[bytes] = asyncio.Queue()

    def say(name: str) -> None:
        data = (folder / name).read_bytes()
        for at in range(0, len(data), STEP_BYTES):
            to_say.put_nowait(data[at : at + STEP_BYTES])

    async def get_weather(params: Any) -> None:
        report["calls"].append(dict(params.arguments))
        await params.result_callback(weather)

    tool = FunctionSchema(
        name="get_weather",
        description="The weather in a city.",
        properties={"city": {"type": "string"}},
        required=["city"],
        handler=get_weather,
    )
    audio = AudioConfiguration(input=AudioInput(transcription=InputAudioTranscription()))
    llm = OpenAIRealtimeLLMService(
        api_key=key,
        base_url=f"{url.replace('http', 'ws', 1)}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            system_instruction="Be brief.",
            session_properties=SessionProperties(audio=audio, tools=[tool]),
        ),
    )
    context = LLMContextAggregatorPair(LLMContext())
    user = context.user()
    mouth = Mouth(heard_s)
    watch = Watch(report, mouth)

    @user.event_handler("on_user_turn_message_added")
    async def heard_caller(_: Any, message: Any) -> None:
        report["said"].append(message.content)

    worker = PipelineWorker(
        Pipeline([user, llm, mouth, context.assistant()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        observers=[watch],
    )

    async def converse() -> None:
        # It has the model speak first: else its
        # context would be sent only with the tool's result.
        await worker.queue_frame(LLMRunFrame())
        speaking = tasks.create_task(speak(worker, to_say))
        await mouth.greeted.wait()
        say("ask.pcm")
        await mouth.heard_enough.wait()
        say("break-in.pcm")
        await watch.answered.wait()
        speaking.cancel()
        (folder / "heard.pcm").write_bytes(mouth.heard)
        await worker.cancel()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(converse())
        await WorkerRunner(handle_sigint=False).run(worker)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    _, url, key, folder, weather, heard_s = sys.argv
    asyncio.run(main(url, key, Path(folder), weather, float(heard_s)))
