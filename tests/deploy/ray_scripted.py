"""Scripted engines on Ray Serve: `python -m tests.deploy.ray_scripted FOLDER`.

Says its address in a line of JSON, and serves until its standard input ends. Who speaks, or listens, writes
the number of its process into the folder.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import ray
from ray import serve

from deploy.ray.app import engines
from media.audio import Audio
from media.engines.protocols import (
    Engines,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SttOptions,
    Transcript,
    TtsRequest,
)
from server.config_sources import Source
from tests.scripted import ScriptedEngines, ScriptedStt, ScriptedSttSession, WordByWord
from tests.scripted_http_host import Narrator

REPLICAS = 2
SPEAKS, LISTENS = "speaks", "listens"
HEARD = "and when does it open in the morning or does it not"
WORD_S = 0.5


@dataclass
class Signing(WordByWord):
    folder: str = ""

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        async with aclosing(super().speak(request)) as chunks:
            async for chunk in chunks:
                Path(self.folder, SPEAKS).write_text(str(os.getpid()))  # noqa: ASYNC240
                yield chunk


@dataclass
class SigningNarrator(Narrator):
    folder: str = ""

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        async with aclosing(super().reply(request)) as deltas:
            async for delta in deltas:
                Path(self.folder, SPEAKS).write_text(str(os.getpid()))  # noqa: ASYNC240
                yield delta


@dataclass
class SigningListener(ScriptedStt):
    folder: str = ""

    def open(self, options: SttOptions) -> ScriptedSttSession:
        return _Listening(options, HEARD, self.takes_s, self.folder)


class _Listening(ScriptedSttSession):
    """Hears a word for each half second that it was given, and no other."""

    def __init__(self, options: SttOptions, script: str, takes_s: float, folder: str) -> None:
        super().__init__(options, script, takes_s)
        self._folder = folder

    async def push(self, audio: Audio) -> None:
        Path(self._folder, LISTENS).write_text(str(os.getpid()))  # noqa: ASYNC240
        await super().push(audio)

    async def flush(self) -> Transcript:
        transcript = await super().flush()
        words = transcript.text.split()[: round(self.pushed_s / WORD_S)]
        return Transcript(" ".join(words), transcript.audio_s, transcript.language)


def build(folder: str) -> Engines:
    return ScriptedEngines(
        stt=SigningListener(folder=folder),
        llm=SigningNarrator(folder=folder, word_s=0.05),
        tts=Signing(folder=folder),
    ).engines()


def main(folder: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    scripted = engines(
        Source(),
        lambda _config, _tell: build(folder),
        num_replicas=REPLICAS,
        ray_actor_options={"num_cpus": 0.5},
    )
    serve.run(scripted, name="engines", route_prefix="/ours")
    print(json.dumps({"url": f"http://127.0.0.1:{port}/ours"}), flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
