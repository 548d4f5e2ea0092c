"""Voxtral through its real classes, with random weights: compared with what the library makes of it."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from huggingface_hub import constants
from transformers import VoxtralForConditionalGeneration, VoxtralProcessor, WhisperFeatureExtractor

from media.audio import Audio, silence
from media.engines import voxtral_model
from media.engines.batcher import AGES_S
from media.engines.inference import Urgency
from media.engines.protocols import SttOptions, Transcript
from media.engines.torch_device import TorchPlace, place_of
from media.engines.voxtral import LONGEST_RECORDING_S, Voxtral
from media.engines.voxtral_audio import mel_windows
from media.engines.voxtral_model import VoxtralModel, VoxtralRow, _RowEnds
from media.errors import CallerError, EngineError, EngineOutOfMemory
from media.wav import wav_bytes
from tests.media.engines.tiny_voxtral import sound

LANGUAGES = ("de", "en", "fr")
ENGLISH = SttOptions(language="en")


def engine_of(directory: Path, **settings: Any) -> Voxtral:
    return Voxtral(str(directory), languages=LANGUAGES, device="cpu", **settings)


@pytest.fixture(scope="module")
def voxtral(tiny_voxtral: Path) -> Iterator[Voxtral]:
    engine = engine_of(tiny_voxtral, partial_interval_s=0.5)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def model(tiny_voxtral: Path) -> VoxtralModel:
    return VoxtralModel(str(tiny_voxtral), place_of("cpu"), load_in_4bit=False, compiled=False)


@pytest.fixture(scope="module")
def processor(tiny_voxtral: Path) -> Any:
    return VoxtralProcessor.from_pretrained(tiny_voxtral)


def row_of(model: VoxtralModel, samples: npt.NDArray[np.int16], **settings: Any) -> VoxtralRow:
    windows = mel_windows(samples.astype(np.float32) / 32768)
    return VoxtralRow(
        model.prompts.transcription(len(windows), "en"), windows, **{"max_tokens": 40} | settings
    )


def reference(processor: Any, tiny_voxtral: Path, samples: npt.NDArray[np.int16], tokens: int) -> str:
    """What the library's own way makes of a recording."""
    inputs = processor.apply_transcription_request(
        audio=samples.astype(np.float32) / 32768,
        format="wav",
        sampling_rate=16_000,
        language="en",
        model_id="voxtral",
    )
    whole = VoxtralForConditionalGeneration.from_pretrained(tiny_voxtral).eval()
    out = whole.generate(**inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=11)
    written = out[0, inputs["input_ids"].shape[1] :].tolist()
    said: str = processor.tokenizer.decode(written, skip_special_tokens=True)
    return said.strip()


