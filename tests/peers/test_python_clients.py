"""Agents' own clients of the Realtime API, as PyPI has them, talk to the real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import pipecat_peer
from bench.peer_environment import peer_environment
from tests.peers.spoken_server import SpokenServer, spoken_server
from tests.peers.story import (
    HEARD_S,
    ROOT,
    WEATHER,
    require_conversation,
    run_client,
    samples,
    write_voices,
)

# Most of it is for the first time, when their environments are made.
pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]

KEY = "a-key-of-sixteen-letters"
RATE_HZ = 24_000
LIVEKIT = "1.8.9"


@pytest.fixture(scope="module")
def server() -> Iterator[SpokenServer]:
    with spoken_server(server={"api_keys": [KEY]}, speech_to_speech={"greeting": ""}) as running:
        yield running


def livekit_environment() -> Path:
    """400 MB, half a minute."""
    return peer_environment(f"livekit-{LIVEKIT}", f"livekit-plugins-openai=={LIVEKIT}")


def test_openai(server: SpokenServer, models_dir: Path, tmp_path: Path) -> None:
    converse(lambda: Path(sys.executable), "openai_client.py", server, models_dir, tmp_path)


def test_pipecat(server: SpokenServer, models_dir: Path, tmp_path: Path) -> None:
    converse(pipecat_peer.environment, "pipecat_client.py", server, models_dir, tmp_path)


def test_livekit(server: SpokenServer, models_dir: Path, tmp_path: Path) -> None:
    converse(livekit_environment, "livekit_client.py", server, models_dir, tmp_path)


def converse(
    environment: Callable[[], Path], script: str, server: SpokenServer, models_dir: Path, folder: Path
) -> None:
    try:
        python = environment()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"its packages could not be installed: {error.stderr.strip().splitlines()[-1:]}")
    write_voices(models_dir, folder, RATE_HZ)
    arguments = [server.url, KEY, folder, WEATHER, str(HEARD_S)]
    report = run_client([python, ROOT / "tests" / "peers" / script, *arguments])
    require_conversation(report, models_dir, samples(folder / "heard.pcm", RATE_HZ))
