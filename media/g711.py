"""G.711: speech of telephones, 8 kHz, a byte a sample (ITU-T G.711; at 16 bits, as G.191 has it)."""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Law = Literal["mu", "a"]

G711_RATE_HZ: Final = 8_000

_MU_BIAS = 33
"""Of the 14 bits that the µ-law compresses: all segments then begin at a power of two."""
_MU_MOST = 0x1FFF


def _mu_table() -> npt.NDArray[np.int16]:
    codes = np.arange(256, dtype=np.int32) ^ 0xFF
    segment, step = (codes >> 4) & 7, codes & 0x0F
    magnitude = ((2 * step + _MU_BIAS) << segment) - _MU_BIAS
    return (np.where(codes & 0x80, -magnitude, magnitude) * 4).astype(np.int16)


def _a_table() -> npt.NDArray[np.int16]:
    codes = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = (codes >> 4) & 7, codes & 0x0F
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return (np.where(codes & 0x80, magnitude, -magnitude) * 8).astype(np.int16)


_TABLES: Final = {"mu": _mu_table(), "a": _a_table()}


def decoded(data: bytes, law: Law) -> npt.NDArray[np.int16]:
    """The samples of these bytes."""
    samples: npt.NDArray[np.int16] = _TABLES[law][np.frombuffer(data, np.uint8)]
    return samples


def encoded(samples: npt.NDArray[np.int16], law: Law) -> bytes:
    """A byte for each sample."""
    return _codes(law)[samples.view(np.uint16)].tobytes()


@cache
def _codes(law: Law) -> npt.NDArray[np.uint8]:
    """The code of each sample there is, by its bits: to look it up costs a thirtieth of working it out."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    return (_mu_codes if law == "mu" else _a_codes)(every).astype(np.uint8)


def _mu_codes(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    magnitude = np.minimum((np.where(samples < 0, ~samples, samples) >> 2) + _MU_BIAS, _MU_MOST)
    segment = _highest_bit(magnitude) - 5
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
    codes: npt.NDArray[np.int32] = (code | np.where(samples < 0, 0x80, 0)) ^ 0xFF
    return codes


def _a_codes(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    magnitude = np.where(samples < 0, ~samples, samples) >> 4
    segment = np.maximum(_highest_bit(np.maximum(magnitude, 1)) - 3, 0)
    code = (segment << 4) | ((magnitude >> np.maximum(segment - 1, 0)) & 0x0F)
    codes: npt.NDArray[np.int32] = (code | np.where(samples < 0, 0, 0x80)) ^ 0x55
    return codes


def _highest_bit(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The position of the highest bit that is set; exact for these sizes."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int32) - 1
