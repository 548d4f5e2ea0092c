"""The store, as it is read: what is there, what is damaged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from media.errors import ConfigError, ModelMissing
from server.catalogue import Model
from server.model_store import ModelState, ModelStore, default_root
from tests.server.toy_models import EARS, store_of


def test_the_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOXTRAL_KOKORO_MODELS_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == Path.home() / ".cache/voxtral-kokoro/models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "voxtral-kokoro/models"
    monkeypatch.setenv("VOXTRAL_KOKORO_MODELS_DIR", str(tmp_path / "elsewhere"))
    assert default_root() == tmp_path / "elsewhere"


def test_the_usual_store_is_filled_without_naming_it() -> None:
    assert ModelStore(default_root()).fetch_command == "voxtral-kokoro models fetch"


def test_a_missing_and_a_truncated_file_are_named_with_the_remedy(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    assert store.state(ears) is ModelState.ABSENT
    command = re.escape(f"Run `voxtral-kokoro models fetch --models-dir {tmp_path / 'models'}`.")
    with pytest.raises(ModelMissing, match=rf"ears\.onnx is missing\. {command}$"):
        store.path("ears")
    file = tmp_path / "models/ears/ears.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(EARS[:-1])
    assert store.state(ears) is ModelState.INCOMPLETE
    with pytest.raises(ModelMissing, match=r"ears\.onnx has 24999 bytes instead of 25000"):
        store.path("ears")
    file.write_bytes(EARS)
    assert store.state(ears) is ModelState.READY
    assert store.path("ears") == file.parent


def test_a_flipped_bit_passes_the_quick_check_but_not_the_full_one(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    file = tmp_path / "models/ears/ears.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"f" + EARS[1:])
    assert store.path("ears") == file.parent
    assert list(store.faults(ears)) == ["ears.onnx has the wrong content"]


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, ears: Model) -> None:
    with pytest.raises(ConfigError, match=r"no model called eears: did you mean ears\?"):
        store_of(tmp_path, ears).path("eears")
