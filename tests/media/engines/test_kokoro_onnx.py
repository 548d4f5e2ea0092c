"""Kokoro on ONNX Runtime, with the real model; Whisper says what it said."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel

from media.audio import Audio, concatenate
from media.clock import thread_time_s
from media.engines.g2p import unavailable
from media.engines.kokoro_onnx import RATE_HZ, KokoroOnnx
from media.engines.kokoro_pauses import pause_after_s
from media.engines.kokoro_voices import VOICE_NAMES, language_of
from media.engines.protocols import SpeechChunk, SpokenWord, TtsRequest
from media.errors import CallerError, EngineError, ModelMissing, VoiceUnavailable

pytestmark = pytest.mark.models

MODEL = Path("kokoro-82m-int8/kokoro-v1.0.int8.onnx")
VOICES = Path("kokoro-voices")

TIMEOUT_S = 60
AMPLE_S = 600.0


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Iterator[KokoroOnnx]:
    engine = KokoroOnnx(models_dir / MODEL, models_dir / VOICES)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def whisper(models_dir: Path) -> WhisperModel:
    return WhisperModel(str(models_dir / "whisper-base"), device="cpu", compute_type="int8", cpu_threads=1)


def spoken(
    engine: KokoroOnnx, text: str, voice: str = "af_heart", speed: float = 1.0, *, lead_s: float = 0.0
) -> list[SpeechChunk]:
    """What is spoken: in windows, or whole where there is time (`AMPLE_S`)."""

    async def speak() -> list[SpeechChunk]:
        async with asyncio.timeout(TIMEOUT_S):
            return [chunk async for chunk in engine.speak(TtsRequest(text, voice, speed, lead_s))]

    return asyncio.run(speak())


def spoken_in_two(engine: KokoroOnnx, words: str, voice: str, opening: int) -> list[list[SpeechChunk]]:
    """A clause's first words, while two more are known, and the rest of it."""
    first, rest = (" ".join(part) for part in (words.split()[:opening], words.split()[opening:]))
    after = " ".join(rest.split()[:2])

    async def speak(request: TtsRequest) -> list[SpeechChunk]:
        async with asyncio.timeout(TIMEOUT_S):
            return [chunk async for chunk in engine.speak(request)]

    begun = asyncio.run(speak(TtsRequest(first, voice, after=after)))
    return [begun, asyncio.run(speak(TtsRequest(rest, voice, before=first)))]


def sound_of(chunks: list[SpeechChunk]) -> Audio:
    return concatenate([chunk.audio for chunk in chunks], RATE_HZ)


def words_of(chunks: list[SpeechChunk]) -> list[SpokenWord]:
    return [word for chunk in chunks for word in chunk.words]


def bare_words(text: str) -> list[str]:
    """Without what a transcriber puts between them."""
    return [word.strip(",.!?;:").lower() for word in text.split()]


def heard(whisper: WhisperModel, audio: Audio, language: str) -> str:
    """What Whisper understands. It takes 16 kHz, two thirds of Kokoro's rate, and likes silence around it."""
    samples = audio.as_float32()
    at = np.arange(0, len(samples), 1.5)
    resampled = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    segments, _ = whisper.transcribe(
        np.pad(resampled, (3_200, 8_000)), language=language, without_timestamps=True
    )
    return " ".join(segment.text for segment in segments).lower()


@pytest.mark.parametrize(
    ("voice", "text", "key_words"),
    [
        ("af_heart", "The weather today is sunny with a light breeze.", ("weather", "sunny", "breeze")),
        ("bm_george", "Please turn left at the traffic lights.", ("turn", "left", "traffic", "lights")),
        ("ef_dora", "El tren sale de la estación por la mañana.", ("tren", "estación", "mañana")),
        ("ff_siwis", "Le train part de la gare ce matin.", ("train", "gare", "matin")),
        # The small Whisper writes Hindi's words in Urdu's letters.
        ("hm_omega", "मेरा नाम राम है और मैं दिल्ली में रहता हूँ।", ("نام", "دلی", "رہتا")),
        ("if_sara", "La biblioteca si trova vicino al parco.", ("biblioteca", "vicino", "parco")),
        ("pf_dora", "A biblioteca fica perto do parque.", ("biblioteca", "perto", "parque")),
    ],
)
def test_what_is_said_is_understood(
    engine: KokoroOnnx, whisper: WhisperModel, voice: str, text: str, key_words: tuple[str, ...]
) -> None:
    said = heard(whisper, sound_of(spoken(engine, text, voice)), language_of(voice)[:2])
    assert [word for word in key_words if word not in said] == [], said


