"""The real voice-activity model on speech, silence and noise."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from media.audio import Audio, concatenate, silence
from media.engines.onnx import inference_session
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.engines.silero_vad import SileroVad, SileroVadStream
from media.errors import EngineError, ModelMissing

pytestmark = pytest.mark.models

MODEL = Path("silero-vad", "silero_vad_16k_op15.onnx")


async def probabilities(stream: SileroVadStream, audio: Audio) -> list[float]:
    starts = range(0, len(audio) - VAD_WINDOW_SAMPLES + 1, VAD_WINDOW_SAMPLES)
    return [
        await stream.push(Audio(audio.samples[start : start + VAD_WINDOW_SAMPLES], audio.rate_hz))
        for start in starts
    ]


def test_hears_speech_and_the_silence_around_it(models_dir: Path, question: Audio) -> None:
    async def main() -> list[float]:
        vad = SileroVad(models_dir / MODEL)
        await vad.start()
        heard = concatenate([silence(1, 16_000), question, silence(1, 16_000)], 16_000)
        found = await probabilities(vad.open(), heard)
        await vad.close()
        return found

    found = np.array(asyncio.run(main()))
    window_s = VAD_WINDOW_SAMPLES / 16_000
    before, after = round(1 / window_s), round((1 + question.duration_s) / window_s)
    assert found[: before - 1].max() < 0.1
    assert (found[before + 4 : after - 6] > 0.5).mean() > 0.9
    assert found[after + 15 :].max() < 0.1


def test_it_says_what_onnx_runtime_makes_of_the_model(models_dir: Path, question: Audio) -> None:
    session = inference_session(models_dir / MODEL, threads=1)

    def by_onnx_runtime(audio: Audio) -> list[float]:
        state, found = np.zeros((2, 1, 128), np.float32), []
        samples = np.concatenate([np.zeros(64, np.float32), audio.as_float32()])
        for start in range(0, len(audio) - VAD_WINDOW_SAMPLES + 1, VAD_WINDOW_SAMPLES):
            window = samples[np.newaxis, start : start + 64 + VAD_WINDOW_SAMPLES]
            inputs = {"input": window, "state": state, "sr": np.array(16_000, np.int64)}
            probability, state = session.run(None, inputs)
            found.append(float(probability[0, 0]))
        return found

    async def main() -> list[float]:
        vad = SileroVad(models_dir / MODEL)
        await vad.start()
        return await probabilities(vad.open(), loud)

    noise = np.random.default_rng(5).normal(0, 0.3, len(question)) * np.linspace(0, 1, len(question))
    mixed = np.clip(question.as_float32() * 3 + noise, -1, 1)
    loud = Audio(mixed.astype(np.float32), 16_000)
    found = asyncio.run(main())
    assert found == pytest.approx(by_onnx_runtime(loud), abs=1e-4)
    assert max(found) > 0.9
    assert min(found) < 0.3


def test_noise_is_no_speech(models_dir: Path) -> None:
    async def main() -> list[float]:
        vad = SileroVad(models_dir / MODEL)
        await vad.start()
        noise = np.random.default_rng(3).normal(0, 1000, 32_000).astype(np.int16)
        found = await probabilities(vad.open(), Audio(noise, 16_000))
        await vad.close()
        return found

    assert np.mean(asyncio.run(main())) < 0.2


def test_streams_share_nothing_and_a_reset_forgets(models_dir: Path, question: Audio) -> None:
    async def main() -> None:
        vad = SileroVad(models_dir / MODEL)
        await vad.start()
        one, other = vad.open(), vad.open()
        alone = await probabilities(one, question)
        one.reset()
        beside = []
        for start in range(0, len(question) - VAD_WINDOW_SAMPLES + 1, VAD_WINDOW_SAMPLES):
            window = Audio(question.samples[start : start + VAD_WINDOW_SAMPLES], 16_000)
            beside.append(await one.push(window))
            await other.push(silence(0.032, 16_000))
        assert beside == pytest.approx(alone, abs=1e-6)
        await vad.close()

    asyncio.run(main())


@pytest.mark.parametrize("wrong", [silence(0.03, 16_000), silence(0.064, 8_000)])
def test_another_window_is_refused(models_dir: Path, wrong: Audio) -> None:
    async def main() -> None:
        vad = SileroVad(models_dir / MODEL)
        await vad.start()
        with pytest.raises(ValueError, match="a window is 512 samples at 16000 Hz"):
            await vad.open().push(wrong)
        await vad.close()
        await vad.close()
        with pytest.raises(EngineError, match="not started"):
            vad.open()

    asyncio.run(main())


def test_another_model_is_refused(models_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "vad.onnx"
    model.write_bytes((models_dir / MODEL).read_bytes().replace(b"rnn.weight_ih", b"gru.weight_ih"))
    with pytest.raises(ModelMissing, match=r"vad\.onnx is truncated or damaged: run `voxtral-kokoro"):
        asyncio.run(SileroVad(model).start())


def test_a_truncated_model_is_refused(models_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "vad.onnx"
    shutil.copy(models_dir / MODEL, model)
    with model.open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(ModelMissing, match=r"vad\.onnx is truncated or damaged: run `voxtral-kokoro"):
        asyncio.run(SileroVad(model).start())
