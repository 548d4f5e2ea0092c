"""Webhooks that were answered already: whoever has kept one is not answered with another stream. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

MOST_REMEMBERED: Final = 10_000
"""Beyond that, the oldest are forgotten. What nobody signed does not count: no stranger brings it about."""


class AnsweredBefore:
    """Of what was signed in each, which is never the same twice: with a nonce, or the time, in it."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def note(self, signed: bytes) -> bool:
        """Whether it was answered before. From now on it was."""
        digest = hashlib.sha256(signed).digest()
        if digest in self._digests:
            return True
        self._digests[digest] = None
        if len(self._digests) > MOST_REMEMBERED:
            self._digests.popitem(last=False)
        return False
