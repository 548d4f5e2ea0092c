"""Kokoro on torch in steps that several calls share: the front, a window of a clause, a whole clause.

Every step takes one batch and gives each of its rows what it would have got alone. Windows have a few sizes,
and where asked for the rows, the tokens and the clauses' frames are padded to some, too, so that what was
recorded for a shape can be used again: the decoder and the generator, which are nearly all of the work. What
comes before them reads its own results back. All of it blocks, for the engine's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn import functional

from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_parts import CONTEXT_FRAMES, FRAME_SAMPLES, LATE_CONTEXT_FRAMES, Floats
from media.engines.kokoro_torch_front import decoded, fronts
from media.engines.kokoro_torch_generator import Kept, samples_of, source_spectrum
from media.engines.kokoro_torch_norms import GeneratorNorms
from media.engines.kokoro_torch_rows import Rows, measured
from media.engines.kokoro_vocabulary import PAD_ID
from media.engines.kokoro_voices import VOICE_NAMES
from media.engines.torch_recording import Record, RecordedStep, at_least, recorded

T = TypeVar("T")

WINDOW_FRAMES = (16, 32, 64, 96)
"""What windows have, beside one frame that the next one is faded in over: 0.2 to 1.2 s."""
AS_LOUD_AS_ONNX = 1.5
"""The ONNX export adds its overlapping windows without dividing by their sum, and is 3.5 dB louder. What was
fitted to its sound is used to that, and one engine may stand in for the other."""
_TOKENS = (32, 64, 128, 256, 512)
_PAIRS = (32, 48, 64, 96, 128, 192, 256)
"""Of frames, of a clause's front."""
_WHOLE_FRAMES = (96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_FRAMES_AT_ONCE = 4096
"""Of whole clauses in a forward, 51 s: some 0.8 GB of what the generator makes on the way."""
_ROWS = (1, 2, 4, 8, 16, 32, 64)
_RECORDED_WHOLE_FRAMES = _WHOLE_FRAMES[:6]
"""Longer clauses are rare, and keep a GPU busy for longer than Python takes to ask for them."""


@dataclass(frozen=True, slots=True, eq=False)
class FrontRequest:
    """A run that wants its front.

    Attributes:
        token_ids: without their pads.
        style: (1, 256).
        speed: 1 is the voice's own.
        voice: whose statistics are predicted.
    """

    token_ids: Sequence[int]
    style: Floats
    speed: float
    voice: str


@dataclass(frozen=True, slots=True, eq=False)
class TorchClause:
    """What the front has made of a run, on the device but for what plans its windows.

    Attributes:
        features: (512, frames).
        spectrum: of the source signal, (22, 60 a frame and one).
        style: the decoder's half, (128,).
        norms: predicted scales and offsets (see `GeneratorNorms`), (2, channels).
        loudness: see `ClauseShape`.
        durations: see `ClauseShape`.
    """

    features: torch.Tensor
    spectrum: torch.Tensor
    style: torch.Tensor
    norms: torch.Tensor
    loudness: Floats
    durations: Floats

    @property
    def frames(self) -> int:
        return int(self.features.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class WindowRequest:
    """Frames of a clause that are wanted: from `first` to `stop`, at most one more than a window has."""

    clause: TorchClause
    first: int
    stop: int

    @property
    def size(self) -> int:
        """The size of its window: windows of one size can be made in one step."""
        return at_least(self.stop - self.first - 1, WINDOW_FRAMES)


def whole_size(clause: TorchClause) -> int:
    """Clauses of one size can be made in one step without much padding."""
    return at_least(clause.frames, _WHOLE_FRAMES)


class KokoroTorchNetwork:
    """The model and its three steps.

    Args:
        model: a `KModel` whose weight norms are folded (see `kokoro_torch_weights`), on its device.
        norms: predicts the statistics by which windows are made.
        fixed_shapes: pads rows, tokens and clauses to a few sizes; else only to the longest of a batch.
        record: how steps are recorded (see `warm_up`), for which shapes are fixed; None: they are not.
        context_frames: what a window sees on each side beyond itself.
        late_context_frames: what of it the generator's second stage sees.
    """

    def __init__(
        self,
        model: Any,
        norms: KokoroNorms,
        *,
        fixed_shapes: bool,
        record: Record | None = None,
        context_frames: int = CONTEXT_FRAMES,
        late_context_frames: int = LATE_CONTEXT_FRAMES,
    ) -> None:
        self._model = model
        self._generator = model.decoder.generator
        self._norms = norms
        self._generator_norms = GeneratorNorms(self._generator)
        self._fixed_shapes = fixed_shapes or record is not None
        self._decoder = RecordedStep(self._features, record)
        self._window_sound = RecordedStep(self._sound_of_window, record)
        self._whole_sound = RecordedStep(self._sound_of_whole, record)
        self._is_recorded = record is not None
        self._context_frames, self._late_context_frames = context_frames, late_context_frames
        self._like = self._generator.conv_post.bias
        """Has the device and the type of everything."""
        # No part of the module's state: it stayed behind when the model went to its device.
        self._generator.stft.window = self._generator.stft.window.to(self._like)

    @property
    def recorded_steps(self) -> tuple[RecordedStep, ...]:
        """Of the decoder, of windows and of whole clauses."""
        return self._decoder, self._window_sound, self._whole_sound

    def warm_up(self, largest: int) -> None:
        """Has the steps recorded, for every shape that batches of up to so many rows take. Where that fails,
        it is logged, and they are computed as they are."""
        if self._is_recorded:
            recorded("kokoro-torch", self.recorded_steps, lambda: self._record_all(largest))

    def _record_all(self, largest: int) -> None:
        ids = [16] * 8  # any sounds
        style = np.zeros((1, 256), np.float32)
        (clause,) = self.front_step([FrontRequest(ids, style, 1.0, VOICE_NAMES[0])])
        for rows in _ROWS[: _ROWS.index(at_least(largest, _ROWS)) + 1]:
            with torch.inference_mode():
                for pairs in _PAIRS:
                    spoken = self._like.new_zeros(
                        rows, self._model.text_encoder.embedding.embedding_dim, pairs
                    )
                    curve = self._like.new_zeros(rows, 2 * pairs)
                    counts = torch.full((rows,), pairs, device=self._like.device)
                    self._decode(
                        spoken, curve, curve, clause.style.expand(rows, -1), Rows(counts, pairs, False)
                    )
            for size in WINDOW_FRAMES:
                wide = size + 1 + 2 * self._context_frames
                for frames in (wide, wide - 1):  # full, and padded
                    self.window_step([WindowRequest(_stretched(clause, frames), 0, size)] * rows)
            for frames in _RECORDED_WHOLE_FRAMES:
                self.whole_step([_stretched(clause, frames)] * min(rows, _FRAMES_AT_ONCE // frames))

    def front_step(self, requests: Sequence[FrontRequest]) -> list[TorchClause]:
        with torch.inference_mode():
            padded = self._rows_of(requests)
            longest = max(len(request.token_ids) for request in padded) + 2
            made = fronts(
                self._model,
                [(PAD_ID, *request.token_ids, PAD_ID) for request in padded],
                torch.from_numpy(np.concatenate([request.style for request in padded])).to(self._like),
                torch.tensor([request.speed for request in padded]).to(self._like),
                tokens=at_least(longest, _TOKENS) if self._fixed_shapes else 0,
                padded_pairs=(lambda pairs: at_least(pairs, _PAIRS)) if self._fixed_shapes else int,
                decode=self._decode,
            )
            spectra = source_spectrum(self._generator, made.pitch, made.rows)
            frames = [2 * int(count) for count in made.rows.counts.tolist()][: len(requests)]
            summaries = _summaries(made.features, frames)
            statistics = [
                self._norms.predict_from(request.voice, summary)
                for request, summary in zip(requests, summaries, strict=True)
            ]
            packed = self._generator_norms.packed(made.style[: len(requests)], statistics)
            loudness, durations = made.loudness.float().cpu().numpy(), made.durations.float().numpy()
            steps = (spectra.shape[2] - 1) // made.features.shape[2]
            # Copies, or each clause would keep its whole batch alive.
            return [
                TorchClause(
                    made.features[row, :, :count].clone(),
                    spectra[row, :, : count * steps + 1].clone(),
                    made.style[row].clone(),
                    packed[row].clone(),
                    loudness[row, :count].copy(),
                    durations[row, : len(request.token_ids) + 2].copy(),
                )
                for row, (request, count) in enumerate(zip(requests, frames, strict=True))
            ]

    def window_step(self, requests: Sequence[WindowRequest]) -> list[Floats]:
        """The samples of windows of one size."""
        with torch.inference_mode():
            padded = self._rows_of(requests)
            wide = padded[0].size + 1 + 2 * self._context_frames
            narrow = padded[0].size + 1 + 2 * self._late_context_frames
            starts = [_placed(each, self._context_frames, wide) for each in padded]
            kept = [_placed(each, self._late_context_frames, narrow) for each in padded]
            counts = [
                min(wide, each.clause.frames - start) for each, start in zip(padded, starts, strict=True)
            ]
            later = [keep - start for keep, start in zip(kept, starts, strict=True)]
            device = self._like.device
            sound = self._window_sound(
                (narrow, min(counts) == wide),
                *self._part_of([each.clause for each in padded], starts, counts, wide),
                torch.stack([each.clause.norms for each in padded]),
                torch.tensor(counts, device=device),
                torch.tensor(later, device=device),
            )
            samples: Floats = sound.float().cpu().numpy()
            return [
                row[(each.first - keep) * FRAME_SAMPLES : (each.stop - keep) * FRAME_SAMPLES]
                for row, each, keep in zip(samples, requests, kept, strict=False)
            ]

    def whole_step(self, clauses: Sequence[TorchClause]) -> list[Floats]:
        """All samples of each clause, by the statistics that it has. Long ones are made one by one."""
        at_once = max(1, _FRAMES_AT_ONCE // max(clause.frames for clause in clauses))
        batches = [clauses[at : at + at_once] for at in range(0, len(clauses), at_once)]
        return [samples for batch in batches for samples in self._wholes(batch)]

    def _wholes(self, clauses: Sequence[TorchClause]) -> list[Floats]:
        with torch.inference_mode():
            padded = self._rows_of(clauses)
            counts = [clause.frames for clause in padded]
            frames = at_least(max(counts), _WHOLE_FRAMES) if self._fixed_shapes else max(counts)
            # Where steps are recorded, those without padding are not worth a recording of their own.
            sound = self._whole_sound(
                min(counts) == frames and not self._is_recorded,
                *self._part_of(padded, [0] * len(padded), counts, frames),
                torch.stack([clause.style for clause in padded]),
                torch.tensor(counts, device=self._like.device),
            )
            samples: Floats = sound.float().cpu().numpy()
            return [
                row[: clause.frames * FRAME_SAMPLES] for row, clause in zip(samples, clauses, strict=False)
            ]

    def _part_of(
        self, clauses: Sequence[TorchClause], starts: Sequence[int], counts: Sequence[int], frames: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A part of each clause's features and spectrum, padded to so many frames."""
        features = _parts([each.features for each in clauses], starts, counts, frames)
        steps = (clauses[0].spectrum.shape[1] - 1) // clauses[0].frames
        return features, _parts([each.spectrum for each in clauses], starts, counts, frames, steps, 1)

    def _decode(
        self,
        spoken: torch.Tensor,
        pitch: torch.Tensor,
        loudness: torch.Tensor,
        style: torch.Tensor,
        rows: Rows,
    ) -> torch.Tensor:
        """See `kokoro_torch_front.decoded`."""
        are_full = rows.are_full and not self._is_recorded
        return self._decoder(are_full, spoken, pitch, loudness, style, rows.counts)

    # What is recorded: of tensors alone, and of what does not vary within a recording.

    def _features(
        self,
        are_full: bool,
        spoken: torch.Tensor,
        pitch: torch.Tensor,
        loudness: torch.Tensor,
        style: torch.Tensor,
        counts: torch.Tensor,
    ) -> torch.Tensor:
        rows = Rows(counts, spoken.shape[2], are_full)
        return decoded(self._model.decoder, spoken, pitch, loudness, style, rows)

    def _sound_of_window(
        self,
        fixed: tuple[int, bool],
        features: torch.Tensor,
        spectra: torch.Tensor,
        norms: torch.Tensor,
        counts: torch.Tensor,
        later: torch.Tensor,
    ) -> torch.Tensor:
        narrow, are_full = fixed
        rows = Rows(counts, features.shape[2], are_full)
        norm = self._generator_norms.given(norms)
        made = samples_of(self._generator, features, spectra, norm, rows, Kept(later, narrow))
        return made * AS_LOUD_AS_ONNX

    def _sound_of_whole(
        self,
        are_full: bool,
        features: torch.Tensor,
        spectra: torch.Tensor,
        style: torch.Tensor,
        counts: torch.Tensor,
    ) -> torch.Tensor:
        rows = Rows(counts, features.shape[2], are_full)
        made = samples_of(self._generator, features, spectra, measured(rows, style), rows)
        return made * AS_LOUD_AS_ONNX

    def _rows_of(self, requests: Sequence[T]) -> list[T]:
        """The requests, and where shapes are fixed as many more rows as a batch of a usual size lacks."""
        missing = at_least(len(requests), _ROWS) - len(requests) if self._fixed_shapes else 0
        return [*requests, *[requests[0]] * missing]


def _stretched(clause: TorchClause, frames: int) -> TorchClause:
    """Of so many frames; of what sound does not matter."""
    steps = (clause.spectrum.shape[1] - 1) // clause.frames
    times = -(-frames // clause.frames) + 1
    features = clause.features.repeat(1, times)[:, :frames]
    return replace(
        clause, features=features, spectrum=clause.spectrum.repeat(1, times)[:, : frames * steps + 1]
    )


def _placed(request: WindowRequest, context: int, size: int) -> int:
    """The first frame of what a window sees: within its clause, so that few rows end early."""
    return max(0, min(request.first - context, request.clause.frames - size))


def _parts(
    values: Sequence[torch.Tensor],
    starts: Sequence[int],
    counts: Sequence[int],
    frames: int,
    by_frame: int = 1,
    more: int = 0,
) -> torch.Tensor:
    """So many frames of each row's (channels, length) from its start on, padded: (rows, channels, length)."""
    parts = [
        functional.pad(
            each[:, start * by_frame : (start + count) * by_frame + more], (0, (frames - count) * by_frame)
        )
        for each, start, count in zip(values, starts, counts, strict=True)
    ]
    return torch.stack(parts)


def _summaries(features: torch.Tensor, counts: Sequence[int]) -> Floats:
    """As `kokoro_norms.summary_of`, for the first rows: (clauses, 1024)."""
    summaries = []
    for row, count in enumerate(counts):
        own = features[row, :, :count]
        summaries.append(torch.cat([own.mean(1), own.square().mean(1).sqrt()]))
    stacked: Floats = torch.stack(summaries).float().cpu().numpy()
    return stacked
