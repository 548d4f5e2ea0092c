"""A replica's settings, without Ray: its machine decides, not the one where the application is built."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploy.ray.replica_settings import decided_here, room_of
from media.errors import ConfigError
from server.config import read_settings
from tests.server.scripted_nvml import nvml_with


def test_the_profile_is_followed_by_the_replica_and_not_where_the_application_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kokoro")
    file = tmp_path / "config.yaml"
    file.write_text("profile: gpu\nengine_host: {max_transcriptions: 2, max_replies: 3, max_clauses: 5}\n")
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(nvml_with(tmp_path, [(24, 22.5), (80, 78)]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as on a head that has none
    settings = read_settings(file, os.environ)
    assert room_of(settings) == 10
    with pytest.raises(ConfigError, match="no GPU was found here"):
        decided_here(settings)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # as Ray does it for a replica
    config = decided_here(settings)
    assert (config.profile, config.model.engine, config.llm.engine) == ("gpu", "voxtral", "transformers")
    del sys.modules["pynvml"]


def test_a_setting_that_cannot_be_is_told_where_the_application_is_built(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("profile: auto\nengine_host: {max_replies: none}\n")
    with pytest.raises(ConfigError, match="max_replies"):
        room_of(read_settings(file, {}))
