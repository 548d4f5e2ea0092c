"""Whisper on CTranslate2: one piece of speech of at most 30 s to text. Blocking; the caller has the thread.

Whisper was trained on 30 s windows, silence behind the speech, and its encoder costs what the window costs.
The encoder takes shorter windows too: a question of 3 s in 10 s of window takes a third of the time, at the
same word error rate. Two things go wrong more often in short windows, and are caught here: the decoder
repeats itself (where less than about 2 s of silence follows, and now and then in clips of one word), or runs
to its token limit. Either is decoded again in a longer window, and in the full one if that does not help.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
import numpy.typing as npt
import tokenizers
from faster_whisper.tokenizer import Tokenizer

from media.audio import SPEECH_RATE_HZ
from media.engines.log_mel import FRAMES_PER_S, HOP_SAMPLES, log_mel
from media.engines.model_files import damaged, require_files
from media.engines.repetition import cut_repetition, said_once
from media.engines.speech_pieces import loudest_dbfs

FULL_WINDOW_S = 30.0
"""What the encoder was trained on, and the most it takes."""

_SHORTEST_WINDOW_S = 10.0
_SECOND_WINDOW_S = 15.0
"""Where the shortest made a clip of 8 s or less repeat itself, this one never did in recordings, and takes
half the time of the full one."""
_TRAILING_SILENCE_S = 5.0

_TOKENS_PER_S = {"en": 10.0}
_TOKENS_PER_S_ELSEWHERE = 40.0
"""Fast speech; scripts that the tokenizer spells in bytes take several tokens a letter."""
_TOKENS_SPARE = 16
_MAX_TOKENS = 448
_MAX_PROMPT_TOKENS = 100

_REPETITIVE = 2.4
"""Text that zlib shrinks by more than this repeats itself (Whisper's own threshold)."""

_NO_SPEECH = 1.4
"""P(no speech) less the mean log-probability of a token: beyond it, Whisper made the words up."""

_FALLBACK_TEMPERATURES = (0.4, 0.8)

_LANGUAGE_TOKEN = re.compile(r"<\|([a-z]{2,3})\|>")

_SILENT_DBFS = -60.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """What Whisper made of a piece of speech; `text` is empty where it heard none."""

    text: str
    language: str


class Unwanted(Exception):
    """Nobody wants the transcript any more."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Attempt:
    text: str
    mean_logprob: float
    no_speech_prob: float
    complete: bool

    @property
    def sound(self) -> bool:
        return self.complete and _shrinks_by(self.text) <= _REPETITIVE

    @property
    def speech(self) -> bool:
        """There was speech, as far as two weak witnesses can say together.

        The model's P(no speech) alone drops digits over a telephone, the log-probability alone drops honest
        mumbling. Over some hundred real clips and two models, speech stays under 1.3 of this sum; of noises,
        only a few coughs and a horn do.
        """
        return self.no_speech_prob - self.mean_logprob < _NO_SPEECH and any(map(str.isalnum, self.text))


class WhisperDecoder:
    """A loaded model. Its methods block for a tenth of a second or more, and take one caller at a time.

    Args:
        model_dir: a CTranslate2 conversion: `model.bin`, `config.json`, `tokenizer.json`.
        threads: for one piece of speech.

    Attributes:
        languages: what it can be told, as Whisper's codes: BCP-47 primary tags, but for `jw` (Javanese).

    Raises:
        ModelMissing: a file is absent, truncated or damaged.
    """

    def __init__(self, model_dir: Path, *, threads: int) -> None:
        weights, vocabulary = model_dir / "model.bin", model_dir / "tokenizer.json"
        require_files(weights, model_dir / "config.json", vocabulary)
        try:
            self._model = ctranslate2.models.Whisper(
                str(model_dir), device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1
            )
        except (RuntimeError, ValueError) as error:
            raise damaged(weights) from error
        try:
            json.loads(vocabulary.read_bytes())
        except ValueError as error:  # of which the tokenizer would raise a bare Exception
            raise damaged(vocabulary) from error
        self._tokenizer = tokenizers.Tokenizer.from_file(str(vocabulary))
        self.languages: tuple[str, ...] = ("en",)
        if self._model.is_multilingual:
            matches = map(_LANGUAGE_TOKEN.fullmatch, self._tokenizer.get_vocab())
            self.languages = tuple(sorted(match[1] for match in matches if match))

    def close(self) -> None:
        self._model.unload_model()

    def transcribe(
        self,
        samples: npt.NDArray[np.float32],
        *,
        language: str | None = None,
        prompt: str = "",
        wanted: Callable[[], bool] = _always,
    ) -> Decoded:
        """The words in a piece of speech.

        Args:
            samples: 16 kHz, at most 30 s.
            language: one of `languages`; None to detect it.
            prompt: what was said before, or names that may come: Whisper writes on in its style.
            wanted: asked between two steps of the work (each takes 30 to 100 ms) whether it should go on.

        Raises:
            Unwanted: it should not.
        """
        if loudest_dbfs(samples) < _SILENT_DBFS:
            return Decoded("", language or self.languages[0])
        duration_s = len(samples) / SPEECH_RATE_HZ
        window_s = min(FULL_WINDOW_S, max(_SHORTEST_WINDOW_S, duration_s + _TRAILING_SILENCE_S))
        encoded = self._encode(samples, window_s)
        _check(wanted)
        language = language or self._detect(encoded)
        attempt = self._generate(encoded, language, duration_s, prompt)
        if not attempt.sound:
            attempt = self._again(samples, language, duration_s, wanted)
        return Decoded(attempt.text if attempt.speech else "", language)

    def _again(
        self,
        samples: npt.NDArray[np.float32],
        language: str,
        duration_s: float,
        wanted: Callable[[], bool],
    ) -> _Attempt:
        """In longer windows, unprompted, if need be with ever more chance; else the likeliest, cut short."""
        attempts: list[_Attempt] = []
        if duration_s + _TRAILING_SILENCE_S <= _SECOND_WINDOW_S:
            _check(wanted)
            encoded = self._encode(samples, _SECOND_WINDOW_S)
            _check(wanted)
            attempts.append(self._generate(encoded, language, duration_s, ""))
            if attempts[-1].sound:
                return attempts[-1]
        _check(wanted)
        encoded = self._encode(samples, FULL_WINDOW_S)
        for temperature in (0.0, *_FALLBACK_TEMPERATURES):
            _check(wanted)
            attempts.append(self._generate(encoded, language, duration_s, "", temperature))
            if attempts[-1].sound:
                return attempts[-1]
        likeliest = max(attempts, key=lambda attempt: attempt.mean_logprob)
        return _Attempt(
            cut_repetition(likeliest.text), likeliest.mean_logprob, likeliest.no_speech_prob, complete=True
        )

    def _encode(self, samples: npt.NDArray[np.float32], window_s: float) -> ctranslate2.StorageView:
        frames = round(window_s * FRAMES_PER_S) // 2 * 2  # the encoder halves the frame rate
        padded = np.zeros(frames * HOP_SAMPLES, np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        features = log_mel(padded, bands=self._model.n_mels)
        return self._model.encode(ctranslate2.StorageView.from_array(features[None]))

    def _detect(self, encoded: ctranslate2.StorageView) -> str:
        if not self._model.is_multilingual:
            return "en"
        ((likeliest, *_),) = self._model.detect_language(encoded)
        token, _probability = likeliest
        match = _LANGUAGE_TOKEN.fullmatch(token)
        return match[1] if match else "en"

    def _generate(
        self,
        encoded: ctranslate2.StorageView,
        language: str,
        duration_s: float,
        prompt: str,
        temperature: float = 0.0,
    ) -> _Attempt:
        tokens = Tokenizer(self._tokenizer, self._model.is_multilingual, "transcribe", language)
        start = [*tokens.sot_sequence, tokens.no_timestamps]
        if prompt:
            start = [tokens.sot_prev, *tokens.encode(f" {prompt.strip()}")[-_MAX_PROMPT_TOKENS:], *start]
        rate = _TOKENS_PER_S.get(language, _TOKENS_PER_S_ELSEWHERE)
        limit = min(_MAX_TOKENS, len(start) + _TOKENS_SPARE + round(duration_s * rate))
        (result,) = self._model.generate(
            encoded,
            [start],
            beam_size=1,
            max_length=limit,
            sampling_topk=1 if temperature == 0 else 0,
            sampling_temperature=temperature or 1.0,
            return_scores=True,
            return_no_speech_prob=True,
        )
        said = result.sequences_ids[0]
        return _Attempt(
            text=said_once(tokens.decode(said).strip(), duration_s),
            mean_logprob=result.scores[0] * len(said) / (len(said) + 1),  # the end token counts as well
            no_speech_prob=result.no_speech_prob,
            complete=len(start) + len(said) < limit,
        )


def _check(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise Unwanted


def _shrinks_by(text: str) -> float:
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0