@pytest.mark.parametrize("duration_s", [0.01, 1.0, 29.995, 30.0, 35.0])
def test_log_mel_is_the_references(duration_s: float) -> None:
    """To 1e-3, of a range of 2; most of it to 1e-5."""
    samples = sound(duration_s).astype(np.float32) / 32768
    windows = -(-len(samples) // 480_000)
    padded = np.pad(samples, (0, windows * 480_000 - len(samples)))
    extractor: Any = WhisperFeatureExtractor(feature_size=128)
    whole = extractor(padded, sampling_rate=16_000, padding=True, truncation=False, return_tensors="np")
    expected = whole["input_features"][0].reshape(128, windows, 3000).transpose(1, 0, 2)

    made = mel_windows(samples)

    assert made.shape == expected.shape == (windows, 128, 3000)
    assert np.abs(made - expected).max() < 1e-3
    assert np.abs(made - expected).mean() < 1e-5


def test_silence_has_the_references_log_mel() -> None:
    extractor: Any = WhisperFeatureExtractor(feature_size=128)
    expected = extractor(np.zeros(480_000, np.float32), sampling_rate=16_000, return_tensors="np")
    np.testing.assert_allclose(
        mel_windows(np.zeros(16_000, np.float32)), expected["input_features"], atol=1e-6
    )


@pytest.mark.parametrize("language", [None, "en", "fr"])
@pytest.mark.parametrize("duration_s", [1.0, 61.0])
def test_a_transcription_is_asked_for_as_the_processor_does(
    model: VoxtralModel, processor: Any, language: str | None, duration_s: float
) -> None:
    inputs = processor.apply_transcription_request(
        audio=np.zeros(round(duration_s * 16_000), np.float32),
        format="wav",
        sampling_rate=16_000,
        language=language,
        model_id="voxtral",
    )
    windows = len(inputs["input_features"])
    assert model.prompts.transcription(windows, language) == inputs["input_ids"][0].tolist()


def test_a_question_is_asked_as_the_processor_does(model: VoxtralModel, processor: Any) -> None:
    wav = base64.b64encode(wav_bytes(sound(31.0), 16_000)).decode()
    content = [{"type": "audio", "base64": wav}, {"type": "text", "text": "What was said?"}]
    inputs = processor.apply_chat_template([{"role": "user", "content": content}])
    assert model.prompts.question(2, "What was said?") == inputs["input_ids"][0].tolist()


@pytest.mark.parametrize("duration_s", [1.5, 31.0])
def test_a_transcript_is_the_references(
    voxtral: Voxtral, processor: Any, tiny_voxtral: Path, duration_s: float
) -> None:
    samples = sound(duration_s)
    heard = asyncio.run(voxtral.hear(samples, "en"))
    whole = reference(processor, tiny_voxtral, samples, 24 + round(duration_s * 12))
    assert heard.text
    assert whole.startswith(heard.text), "less what is said again and again"


def test_a_turn_is_transcribed_while_it_is_spoken(voxtral: Voxtral) -> None:
    said = Audio(sound(2.0), 16_000)

    async def main() -> None:
        session = voxtral.open(ENGLISH)
        await session.push(said.slice_s(0, 1.0))
        partials = session.partials()
        partial = await anext(partials)
        await session.push(said.slice_s(1.0))
        final = await session.flush()
        assert await session.flush() is final, "nothing came: nothing is done"
        await session.push(silence(0.5, 16_000))
        waited = await session.flush()
        await session.abort()
        await partials.aclose()
        assert partial.text
        assert partial.audio_s == pytest.approx(1.0)
        assert final == Transcript((await voxtral.hear(said.as_int16(), "en")).text, 2.0, "en")
        assert (waited.text, waited.audio_s) == (final.text, 2.5)
        with pytest.raises(EngineError, match="aborted"):
            await session.flush()

    asyncio.run(main())


def test_calls_share_batches_and_are_told_what_they_would_be_alone(voxtral: Voxtral) -> None:
    """Of mixed lengths and languages, one of them of two windows."""
    turns = [(0.5, "en"), (3.0, None), (2.0, "fr"), (31.0, "de"), (1.0, "en"), (4.0, None)]
    recordings = [(sound(duration_s, seed), language) for seed, (duration_s, language) in enumerate(turns)]

    async def main() -> None:
        alone = [await voxtral.hear(samples, language) for samples, language in recordings]
        before = voxtral._batcher.counts
        busy = threading.Event()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(voxtral._inference.run(busy.wait))
            hearings = [group.create_task(voxtral.hear(*recording)) for recording in recordings]
            while len(voxtral._pressing) < len(recordings):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.005)
            busy.set()
        after = voxtral._batcher.counts
        assert [hearing.result() for hearing in hearings] == alone
        assert len({heard.text for heard in alone}) == len(alone), "each its own"
        assert after.requests - before.requests == len(recordings)
        assert after.steps - before.steps == 1

    asyncio.run(main())


def test_a_batch_of_one_kind_is_equal_to_its_rows(model: VoxtralModel) -> None:
    rows = [row_of(model, sound(1.0 + seed, seed)) for seed in range(4)]
    assert model.answers(rows) == [model.answers([row])[0] for row in rows]