@pytest.mark.parametrize("voice", [name for name in VOICE_NAMES if unavailable(language_of(name)) is None])
def test_every_voice_of_the_base_install_speaks(engine: KokoroOnnx, voice: str) -> None:
    hello = {"es": "Hola", "fr": "Bonjour", "hi": "नमस्ते", "it": "Ciao", "pt-br": "Olá"}
    audio = sound_of(spoken(engine, f"{hello.get(language_of(voice), 'Hello')}.", voice))
    assert 0.4 < audio.duration_s < 2.0
    assert audio.level_dbfs() > -35


def test_the_54_voices_are_listed_and_each_says_whether_it_can_speak(engine: KokoroOnnx) -> None:
    assert len(engine.voices) == 54
    heart, emma = engine.voices[0], next(voice for voice in engine.voices if voice.name == "bf_emma")
    assert (heart.label, heart.language, heart.unavailable) == ("Heart (female)", "en-us", None)
    assert emma.language == "en-gb"
    assert {voice.language for voice in engine.voices if voice.unavailable} <= {"ja", "zh"}


@pytest.mark.parametrize("voice", ["af_heart", "am_michael", "bf_emma", "af_nicole", "ff_siwis"])
@pytest.mark.parametrize(("text", "lead_s"), [("Okay.", 0.0), ("Okay.", AMPLE_S), ("He sat here,", 0.0)])
def test_a_clause_begins_at_its_sound_and_ends_with_its_pause(
    engine: KokoroOnnx, voice: str, text: str, lead_s: float
) -> None:
    chunks = spoken(engine, text, voice, lead_s=lead_s)
    audio = sound_of(chunks)
    pause_s = pause_after_s(voice, text, words_of(chunks)[-1].end_s)
    onset = [audio.slice_s(start_s, start_s + 0.01) for start_s in (0.0, 0.01, 0.02)]
    assert max(frame.level_dbfs() for frame in onset) > -45
    # What windows have handed out already cannot be cut any more: then the pause begins with a decay.
    assert audio.slice_s(audio.duration_s - pause_s + 0.035).level_dbfs() < (-100 if lead_s else -60)
    ending = audio.slice_s(audio.duration_s - pause_s - 0.05, audio.duration_s - pause_s)
    assert ending.level_dbfs() > (-70 if lead_s else -80)


@pytest.mark.parametrize("lead_s", [0.0, AMPLE_S])
def test_words_have_their_times(engine: KokoroOnnx, lead_s: float) -> None:
    text = "Well, I have 25 of the apples: quite a lot."
    chunks = spoken(engine, text, lead_s=lead_s)
    words = words_of(chunks)
    assert [word.text for word in words] == text.split()
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= sound_of(chunks).duration_s - pause_after_s("af_heart", ".", times[-1]) + 0.01
    assert all(word.end_s > word.start_s for word in words)


def test_word_times_agree_with_the_pauses_in_the_sound(engine: KokoroOnnx) -> None:
    """Between "today" and "but" is a silence: the middle between the two words lies in it."""
    chunks = spoken(engine, "I went to the market today; but the man was gone.")
    words = {word.text: word for word in words_of(chunks)}
    middle_s = (words["today;"].end_s + words["but"].start_s) / 2
    assert sound_of(chunks).slice_s(middle_s - 0.02, middle_s + 0.02).level_dbfs() < -50


