"""Threads that give way."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from media.engines.priority import new_threads_give_way


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to threads on Linux only")
def test_threads_that_start_within_the_block_give_way() -> None:
    stop = threading.Event()
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with new_threads_give_way(7):
        thread = threading.Thread(target=stop.wait)
        thread.start()
    try:
        assert thread.native_id is not None
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == 7
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
    finally:
        stop.set()
        thread.join()