def test_constant_shapes_make_no_difference(model: VoxtralModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled on a GPU: a static cache, prompts of one length, batches of 1, 2, 4 …, filled up."""
    rows = [row_of(model, sound(1.0 + seed, seed), max_tokens=16) for seed in range(3)]
    shaped = model.answers(rows)
    monkeypatch.setattr(model, "_compiled", True)
    assert model.answers(rows) == shaped
    assert model.answers(rows[:1]) == shaped[:1]


def test_what_is_too_long_for_constant_shapes_does_not_stretch_them(
    model: VoxtralModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library keeps a static cache as large as it ever was."""
    two_windows = row_of(model, sound(31.0), max_tokens=8)
    talkative = row_of(model, sound(1.0), max_tokens=4000)
    talkative.unwanted = True  # it ends with its first token
    expected = model.answers([two_windows])
    monkeypatch.setattr(model, "_compiled", True)
    model.answers([row_of(model, sound(1.0), max_tokens=8)])
    size = model._model._previous_max_cache_length
    assert model.answers([two_windows]) == expected
    model.answers([talkative])
    assert model._model._previous_max_cache_length == size


@pytest.mark.parametrize("error", [RuntimeError("no compiler\nhere"), AssertionError()])
def test_what_cannot_be_compiled_is_computed_without(
    model: VoxtralModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asked: list[int] = []

    def failing(rows: Sequence[VoxtralRow]) -> None:
        asked.append(len(rows))
        if model._compiled:
            raise error

    monkeypatch.setattr(model, "_compiled", True)
    monkeypatch.setattr(model, "answers", failing)
    model.warm_up(row_of(model, sound(1.0)), 8)
    assert asked == [1, 1]
    assert not model._compiled


def test_what_a_gpu_computes_in_does(tiny_voxtral: Path) -> None:
    model = VoxtralModel(
        str(tiny_voxtral), TorchPlace("cpu", torch.bfloat16), load_in_4bit=False, compiled=False
    )
    assert all(model.answers([row_of(model, sound(1.0 + seed, seed), max_tokens=8) for seed in range(2)]))


def test_rows_end_where_they_have_said_all(model: VoxtralModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a row's end while others go on is padding, not a decoder that repeats itself."""
    rows = [row_of(model, sound(1.0 + seed, seed), max_tokens=64) for seed in range(3)]
    whole = [model.answers([row])[0] for row in rows]
    ends = _RowEnds(rows[:1], lambda: False, 11)
    tokens = model._generate(rows[:1], ends)[0]
    monkeypatch.setattr(model._model.generation_config, "eos_token_id", tokens[5])
    ended = model.answers(rows)
    assert ended == [model.answers([row])[0] for row in rows]
    assert ended[0] == model._tokenizer.decode(tokens[:6], skip_special_tokens=True).strip()
    assert ended != whole


def test_who_has_gone_frees_the_place(model: VoxtralModel) -> None:
    row = row_of(model, sound(2.0), max_tokens=200)
    asked = 0

    def pressed() -> bool:
        nonlocal asked
        asked += 1
        row.unwanted = asked == 3
        return False

    model.answers([row], pressed)
    assert asked == 3, "it ended with that token"


def test_partials_give_way_and_urgent_work_does_not(model: VoxtralModel) -> None:
    idle = row_of(model, sound(1.0), urgency=Urgency.IDLE)
    urgent = row_of(model, sound(1.0))
    idle.since_s += 1000  # however slow the machine is
    assert model.answers([idle], lambda: True) == [None]
    (first, second) = model.answers([idle, urgent], lambda: True)
    assert first == second == model.answers([urgent])[0]


def test_a_partial_that_has_given_way_for_long_does_not_any_more(model: VoxtralModel) -> None:
    idle = row_of(model, sound(1.0), urgency=Urgency.IDLE)
    idle.since_s -= AGES_S
    assert model.answers([idle], lambda: True) == model.answers([row_of(model, sound(1.0))])


def test_a_partial_that_gave_way_is_begun_again(voxtral: Voxtral) -> None:
    async def main() -> None:
        samples = sound(2.0)
        async with asyncio.TaskGroup() as group:
            partial = group.create_task(voxtral.hear(samples, "en", "", Urgency.IDLE))
            await asyncio.sleep(0.02)
            finals = [group.create_task(voxtral.hear(sound(1.0, seed), "en")) for seed in range(3)]
        assert partial.result() == await voxtral.hear(samples, "en")
        assert all(final.result().text for final in finals)

    asyncio.run(main())


def test_a_cancelled_flush_can_be_asked_again(voxtral: Voxtral) -> None:
    async def main() -> Transcript:
        session = voxtral.open(ENGLISH)
        await session.push(Audio(sound(1.0), 16_000))
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(session.flush())
            await asyncio.sleep(0.01)
            flushing.cancel()
        assert not voxtral._pressing
        transcript = await session.flush()
        await session.abort()
        return transcript

    assert asyncio.run(main()).text == asyncio.run(voxtral.hear(sound(1.0), "en")).text


def test_a_long_turn_is_transcribed_piece_by_piece(voxtral: Voxtral) -> None:
    async def main() -> Transcript:
        session = voxtral.open(ENGLISH)
        for second in range(50):
            await session.push(Audio(sound(1.0, second), 16_000))
        transcript = await session.flush()
        await session.abort()
        return transcript

    before = voxtral._batcher.counts.requests
    transcript = asyncio.run(main())
    assert transcript.audio_s == 50.0
    assert transcript.text
    assert voxtral._batcher.counts.requests - before == 3


def test_a_question_about_a_recording_is_answered(voxtral: Voxtral) -> None:
    async def main() -> None:
        heard = Audio(sound(2.0), 16_000)
        answer = await voxtral.understand(heard, "Who speaks?", max_tokens=12)
        assert answer
        assert answer != await voxtral.understand(heard, "In which mood?", max_tokens=12)
        telephone = Audio(np.repeat(sound(1.0), 3), 48_000)
        assert await voxtral.understand(telephone, "Who speaks?", max_tokens=12)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("audio", "sentence"),
    [
        (silence(0, 16_000), "The recording is empty"),
        (Audio(np.full(1600, np.nan, np.float32), 16_000), "samples that are no numbers"),
        (silence(LONGEST_RECORDING_S + 1, 8000), "takes 601 s; at most 600 s"),
    ],
)
def test_what_cannot_be_heard_is_refused(voxtral: Voxtral, audio: Audio, sentence: str) -> None:
    with pytest.raises(CallerError, match=sentence):
        asyncio.run(voxtral.understand(audio, "What?"))


def test_questions_languages_and_rates_are_checked(voxtral: Voxtral) -> None:
    async def main() -> None:
        with pytest.raises(CallerError, match="A question is expected"):
            await voxtral.understand(silence(1, 16_000), "  ")
        with pytest.raises(EngineError, match="does not transcribe the language ja"):
            voxtral.open(SttOptions(language="ja"))
        with pytest.raises(ValueError, match="16000 Hz; got 8000 Hz"):
            await voxtral.open(ENGLISH).push(silence(1, 8000))

    asyncio.run(main())


def test_without_memory_a_batch_is_computed_in_halves(
    voxtral: Voxtral, model: VoxtralModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    answers = VoxtralModel.answers

    def scarce(self: VoxtralModel, rows: Any, pressed: Any) -> Any:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        computed.append(len(rows))
        return answers(self, rows, pressed)

    monkeypatch.setattr(VoxtralModel, "answers", scarce)
    rows = [row_of(model, sound(1.0, seed), max_tokens=8) for seed in range(5)]
    assert voxtral._answers(rows) == answers(model, rows)
    assert computed == [2, 1, 2]


def test_out_of_memory_is_an_engines_error(voxtral: Voxtral, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(VoxtralModel, "answers", full)
    with pytest.raises(EngineOutOfMemory, match="out of memory"):
        asyncio.run(voxtral.hear(sound(1.0), "en"))


def test_closing_leaves_no_thread(tiny_voxtral: Path) -> None:
    threads = set(threading.enumerate())

    async def main() -> None:
        engine = engine_of(tiny_voxtral)
        await engine.close()
        engine = engine_of(tiny_voxtral)
        with pytest.raises(EngineError, match="not started"):
            engine.open(ENGLISH)
        await engine.start()
        session = engine.open(ENGLISH)
        await session.push(Audio(sound(1.0), 16_000))
        await engine.close()
        await engine.close()
        with pytest.raises(EngineError, match="not started"):
            await session.flush()
        await engine.start()
        again = engine.open(ENGLISH)
        await again.push(Audio(sound(1.0), 16_000))
        assert (await again.flush()).text
        await again.abort()
        await engine.close()

    asyncio.run(main())
    assert set(threading.enumerate()) <= threads


def started_error(model_name: str, **settings: Any) -> str:
    engine = Voxtral(model_name, languages=LANGUAGES, **{"device": "cpu"} | settings)
    with pytest.raises(EngineError) as raised:
        asyncio.run(engine.start())
    return f"{type(raised.value).__name__}: {raised.value}"


def test_a_directory_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    sentence = started_error(str(tmp_path / "absent"))
    assert sentence.startswith(
        f"ModelMissing: The model directory {tmp_path}/absent is missing: set model.name"
    )


def test_a_model_without_weights_says_what_to_do(tiny_voxtral: Path, tmp_path: Path) -> None:
    for name in ("tekken.json", "config.json", "tokenizer_config.json"):
        if (tiny_voxtral / name).exists():
            (tmp_path / name).write_bytes((tiny_voxtral / name).read_bytes())
    assert started_error(str(tmp_path)).startswith(
        f"ModelMissing: The model {tmp_path} cannot be loaded: complete"
    )


def test_damaged_weights_are_an_engines_error(tiny_voxtral: Path, tmp_path: Path) -> None:
    for file in tiny_voxtral.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:1000] if file.suffix == ".safetensors" else content)
    assert "cannot be loaded" in started_error(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("config.json", "[]"),
        ("tekken.json", "{}"),
        ("tekken.json", "null"),
        ("tekken.json", '{"version": "v99"}'),
        ("tekken.json", '{"vocab": []}'),
        ("tekken.json", '{"audio": "loud"}'),
    ],
)
def test_files_of_another_form_are_an_engines_error(
    tiny_voxtral: Path, tmp_path: Path, name: str, changed: str
) -> None:
    for file in tiny_voxtral.iterdir():
        (tmp_path / file.name).symlink_to(file)
    whole = json.loads((tmp_path / name).read_text())
    (tmp_path / name).unlink()
    made = json.loads(changed)
    if name == "tekken.json" and made:
        config = whole["config"] | {key: made.pop(key) for key in ("version",) if key in made}
        made = whole | {"config": config} | made
    (tmp_path / name).write_text(json.dumps(made))
    assert "cannot be loaded" in started_error(str(tmp_path))


def changed_config(directory: Path, into: Path, **changes: Any) -> str:
    """The model, but for its config.json. None leaves an entry out."""
    for file in directory.iterdir():
        (into / file.name).symlink_to(file)
    config = json.loads((directory / "config.json").read_text()) | changes
    (into / "config.json").unlink()
    (into / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if value is not None})
    )
    return str(into)


