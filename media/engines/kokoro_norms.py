"""What Kokoro's instance norms will measure over a clause, before it is made.

A window of a clause needs the statistics of the whole clause. They follow from what the front has made of it:
the logarithms of the variances, and the means, are nearly linear in a few principal components of the
features' own mean and deviation over time, in the same way for every voice, around a mean of each voice's
own. The components, the linear map and the means of all 54 voices are in `kokoro_norms.npz`, in bytes, which
`bench/kokoro_norms.py` fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from media.engines.kokoro_blend import blend_of
from media.engines.kokoro_parts import ClauseFeatures, Floats, NormStatistics
from media.errors import EngineError

FITTED_FILE = Path(__file__).with_name("kokoro_norms.npz")

_VARIANCE_FLOOR = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class _Voice:
    """A voice's mean: of its clauses' summaries, and of their statistics."""

    summary: Floats
    statistics: Floats


class KokoroNorms:
    """Predicts the norms' statistics.

    Raises:
        EngineError: the fitted file is missing or damaged.
    """

    def __init__(self) -> None:
        with _fitted() as fitted:
            self._channels: list[int] = fitted["channels"].tolist()
            self._variances: list[bool] = fitted["variances"].tolist()
            self._components: Floats = fitted["components"].astype(np.float32)
            self._limits: Floats = fitted["limits"].astype(np.float32)
            self._slopes: Floats = fitted["slopes"] * fitted["slope_steps"]
            usual: Floats = fitted["usual_statistics"]
            distances: Floats = fitted["statistics"] * fitted["statistics_steps"]
            self._voices = {
                str(name): _Voice(summary, usual + distance)
                for name, summary, distance in zip(
                    fitted["voices"], fitted["summaries"].astype(np.float32), distances, strict=True
                )
            }

    def predict(self, voice: str, clause: ClauseFeatures) -> NormStatistics:
        """The statistics of a clause of one of the 54 voices, or of a mixture of them."""
        return self.predict_from(voice, summary_of(clause))

    def predict_from(self, voice: str, summary: Floats) -> NormStatistics:
        """The same, for a clause whose `summary_of` is known."""
        known = self._known(voice)
        scores = (summary - known.summary) @ self._components
        # Beyond what was fitted the map says nothing, and variances are its exponentials.
        scores = np.clip(scores, self._limits[0], self._limits[1])
        packed = (known.statistics + scores @ self._slopes).astype(np.float32)
        return tuple(self._unpacked(packed))

    def _known(self, voice: str) -> _Voice:
        """A mixture's mean lies between its voices'."""
        blend = blend_of(voice)
        if len(blend.parts) == 1:
            return self._voices[blend.first]
        voices = [(self._voices[name], part) for name, part in blend.parts]
        summary: Floats = np.sum([part * each.summary for each, part in voices], axis=0)
        return _Voice(summary, np.sum([part * each.statistics for each, part in voices], axis=0))

    def _unpacked(self, packed: Floats) -> Iterator[Floats]:
        at = 0
        for channels, is_variance in zip(self._channels, self._variances, strict=True):
            values = packed[at : at + channels].reshape(1, channels, 1)
            at += channels
            yield np.exp(values) if is_variance else values


@contextmanager
def _fitted() -> Iterator[Mapping[str, Any]]:
    try:
        with FITTED_FILE.open("rb") as file, np.load(file) as content:
            yield content
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise EngineError(
            f"{FITTED_FILE} is damaged: take it from the repository again ({error})."
        ) from error


def summary_of(clause: ClauseFeatures) -> Floats:
    """The features' mean and root mean square over time, one after the other: (1024,)."""
    features = clause.features[0]
    rms = np.sqrt(np.mean(np.square(features), axis=1))
    summary: Floats = np.concatenate([features.mean(axis=1), rms])
    return summary


def to_bytes(rows: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Rows as whole numbers of at most 127 steps, and each row's step, (rows, 1)."""
    steps = np.abs(rows).max(axis=1, keepdims=True) / 127 + 1e-12
    return np.round(rows / steps).astype(np.int8), steps.astype(np.float32)


def packed_statistics(statistics: NormStatistics, variances: Sequence[bool]) -> Floats:
    """All statistics as one vector, variances as logarithms: what the map is linear in."""
    floor = np.float32(_VARIANCE_FLOOR)
    return np.concatenate(
        [
            np.log(np.maximum(values.reshape(-1), 0) + floor) if is_variance else values.reshape(-1)
            for values, is_variance in zip(statistics, variances, strict=True)
        ]
    )
