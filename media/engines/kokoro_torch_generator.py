"""Kokoro's generator on torch, for several clauses (or windows of them) at once: from features to samples.

The functions walk the submodules of the `kokoro` package's `Generator`. Its first stage has 10 steps a frame,
its second 60, its samples are 300; what it shapes is a source signal of sines that follow the pitch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from media.engines.kokoro_torch_rows import Module, Norm, Rows

_FIRST_SLOPE, _LAST_SLOPE = 0.1, 0.01
"""Of the leaky rectifiers before each stage, and behind the last."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Which frames of each row go on from the first stage to the second.

    Attributes:
        starts: the first one of each row, (rows,), on the batch's device.
        frames: how many.
    """

    starts: torch.Tensor
    frames: int


def source_spectrum(
    generator: Module, pitch: torch.Tensor, rows: Rows, noise: Sequence[torch.Generator] = ()
) -> torch.Tensor:
    """The source signal's magnitudes and phases, (rows, 22, steps of the second stage, and one).

    The phases count from each clause's beginning on, so a window's part has to be cut out of this.

    Args:
        generator: a `Generator`.
        pitch: in Hz, (rows, frames).
        rows: where they end.
        noise: for each row what its noise is drawn from, on the CPU. None: there is no noise, as in the ONNX
            model, whose norm statistics the predicted ones are.
    """
    sines = generator.m_source.l_sin_gen
    hop = sines.upsample_scale
    harmonics = torch.arange(1, sines.dim + 1, device=pitch.device)
    turns = (pitch[:, None] * harmonics[:, None] / sines.sampling_rate) % 1
    # After some seconds the ninth harmonic has turned ten thousand times: too often for single precision.
    turned = turns.double().cumsum(2) * hop
    turned = functional.interpolate(turned, scale_factor=float(hop), mode="linear") % 1
    waves = torch.sin(turned.to(pitch.dtype) * (2 * math.pi)) * sines.sine_amp
    voiced = (pitch > sines.voiced_threshold).to(pitch.dtype).repeat_interleave(hop, 1)[:, None]
    waves = waves * voiced
    if noise:
        loudness = voiced * sines.noise_std + (1 - voiced) * sines.sine_amp / 3
        waves = waves + loudness * _noise(waves, rows, noise)
    signal = generator.m_source.l_tanh(generator.m_source.l_linear(waves.transpose(1, 2)))[..., 0]
    return rows.kept(_spectrum(generator, signal, rows))


def samples_of(
    generator: Module,
    features: torch.Tensor,
    spectrum: torch.Tensor,
    norm: Norm,
    rows: Rows,
    kept: Kept | None = None,
) -> torch.Tensor:
    """The waveform, (rows, samples of the frames, or of those kept).

    Args:
        generator: a `Generator`.
        features: (rows, 512, frames).
        spectrum: of the same frames.
        norm: how its norms are applied.
        rows: where they end.
        kept: narrows the second stage, which costs most and sees less of the time around it.
    """
    values = features
    for stage, (up, noise_conv, noise_block) in enumerate(
        zip(generator.ups, generator.noise_convs, generator.noise_res, strict=True)
    ):
        is_last = stage == generator.num_upsamples - 1
        values = functional.leaky_relu(values, _FIRST_SLOPE)
        if is_last and kept is not None:
            values = _narrowed(values, rows, kept)
            spectrum = _narrowed(spectrum, rows, kept)
            rows = rows.narrowed(kept.starts, kept.frames)
        source = _block(noise_block, noise_conv(rows.kept(spectrum)), norm, rows)
        values = up(rows.kept(values))
        if is_last:
            values = generator.reflection_pad(values)
        values = values + source
        blocks = generator.resblocks[stage * generator.num_kernels : (stage + 1) * generator.num_kernels]
        total = _block(blocks[0], values, norm, rows)
        for block in blocks[1:]:
            total = total + _block(block, values, norm, rows)
        values = total / generator.num_kernels
    values = generator.conv_post(rows.kept(functional.leaky_relu(values, _LAST_SLOPE)))
    half = generator.post_n_fft // 2 + 1
    return _overlapped(generator, torch.exp(values[:, :half]), torch.sin(values[:, half:]), rows)


def _block(block: Module, values: torch.Tensor, norm: Norm, rows: Rows) -> torch.Tensor:
    """An `AdaINResBlock1`."""
    for conv1, conv2, norm1, norm2, alpha1, alpha2 in zip(
        block.convs1, block.convs2, block.adain1, block.adain2, block.alpha1, block.alpha2, strict=True
    ):
        made = conv1(rows.kept(_snake(norm(norm1, values), alpha1)))
        values = values + conv2(rows.kept(_snake(norm(norm2, made), alpha2)))
    return values


def _snake(values: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return torch.addcdiv(values, torch.sin(alpha * values).square(), alpha)


def _narrowed(values: torch.Tensor, rows: Rows, kept: Kept) -> torch.Tensor:
    """Each row's own part of (rows, channels, length)."""
    by_frame, more = divmod(values.shape[-1], rows.steps)
    at = torch.arange(kept.frames * by_frame + more, device=values.device)
    at = at + kept.starts[:, None] * by_frame
    return values.gather(2, at[:, None].expand(-1, values.shape[1], -1))


