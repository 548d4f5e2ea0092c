"""Voxtral Realtime through its real classes, with random weights: compared with its own `generate`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import VoxtralRealtimeForConditionalGeneration, VoxtralRealtimeProcessor

from media.audio import Audio, concatenate, silence
from media.engines import voxtral_realtime_session, voxtral_stream
from media.engines.protocols import SttOptions, Transcript
from media.engines.torch_device import TorchPlace, place_of
from media.engines.voxtral_realtime import VoxtralRealtime
from media.engines.voxtral_stream import RealtimeModel, VoxtralStream
from media.errors import EngineError, ModelMissing
from tests.media.engines import tiny_voxtral

ANY_LANGUAGE = SttOptions()


def sound(duration_s: float, seed: int = 0) -> Audio:
    return Audio(tiny_voxtral.sound(duration_s, seed), 16_000)


def engine_of(directory: Path) -> VoxtralRealtime:
    return VoxtralRealtime(str(directory), languages=("en", "fr"), device="cpu")


@pytest.fixture(scope="module")
def realtime(tiny_voxtral_realtime: Path) -> Iterator[VoxtralRealtime]:
    engine = engine_of(tiny_voxtral_realtime)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def model(tiny_voxtral_realtime: Path) -> RealtimeModel:
    return RealtimeModel(str(tiny_voxtral_realtime), place_of("cpu"))


def offline(
    directory: Path, samples: npt.NDArray[np.float32], windows: tuple[int, int] | None = None
) -> list[int]:
    """The tokens that the library writes when it is given all at once."""
    processor: Any = VoxtralRealtimeProcessor.from_pretrained(directory)
    whole = VoxtralRealtimeForConditionalGeneration.from_pretrained(directory).eval()
    if windows is not None:
        whole.config.audio_config.sliding_window, whole.config.text_config.sliding_window = windows
    inputs = processor(samples, return_tensors="pt")
    out = whole.generate(**inputs, do_sample=False, eos_token_id=None, max_new_tokens=1000)
    tokens: list[int] = out[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens


def streamed(model: RealtimeModel, samples: npt.NDArray[np.float32], step: int) -> VoxtralStream:
    stream = VoxtralStream(model)
    for start in range(0, len(samples), step):
        stream.push(samples[start : start + step])
        while stream.ready:
            model.advance([stream])
    return stream


@pytest.mark.parametrize("duration_s", [0.2, 1.0, 2.56, 3.03])
def test_a_stream_says_what_the_library_says_offline(
    model: RealtimeModel, tiny_voxtral_realtime: Path, duration_s: float
) -> None:
    samples = sound(duration_s).as_float32()
    expected = offline(tiny_voxtral_realtime, samples)
    stream = streamed(model, samples, 512)
    assert stream.finished_text() == model.text_of(expected)
    written = stream.memory.tokens
    assert written == expected[: len(written)]
    assert len(written) >= (duration_s - 0.6) * 12.5, "while it is said, but for the delay"
    assert len(set(expected)) > 2, "the comparison is worth something"


def test_finishing_leaves_the_stream_as_it_was(model: RealtimeModel) -> None:
    samples = sound(3.0).as_float32()
    straight = streamed(model, samples, 4000)
    stream = VoxtralStream(model)
    for start in range(0, len(samples), 4000):
        stream.push(samples[start : start + 4000])
        stream.finished_text()
        while stream.ready:
            model.advance([stream])
    assert stream.text == straight.text
    assert stream.finished_text() == straight.finished_text()


def test_streams_of_all_ages_write_together_what_they_write_alone(model: RealtimeModel) -> None:
    """One hears all of a recording, one begins when another has long been under way, one is behind."""
    sounds = [sound(1.0 + 0.7 * seed, seed).as_float32() for seed in range(4)]
    alone = [streamed(model, samples, 16_000) for samples in sounds]
    together = [VoxtralStream(model) for _ in sounds]
    for turn in range(12):
        for at, (stream, samples) in enumerate(zip(together, sounds, strict=True)):
            if turn >= at:
                stream.push(samples[(turn - at) * 8000 : (turn - at + 1) * 8000])
        for _ in range(3 if turn < 11 else 60):
            if ready := [stream for stream in together if stream.ready]:
                model.advance(ready)
    assert [stream.memory.tokens for stream in together] == [stream.memory.tokens for stream in alone]
    assert [stream.finished_text() for stream in together] == [stream.finished_text() for stream in alone]


def test_what_a_gpu_computes_in_does(tiny_voxtral_realtime: Path) -> None:
    model = RealtimeModel(str(tiny_voxtral_realtime), TorchPlace("cpu", torch.bfloat16))
    streams = [streamed(model, sound(0.8 + seed, seed).as_float32(), 16_000) for seed in range(2)]
    for stream in streams:
        stream.push(sound(0.5).as_float32())
    model.advance(streams)
    assert all(stream.finished_text() for stream in streams)
    memory = streams[0].memory
    kept = [*memory.paddings.values(), *(keys for keys, _ in memory.words.layers.values())]
    assert {values.dtype for values in kept} == {torch.bfloat16}


@pytest.mark.parametrize("part", ["audio_tower", "language_model"])
def test_a_step_that_fails_is_as_if_it_had_not_been(
    model: RealtimeModel, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    sounds = [sound(2.0, seed).as_float32() for seed in range(2)]
    expected = [streamed(model, samples, 16_000).finished_text() for samples in sounds]
    streams = [streamed(model, samples[:16_000], 16_000) for samples in sounds]
    for stream, samples in zip(streams, sounds, strict=True):
        stream.push(samples[16_000:])
    layer = getattr(model._model.model, part).layers[1]
    forward = type(layer).forward

    def full(self: Any, *args: Any, **more: Any) -> Any:
        if self is layer:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *args, **more)

    monkeypatch.setattr(type(layer), "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        model.advance(streams)
    monkeypatch.undo()
    assert [stream.finished_text() for stream in streams] == expected


def test_hearing_looks_back_as_far_as_the_model_does(
    model: RealtimeModel, tiny_voxtral_realtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shorter window than a stream is long, for both."""
    monkeypatch.setattr(model._model.config.audio_config, "sliding_window", 20)
    monkeypatch.setattr(model._model.config.text_config, "sliding_window", 8)
    samples = sound(2.0).as_float32()
    expected = offline(tiny_voxtral_realtime, samples, windows=(20, 8))
    stream = streamed(model, samples, 512)
    assert stream.finished_text() == model.text_of(expected)
    assert stream.memory.sounds.kept == 19
    assert stream.memory.words.kept == 7


