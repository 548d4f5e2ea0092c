"""Files that are no models are refused in one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.engines.onnx import inference_session
from media.errors import ModelMissing


def test_an_absent_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"absent\.onnx is missing: run `voxtral-kokoro models fetch`\."):
        inference_session(tmp_path / "absent.onnx", threads=1)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    with pytest.raises(ModelMissing, match=r"model\.onnx is empty"):
        inference_session(model, threads=1)


def test_garbage_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model " * 1000)
    with pytest.raises(ModelMissing, match=r"model\.onnx is truncated or damaged"):
        inference_session(model, threads=1)


def test_garbage_in_memory_is_refused() -> None:
    with pytest.raises(ModelMissing, match="cannot load a model of 9 bytes"):
        inference_session(b"no model ", threads=1)
