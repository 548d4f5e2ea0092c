"""A GGUF file whose 4-bit weights become 8-bit ones: the same model, in a format that is computed faster.

llama.cpp has no more than a plain kernel for Q4_1, and faster ones for Q8_0. The 255 steps of a Q8_0 block
hold the 16 values of a Q4_1 block nearly as they are. The file grows by half.

Each weight goes through single IEEE operations, so that the same bytes come out on any machine, and can be
known by their SHA-256. The format: ggml's `docs/gguf.md`; its blocks: `ggml-common.h`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MAGIC, _VERSION = b"GGUF", 3
_ALIGNMENT = 32
"""Where the file names no other, which this module does not know."""
_BLOCK = 32
"""Weights that share a scale, in either format."""
_Q4_1, _Q8_0 = 3, 8
_BLOCK_BYTES = {0: (1, 4), 1: (1, 2), _Q4_1: (_BLOCK, 20), _Q8_0: (_BLOCK, 34)}
"""Of each type of tensor that may occur (F32 and F16 are the first two): weights in a block, its bytes."""

_UINT32, _STRING, _ARRAY = 4, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", _UINT32: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FILE_TYPE = "general.file_type"
_MOSTLY_Q8_0 = 7

Bytes = npt.NDArray[np.uint8]


class NotGguf(ValueError):
    """The file is none, is cut off, or holds what this module does not know."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """What the file says of one of its tensors; `offset` counts from the first one's beginning."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def size_bytes(self) -> int:
        weights, size_bytes = _BLOCK_BYTES[self.type]
        return prod(self.shape) // weights * size_bytes


def widen(source: Path, target: Path) -> None:
    """Writes `target`: `source` with its Q4_1 tensors as Q8_0, whatever else it holds as it is.

    Raises:
        NotGguf: `source` is not such a file.
        OSError: it cannot be read, or `target` not be written.
    """
    content = np.memmap(source, np.uint8, "r")
    try:
        metadata, tensors, begin = _read(content.data)
        wider = _placed(
            [replace(tensor, type=_Q8_0) if tensor.type == _Q4_1 else tensor for tensor in tensors]
        )
    except (struct.error, KeyError, UnicodeDecodeError, IndexError) as error:
        raise NotGguf(f"{source.name}: {error!r}") from error
    with target.open("wb") as file:
        file.write(_header(metadata, wider))
        file.write(bytes(-file.tell() % _ALIGNMENT))
        for tensor in tensors:
            held = content[begin + tensor.offset :][: tensor.size_bytes]
            if len(held) < tensor.size_bytes:
                raise NotGguf(f"{source.name} ends within {tensor.name}")
            file.write((_as_q8_0(held) if tensor.type == _Q4_1 else held).data)
            file.write(bytes(-file.tell() % _ALIGNMENT))


def _as_q8_0(q4_1: Bytes) -> Bytes:
    """Blocks of (scale, least value, 16 bytes of two steps each) as blocks of (scale, 32 signed steps)."""
    blocks = q4_1.reshape(-1, _BLOCK_BYTES[_Q4_1][1])
    scale, least = blocks[:, :4].copy().view(np.float16).astype(np.float32).T[:, :, None]
    packed = blocks[:, 4:]
    weights = np.concatenate([packed & 15, packed >> 4], axis=1) * scale
    weights += least
    scale_8 = (np.abs(weights).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float16)
    divisor = scale_8.astype(np.float32)
    steps = np.rint(weights / np.where(divisor == 0, 1, divisor)).clip(-127, 127).astype(np.int8)
    widened: Bytes = np.concatenate([scale_8.view(np.uint8), steps.view(np.uint8)], axis=1)
    return widened.reshape(-1)


def _placed(tensors: list[_Tensor]) -> list[_Tensor]:
    """The same, one after the other."""
    placed, offset = [], 0
    for tensor in tensors:
        placed.append(replace(tensor, offset=offset))
        offset += tensor.size_bytes + -tensor.size_bytes % _ALIGNMENT
    return placed


def _header(metadata: list[tuple[str, bytes]], tensors: list[_Tensor]) -> bytes:
    pieces = [_MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    for key, value in metadata:
        if key == _FILE_TYPE:
            value = struct.pack("<II", _UINT32, _MOSTLY_Q8_0)
        pieces += (_string(key), value)
    for tensor in tensors:
        count = len(tensor.shape)
        where = struct.pack(f"<I{count}QIQ", count, *tensor.shape, tensor.type, tensor.offset)
        pieces += (_string(tensor.name), where)
    return b"".join(pieces)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _read(content: memoryview) -> tuple[list[tuple[str, bytes]], list[_Tensor], int]:
    """The metadata, each value as its type and its bytes; the tensors; where the first one begins."""
    reader = _Reader(content)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.unpack("I") != _VERSION:
        raise NotGguf(f"it is not GGUF of version {_VERSION}")
    tensor_count, metadata_count = reader.unpack("Q"), reader.unpack("Q")
    metadata = []
    for _ in range(metadata_count):
        key, at = reader.string(), reader.at
        reader.skip(reader.unpack("I"))
        metadata.append((key, bytes(content[at : reader.at])))
    if any(key == "general.alignment" for key, _ in metadata):
        raise NotGguf("it names an alignment of its own")
    tensors = [
        _Tensor(
            reader.string(),
            tuple(reader.unpack("Q") for _ in range(reader.unpack("I"))),
            reader.unpack("I"),
            reader.unpack("Q"),
        )
        for _ in range(tensor_count)
    ]
    return metadata, tensors, reader.at + -reader.at % _ALIGNMENT


class _Reader:
    """Reads a header from its beginning on."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self.at = 0

    def take(self, size_bytes: int) -> bytes:
        """The next bytes. Raises: NotGguf, where there are no more."""
        taken = bytes(self._content[self.at : self.at + size_bytes])
        if len(taken) < size_bytes:
            raise NotGguf("it ends within its header")
        self.at += size_bytes
        return taken

    def unpack(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        return self.take(self.unpack("Q")).decode()

    def skip(self, type: int) -> None:
        """A value of this type."""
        if type == _STRING:
            self.string()
        elif type == _ARRAY:
            element, count = self.unpack("I"), self.unpack("Q")
            for _ in range(count):
                self.skip(element)
        else:
            self.unpack(_SCALARS[type])
