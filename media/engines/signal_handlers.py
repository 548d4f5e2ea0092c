"""Keeps the process's signal handlers over a library that takes them for itself."""

from __future__ import annotations

import contextlib
import ctypes
import signal
from collections.abc import Iterator

_SIGACTION_BYTES = 512
"""More than any platform's `struct sigaction` (152 on Linux x86-64, 16 on macOS): it is kept, never read."""


@contextlib.contextmanager
def kept_signal_handlers(*numbers: signal.Signals) -> Iterator[None]:
    """Puts the handlers back as the block found them, from any thread.

    Python's own `signal.signal` could do it only on the main thread, and loses what asyncio set beside the
    handler (that system calls are restarted).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kept = {number: ctypes.create_string_buffer(_SIGACTION_BYTES) for number in numbers}
    for number, action in kept.items():
        libc.sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in kept.items():
            libc.sigaction(int(number), action, None)