def test_words_come_before_the_turn_ends(realtime: VoxtralRealtime, model: RealtimeModel) -> None:
    said = sound(3.0)

    async def main() -> None:
        session = realtime.open(ANY_LANGUAGE)
        partials = session.partials()
        await session.push(said.slice_s(0, 2.0))
        first = await anext(partials)
        await session.push(said.slice_s(2.0))
        final = await session.flush()
        assert first.text
        assert first.audio_s <= 2.0
        whole = streamed(model, said.as_float32(), 16_000).finished_text()
        assert final == Transcript(whole or "", 3.0, None)
        assert (await session.flush()).text == final.text
        await session.push(silence(0.4, 16_000))
        waited = await session.flush()
        assert (waited.text, waited.audio_s) == (final.text, pytest.approx(3.4))
        await partials.aclose()
        await session.abort()
        await session.abort()
        with pytest.raises(EngineError, match="aborted"):
            await session.flush()

    asyncio.run(main())


def test_a_turn_that_goes_on_after_a_flush_is_one_turn(
    realtime: VoxtralRealtime, model: RealtimeModel
) -> None:
    said = sound(2.0)

    async def main() -> str:
        session = realtime.open(ANY_LANGUAGE)
        for start_s in (0.0, 0.5, 1.0, 1.5):
            await session.push(said.slice_s(start_s, start_s + 0.5))
            await session.flush()
        text = (await session.flush()).text
        await session.abort()
        return text

    assert asyncio.run(main()) == streamed(model, said.as_float32(), 16_000).finished_text()


def test_a_cancelled_flush_can_be_asked_again(realtime: VoxtralRealtime, model: RealtimeModel) -> None:
    said = sound(1.0)

    async def main() -> str:
        session = realtime.open(ANY_LANGUAGE)
        await session.push(said)
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(session.flush())
            await asyncio.sleep(0.01)
            flushing.cancel()
        text = (await session.flush()).text
        await session.abort()
        return text

    assert asyncio.run(main()) == streamed(model, said.as_float32(), 16_000).finished_text()


def test_calls_write_together_and_do_not_mix(realtime: VoxtralRealtime, model: RealtimeModel) -> None:
    turns = [sound(1.0 + seed / 4, seed) for seed in range(3)]

    async def transcribed(said: Audio) -> str:
        session = realtime.open(ANY_LANGUAGE)
        for start_s in np.arange(0, said.duration_s, 0.25):
            await session.push(said.slice_s(start_s, start_s + 0.25))
            await session.flush()
        text = (await session.flush()).text
        await session.abort()
        return text

    async def main() -> list[str]:
        before = realtime._steps.counts
        texts = list(await asyncio.gather(*map(transcribed, turns)))
        after = realtime._steps.counts
        assert after.steps - before.steps < after.requests - before.requests
        return texts

    alone = [streamed(model, said.as_float32(), 16_000).finished_text() for said in turns]
    assert asyncio.run(main()) == alone
    assert len(set(alone)) == 3


