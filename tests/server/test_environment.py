"""What the environment says before libraries are loaded, and what an operator has said already."""

from __future__ import annotations

import os

import pytest

from server.environment import prepare_environment


def test_what_an_operator_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:64"


def test_pytorchs_memory_grows_unless_something_else_is_said_by_either_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    prepare_environment()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
    prepare_environment()
    assert "PYTORCH_ALLOC_CONF" not in os.environ
