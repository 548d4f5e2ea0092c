"""The event loop that the server runs on."""

from __future__ import annotations

import asyncio


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one, else asyncio's.

    A call wakes the loop 50 times a second for each direction, and asyncio's own work at each of them, in
    Python, costs more than what a packet needs. There is no uvloop for Windows.

    The engine process stays on asyncio's loop: of a caller who speaks it hears one message for each window,
    and the inference that follows outweighs these wake-ups by far.
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
