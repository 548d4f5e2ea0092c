"""Kokoro's front on torch, for several clauses at once: from tokens to what the generator makes sound of.

The functions walk the submodules of the `kokoro` package's `KModel`, whose own `forward` takes one clause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from media.engines.kokoro_torch_rows import Module, Norm, Rows, measured, recurrent

_STYLE_SPLIT = 128
"""Of a style's 256 numbers the first half is the decoder's, the second the predictors'."""


Decode: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Rows], torch.Tensor]
"""Makes features of the text's encoding, of pitch, loudness and style, and of where the rows end."""


@dataclass(frozen=True, slots=True, eq=False)
class Fronts:
    """What the front makes of a batch of clauses. Padded; `rows` says where each ends.

    Attributes:
        durations: how many pairs of frames each token lasts, (rows, tokens), on the CPU.
        rows: counted in pairs of frames.
        features: (rows, 512, frames).
        pitch: in Hz, (rows, frames).
        loudness: the logarithm of the energy, (rows, frames).
        style: the decoder's half, (rows, 128).
    """

    durations: torch.Tensor
    rows: Rows
    features: torch.Tensor
    pitch: torch.Tensor
    loudness: torch.Tensor
    style: torch.Tensor


def fronts(
    model: Module,
    token_ids: Sequence[Sequence[int]],
    styles: torch.Tensor,
    speeds: torch.Tensor,
    *,
    tokens: int = 0,
    padded_pairs: Callable[[int], int] = int,
    decode: Decode | None = None,
) -> Fronts:
    """Runs the front.

    Args:
        model: a `KModel`.
        token_ids: of each clause, with its pads.
        styles: (rows, 256), on the model's device.
        speeds: (rows,).
        tokens: to which the tokens are padded, if they are fewer.
        padded_pairs: gives to how many the pairs of frames are padded.
        decode: None is `decoded` with the model's own decoder.
    """
    device = styles.device
    lengths = torch.tensor([len(ids) for ids in token_ids])
    ids = pad_sequence([torch.tensor(ids) for ids in token_ids], batch_first=True)
    ids = functional.pad(ids, (0, max(0, tokens - ids.shape[1]))).to(device)
    own = (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(device)
    style, predictor_style = styles[:, :_STYLE_SPLIT], styles[:, _STYLE_SPLIT:]
    read = model.bert_encoder(model.bert(ids, attention_mask=own.int()))
    encoded = _durations_encoded(model.predictor.text_encoder, read, predictor_style, own, lengths)
    durations = _durations(model.predictor, encoded, speeds, own, lengths)
    counts = durations.sum(1).cpu()
    pairs = padded_pairs(int(counts.max()))
    rows = Rows.of(counts.tolist(), pairs, device)
    alignment = _alignment(durations, pairs, encoded.dtype)
    pitch, loudness = _prosody(
        model.predictor, encoded.transpose(1, 2) @ alignment, predictor_style, rows, counts
    )
    spoken = _text_encoded(model.text_encoder, ids, own, lengths) @ alignment
    if decode is None:
        features = decoded(model.decoder, spoken, pitch, loudness, style, rows)
    else:
        features = decode(spoken, pitch, loudness, style, rows)
    return Fronts(durations.cpu(), rows, features, pitch, loudness, style)


def _durations_encoded(
    encoder: Module, read: torch.Tensor, style: torch.Tensor, own: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """(rows, tokens, 512 + 128): layers that are recurrent, and norms that bring the style in, by turns."""
    beside = style[:, None].expand(-1, read.shape[1], -1)
    values = torch.cat([read, beside], dim=2) * own[..., None]
    for layer in encoder.lstms:
        if isinstance(layer, torch.nn.LSTM):
            values = recurrent(layer, values, lengths)
        else:
            values = torch.cat([layer(values, style), beside], dim=2) * own[..., None]
    return values


def _durations(
    predictor: Module, encoded: torch.Tensor, speeds: torch.Tensor, own: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """(rows, tokens), whole numbers, zero beyond each row's end."""
    spread = torch.sigmoid(predictor.duration_proj(recurrent(predictor.lstm, encoded, lengths)))
    return torch.round(spread.sum(-1) / speeds[:, None]).clamp(min=1).long() * own


def _alignment(durations: torch.Tensor, pairs: int, dtype: torch.dtype) -> torch.Tensor:
    """Which token each pair of frames belongs to: (rows, tokens, pairs) of ones and zeros."""
    ends = durations.cumsum(1)[..., None]
    at = torch.arange(pairs, device=durations.device)
    return ((at < ends) & (at >= ends - durations[..., None])).to(dtype)


def _prosody(
    predictor: Module, aligned: torch.Tensor, style: torch.Tensor, rows: Rows, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pitch and loudness, both (rows, frames), zero beyond each row's end."""
    shared = recurrent(predictor.shared, aligned.transpose(1, 2), counts).transpose(1, 2)
    norm = measured(rows, style)
    curves = []
    for blocks, project in ((predictor.F0, predictor.F0_proj), (predictor.N, predictor.N_proj)):
        values = shared
        for block in blocks:
            values = _block(block, values, norm, rows)
        curves.append(rows.kept(project(values))[:, 0])
    return curves[0], curves[1]


def _text_encoded(
    encoder: Module, ids: torch.Tensor, own: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """(rows, 512, tokens)."""
    mask = own[:, None]
    values = encoder.embedding(ids).transpose(1, 2) * mask
    for layer in encoder.cnn:
        values = layer(values) * mask
    return recurrent(encoder.lstm, values.transpose(1, 2), lengths).transpose(1, 2)


def decoded(
    decoder: Module,
    spoken: torch.Tensor,
    pitch: torch.Tensor,
    loudness: torch.Tensor,
    style: torch.Tensor,
    rows: Rows,
) -> torch.Tensor:
    """The features, (rows, 512, frames).

    Args:
        decoder: a `Decoder`.
        spoken: the text's encoding, (rows, 512, pairs of frames).
        pitch: in Hz, (rows, frames).
        loudness: the same shape.
        style: the decoder's half, (rows, 128).
        rows: counted in pairs of frames.
    """
    norm = measured(rows, style)
    beside = [decoder.asr_res(spoken), decoder.F0_conv(pitch[:, None]), decoder.N_conv(loudness[:, None])]
    values = _block(decoder.encode, torch.cat([spoken, *beside[1:]], dim=1), norm, rows)
    has_frames = False  # once it has, twice as many as there are pairs, nothing more stands beside
    for block in decoder.decode:
        if not has_frames:
            values = torch.cat([values, *beside], dim=1)
        values = _block(block, values, norm, rows)
        has_frames = has_frames or block.upsample_type != "none"
    return values


def _block(block: Module, values: torch.Tensor, norm: Norm, rows: Rows) -> torch.Tensor:
    """An `AdainResBlk1d`."""
    made = block.actv(norm(block.norm1, values))
    made = block.conv1(rows.kept(block.pool(rows.kept(made))))
    made = block.conv2(rows.kept(block.actv(norm(block.norm2, made))))
    beside = block.upsample(values)
    if block.learned_sc:
        beside = block.conv1x1(beside)
    return (made + beside) * 0.5**0.5
