"""4-bit weights as 8-bit ones: the same values, the rest of the file as it was, the same bytes anywhere."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from server.catalogue import load_catalogue
from server.gguf_widening import NotGguf, widen
from server.model_store import sha256_of
from tests.server.gguf_files import BLOCKS, Q8_0, gguf, q4_1_blocks, string


def widened(tmp_path: Path, content: bytes) -> bytes:
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    source.write_bytes(content)
    widen(source, target)
    return target.read_bytes()


def test_the_weights_keep_their_values(tmp_path: Path) -> None:
    blocks = q4_1_blocks()
    scale, least = blocks[:, :4].copy().view(np.float16).astype(np.float64).T[:, :, None]
    expected = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1) * scale + least

    wide = np.frombuffer(widened(tmp_path, gguf()), np.uint8)[-(BLOCKS * 34 + 8) : -8]  # 8 bytes of padding
    wide = wide.reshape(BLOCKS, 34)
    made = wide[:, 2:].view(np.int8) * wide[:, :2].copy().view(np.float16).astype(np.float64)
    assert np.abs(made - expected).max() <= np.abs(expected).max() / 127 * 0.51
    assert (made[0] == 0).all()


def test_whatever_else_the_file_holds_stays(tmp_path: Path) -> None:
    before, after = gguf(), widened(tmp_path, gguf())
    assert after[: after.index(b"general.file_type")] == before[: before.index(b"general.file_type")]
    assert string("general.file_type") + struct.pack("<II", 4, 7) in after
    assert string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("bc") in after
    assert string("norm") + struct.pack("<IQIQ", 1, 3, 0, 0) in after
    assert string("matrix") + struct.pack("<I2QIQ", 2, 192, 2, Q8_0, 32) in after
    assert np.arange(3, dtype=np.float32).tobytes() in after
    assert len(after) % 32 == 0


@pytest.mark.parametrize("kept_bytes", [3, 30, 100, 200, 300, 400])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    with pytest.raises(NotGguf):
        widened(tmp_path, gguf()[:kept_bytes])


def test_another_file_and_another_alignment_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotGguf):
        widened(tmp_path, b"\x08\x07 any other file, of any length" * 10)
    with pytest.raises(NotGguf, match="alignment"):
        widened(tmp_path, gguf(metadata=(string("general.alignment") + struct.pack("<II", 4, 64),)))


@pytest.mark.models
def test_the_embedded_model_becomes_what_the_catalogue_says(models_dir: Path, tmp_path: Path) -> None:
    model = load_catalogue().model("smollm2-135m-instruct")
    for name, made in model.made.items():
        widen(models_dir / model.name / made.of, tmp_path / name)
        assert sha256_of(tmp_path / name) == made.sha256
