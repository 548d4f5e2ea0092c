"""What a sound is that overlaps the assistant's speech: an interruption, a backchannel or a noise.

A small network judges the numbers of `media/overlap_features.py`; its weights are in `overlap.npz`, which
`bench/overlap_model.py` trains. It knows how much it has heard: early on it leans on what voices and noises
are like, later on whether the sound goes on, as an interruption does and a backchannel does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from media.audio import Audio
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.errors import EngineError
from media.overlap_features import LEAD_WINDOWS, Floats, describe

LONGEST_WINDOWS = LEAD_WINDOWS + 26
"""What comes later than 0.83 s after the onset is not judged any more: it was not taught either."""

WEIGHTS_FILE = Path(__file__).with_name("overlap.npz")


@dataclass(frozen=True, slots=True)
class OverlapScores:
    """Probabilities; their sum is 1."""

    interruption: float
    backchannel: float
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class OverlapWeights:
    """The network: standardised numbers, a layer of rectified units, the three classes' logits.

    Attributes:
        mean, scale: of each number, (n,).
        hidden, hidden_bias: (n, h), (h,).
        output, output_bias: (h, 3), (3,), in the order of `OverlapScores`.
    """

    mean: Floats
    scale: Floats
    hidden: Floats
    hidden_bias: Floats
    output: Floats
    output_bias: Floats

    def probabilities(self, numbers: Floats) -> Floats:
        """Of the classes, for one row of numbers or many; NaN counts as the mean."""
        standard = np.nan_to_num((numbers - self.mean) * self.scale)
        units = np.maximum(np.clip(standard, -4, 4) @ self.hidden + self.hidden_bias, 0)
        logits = units @ self.output + self.output_bias
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        result: Floats = odds / odds.sum(axis=-1, keepdims=True)
        return result


class OverlapClassifier:
    """Loads its weights once and keeps no state: all calls share it.

    Raises:
        EngineError: the weights are missing or damaged.
    """

    def __init__(self) -> None:
        try:
            with WEIGHTS_FILE.open("rb") as file, np.load(file) as content:
                arrays = {name: content[name].astype(np.float32) for name in content.files}
            self._weights = OverlapWeights(**arrays)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise EngineError(
                f"{WEIGHTS_FILE} is damaged: take it from the repository again ({error})."
            ) from error

    def judge(self, sound: Audio, speech: Sequence[float]) -> OverlapScores:
        """Judges what was heard so far, on the calling thread: about a millisecond.

        Args:
            sound: 16 kHz, whole VAD windows, from 160 ms before the onset of speech (less where the call is
                younger) up to now.
            speech: the VAD's P(speech) for each of its windows, oldest first.

        Raises:
            ValueError: another rate, or `speech` is not of the sound's windows.
        """
        heard = min(len(speech), LONGEST_WINDOWS)
        first = Audio(sound.samples[: len(sound) - (len(speech) - heard) * VAD_WINDOW_SAMPLES], sound.rate_hz)
        numbers = describe(first, speech[:heard])
        interruption, backchannel, noise = self._weights.probabilities(numbers).tolist()
        return OverlapScores(interruption, backchannel, noise)
