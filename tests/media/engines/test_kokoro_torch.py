"""Kokoro on torch as an engine: with random weights, and (marked) with those of the embedded model."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from faster_whisper import WhisperModel

from bench.kokoro_sound import aligned, level_difference_db, mel_distance_db
from media.audio import Audio, concatenate
from media.engines.g2p import pronounce
from media.engines.kokoro_clause import RATE_HZ
from media.engines.kokoro_parts import KokoroParts
from media.engines.kokoro_torch import KokoroTorch
from media.engines.kokoro_torch_front import fronts
from media.engines.kokoro_torch_generator import samples_of, source_spectrum
from media.engines.kokoro_torch_network import AS_LOUD_AS_ONNX
from media.engines.kokoro_torch_norms import statistics_order
from media.engines.kokoro_torch_rows import Rows, measured
from media.engines.kokoro_torch_weights import CONFIG_FILE, WEIGHTS_FILE, fold, load_hub, load_onnx
from media.engines.kokoro_vocabulary import token_ids
from media.engines.kokoro_voice_files import KokoroVoiceFiles
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES, language_of
from media.engines.protocols import SpeechChunk, TtsRequest
from media.engines.torch_device import share_threads
from media.errors import CallerError, EngineError, ModelMissing, VoiceUnavailable
from tests.media.engines.kokoro_torch_model import SMALL_CONFIG, small_model
from tests.media.engines.test_kokoro_onnx import heard

MODEL = Path("kokoro-82m-int8/kokoro-v1.0.int8.onnx")
VOICES = Path("kokoro-voices")

TIMEOUT_S = 120
AMPLE_S = 600.0


@pytest.fixture(scope="module")
def voices_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """54 names of one random voice."""
    folder = tmp_path_factory.mktemp("voices")
    first = folder / f"{VOICE_NAMES[0]}.bin"
    rng = np.random.default_rng(0)
    (rng.standard_normal((STYLE_ROWS, STYLE_WIDTH), np.float32) * np.float32(0.3)).tofile(first)
    for name in VOICE_NAMES[1:]:
        os.link(first, folder / f"{name}.bin")
    return folder


@pytest.fixture(scope="module")
def engine(voices_dir: Path) -> Iterator[KokoroTorch]:
    """Random weights: it makes noise, but as real speech would be made."""
    share_threads(1)
    engine = KokoroTorch(small_model, voices_dir, device="cpu", batch=4)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def speaking(models_dir: Path) -> Iterator[KokoroTorch]:
    """The embedded model's weights."""
    share_threads(2)
    engine = KokoroTorch(partial(load_onnx, models_dir / MODEL), models_dir / VOICES, device="cpu", batch=4)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def whisper(models_dir: Path) -> WhisperModel:
    return WhisperModel(str(models_dir / "whisper-base"), device="cpu", compute_type="int8", cpu_threads=1)


async def chunks_of(engine: KokoroTorch, request: TtsRequest) -> list[SpeechChunk]:
    async with asyncio.timeout(TIMEOUT_S):
        return [chunk async for chunk in engine.speak(request)]


def spoken(engine: KokoroTorch, *requests: TtsRequest) -> list[list[SpeechChunk]]:
    """All at once."""

    async def speak() -> list[list[SpeechChunk]]:
        return await asyncio.gather(*(chunks_of(engine, request) for request in requests))

    return asyncio.run(speak())


def sound_of(chunks: Sequence[SpeechChunk]) -> Audio:
    return concatenate([chunk.audio for chunk in chunks], RATE_HZ)


def test_calls_meet_in_one_step(engine: KokoroTorch) -> None:
    before = engine.steps
    made = spoken(engine, *(TtsRequest("Hello there.", voice) for voice in VOICE_NAMES[:4]))
    assert all(sum(chunk.audio.duration_s for chunk in chunks) > 0.1 for chunks in made)
    for kind in ("front", "window"):
        requests = engine.steps[kind].requests - before[kind].requests
        # The first comes alone, or with those who came until a thread was free.
        assert engine.steps[kind].steps - before[kind].steps < requests
    assert engine.steps["front"].requests - before["front"].requests == 4


def test_a_clause_is_heard_before_it_is_made(engine: KokoroTorch) -> None:
    text = "This is a rather long sentence, and it takes its time."
    (chunks,) = spoken(engine, TtsRequest(text, "af_heart"))
    assert len(chunks) > 1
    words = [word for chunk in chunks for word in chunk.words]
    assert [word.text for word in words] == text.split()
    starts = [word.start_s for word in words]
    assert starts == sorted(starts)


