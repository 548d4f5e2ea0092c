"""Which threads give way where cores are few."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def new_threads_give_way(niceness: int) -> Iterator[None]:
    """Threads that start within the block, and stay, yield to the process's other threads.

    On Linux niceness belongs to a thread (sched(7), "The nice value"), and may be raised by anybody.
    Elsewhere this does nothing.
    """
    before = _threads()
    yield
    for thread in _threads() - before:
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, thread, niceness)


def _threads() -> set[int]:
    """The process's threads by the kernel's ids; none where the kernel does not tell."""
    return {int(task.name) for task in _TASKS.iterdir()} if _TASKS.exists() else set()
