"""The server as its own process, as users run it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
READY_LIMIT_S = 120.0
END_LIMIT_S = 30.0


class ServerDied(RuntimeError):
    """The server ended before it was ready; the message holds what it printed."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready.

    Attributes:
        url: where calls go.
        health_url: where it tells how it is.
        process: to measure it.
        ready_s: how long it took from its start to `/ready`.
    """

    url: str
    health_url: str
    process: psutil.Process
    ready_s: float

    def resident_mb(self) -> float:
        """Memory of the process and its children."""
        family = [self.process, *self.process.children(recursive=True)]
        return round(sum(member.memory_info().rss for member in family) / 1e6, 1)

    def calls(self) -> int:
        """How many calls hold a slot."""
        return int(self.status()["calls"]["active"])

    def until_calls(self, count: int, limit_s: float) -> None:
        """Waits until so many calls hold a slot.

        Raises:
            AssertionError: they do not within the limit.
        """
        deadline_s = time.monotonic() + limit_s
        while (calls := self.calls()) != count:
            assert time.monotonic() < deadline_s, f"{calls} calls after {limit_s:g} s, not {count}"
            time.sleep(0.05)

    def status(self) -> dict[str, Any]:
        """What `/status` says."""
        return self._document("status")

    def metrics(self) -> dict[str, Any]:
        """What `/speech-to-speech/metrics` says of all calls so far."""
        return self._document("speech-to-speech/metrics")

    def _document(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.health_url}/{path}", timeout=5) as response:
            document: dict[str, Any] = json.load(response)
        return document


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def server(environment: Mapping[str, str] | None = None) -> Iterator[RunningServer]:
    """Starts the server on free ports with its default configuration, and ends it.

    Args:
        environment: settings on top, as `VOXTRAL_KOKORO__SECTION__KEY`.

    Raises:
        ServerDied: it did not become ready.
    """
    port, health_port = free_port(), free_port()
    settings = {
        "VOXTRAL_KOKORO__SERVER__PORT": str(port),
        "VOXTRAL_KOKORO__SERVER__HEALTH_PORT": str(health_port),
        **(environment or {}),
    }
    with _running(
        "serve", settings, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health_port}"
    ) as running:
        yield running


@contextmanager
def engine_host(environment: Mapping[str, str] | None = None) -> Iterator[RunningServer]:
    """Starts an engine host on a free port, and ends it. `/v1` follows its `url`.

    Args:
        environment: settings on top, as `VOXTRAL_KOKORO__SECTION__KEY`; its port may be among them.

    Raises:
        ServerDied: it did not become ready.
    """
    settings = {"VOXTRAL_KOKORO__ENGINE_HOST__PORT": str(free_port()), **(environment or {})}
    url = f"http://127.0.0.1:{settings['VOXTRAL_KOKORO__ENGINE_HOST__PORT']}"
    with _running("engines", settings, url, url) as running:
        yield running


@contextmanager
def _running(what: str, settings: Mapping[str, str], url: str, health_url: str) -> Iterator[RunningServer]:
    """One of the commands, ready."""
    command = [sys.executable, "-m", "server.cli", what]
    with tempfile.TemporaryFile() as output:
        started_s = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings}, stdout=output, stderr=output
        )
        try:
            _wait_until_ready(process, health_url)
            ready_s = round(time.monotonic() - started_s, 2)
            yield RunningServer(url, health_url, psutil.Process(process.pid), ready_s)
        except ServerDied as error:
            output.seek(0)
            raise ServerDied(f"{error}\n{output.read().decode(errors='replace')[-4000:]}") from None
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], health_url: str) -> None:
    deadline_s = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise ServerDied(f"the server ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"{health_url}/ready", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise ServerDied(f"the server was not ready within {READY_LIMIT_S:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
