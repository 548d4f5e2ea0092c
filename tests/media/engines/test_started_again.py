"""An engine that did not start, or was closed, can be started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio, silence
from media.engines.fallback import FallbackStt
from media.engines.kokoro_onnx import KokoroOnnx
from media.engines.llama_cpp import LlamaCpp
from media.engines.protocols import ChatMessage, Engine, LlmRequest, SttOptions
from media.engines.smart_turn import SmartTurn
from media.engines.whisper import Whisper
from media.engines.wire import CameBack, EngineEvent, FellBack, Unusable
from media.errors import EngineOutOfMemory, ModelMissing

REQUEST = LlmRequest((ChatMessage("user", "Hello."),), max_tokens=4, temperature=0.0)


def whisper(files: Path) -> Whisper:
    return Whisper(files, threads=1, model_name="tiny.en", partial_interval_s=0.5)


def llama(files: Path) -> LlamaCpp:
    return LlamaCpp(files / "SmolLM2-135M-Instruct.Q4_1.gguf", threads=1, context_tokens=512, parallel=1)


@pytest.mark.parametrize(
    "engine_in",
    [
        whisper,
        llama,
        lambda files: SmartTurn(files / "smart-turn-v3.2-cpu.onnx"),
        lambda files: KokoroOnnx(files / "kokoro-v1.0.int8.onnx", files),
    ],
    ids=["whisper", "llama.cpp", "smart-turn", "kokoro"],
)
def test_the_second_try_says_what_the_first_one_said(
    tmp_path: Path, engine_in: Callable[[Path], Engine]
) -> None:
    async def main() -> None:
        engine = engine_in(tmp_path)
        for _ in range(2):
            with pytest.raises(ModelMissing):
                await engine.start()
        await engine.close()

    asyncio.run(main())


@pytest.mark.models
def test_whats_closed_works_when_it_is_started_again(models_dir: Path) -> None:
    async def main() -> None:
        turn_end = SmartTurn(models_dir / "smart-turn-v3.2" / "smart-turn-v3.2-cpu.onnx")
        stt, llm = whisper(models_dir / "whisper-tiny.en"), llama(models_dir / "smollm2-135m-instruct")
        for _ in range(2):
            for engine in (turn_end, stt, llm):
                await engine.start()
            assert 0 <= await turn_end.judge(silence(1.0, SPEECH_RATE_HZ)) <= 1
            session = stt.open(SttOptions("en", partials=False))
            await session.push(silence(1.0, SPEECH_RATE_HZ))
            assert np.isclose((await session.flush()).audio_s, 1.0)
            await session.abort()
            assert "".join([delta.text async for delta in llm.reply(REQUEST)])
            for engine in (turn_end, stt, llm):
                await engine.close()

    asyncio.run(main())


def test_a_voxtral_that_found_no_memory_is_loaded_anew_and_the_turn_is_whole(tiny_voxtral: Path) -> None:
    """The real classes, and what torch really raises where there is no memory."""
    torch = pytest.importorskip("torch")
    from media.engines.voxtral import Voxtral
    from media.engines.voxtral_model import VoxtralRow

    class Greedy(Voxtral):
        """Wants a petabyte, once."""

        greedy = True

        def _step(self, rows: Sequence[VoxtralRow]) -> Sequence[str | None]:
            if self.greedy:
                self.greedy = False
                torch.empty(2**50)
            return super()._step(rows)

    async def main() -> None:
        told: list[EngineEvent] = []
        engine = Greedy(str(tiny_voxtral), device="cpu", languages=("en",))
        stt = FallbackStt((engine,), told.append)
        await stt.start()
        session = stt.open(SttOptions("en", partials=False))
        await session.push(Audio(np.sin(np.arange(16_000, dtype=np.float32) / 10), SPEECH_RATE_HZ))
        with pytest.raises(EngineOutOfMemory):
            await session.flush()
        assert [type(event) for event in told] == [FellBack, Unusable]
        loaded = engine._model
        await stt.start()
        assert engine._model is not loaded
        assert (await session.flush()).audio_s == 1.0
        assert isinstance(told[-1], CameBack)
        await session.abort()
        await stt.close()

    asyncio.run(main())