def test_one_who_goes_frees_the_place(engine: KokoroTorch) -> None:
    """In the middle of a clause, and before its first sound. Others are not disturbed, no work is left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        text = "The old man went down to the river to look at the boats that had come in."
        async with aclosing(engine.speak(TtsRequest(text, "af_heart"))) as chunks:
            await anext(chunks)
        other = loop.create_task(chunks_of(engine, TtsRequest("Hello there.", "af_bella")))
        task = loop.create_task(chunks_of(engine, TtsRequest(text, "af_heart")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert await other
        async with asyncio.timeout(TIMEOUT_S):
            while not engine._inference.idle:
                await engine._inference.run(lambda: None)

    asyncio.run(main())


@pytest.mark.parametrize("speed", [0.4, 2.1, float("nan")])
def test_a_speed_out_of_range_is_the_caller_s_error(engine: KokoroTorch, speed: float) -> None:
    with pytest.raises(CallerError, match=r"it can be 0\.5 to 2"):
        spoken(engine, TtsRequest("Hello.", "af_heart", speed))


@pytest.mark.parametrize("text", ["", "😀", "— ?!"])
def test_nothing_speakable_is_no_sound(engine: KokoroTorch, text: str) -> None:
    assert spoken(engine, TtsRequest(text, "af_heart")) == [[]]


def test_voices_and_mixtures(engine: KokoroTorch, voices_dir: Path) -> None:
    assert len(engine.voices) == 54
    assert {voice.language for voice in engine.voices} == {
        *("en-us", "en-gb", "es", "fr", "hi", "it", "ja", "pt-br", "zh")
    }
    assert spoken(engine, TtsRequest("Hello.", "af_heart:0.7+af_bella:0.3"))[0]
    for voice, says in (("af_hart", "did you mean af_heart"), ("af_heart:0.7+af_bella", "give one to each")):
        with pytest.raises(VoiceUnavailable, match=says):
            spoken(engine, TtsRequest("Hello.", voice))
    offering = KokoroTorch(small_model, voices_dir, device="cpu", blends=["af_heart+af_bella"])
    assert offering.voices[-1].label == "Heart 50 %, Bella 50 %"


def test_what_fails_in_the_network_is_an_engine_s_error(
    engine: KokoroTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody's in the step, and of nobody after it."""

    def fail(requests: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as broken:
        broken.setattr(engine._network, "front_step", fail)
        with pytest.raises(EngineError, match="no memory"):
            spoken(engine, TtsRequest("Hello.", "af_heart"))
    assert spoken(engine, TtsRequest("Hello.", "af_heart"))[0]


def test_its_life(voices_dir: Path) -> None:
    """It can be started again, as one that ran out of memory is."""
    before = set(threading.enumerate())
    model = small_model()
    engine = KokoroTorch(lambda: model, voices_dir, device="cpu")
    with pytest.raises(EngineError, match="not started"):
        spoken(engine, TtsRequest("Hello.", "af_heart"))

    async def life() -> None:
        await engine.start()
        assert await chunks_of(engine, TtsRequest("Oh.", "af_heart"))
        await engine.close()
        await engine.close()
        with pytest.raises(EngineError, match="not started"):
            await chunks_of(engine, TtsRequest("Oh.", "af_heart"))

    asyncio.run(life())
    asyncio.run(life())
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def test_the_hub_s_files(tmp_path: Path) -> None:
    """As they are there: a state for each part, in its training's wrapper, instance norms left out."""
    model = small_model(folded=False)
    parts = {
        part: {
            f"module.{name}": values for name, values in module.state_dict().items() if ".norm." not in name
        }
        for part, module in model.named_children()
    }
    (tmp_path / CONFIG_FILE).write_text(json.dumps(SMALL_CONFIG))
    torch.save(parts, tmp_path / WEIGHTS_FILE)
    loaded = load_hub(tmp_path).state_dict()
    fold(model)
    for name, values in model.state_dict().items():
        if ".norm." not in name:
            assert torch.equal(loaded[name], values), name
    del parts["text_encoder"]
    torch.save(parts, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ModelMissing, match=r"parameters are missing, text_encoder\.embedding\.weight"):
        load_hub(tmp_path)


def test_missing_and_damaged_files(voices_dir: Path, tmp_path: Path) -> None:
    def start(load: Any, voices: Path = voices_dir) -> None:
        async def main() -> None:
            engine = KokoroTorch(load, voices, device="cpu")
            try:
                await engine.start()
            finally:
                await engine.close()

        asyncio.run(main())

    with pytest.raises(ModelMissing, match=r"af_heart\.bin is missing"):
        start(small_model, tmp_path)
    with pytest.raises(ModelMissing, match=r"kokoro\.onnx is missing"):
        start(partial(load_onnx, tmp_path / "kokoro.onnx"))
    (tmp_path / "kokoro.onnx").write_bytes(b"\x08\x07")
    with pytest.raises(ModelMissing, match=r"kokoro\.onnx is truncated or damaged"):
        start(partial(load_onnx, tmp_path / "kokoro.onnx"))
    with pytest.raises(ModelMissing, match=r"config\.json is missing: put config\.json and kokoro-v1_0\.pth"):
        start(partial(load_hub, tmp_path))
    (tmp_path / CONFIG_FILE).write_text("{}")
    (tmp_path / WEIGHTS_FILE).write_bytes(b"PK")
    with pytest.raises(ModelMissing, match=r"is damaged or of another model: download them again"):
        start(partial(load_hub, tmp_path))


@pytest.mark.models
def test_the_predicted_statistics_are_in_the_onnx_model_s_order(models_dir: Path) -> None:
    parts = KokoroParts.load(models_dir / MODEL, threads=1)
    names = [name.removeprefix("/decoder/decoder/generator/").rpartition("/")[0] for name in parts.statistics]
    assert list(zip(names, parts.variances, strict=True)) == [
        (name.replace(".adain", "/adain"), is_variance) for name, is_variance in statistics_order()
    ]


@pytest.mark.models
@pytest.mark.parametrize(
    ("voice", "text", "key_words"),
    [
        ("af_heart", "The weather today is sunny.", ("weather", "today", "sunny")),
        ("bm_george:0.6+bf_emma:0.4", "Turn left at the traffic lights.", ("turn", "left", "lights")),
    ],
)
def test_the_embedded_weights_speak(
    speaking: KokoroTorch, whisper: WhisperModel, voice: str, text: str, key_words: tuple[str, ...]
) -> None:
    windows, whole = spoken(speaking, TtsRequest(text, voice), TtsRequest(text, voice, lead_s=AMPLE_S))
    assert len(windows) > 1
    assert len(whole) == 1
    language = language_of(voice)[:2]
    for chunks in (windows, whole):
        said = heard(whisper, sound_of(chunks), language)
        assert [word for word in key_words if word not in said] == [], said
    one, other = sound_of(windows), sound_of(whole)
    assert one.duration_s == pytest.approx(other.duration_s, abs=0.15)
    assert one.level_dbfs() == pytest.approx(other.level_dbfs(), abs=3.0)


@pytest.mark.models
def test_the_embedded_weights_make_the_embedded_engine_s_sound(models_dir: Path) -> None:
    """Of the same features nearly the same waveform; of the same text nearly the same durations."""
    parts = KokoroParts.load(models_dir / MODEL, threads=2)
    model = load_onnx(models_dir / MODEL)
    words = pronounce("I can help you with that today.", "en-us")
    ids = token_ids("".join(word.phonemes for word in words))
    style = KokoroVoiceFiles(models_dir / VOICES).style("af_heart", len(ids))
    clause = parts.prepare(ids, style, 1.0, ort.RunOptions())
    theirs, _ = parts.speak_whole(clause, ort.RunOptions())
    generator = model.decoder.generator
    with torch.inference_mode():
        rows = Rows.of([clause.frames], clause.frames, torch.device("cpu"))
        spectrum = source_spectrum(generator, torch.from_numpy(clause.pitch)[:, 0], rows)
        norm = measured(rows, torch.from_numpy(style)[:, :128])
        ours = samples_of(generator, torch.from_numpy(clause.features), spectrum, norm, rows)[0].numpy()
        front = fronts(model, [[0, *ids, 0]], torch.from_numpy(style), torch.ones(1))
    ours *= AS_LOUD_AS_ONNX
    assert level_difference_db(ours, theirs) == pytest.approx(0, abs=1.0)
    assert mel_distance_db(ours, theirs) < 3.0
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    assert np.abs(front.durations[0].numpy() - clause.durations).sum() <= 8
    assert front.features.shape[2] == pytest.approx(clause.frames, abs=8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(voices_dir: Path) -> None:
    """The same sound as on the CPU, within what TF32 leaves of it."""
    request = TtsRequest("Hello there.", "af_heart", lead_s=AMPLE_S)
    made = []
    for device in ("cuda", "cpu"):
        engine = KokoroTorch(small_model, voices_dir, device=device)
        asyncio.run(engine.start())
        made.append(sound_of(spoken(engine, request)[0]).as_float32())
        asyncio.run(engine.close())
    assert len(made[0]) == pytest.approx(len(made[1]), abs=600)
    one, other, _ = aligned(*made)
    assert mel_distance_db(one, other) < 2.0