def _noise(waves: torch.Tensor, rows: Rows, noise: Sequence[torch.Generator]) -> torch.Tensor:
    """Each row's own, the same however far it is padded."""
    by_step = waves.shape[-1] // rows.steps
    drawn = torch.zeros_like(waves)
    for row, (count, generator) in enumerate(zip(rows.counts.tolist(), noise, strict=True)):
        length = count * by_step
        drawn[row, :, :length] = torch.randn(
            (waves.shape[1], length), generator=generator, dtype=waves.dtype
        ).to(waves.device)
    return drawn


def _spectrum(generator: Module, signal: torch.Tensor, rows: Rows) -> torch.Tensor:
    """The short-time spectrum of (rows, samples), each row's end reflected as if it were alone."""
    stft = generator.stft
    reach = stft.filter_length // 2
    length = signal.shape[1]
    ends = rows.counts[:, None] * (length // rows.steps)
    at = torch.arange(-reach, length + reach, device=signal.device)
    reflected = torch.where(at.abs() < ends, at.abs(), 2 * (ends - 1) - at)
    padded = signal.gather(1, reflected.clamp(0, length - 1)) * (at < ends + reach)
    spectrum = torch.stft(
        padded,
        stft.filter_length,
        stft.hop_length,
        stft.win_length,
        window=stft.window.to(signal),
        center=False,
        return_complex=True,
    )
    return torch.cat([spectrum.abs(), spectrum.angle()], dim=1)


def _overlapped(
    generator: Module, magnitudes: torch.Tensor, phases: torch.Tensor, rows: Rows
) -> torch.Tensor:
    """The inverse: spectra (rows, 11, steps) become windowed pieces, which are added where they overlap.

    What `torch.istft` does, except that each row ends where it would alone.
    """
    stft = generator.stft
    window = stft.window.to(magnitudes)
    pieces = torch.fft.irfft(torch.polar(magnitudes, phases), n=stft.filter_length, dim=1)
    added = _added(rows.kept(pieces * window[:, None]), stft.hop_length)
    weights = window.square()[:, None].expand(1, -1, pieces.shape[-1])
    total = _added(weights if rows.are_full else weights * rows.mask(pieces.shape[-1]), stft.hop_length)
    reach = stft.filter_length // 2
    heard = slice(reach, added.shape[1] - reach)
    return added[:, heard] / total[:, heard].clamp(min=1e-8)


def _added(pieces: torch.Tensor, hop: int) -> torch.Tensor:
    """Pieces (rows, a multiple of `hop` samples, steps), each `hop` after the one before: their sum."""
    rows, length, steps = pieces.shape
    parts = pieces.reshape(rows, length // hop, hop, steps)
    total = pieces.new_zeros(rows, steps + length // hop - 1, hop)
    for late in range(length // hop):
        total[:, late : late + steps] += parts[:, late].transpose(1, 2)
    return total.reshape(rows, -1)
