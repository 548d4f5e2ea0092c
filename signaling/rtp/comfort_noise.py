"""Comfort noise in place of silence: RFC 3389.

What the far side's noise sounds like is for people: a machine listens here, and takes it for the pause that
it is. Going out, a packet that says how loud our silence is replaces the packets of silence.
"""

from __future__ import annotations

from typing import Final

LEVEL_DBOV: Final = -70
"""As quiet as lines are."""
PAYLOAD: Final = bytes([-LEVEL_DBOV])
"""The level alone: white noise (RFC 3389, section 3)."""
HANGOVER_FRAMES: Final = 10
"""So long silence is sent as sound: between two words nothing changes."""
RENEWED_FRAMES: Final = 50
"""Once a second it is said again, so that NATs and PBXs keep the way open."""


class SilenceSuppression:
    """Which of our frames are sent as sound, which as noise, and which not at all."""

    def __init__(self) -> None:
        self._silent_frames = 0

    def push(self, silent: bool) -> bytes | None:
        """The next frame. Returns None where it is sent as sound, else a payload: empty, nothing is sent."""
        if not silent:
            self._silent_frames = 0
            return None
        self._silent_frames += 1
        past = self._silent_frames - HANGOVER_FRAMES
        if past <= 0:
            return None
        return PAYLOAD if past % RENEWED_FRAMES == 1 else b""
