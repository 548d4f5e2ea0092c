"""The real turn-end model: finished and unfinished turns."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from media.audio import Audio, concatenate, silence
from media.engines.smart_turn import SmartTurn, features
from media.errors import EngineError, ModelMissing

pytestmark = pytest.mark.models

MODEL = Path("smart-turn-v3.2", "smart-turn-v3.2-cpu.onnx")


def test_a_finished_question_is_over_and_half_of_it_is_not(models_dir: Path, question: Audio) -> None:
    threads = set(threading.enumerate())

    async def main() -> tuple[float, float]:
        judge = SmartTurn(models_dir / MODEL)
        await judge.start()
        pause = silence(0.3, 16_000)
        whole = await judge.judge(concatenate([question, pause], 16_000))
        half = await judge.judge(concatenate([question.slice_s(0, question.duration_s * 0.6), pause], 16_000))
        await judge.close()
        await judge.close()
        with pytest.raises(EngineError, match="not started"):
            await judge.judge(question)
        return whole, half

    whole, half = asyncio.run(main())
    assert whole > 0.5 > half
    assert set(threading.enumerate()) == threads


def test_hears_the_last_eight_seconds_behind_silence(question: Audio) -> None:
    short, long = features(question), features(concatenate([question] * 4, 16_000))
    assert short.shape == long.shape == (80, 800)
    spoken_frames = round(question.duration_s * 100)
    assert np.ptp(short[:, : 790 - spoken_frames]) < 0.05  # one level, before the speech
    assert short[:, -spoken_frames:].max() == short.max()


def test_another_rate_is_refused(models_dir: Path) -> None:
    with pytest.raises(ValueError, match="judged at 16000 Hz; got 8000 Hz"):
        asyncio.run(SmartTurn(models_dir / MODEL).judge(silence(1, 8_000)))


def test_a_truncated_model_is_refused(models_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "turn.onnx"
    shutil.copy(models_dir / MODEL, model)
    with model.open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(ModelMissing, match=r"turn\.onnx is truncated or damaged: run `voxtral-kokoro"):
        asyncio.run(SmartTurn(model).start())