def test_a_long_text_is_several_runs_with_one_clock(engine: KokoroOnnx) -> None:
    sentence = "The old man went down to the river to look at the boats that had come in. "
    chunks = spoken(engine, sentence * 8, speed=2.0, lead_s=AMPLE_S)
    assert len(chunks) == 2
    words = words_of(chunks)
    assert len(words) == len((sentence * 8).split())
    starts = [word.start_s for word in words]
    assert starts == sorted(starts)
    assert words_of(chunks[1:])[0].start_s == pytest.approx(chunks[0].audio.duration_s, abs=0.1)


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("af_heart", "Okay."),
        ("ff_siwis", "Okay."),
        ("am_michael", "I can help you with that today."),
        ("bf_emma", "I can help you with that today."),
        ("ff_siwis", "Oui, bien sûr, avec plaisir."),
        ("af_heart", "Oui, bien sûr, avec plaisir."),
    ],
)
def test_windows_sound_like_the_whole(engine: KokoroOnnx, voice: str, text: str) -> None:
    """In level, in length, and without a step where two windows meet."""
    windows, whole = spoken(engine, text, voice), spoken(engine, text, voice, lead_s=AMPLE_S)
    assert len(whole) == 1
    assert len(windows) > 1
    one, other = sound_of(windows), sound_of(whole)
    assert one.duration_s == pytest.approx(other.duration_s, abs=0.15)
    assert one.level_dbfs() == pytest.approx(other.level_dbfs(), abs=3.0)
    seams = np.cumsum([len(chunk.audio) for chunk in windows[:-1]])
    steps = np.abs(np.diff(one.as_float32()))
    assert max(steps[seam - 1] for seam in seams) <= steps.max() * 0.8


def test_a_clause_is_heard_before_it_is_made(engine: KokoroOnnx) -> None:
    async def main() -> tuple[float, float]:
        request = TtsRequest("This is a rather long sentence, which takes its time to be spoken.", "af_heart")
        begun_s = thread_time_s()
        async with aclosing(engine.speak(request)) as chunks:
            await anext(chunks)
            first_s = thread_time_s() - begun_s
            async for _ in chunks:
                pass
        return first_s, thread_time_s() - begun_s

    first_s, all_s = asyncio.run(main())
    assert first_s < all_s / 2


def test_speed(engine: KokoroOnnx) -> None:
    slow, fast = (sound_of(spoken(engine, "This is how I speak.", speed=speed)) for speed in (0.7, 1.4))
    assert 1.6 < slow.duration_s / fast.duration_s < 2.4


@pytest.mark.parametrize("voice", ["af_heart", "am_michael"])
def test_a_slow_clause_is_heard_from_its_first_sound_on(engine: KokoroOnnx, voice: str) -> None:
    windows, whole = (spoken(engine, "Just a moment.", voice, 0.5, lead_s=lead) for lead in (0.0, AMPLE_S))
    # Windows may last longer: quiet that was handed out before the last sound's decay is not taken back.
    assert sound_of(windows).duration_s > sound_of(whole).duration_s - 0.1
    assert words_of(windows)[0].start_s == words_of(whole)[0].start_s == 0.0
    assert words_of(windows)[1].start_s == pytest.approx(words_of(whole)[1].start_s, abs=0.05)


@pytest.mark.parametrize("speed", [0.4, 2.1, float("nan")])
def test_a_speed_out_of_range_is_the_caller_s_error(engine: KokoroOnnx, speed: float) -> None:
    with pytest.raises(CallerError, match=r"it can be 0\.5 to 2") as raised:
        spoken(engine, "Hello.", speed=speed)
    assert raised.value.param == "speed"


@pytest.mark.parametrize("text", ["", "😀", "…", "— ?!"])
def test_nothing_speakable_is_no_sound(engine: KokoroOnnx, text: str) -> None:
    assert spoken(engine, text) == []


def test_an_unknown_voice_is_told_the_nearest(engine: KokoroOnnx) -> None:
    with pytest.raises(VoiceUnavailable, match=r"no voice 'af_hart': did you mean af_heart\?"):
        spoken(engine, "Hello.", "af_hart")


