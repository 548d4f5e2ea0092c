"""Pipecat as a peer: its own environment, its agent on our models, and a caller who speaks to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.peer_environment import peer_environment
from bench.server_process import free_port
from media.clock import loop_time_s
from server.config import load_config
from server.environment import THREADS_SLEEP
from server.model_store import ModelStore, default_root
from signaling.caller import Caller, CallerOptions

ROOT = Path(__file__).resolve().parent.parent
VERSION = "1.14.0"
REQUIREMENT = f"pipecat-ai[webrtc,silero,whisper,kokoro,runner]=={VERSION}"
VOICE_FRAMES, VOICE_WIDTH = 510, 256
STARTING_LIMIT_S = 120.0
ENDING_LIMIT_S = 10.0
TUNED_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}
TUNED_LLM_ENVIRONMENT = {"GOMP_SPINCOUNT": THREADS_SLEEP["GOMP_SPINCOUNT"]}
"""What makes our own llama.cpp fast on both cores beside other engines."""


class PeerFailed(RuntimeError):
    """The agent or its language model did not start; the message holds what they printed."""


class PipecatCaller(Caller):
    """Speaks SmallWebRTC's offer: JSON with nothing but the SDP in it."""

    async def _post_offer(self, sdp: str) -> None:
        offer = {"type": "offer", "sdp": sdp}
        answer = self._object(await self._request("POST", "api/offer", json=offer))
        self.answer_sdp = str(answer["sdp"])


@dataclass(frozen=True, slots=True)
class Pipecat:
    """An agent that runs.

    Attributes:
        url: where calls go.
    """

    url: str

    @asynccontextmanager
    async def call(self) -> AsyncIterator[Caller]:
        """A call whose pipeline is ready. It loads its models when the call begins: that is not counted."""
        before = await asyncio.to_thread(self._ready_pipelines)
        options = CallerOptions(data_channel=False, ice_servers=(), connect_timeout_s=STARTING_LIMIT_S)
        async with PipecatCaller(self.url, options) as caller:
            deadline_s = loop_time_s() + STARTING_LIMIT_S
            while await asyncio.to_thread(self._ready_pipelines) == before:
                if loop_time_s() > deadline_s:
                    raise PeerFailed(f"no pipeline within {STARTING_LIMIT_S:.0f} s")
                await asyncio.sleep(0.1)
            yield caller

    def _ready_pipelines(self) -> int:
        with urllib.request.urlopen(f"{self.url}/ready-pipelines", timeout=STARTING_LIMIT_S) as response:
            return int(response.read())


def environment() -> Path:
    """The Python of Pipecat's own environment, made the first time: 1.1 GB, a few minutes."""
    return peer_environment(f"pipecat-{VERSION}", REQUIREMENT)


@contextmanager
def pipecat(*, tuned: bool) -> Iterator[Pipecat]:
    """Starts the agent and the llama.cpp beside it with the models of our default configuration; ends both.

    Raises:
        PeerFailed: one of them did not start.
    """
    python = environment()
    config = load_config(None, {})
    store = ModelStore(config.models.directory or default_root())
    port, llm_port = free_port(), free_port()
    gguf = next(store.path(config.llm.name).glob("*.gguf"))
    llm = [sys.executable, "bench/llama_http.py", "--model", str(gguf), "--port", str(llm_port)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        voices = Path(folder) / "voices.npz"
        _write_voices(store.path("kokoro-voices"), voices)
        bot = [str(python), "bench/pipecat_bot.py", "--port", str(port)]
        bot += ["--llm", f"http://127.0.0.1:{llm_port}/v1", "--voice", config.tts.voice]
        bot += ["--whisper", str(store.path("whisper-tiny.en"))]
        bot += [
            "--kokoro",
            str(store.path(config.tts.name) / "kokoro-v1.0.int8.onnx"),
            "--voices",
            str(voices),
        ]
        bot += ["--instructions", config.speech_to_speech.instructions]
        bot += [
            "--temperature",
            str(config.llm.temperature),
            "--max-tokens",
            str(config.llm.max_output_tokens),
        ]
        quiet = TUNED_ENVIRONMENT if tuned else {}
        stack.enter_context(_process(llm, llm_port, TUNED_LLM_ENVIRONMENT if tuned else {}))
        stack.enter_context(_process([*bot, *(["--tuned"] if tuned else [])], port, quiet))
        yield Pipecat(f"http://127.0.0.1:{port}")


def _write_voices(folder: Path, path: Path) -> None:
    shape = (VOICE_FRAMES, 1, VOICE_WIDTH)
    voices = {file.stem: np.fromfile(file, np.float32).reshape(shape) for file in folder.glob("*.bin")}
    np.savez(path, allow_pickle=False, **voices)


@contextmanager
def _process(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """Runs it while the context lasts, from when it listens on its port."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
        try:
            if not _listens(process, port):
                output.seek(0)
                raise PeerFailed(output.read().decode(errors="replace")[-4000:])
            yield
        finally:
            process.terminate()
            try:
                process.wait(ENDING_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline_s = time.monotonic() + STARTING_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False
