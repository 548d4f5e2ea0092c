"""Models from npm and from the hub, with their real clients, and what those say when they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from media.errors import ModelMissing
from server.model_sources import reason_in
from tests.server.toy_models import HUB_SOURCE, VOICE, fetch_all, model, store_of


def without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "no-programs"
    nowhere.mkdir()
    monkeypatch.setenv("PATH", str(nowhere))


def test_voices_come_out_of_their_npm_package(tmp_path: Path, voice_sources: dict[str, Any]) -> None:
    store = store_of(tmp_path, model("voices", VOICE, voice_sources))
    fetch_all(store)
    assert {path.name: path.read_bytes() for path in store.path("voices").iterdir()} == VOICE


def test_without_npm_the_voices_come_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voice_sources: dict[str, Any], hub: dict[str, bytes]
) -> None:
    hub |= {f"voices/{name}": content for name, content in VOICE.items()}
    without_npm(tmp_path, monkeypatch)
    store = store_of(tmp_path, model("voices", VOICE, voice_sources, HUB_SOURCE))
    told = fetch_all(store)
    assert "npm is not installed" in told.notes[0]
    assert {path.name: path.read_bytes() for path in store.path("voices").iterdir()} == VOICE


def test_without_the_hubs_file_the_voices_come_from_npm(
    tmp_path: Path, voice_sources: dict[str, Any], hub: dict[str, bytes]
) -> None:
    store = store_of(tmp_path, model("voices", VOICE, HUB_SOURCE, voice_sources))
    told = fetch_all(store)
    assert "toy/voices from the model hub: it does not have that version" in told.notes[0]
    assert list(store.faults(store.catalogue.model("voices"))) == []


def test_a_hubs_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, hub: dict[str, bytes]) -> None:
    hub |= {f"voices/{name}": content[::-1] for name, content in VOICE.items()}
    store = store_of(tmp_path, model("voices", VOICE, HUB_SOURCE))
    with pytest.raises(ModelMissing, match=r"alto\.bin from toy/voices is not the pinned file"):
        fetch_all(store)


def test_when_every_source_fails_each_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voice_sources: dict[str, Any], hub: dict[str, bytes]
) -> None:
    without_npm(tmp_path, monkeypatch)
    store = store_of(tmp_path, model("voices", VOICE, voice_sources, HUB_SOURCE))
    with pytest.raises(ModelMissing) as failure:
        fetch_all(store)
    assert "npm is not installed" in str(failure.value)
    assert "toy/voices from the model hub" in str(failure.value)
    assert str(failure.value).endswith(f"run `{store.fetch_command}` again: what is complete is kept.")


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("python: No module named pip", "pip is not in this environment"),
        ("WARNING: Retrying … NewConnectionError(…)\nERROR: … (from versions: none)", "cannot be reached"),
        ("ERROR: … (from versions: none)\nERROR: No matching distribution", "does not carry it"),
        ("ERROR: … (from versions: 5.1, 6.0)\nERROR: No matching distribution", "does not have that version"),
        ("npm error code ENOTFOUND\nnpm error syscall getaddrinfo", "cannot be reached"),
        ("npm error code ETARGET\nnpm error notarget", "does not have that version"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "set HF_TOKEN"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: An error happened", "cannot be reached"),
        ("something\nquite new\n\n", "quite new"),
        ("", "said nothing"),
    ],
)
def test_what_a_client_printed_is_put_in_words(printed: str, reason: str) -> None:
    assert reason in reason_in(printed)
