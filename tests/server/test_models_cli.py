"""`voxtral-kokoro models`, and what it shows of a fetch."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from server import models_cli
from server.catalogue import Model, load_catalogue
from tests.server.toy_models import EARS, fetch_all, store_of


def test_a_terminal_gets_a_bar_and_a_log_gets_lines() -> None:
    terminal, log = io.StringIO(), io.StringIO()
    for progress in (models_cli.BarProgress(terminal), models_cli.LineProgress(log)):
        progress.planned(20_000_000)
        progress.started("toy-ears 1.0", 10_000_000)
        progress.advanced(5_000_000)
        progress.finished(2.5)
    assert log.getvalue().splitlines() == [
        "Fetching 20 MB of models.",
        "  toy-ears 1.0                           10.0 MB    2.5 s",
    ]
    assert "\r██████··················    5 of 20 MB  toy-ears 1.0" in terminal.getvalue()
    assert log.getvalue().splitlines()[1] in terminal.getvalue()


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", "models", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_list_shows_every_model_and_its_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ears: Model
) -> None:
    store = store_of(tmp_path, ears)
    assert models_cli.list_models(store, (ears,)) == 0
    assert "ears  vad   0.0 MB  MIT      not fetched  pypi toy-ears 1.0" in capsys.readouterr().out


def test_verify_names_the_bad_one_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ears: Model
) -> None:
    store = store_of(tmp_path, ears)
    fetch_all(store)
    assert models_cli.verify_models(store, (ears,)) == 0
    assert capsys.readouterr().out == "ears: ok\n"
    (store.root / "ears/ears.onnx").write_bytes(EARS[:10])
    assert models_cli.verify_models(store, (ears,)) == 1
    assert "ears: ears.onnx has 10 bytes instead of 25000" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_model_in_a_sentence(tmp_path: Path) -> None:
    done = run_command("verify", "silero", "--models-dir", str(tmp_path))
    assert done.returncode != 0
    assert done.stderr == "There is no model called silero: did you mean silero-vad?\n"


@pytest.mark.models
def test_the_embedded_models_are_what_the_catalogue_says() -> None:
    done = run_command("verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{name}: ok" for name in load_catalogue().models]