@pytest.mark.parametrize(
    ("model_type", "told"),
    [
        ("voxtral_realtime", "is of the type voxtral_realtime"),
        ("whisper", "is of the type whisper"),
        ("no_such_type", "is of the type no_such_type"),
        (None, "does not say of which type it is"),
        (7, "does not say of which type it is"),
    ],
)
def test_a_model_of_another_type_is_refused_before_anything_is_built(
    tiny_voxtral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_type: Any, told: str
) -> None:
    monkeypatch.setattr(voxtral_model, "load_from_hub", no_more)
    sentence = started_error(changed_config(tiny_voxtral, tmp_path, model_type=model_type))
    assert sentence.startswith(f"EngineError: The model {tmp_path} cannot be loaded: its config.json {told}")
    assert "this engine's models are voxtral. Set model.name to one of those" in sentence


@pytest.mark.parametrize("token", [None, "[AUDIO]"])
def test_a_model_without_a_token_for_sound_is_refused_before_anything_is_built(
    tiny_voxtral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: Any
) -> None:
    monkeypatch.setattr(voxtral_model, "load_from_hub", no_more)
    sentence = started_error(changed_config(tiny_voxtral, tmp_path, audio_token_id=token))
    assert "config.json has no audio_token_id. Complete it, or set model.name to another." in sentence


def no_more(*_: Any) -> Any:
    raise AssertionError("something was loaded")


def test_a_repository_that_cannot_be_fetched_says_how_and_tells_no_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    sentence = started_error("nobody/no-such-model")
    assert sentence.startswith("ModelMissing: The model nobody/no-such-model cannot be loaded: fetch it with")
    assert "hf_secret" not in sentence


def test_four_bits_need_a_gpu(tiny_voxtral: Path) -> None:
    assert "set model.load_in_4bit to false" in started_error(str(tiny_voxtral), load_in_4bit=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tiny_voxtral: Path) -> None:
    assert "set device to cpu or auto" in started_error(str(tiny_voxtral), device="cuda")
