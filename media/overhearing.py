"""Whoever follows what a caller says besides the conversation itself."""

from __future__ import annotations

from typing import Protocol

from media.audio import Audio


class Overhearing(Protocol):
    """Told as it is heard. Quick, and called on the loop."""

    def window_heard(self, window: Audio, probability: float) -> None:
        """32 ms, and how probable speech is in them."""

    def words_heard(self, item_id: str, text: str) -> None:
        """What the turn of this id seems to say so far, or says, once it is over."""
