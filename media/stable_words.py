"""Append-only words from transcripts that revise themselves.

The LocalAgreement policy (Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition", 2020): a word is
settled once two successive transcripts agree on it and on all that come before.
"""

from __future__ import annotations


class StableWords:
    """One turn's interim transcript."""

    def __init__(self) -> None:
        self._settled: list[str] = []
        self._latest: list[str] = []

    def push(self, transcript: str) -> str:
        """What this transcript settles, ready to be appended; empty where it settles nothing."""
        words = transcript.split()
        agreed = 0
        for ours, theirs in zip(self._latest, words, strict=False):
            if ours != theirs:
                break
            agreed += 1
        self._latest = words
        start = len(self._settled)
        if agreed <= start or words[:start] != self._settled:
            return ""
        fresh = words[start:agreed]
        self._settled = words[:agreed]
        return (" " if start else "") + " ".join(fresh)
