"""Japanese and Chinese phonemes, through the G2P that Kokoro was trained with: `misaki`.

Imported only when one of the two languages is asked for; the extras `ja` and `zh` install it.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Callable

_PHRASE = re.compile(r"[^、。，．！？；：…,.!?;:\s]+[、。，．！？；：…,.!?;:\s\"”」』）)]*")
"""Between punctuation: these languages write no spaces, so a phrase is the smallest piece with a time."""

_JAPANESE_MARKS = str.maketrans({"«": "(", "»": ")"})

_lock = threading.Lock()  # neither MeCab's tagger nor jieba's dictionary is made for several threads


def pronounce_phrases(text: str, language: str) -> list[tuple[str, str]]:
    """Each phrase of a clause as written, and its phonemes with the punctuation and space that follow."""
    with _lock:
        g2p = _japanese() if language == "ja" else _chinese()
        phrases = [(phrase.strip(), g2p(phrase)) for phrase in _PHRASE.findall(text)]
    spoken = [(phrase, f"{phonemes.strip()} ") for phrase, phonemes in phrases if phonemes.strip()]
    if spoken:
        last, phonemes = spoken[-1]
        spoken[-1] = (last, phonemes.rstrip())
    return spoken


@functools.cache
def _japanese() -> Callable[[str], str]:
    from misaki import ja

    g2p = ja.JAG2P()
    return lambda phrase: str(g2p(phrase)[0]).translate(_JAPANESE_MARKS)


@functools.cache
def _chinese() -> Callable[[str], str]:
    import jieba  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from misaki import zh

    jieba.setLogLevel(logging.WARNING)
    g2p = zh.ZHG2P()
    return lambda phrase: str(g2p(phrase)[0])