def test_a_voice_that_cannot_speak_here_says_why(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine = KokoroOnnx(models_dir / MODEL, models_dir / VOICES)
    with pytest.raises(VoiceUnavailable, match=r"jf_alpha cannot speak here.*voxtral-kokoro\[ja\]"):
        spoken(engine, "こんにちは", "jf_alpha")


def test_two_clauses_at_once(engine: KokoroOnnx) -> None:
    async def both() -> list[float]:
        async def seconds(text: str, voice: str) -> float:
            return sum(
                [chunk.audio.duration_s async for chunk in engine.speak(TtsRequest(text, voice))], start=0.0
            )

        return await asyncio.gather(seconds("Hello there.", "af_heart"), seconds("Bonjour.", "ff_siwis"))

    assert all(duration_s > 0.5 for duration_s in asyncio.run(both()))


def test_cancelling_stops_the_model(engine: KokoroOnnx) -> None:
    """A clause of 20 s is dropped; the next one, which has to wait for the same thread, is there at once."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        long_text = "The old man went down to the river to look at the boats. " * 6

        async def speak_long() -> None:
            async with aclosing(engine.speak(TtsRequest(long_text, "af_heart"))) as chunks:
                async for _ in chunks:
                    pass

        async def short_s() -> float:
            start_s = loop.time()
            async for _ in engine.speak(TtsRequest("Okay.", "af_heart")):
                pass
            return loop.time() - start_s

        alone_s = await short_s()
        task = loop.create_task(speak_long())
        # The first clause is under way when the time has passed that a whole short one takes.
        await asyncio.wait({task}, timeout=alone_s)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        return alone_s, await short_s()

    alone_s, after_s = asyncio.run(main())
    assert after_s < alone_s * 2 + 0.5


def test_not_started_and_closed(models_dir: Path) -> None:
    engine = KokoroOnnx(models_dir / MODEL, models_dir / VOICES)
    with pytest.raises(EngineError, match="not started"):
        spoken(engine, "Hello.")
    asyncio.run(engine.close())
    asyncio.run(engine.close())


def test_truncated_model(models_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "kokoro.onnx"
    with (models_dir / MODEL).open("rb") as whole:
        model.write_bytes(whole.read(5_000_000))
    engine = KokoroOnnx(model, models_dir / VOICES)
    with pytest.raises(
        ModelMissing, match=r"kokoro\.onnx is truncated or damaged: run `voxtral-kokoro models"
    ):
        asyncio.run(engine.start())
    asyncio.run(engine.close())


def test_missing_and_truncated_voices(models_dir: Path, tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    shutil.copytree(models_dir / VOICES, voices)
    (voices / "af_sky.bin").write_bytes(b"\0" * 1024)
    (voices / "am_adam.bin").unlink()
    engine = KokoroOnnx(models_dir / MODEL, voices)
    with pytest.raises(ModelMissing, match=r"am_adam\.bin is missing"):
        asyncio.run(engine.start())
    (voices / "am_adam.bin").write_bytes((voices / "am_echo.bin").read_bytes())
    with pytest.raises(ModelMissing, match=r"af_sky\.bin is truncated"):
        asyncio.run(engine.start())
    asyncio.run(engine.close())


@pytest.mark.parametrize("voice", ["af_heart", "am_michael", "bf_emma"])
@pytest.mark.parametrize(
    "text", ["Please tell me the name of your street.", "I'm sorry, I cannot help you with that."]
)
def test_a_clause_that_is_begun_before_it_is_known_sounds_as_if_it_had_been(
    engine: KokoroOnnx, whisper: WhisperModel, text: str, voice: str
) -> None:
    whole = spoken(engine, text, voice)
    begun, rest = spoken_in_two(engine, text, voice, 2)
    joined = sound_of([*begun, *rest])
    assert bare_words(heard(whisper, joined, "en")) == bare_words(heard(whisper, sound_of(whole), "en"))
    assert joined.duration_s == pytest.approx(sound_of(whole).duration_s, rel=0.15)
    assert [word.text for word in (*words_of(begun), *words_of(rest))] == text.split()
    third = words_of(whole)[2].start_s
    assert sound_of(begun).duration_s == pytest.approx(third, abs=0.2)
    samples = joined.as_float32()
    seam = len(sound_of(begun))
    steps = np.abs(np.diff(samples))
    assert steps[seam - 5 : seam + 5].max() <= steps.max()
    assert words_of(rest)[0].start_s == pytest.approx(0.0, abs=0.02)
    assert words_of(rest)[-1].end_s <= sound_of(rest).duration_s