def test_a_long_turn_goes_on_in_a_new_stream_after_a_pause(
    realtime: VoxtralRealtime, model: RealtimeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxtral_realtime_session, "ROTATE_AFTER_S", 1.0)
    before, pause, after = sound(1.024, 1), silence(0.512, 16_000), sound(1.024, 2)

    async def main() -> Transcript:
        session = realtime.open(ANY_LANGUAGE)
        await session.push(concatenate([before, pause, after], 16_000))
        transcript = await session.flush()
        await session.abort()
        return transcript

    first = concatenate([before, pause], 16_000).as_float32()
    texts = [streamed(model, part, 16_000).finished_text() for part in (first, after.as_float32())]
    assert asyncio.run(main()) == Transcript(" ".join(filter(None, texts)), 2.56, None)


def test_speech_without_a_pause_is_cut_at_last(
    realtime: VoxtralRealtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxtral_realtime_session, "LONGEST_STREAM_S", 1.0)

    async def main() -> None:
        session = realtime.open(ANY_LANGUAGE)
        await session.push(sound(3.5))
        transcript = await session.flush()
        assert len(session._committed) == 3
        assert transcript.audio_s == 3.5
        await session.abort()

    asyncio.run(main())


def test_silence_says_nothing(realtime: VoxtralRealtime) -> None:
    async def main() -> None:
        session = realtime.open(ANY_LANGUAGE)
        assert (await session.flush()).text == ""
        await session.push(silence(1.0, 16_000))
        assert await session.flush() == Transcript("", 1.0, None)
        await session.abort()

    asyncio.run(main())


def test_languages_and_rates_are_checked(realtime: VoxtralRealtime) -> None:
    async def main() -> None:
        with pytest.raises(EngineError, match="does not transcribe the language ja"):
            realtime.open(SttOptions(language="ja"))
        with pytest.raises(ValueError, match="16000 Hz; got 8000 Hz"):
            await realtime.open(ANY_LANGUAGE).push(silence(1, 8000))

    asyncio.run(main())


def test_a_failing_model_is_an_engines_error(
    realtime: VoxtralRealtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    async def main() -> None:
        session = realtime.open(ANY_LANGUAGE)
        await session.push(sound(1.0))
        monkeypatch.setattr(RealtimeModel, "advance", full)
        with pytest.raises(EngineError, match="out of memory"):
            await session.flush()
        monkeypatch.undo()
        assert (await session.flush()).text
        await session.abort()

    asyncio.run(main())


def test_a_turn_that_outlives_its_model_is_an_engines_error(
    tiny_voxtral_realtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxtral_realtime_session, "ROTATE_AFTER_S", 1.0)

    async def main() -> None:
        engine = engine_of(tiny_voxtral_realtime)
        await engine.start()
        session = engine.open(ANY_LANGUAGE)
        await session.push(sound(1.5))
        await engine.close()
        await engine.start()
        await session.push(concatenate([silence(0.5, 16_000), sound(0.5)], 16_000))
        with pytest.raises(EngineError, match="unloaded"):
            await session.flush()
        await session.abort()
        await engine.close()

    asyncio.run(main())


def test_closing_leaves_no_thread(tiny_voxtral_realtime: Path, tmp_path: Path) -> None:
    threads = set(threading.enumerate())

    async def main() -> None:
        engine = engine_of(tiny_voxtral_realtime)
        with pytest.raises(EngineError, match="not started"):
            engine.open(ANY_LANGUAGE)
        await engine.start()
        session = engine.open(ANY_LANGUAGE)
        await session.push(sound(1.0))
        await engine.close()
        await engine.close()
        with pytest.raises(EngineError, match="closed"):
            await session.flush()
        await engine.start()
        again = engine.open(ANY_LANGUAGE)
        await again.push(sound(1.0))
        assert (await again.flush()).text
        await again.abort()
        await engine.close()
        with pytest.raises(ModelMissing, match=r"set model\.name to a model's directory"):
            await engine_of(tmp_path / "absent").start()

    asyncio.run(main())
    assert set(threading.enumerate()) <= threads


def test_a_model_that_does_not_stream_is_refused_before_anything_is_built(
    tiny_voxtral: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: Any) -> Any:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(voxtral_stream, "load_from_hub", no_more)
    with pytest.raises(EngineError, match="of the type voxtral, and this engine's models are voxtral_real"):
        asyncio.run(engine_of(tiny_voxtral).start())
