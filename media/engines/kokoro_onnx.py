"""Kokoro-82M on ONNX Runtime: the embedded text-to-speech.

The graph takes `tokens` (1, n) int64, `style` (1, 256) float32 and `speed` (1,) float32; it gives 24 kHz
audio.
"""

from __future__ import annotations

import difflib
import io
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from media.audio import Audio
from media.engines.g2p import pronounce, unavailable
from media.engines.inference import InferenceThreads
from media.engines.kokoro_runs import Run, runs_of, word_spans
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES, label_of, language_of
from media.engines.model_files import damaged, require_files
from media.engines.onnx import ONNX_ERRORS, inference_session
from media.engines.protocols import SpeechChunk, SpokenWord, TtsRequest, Voice
from media.errors import CallerError, EngineError, ModelMissing, VoiceUnavailable
from media.speech_trim import pause_after_s, trim_speech

RATE_HZ = 24_000
FRAME_SAMPLES = 600
"""The unit of the durations: 25 ms."""

MIN_SPEED, MAX_SPEED = 0.5, 2.0

DURATIONS_OUTPUT = "/encoder/Round_output_0"
"""The duration predictor's rounded result: how many frames each token lasts, (1, n) float32."""

SOUND_LEAD_S = 0.06
"""Kokoro's sounds come this long before the durations say (the median at the ends of pauses)."""

_STYLE_ROW_BYTES = STYLE_WIDTH * 4
_WARM_UP = TtsRequest("Hello, how are you today?", "af_heart")


