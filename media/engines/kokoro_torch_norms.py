"""The generator's norms by predicted statistics, on torch: one scale and one offset for each channel.

The ONNX model and `KModel` are one network, so what `kokoro_norms` predicts serves both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from media.engines.kokoro_parts import NormStatistics
from media.engines.kokoro_torch_rows import Module, Norm, affine

_IN_A_BLOCK = ("adain1.0", "adain2.0", "adain1.1", "adain2.1", "adain1.2", "adain2.2")
"""A residual block's norms in the order in which they are applied."""
_SIDE_BY_SIDE = (1, 0, 2)
"""The three blocks of a stage, as the ONNX graph has them."""


def statistics_order() -> Iterator[tuple[str, bool]]:
    """Which of the generator's norms each predicted statistic is of, and whether it is a variance.

    The order is that of the ONNX graph's nodes. The first norms of the three blocks of a stage see the same
    values; the graph has only one of them.
    """
    for norm in _IN_A_BLOCK:
        for is_variance in (False, True):
            yield from ((f"noise_res.{stage}.{norm}", is_variance) for stage in range(2))
    for stage in range(2):
        yield from ((f"resblocks.{3 * stage}.{_IN_A_BLOCK[0]}", is_variance) for is_variance in (False, True))
        for norm in _IN_A_BLOCK[1:]:
            for is_variance in (False, True):
                for block in _SIDE_BY_SIDE:
                    yield f"resblocks.{3 * stage + block}.{norm}", is_variance


class GeneratorNorms:
    """The norms of one generator, and where each one's channels are in a packed row."""

    def __init__(self, generator: Module) -> None:
        modules = dict(generator.named_modules())
        found = [name for name in modules if name.rpartition(".")[0].endswith(("adain1", "adain2"))]
        self._modules = {name: modules[name] for name in found}
        self._slices: dict[Module, slice] = {}
        at = 0
        for module in self._modules.values():
            channels = module.norm.num_features
            self._slices[module] = slice(at, at + channels)
            at += channels
        self._means, self._variances = self._places()

    def packed(self, style: torch.Tensor, statistics: Sequence[NormStatistics]) -> torch.Tensor:
        """Scales and offsets of all norms, (rows, 2, channels of all).

        Args:
            style: (rows, 128).
            statistics: of each row's clause.
        """
        flat = np.stack([np.concatenate([values.reshape(-1) for values in each]) for each in statistics])
        given = torch.from_numpy(flat).to(style)
        return self.joined(
            {
                module: affine(module, style, given[:, self._means[name]], given[:, self._variances[name]])
                for name, module in self._modules.items()
            }
        )

    def joined(self, affines: Mapping[Module, tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """The same, from the scale and the offset of each norm, (rows, channels) both."""
        scales, offsets = zip(*(affines[module] for module in self._modules.values()), strict=True)
        return torch.stack([torch.cat(scales, dim=1), torch.cat(offsets, dim=1)], dim=1)

    def given(self, packed: torch.Tensor) -> Norm:
        """The norms by what `packed` has."""

        def norm(module: Module, values: torch.Tensor) -> torch.Tensor:
            scale, offset = packed[:, :, self._slices[module], None].unbind(1)
            return torch.addcmul(offset, values, scale)

        return norm

    def _places(self) -> tuple[dict[str, slice], dict[str, slice]]:
        """Where each norm's means and variances are in the statistics, one after the other."""
        means: dict[str, slice] = {}
        variances: dict[str, slice] = {}
        at = 0
        for name, is_variance in statistics_order():
            channels = self._modules[name].norm.num_features
            (variances if is_variance else means)[name] = slice(at, at + channels)
            at += channels
        for stage in range(2):
            first = f"resblocks.{3 * stage}.{_IN_A_BLOCK[0]}"
            for block in (1, 2):
                beside = f"resblocks.{3 * stage + block}.{_IN_A_BLOCK[0]}"
                means[beside], variances[beside] = means[first], variances[first]
        return means, variances
