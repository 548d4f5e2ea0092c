"""The server's event loop, and the one that it makes do with."""

from __future__ import annotations

import sys

import pytest

from server.event_loop import new_event_loop


def test_it_is_uvloops() -> None:
    pytest.importorskip("uvloop")
    loop = new_event_loop()
    assert type(loop).__module__.startswith("uvloop")
    loop.close()


def test_without_uvloop_it_is_asyncios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_event_loop()
    assert type(loop).__module__.startswith("asyncio")
    loop.close()
