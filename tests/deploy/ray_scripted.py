"""Scripted engines on Ray Serve: `python -m tests.deploy.ray_scripted FOLDER`.

Says its address in a line of JSON, and serves until its standard input ends. Who speaks writes the number
of its process into the folder.
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
from media.engines.protocols import Engines, LlmDelta, LlmRequest, SpeechChunk, TtsRequest
from server.config import Config
from tests.scripted import ScriptedEngines, ScriptedStt, WordByWord
from tests.scripted_http_host import Narrator

REPLICAS = 2
SPEAKS = "speaks"


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


def build(folder: str) -> Engines:
    return ScriptedEngines(
        stt=ScriptedStt(says=("and when does it open",)),
        llm=SigningNarrator(folder=folder, word_s=0.05),
        tts=Signing(folder=folder),
    ).engines()


def main(folder: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    scripted = engines(
        Config(),
        lambda _config, _tell: build(folder),
        num_replicas=REPLICAS,
        ray_actor_options={"num_cpus": 0.5},
    )
    serve.run(scripted, name="engines")
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