class KokoroOnnx:
    """The TTS port, on the CPU.

    Args:
        model: `kokoro-v1.0.int8.onnx` or another export of the same graph.
        voices_dir: holds `NAME.bin` of each of the 54 voices: float32, one style of 256 for each of the
            510 lengths that a clause can have.
        threads: of one synthesis. One is nearly as fast as two.
        parallel: how many clauses are synthesised at once, each on `threads` of its own.
    """

    def __init__(self, model: Path, voices_dir: Path, *, threads: int = 1, parallel: int = 1) -> None:
        self._model = model
        self._voices_dir = voices_dir
        self._threads = threads
        self._inference = InferenceThreads("kokoro", threads=parallel, failures=ONNX_ERRORS)
        self._session: ort.InferenceSession | None = None
        self._running: set[ort.RunOptions] = set()
        self._voices = tuple(
            Voice(name, language_of(name), label_of(name), unavailable(language_of(name)))
            for name in VOICE_NAMES
        )

    @property
    def name(self) -> str:
        return f"kokoro ({self._model.stem})"

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    async def start(self) -> None:
        """Loads the model and speaks a sentence to warm it: about 2 s.

        Raises:
            ModelMissing: the model or a voice is absent or truncated.
            EngineError: espeak-ng cannot be loaded.
        """
        self._session = await self._inference.run(self._load)
        async for _ in self.speak(_WARM_UP):
            pass

    async def close(self) -> None:
        for options in self._running:
            options.terminate = True
        await self._inference.close()
        self._session = None

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause: one chunk for each run of the model, which takes up to 510 tokens.

        Nothing comes out of a text without anything speakable. Closing the generator stops the model within
        the operator that it is at.

        Raises:
            VoiceUnavailable: the voice is unknown or cannot speak here.
            CallerError: the speed is out of range.
            EngineError: the backend failed, or was not started.
        """
        language = self._speakable_language(request.voice)
        if not MIN_SPEED <= request.speed <= MAX_SPEED:
            raise CallerError(
                f"The speed is {request.speed:g}; it can be {MIN_SPEED:g} to {MAX_SPEED:g}.", param="speed"
            )
        session = self._session
        if session is None:
            raise EngineError(f"The engine {self.name} is not started.", code="engine_closed")
        options = ort.RunOptions()
        options.log_severity_level = 4  # being terminated is no error worth a line
        # What a long clause needed goes back to the system: 0.5 GB after 25 s of audio otherwise stay.
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._running.add(options)
        try:
            words = await self._inference.run(partial(pronounce, request.text, language))
            spoken_samples = 0
            for run in runs_of(words):
                synthesis = _Synthesis(session, options, self._style(request.voice, run), request.speed)
                chunk = await self._inference.run(partial(synthesis.speak, run))
                yield _later(chunk, spoken_samples / RATE_HZ)
                spoken_samples += len(chunk.audio)
        finally:
            options.terminate = True
            self._running.discard(options)

    def _speakable_language(self, voice_name: str) -> str:
        for voice in self._voices:
            if voice.name == voice_name:
                if voice.unavailable:
                    raise VoiceUnavailable(f"The voice {voice.name} cannot speak here. {voice.unavailable}")
                return voice.language
        nearest = difflib.get_close_matches(voice_name, VOICE_NAMES, n=1, cutoff=0.0)[0]
        raise VoiceUnavailable(f"There is no voice {voice_name!r}: did you mean {nearest}?")

    def _load(self) -> ort.InferenceSession:
        voice_files = [self._voice_file(name) for name in VOICE_NAMES]
        require_files(self._model, *voice_files)
        for file in voice_files:
            if file.stat().st_size != STYLE_ROWS * _STYLE_ROW_BYTES:
                raise damaged(file)
        try:
            return inference_session(_with_output(self._model, DURATIONS_OUTPUT), threads=self._threads)
        except ModelMissing as error:
            raise damaged(self._model) from error

    def _style(self, voice: str, run: Run) -> npt.NDArray[np.float32]:
        """The style for a run of this length, shape (1, 256): 1 KiB of a file that the page cache holds."""
        row = len(run.token_ids) - 1
        return np.fromfile(
            self._voice_file(voice), np.float32, STYLE_WIDTH, offset=row * _STYLE_ROW_BYTES
        ).reshape(1, STYLE_WIDTH)

    def _voice_file(self, voice: str) -> Path:
        return self._voices_dir / f"{voice}.bin"


@dataclass(frozen=True, slots=True)
class _Synthesis:
    """What one run of the model needs besides its words."""

    session: ort.InferenceSession
    options: ort.RunOptions
    style: npt.NDArray[np.float32]
    speed: float

    def speak(self, run: Run) -> SpeechChunk:
        """Blocks for about a quarter of the audio's length. Words are timed from the chunk's first sample."""
        samples, frames = self.session.run(
            ["audio", DURATIONS_OUTPUT],
            {
                "tokens": np.array([[0, *run.token_ids, 0]], np.int64),
                "style": self.style,
                "speed": np.array([self.speed], np.float32),
            },
            self.options,
        )
        pause_s = pause_after_s(run.words[-1].text, speed=self.speed)
        speech = trim_speech(samples, RATE_HZ, pause_s=pause_s)
        audio = Audio(speech.samples, RATE_HZ)
        ends_s = np.cumsum(frames.reshape(-1), dtype=np.float64) * FRAME_SAMPLES / RATE_HZ
        shift_s = speech.lead_samples / RATE_HZ + SOUND_LEAD_S
        last_s = max(0.0, audio.duration_s - pause_s)
        times_s = np.clip(ends_s - shift_s, 0.0, last_s)
        return SpeechChunk(audio, _timed_words(run, times_s))


def _timed_words(run: Run, token_ends_s: npt.NDArray[np.float64]) -> tuple[SpokenWord, ...]:
    """The run's words; `token_ends_s` has the pad before the first token at index 0."""
    return tuple(
        SpokenWord(word.text, float(token_ends_s[first]), float(token_ends_s[last + 1]))
        for word, (first, last) in zip(run.words, word_spans(run.words), strict=True)
    )


def _later(chunk: SpeechChunk, by_s: float) -> SpeechChunk:
    """The chunk, its words timed from the start of the clause."""
    if not by_s:
        return chunk
    words = (SpokenWord(word.text, word.start_s + by_s, word.end_s + by_s) for word in chunk.words)
    return SpeechChunk(chunk.audio, tuple(words))


def _with_output(model: Path, value: str) -> bytes:
    """A model file's bytes, with one of the graph's inner float values made an output.

    In protobuf's wire format a message may be continued by appending to it: an embedded message that occurs
    twice is merged, a repeated field that occurs again grows. So `ModelProto{graph{output[ValueInfoProto]}}`
    after the end of the file adds an output to the graph that is in it, and no ONNX package is needed.
    """
    float_tensor = _field(1, b"\x08\x01")  # TypeProto.tensor_type {elem_type (field 1, varint): FLOAT (1)}
    value_info = _field(1, value.encode()) + _field(2, float_tensor)  # ValueInfoProto.name, .type
    graph = _field(12, value_info)  # GraphProto.output
    # BytesIO hands out its own buffer, so 90 MB are never in memory twice.
    whole = io.BytesIO()
    with model.open("rb") as file:
        shutil.copyfileobj(file, whole, length=1 << 20)
    whole.write(_field(7, graph))  # ModelProto.graph
    return whole.getvalue()


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field with a number below 16 and less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content
