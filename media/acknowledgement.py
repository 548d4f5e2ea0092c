"""Whether a turn does no more than to acknowledge what the assistant said: "okay" to "one moment, please".

The words are those of a transcript. English alone is known; in other languages nothing is an acknowledgement.
"""

from __future__ import annotations

import re

_WORDS = """ok okay kay alright right sure fine good great cool nice perfect lovely yes yeah yep yup mhm mm
    mmm hm hmm uh huh ah oh thanks cheers please"""
_PHRASES = (
    "all right",
    "thank you",
    "very much",
    "so much",
    "no problem",
    "no worries",
    "no rush",
    "take your time",
    "go ahead",
    "of course",
    "i'll wait",
    "i can wait",
    "got it",
    "i see",
)
_ACKNOWLEDGEMENT = re.compile(rf"(?:(?:{'|'.join((*_PHRASES, *_WORDS.split()))})\b\W*)+", re.IGNORECASE)


def is_acknowledgement(text: str) -> bool:
    """Whether these words want nothing new."""
    return _ACKNOWLEDGEMENT.fullmatch(text.strip()) is not None
