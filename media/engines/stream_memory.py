"""What a stream's attention looks back on, kept apart for each stream and joined for a step of several.

transformers' own caches hold one batch, whose rows begin and end together. Streams come and go, and are of
different lengths: each keeps its keys and values, and for a step they are laid side by side, the shorter ones
filled up in front, under a mask that hides the filling. Both classes are what a model's layers are given for
a cache. Nothing is changed in place, so a copy of a memory costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(slots=True)
class Lookback:
    """One stream's keys and values in one network.

    Attributes:
        seen: how many positions there were, kept or not.
        layers: of each layer, both of shape (1, heads, kept, size).
    """

    seen: int = 0
    layers: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        return int(self.layers[0][0].shape[2]) if self.layers else 0

    def copy(self) -> Lookback:
        return Lookback(self.seen, dict(self.layers))


class JoinedLookbacks:
    """Those of several streams that each go on by the same number of positions.

    Args:
        rows: one a stream.
        positions: by which they go on.
        window: how many positions a position looks back on, itself included; None is all.
        device: where.

    Attributes:
        mask: who looks at what, (rows, 1, positions, longest).
        position_ids: (rows, positions).
    """

    def __init__(self, rows: Sequence[Lookback], positions: int, window: int | None, device: str) -> None:
        self._rows = rows
        self._window = window
        kept = torch.tensor([row.kept for row in rows], device=device)[:, None, None]
        past = max(row.kept for row in rows)
        looks = torch.arange(positions, device=device)[None, :, None] + past
        at = torch.arange(past + positions, device=device)[None, None, :]
        mask = (at >= past - kept) & (at <= looks)
        if window is not None:
            mask = mask & (looks - at < window)
        self.mask = mask[:, None]
        seen = torch.tensor([row.seen for row in rows], device=device)[:, None]
        self.position_ids = seen + torch.arange(positions, device=device)
        self._positions = positions

    def update(self, keys: Any, values: Any, layer: int, *_args: Any, **_kwargs: Any) -> tuple[Any, Any]:
        """Appends a layer's new keys and values, and gives all that it may look at."""
        joined = [
            self._appended(row, keys[at : at + 1], values[at : at + 1], layer)
            for at, row in enumerate(self._rows)
        ]
        return _side_by_side([both[0] for both in joined]), _side_by_side([both[1] for both in joined])

    def done(self) -> None:
        """The step is over."""
        for row in self._rows:
            row.seen += self._positions

    def _appended(self, row: Lookback, keys: Any, values: Any, layer: int) -> tuple[Any, Any]:
        if layer in row.layers:
            before_keys, before_values = row.layers[layer]
            keys = torch.cat([before_keys, keys], dim=2)
            values = torch.cat([before_values, values], dim=2)
        kept = keys.shape[2] if self._window is None else min(keys.shape[2], self._window - 1)
        row.layers[layer] = (keys[:, :, keys.shape[2] - kept :], values[:, :, values.shape[2] - kept :])
        return keys, values


class JoinedPaddings:
    """What causal convolutions saw last, of several streams.

    Args:
        rows: by the convolution's name, (1, channels, samples).
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def update(self, states: Any, name: str, convolution: Any) -> Any:
        """New states, with what comes before them."""
        shape = (1, convolution.in_channels, convolution.left_pad)
        before = [row[name] if name in row else states.new_zeros(shape) for row in self._rows]
        padded = torch.cat([torch.cat(before), states], dim=-1)
        for at, row in enumerate(self._rows):
            row[name] = padded[at : at + 1, :, padded.shape[-1] - convolution.left_pad :]
        return padded


def _side_by_side(parts: Sequence[Any]) -> Any:
    longest = max(part.shape[2] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, longest - part.shape[2], 0)) for part in parts])
