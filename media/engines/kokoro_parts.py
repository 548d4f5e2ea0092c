"""Kokoro's network in two parts, so that a clause can be heard before all of it is made.

The front (text encoder, durations, pitch, decoder: an eighth of the work) sees the whole clause. The
generator makes the waveform from it and is convolutional, but for its 44 instance norms, whose means and
variances are taken over the whole clause. With those given it is a plain convolution: any window of it, with
a few frames around, gives the samples that the whole would, up to the window's own dynamic quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from media.engines.kokoro_rewrite import (
    KEPT_FROM,
    KEPT_TO,
    LOUDNESS,
    PHASES,
    PITCH,
    count_turns_by_frame,
    multiply_instead_of_convolving,
    narrow_the_second_stage,
    norm_at_once,
    scale_instead_of_norm,
)
from media.engines.model_files import damaged
from media.engines.onnx import inference_session
from media.engines.onnx_graph import OnnxGraph
from media.errors import ModelMissing

FRAME_SAMPLES = 300
"""A frame of the generator: 12.5 ms at 24 kHz. The durations count in pairs of them."""

CONTEXT_FRAMES = 4
"""What a window sees on each side beyond itself. The convolutions reach a little further, but more frames
bring a window no nearer to the whole than its own quantisation lets it."""

LATE_CONTEXT_FRAMES = 1
"""What of it the generator's second stage sees: a step there is six times shorter."""

_FEATURES = "/decoder/decoder/decode.3/Div_4_output_0"
DURATIONS = "/encoder/Round_output_0"
"""Of the tokens, pads included, in pairs of frames."""
_STATISTIC = "ReduceMean"

Floats: TypeAlias = npt.NDArray[np.float32]
NormStatistics: TypeAlias = tuple[Floats, ...]
"""The mean and the variance over time of each instance norm's channels, each (1, channels, 1)."""


@dataclass(frozen=True, slots=True, eq=False)
class ClauseFeatures:
    """What the front makes of a clause.

    Attributes:
        features: (1, 512, frames).
        pitch: see `PITCH`: the source signal is made of it and of the phases.
        phases: see `PHASES`.
        loudness: see `LOUDNESS`.
        style: (1, 256).
        durations: how many pairs of frames each token lasts, pads included, (tokens,).
    """

    features: Floats
    pitch: Floats
    phases: Floats
    loudness: Floats
    style: Floats
    durations: Floats

    @property
    def frames(self) -> int:
        return int(self.features.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class KokoroParts:
    """The three sessions. Their methods block, for the engine's thread."""

    front: ort.InferenceSession
    whole: ort.InferenceSession
    window: ort.InferenceSession
    statistics: tuple[str, ...]
    """The names of the norms' statistics, in the order in which `whole` gives them."""
    variances: tuple[bool, ...]
    """Which of them are variances; the others are means."""

    @classmethod
    def load(cls, model: Path, *, threads: int) -> KokoroParts:
        """Cuts the model and loads its parts.

        Raises:
            ModelMissing: the file is damaged, or no Kokoro.
        """
        try:
            graph = OnnxGraph(model.read_bytes())
            heard = (_FEATURES, PITCH, PHASES, "style")
            generator = graph.between(heard, ("audio",))
            made_by = {output: node for node in generator for output in node.outputs}
            measures = [node for node in generator if node.op_type == _STATISTIC]
            statistics = tuple(node.outputs[0] for node in measures)
            # A variance is the mean of something multiplied by itself.
            variances = tuple(len(set(made_by[node.inputs[0]].inputs)) == 1 for node in measures)
            means = {name for name, is_variance in zip(statistics, variances, strict=True) if not is_variance}
            asked = ("tokens", "style", "speed")
            prepared = (_FEATURES, PITCH, PHASES, LOUDNESS, DURATIONS)
            count_turns_by_frame(graph)
            norm_at_once(graph, graph.between(asked, prepared))
            multiply_instead_of_convolving(graph)
            front_part = graph.cut(asked, prepared)
            whole_part = graph.cut(heard, ("audio", *statistics))
            # What follows holds for given statistics alone.
            scale_instead_of_norm(graph, means)
            narrow_the_second_stage(graph)
            window_part = graph.cut((*heard, KEPT_FROM, KEPT_TO, *statistics), ("audio",))
            front, whole, window = (
                inference_session(part, threads=threads) for part in (front_part, whole_part, window_part)
            )
        except (ValueError, LookupError, ModelMissing) as error:
            raise damaged(model) from error
        return cls(front, whole, window, statistics, variances)

    def prepare(
        self, token_ids: list[int], style: Floats, speed: float, options: ort.RunOptions
    ) -> ClauseFeatures:
        """The front, for tokens without their pads."""
        features, pitch, phases, loudness, durations = self.front.run(
            None,
            {
                "tokens": np.array([[0, *token_ids, 0]], np.int64),
                "style": style,
                "speed": np.array([speed], np.float32),
            },
            options,
        )
        return ClauseFeatures(features, pitch, phases, loudness, style, durations.reshape(-1))

    def speak_whole(self, clause: ClauseFeatures, options: ort.RunOptions) -> tuple[Floats, NormStatistics]:
        """All samples, and the statistics of the norms."""
        audio, *statistics = self.whole.run(None, _inputs(clause), options)
        return audio.reshape(-1), tuple(statistics)

    def speak_window(
        self,
        clause: ClauseFeatures,
        statistics: NormStatistics,
        start: int,
        end: int,
        options: ort.RunOptions,
    ) -> Floats:
        """The samples of the frames from `start` to `end`, by given statistics."""
        first = max(0, start - CONTEXT_FRAMES)
        last = min(clause.frames, end + CONTEXT_FRAMES)
        part = ClauseFeatures(
            np.ascontiguousarray(clause.features[:, :, first:last]),
            np.ascontiguousarray(clause.pitch[:, :, first:last]),
            np.ascontiguousarray(clause.phases[:, :, first:last]),
            clause.loudness,
            clause.style,
            clause.durations,
        )
        kept_from = max(first, start - LATE_CONTEXT_FRAMES)
        kept_to = min(last, end + LATE_CONTEXT_FRAMES)
        inputs = {
            **_inputs(part),
            **dict(zip(self.statistics, statistics, strict=True)),
            KEPT_FROM: np.array([kept_from - first], np.int64),
            KEPT_TO: np.array([kept_to - first], np.int64),
        }
        (audio,) = self.window.run(None, inputs, options)
        samples: Floats = audio.reshape(-1)
        return samples[(start - kept_from) * FRAME_SAMPLES : (end - kept_from) * FRAME_SAMPLES]


def _inputs(clause: ClauseFeatures) -> dict[str, Floats]:
    return {_FEATURES: clause.features, PITCH: clause.pitch, PHASES: clause.phases, "style": clause.style}
