"""What every test may use, and what every test is held to: nothing it started outlives it."""

from __future__ import annotations

import asyncio
import asyncio.runners
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from server.environment import prepare_environment

ROOT = Path(__file__).resolve().parent.parent

# Before any test module imports an engine's library, as the command line does it.
prepare_environment()

# The same examples every time: a check that passes by luck tells nothing. `HYPOTHESIS_PROFILE=search` looks
# for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_TURNS_OF_THE_LOOP = 10
"""A task that was cancelled on the last line of a test may take this many turns to end."""

_CLOSING_TIME_S = 2.0
"""The system may take this long to let go of a socket or a thread."""


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where the embedded models lie: `voxtral-kokoro models fetch` put them there."""
    from server.model_store import default_root

    return default_root()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Recordings, screenshots and the like that a test leaves to be looked at."""
    directory = ROOT / "artifacts"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(autouse=True)
def _no_leaked_tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test whose event loop ends with tasks still under way. asyncio would cancel them in silence."""
    leaked: list[str] = []
    cancel_all = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def note_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(_TURNS_OF_THE_LOOP):
            if not asyncio.all_tasks(loop):
                return
            loop.run_until_complete(asyncio.sleep(0))
        leaked.extend(f"{task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks(loop))
        cancel_all(loop)

    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", note_and_cancel)
    yield
    if leaked:
        pytest.fail("tasks outlived their test:\n" + "\n".join(leaked), pytrace=False)


@pytest.fixture(autouse=True)
def _no_leaked_sockets() -> Iterator[None]:
    """Fails a test that leaves a socket open. Those of wider fixtures were there before it."""
    before = _sockets()
    yield
    leaked = _settled(lambda: _sockets() - before)
    if leaked:
        pytest.fail("sockets outlived their test:\n" + "\n".join(sorted(leaked)), pytrace=False)


@pytest.fixture(autouse=True)
def _no_leaked_processes() -> Iterator[None]:
    """Fails a test that leaves a child process running or unreaped. Wider fixtures' were there before."""
    before = _children()
    yield
    leaked = _settled(lambda: _children() - before)
    if leaked:
        names = [f"{pid} {' '.join(psutil.Process(int(pid)).cmdline())}" for pid in sorted(leaked)]
        pytest.fail("processes outlived their test:\n" + "\n".join(names), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def _no_leaked_threads() -> Iterator[None]:
    """Fails the session if a thread outlives every fixture. (Engines of a module start theirs lazily.)"""
    before = set(threading.enumerate())
    yield
    leaked = _settled(lambda: _threads() - {thread.name for thread in before})
    if leaked:
        pytest.fail("threads outlived all tests:\n" + "\n".join(sorted(leaked)), pytrace=False)


def _sockets() -> set[str]:
    return {
        f"{connection.fd} {connection.laddr} {connection.raddr or ''} {connection.status}"
        for connection in psutil.Process().net_connections("inet")
        if connection.fd != -1
    }


def _children() -> set[str]:
    """Ids of this process's children, unreaped ones too. Linux only: psutil's way takes 7 ms."""
    pids: set[str] = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            pids.update(thread.read_text().split())
    return pids


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if not thread.daemon}


def _settled(leaked: Callable[[], set[str]]) -> set[str]:
    """What is still there when the system has had its time. Nothing tells us when it is done, so we look."""
    deadline_s = time.monotonic() + _CLOSING_TIME_S
    while (remaining := leaked()) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return remaining
