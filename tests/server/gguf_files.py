"""Small GGUF files, made by hand."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

BLOCKS = 12
F32, Q4_1, Q8_0 = 0, 3, 8


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def q4_1_blocks(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Blocks of 32 weights: a scale, the least value, and 16 bytes of two steps each."""
    random = np.random.default_rng(seed)
    scales = random.uniform(0.001, 0.1, (BLOCKS, 1)).astype(np.float16)
    least = (-8 * scales + random.normal(0, 0.01, (BLOCKS, 1))).astype(np.float16)
    steps = random.integers(0, 256, (BLOCKS, 16), np.uint8)
    scales[0] = least[0] = 0  # a block of zeros
    return np.concatenate([scales.view(np.uint8), least.view(np.uint8), steps], axis=1)


def gguf(*, metadata: tuple[bytes, ...] = ()) -> bytes:
    """A file with a vector of F32 and a matrix of 2 x 192 weights in Q4_1."""
    metadata = (
        string("general.name") + struct.pack("<I", 8) + string("toy"),
        string("general.file_type") + struct.pack("<II", 4, 3),
        string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("bc"),
        *metadata,
    )
    norm, matrix = np.arange(3, dtype=np.float32).tobytes(), q4_1_blocks().tobytes()
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(metadata)) + b"".join(metadata)
    head += string("norm") + struct.pack("<IQIQ", 1, 3, F32, 0)
    head += string("matrix") + struct.pack("<I2QIQ", 2, 192, BLOCKS * 32 // 192, Q4_1, 32)
    head += bytes(-len(head) % 32)
    return head + norm + bytes(-len(norm) % 32) + matrix + bytes(-len(matrix) % 32)
