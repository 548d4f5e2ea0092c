"""Clauses of different lengths in one padded tensor, each computed as if it were alone.

Two things see beyond a clause's end: convolutions, which alone would see zeros there, and norms over time,
whose means and variances would count the padding. So what a convolution is given is made zero there, and the
norms' statistics leave it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Module: TypeAlias = Any
"""A `torch.nn.Module`, whose submodules have the types that its class gives them."""

Norm: TypeAlias = Callable[[Module, torch.Tensor], torch.Tensor]
"""Applies one of Kokoro's adaptive norms (`AdaIN1d`) to (rows, channels, time)."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Where the rows of a padded batch end.

    Attributes:
        counts: how many steps each row has, (rows,), on the batch's device.
        steps: how many the batch has.
        are_full: no row is padded: nothing needs to be masked.
    """

    counts: torch.Tensor
    steps: int
    are_full: bool
    _masks: dict[int, torch.Tensor] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, counts: Sequence[int], steps: int, device: torch.device) -> Rows:
        return cls(torch.tensor(counts, device=device), steps, min(counts) == steps)

    def mask(self, length: int) -> torch.Tensor:
        """Which positions are a row's own, (rows, 1, length).

        Args:
            length: of a tensor that has a whole number of positions for each step, and at most one more.
        """
        if length not in self._masks:
            by_step, more = divmod(length, self.steps)
            positions = torch.arange(length, device=self.counts.device)
            self._masks[length] = (positions < self.counts[:, None] * by_step + more)[:, None]
        return self._masks[length]

    def kept(self, values: torch.Tensor) -> torch.Tensor:
        """The values, zero beyond each row's end: what a convolution may see. (rows, channels, length)."""
        return values if self.are_full else values * self.mask(values.shape[-1])

    def statistics(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each row's mean and variance over time, both (rows, channels)."""
        if self.are_full:
            variance, mean = torch.var_mean(values, dim=-1, correction=0)
            return mean, variance
        mask = self.mask(values.shape[-1])
        counts = mask.sum(-1)
        mean = (values * mask).sum(-1) / counts
        variance = ((values - mean[..., None]) * mask).square().sum(-1) / counts
        return mean, variance

    def narrowed(self, starts: torch.Tensor, steps: int) -> Rows:
        """Those of `steps` steps from each row's own start on."""
        return Rows((self.counts - starts).clamp(max=steps), steps, self.are_full)


def affine(
    norm: Module, style: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What an adaptive norm comes to with given statistics: a scale and an offset, both (rows, channels).

    Args:
        norm: an `AdaIN1d`.
        style: (rows, 128).
        mean: (rows, channels).
        variance: the same shape.
    """
    gain, shift = norm.fc(style).chunk(2, dim=1)
    plain = norm.norm
    scale = (1 + gain) * plain.weight * torch.rsqrt(variance + plain.eps)
    return scale, (1 + gain) * plain.bias + shift - mean * scale


def measured(rows: Rows, style: torch.Tensor) -> Norm:
    """The norm as the model has it: by what it measures of each row."""

    def norm(module: Module, values: torch.Tensor) -> torch.Tensor:
        scale, offset = affine(module, style, *rows.statistics(values))
        return torch.addcmul(offset[..., None], values, scale[..., None])

    return norm


def recurrent(lstm: Module, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """A recurrent layer over rows of different lengths, zero beyond each one's end.

    Args:
        lstm: bidirectional, batch first.
        values: (rows, time, channels).
        lengths: (rows,), on the CPU.
    """
    time = values.shape[1]
    if int(lengths.min()) == time:
        return lstm(values)[0]
    packed = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=time)[0]
