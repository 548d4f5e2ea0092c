"""`voxtral-kokoro call` against a server with scripted engines, over real WebRTC on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from media.audio import Audio, concatenate, silence
from media.audio_file import read_audio, write_wav
from media.errors import EngineError
from server.call_cli import call
from server.config import Config
from server.serve import running_server
from signaling.caller import CallRefused
from signaling.hearing import CallFailed
from tests.scripted import LevelVad, ScriptedEngines, ScriptedLlm, ScriptedStt

SETTINGS = {"server": {"port": 0, "health_port": 0, "max_calls": 1, "drain_timeout_s": 0}}


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A loud tone of a second: what the scripted engines take for speech."""
    path = tmp_path / "question.wav"
    tone = 0.5 * np.sin(np.arange(16_000, dtype=np.float32) * (2 * np.pi * 300 / 16_000))
    voice = Audio(tone.astype(np.float32), 16_000)
    write_wav(path, concatenate([silence(0.3, 16_000), voice, silence(0.5, 16_000)], 16_000))
    return path


def call_to(
    scripted: ScriptedEngines, question: Path, record: Path | None = None, *, full: bool = False
) -> int:
    async def main() -> int:
        async with running_server(Config.model_validate(SETTINGS), scripted.engines()) as server:
            await server.engine_set.until_ready()
            slot = server.calls.admit() if full else None
            try:
                return await call(server.url, say=question, record=record, timeout_s=20, insecure=False)
            finally:
                if slot is not None:
                    slot.release()

    return asyncio.run(main())


def test_a_call_prints_what_was_said_and_how_fast(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("What time is it?",)))
    scripted.llm = ScriptedLlm(replies=("It is noon.",))

    assert call_to(scripted, question, tmp_path / "answer.wav") == 0

    said = {line[:12].strip(): line[13:] for line in capsys.readouterr().out.splitlines()}
    assert said["understood"] == "What time is it?"
    assert said["answer"] == "It is noon."
    assert "ms on the server (endpoint" in said["latency"]
    assert 0 < float(said["first sound"].split()[0]) < 10_000
    recorded = read_audio(tmp_path / "answer.wav")
    assert recorded.rate_hz == 48_000
    assert recorded.slice_s(0, 0.2).level_dbfs() < -60
    assert recorded.level_dbfs() > -40


def test_a_reply_that_fails_is_told(question: Path) -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("Warm.", EngineError("The thinker is broken."))))
    with pytest.raises(CallFailed, match=r"The thinker is broken\."):
        call_to(scripted, question)


def test_a_server_that_is_full_says_so(question: Path) -> None:
    with pytest.raises(CallRefused, match="The only line is busy"):
        call_to(ScriptedEngines(), question, full=True)


class AttentiveVad(LevelVad):
    """Says when it was first listened with: the call stands."""

    def __init__(self) -> None:
        super().__init__()
        self.listened = asyncio.Event()

    async def push(self, window: Audio) -> float:
        self.listened.set()
        return await super().push(window)


def test_a_server_that_hangs_up_is_reported_at_once(question: Path) -> None:
    async def main() -> None:
        vad = AttentiveVad()
        config, engines = Config.model_validate(SETTINGS), ScriptedEngines(vad=vad).engines()
        async with asyncio.timeout(15), running_server(config, engines) as server:
            await server.engine_set.until_ready()
            vad.listened.clear()

            async def hang_up() -> None:
                await vad.listened.wait()
                await server.calls.drain(0)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hang_up())
                with pytest.raises(CallFailed, match=r"^The server ended the call\.$"):
                    await call(server.url, say=question, record=None, timeout_s=60, insecure=False)

    asyncio.run(main())
