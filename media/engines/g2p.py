"""Graphemes to phonemes: a clause → the phonemes that Kokoro speaks, word by word.

English, Spanish, French, Hindi, Italian and Portuguese go through espeak-ng; Japanese and Chinese through
`misaki`, which an extra installs. Neither is imported before a clause asks for it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass

from media.engines.kokoro_vocabulary import known_phonemes


@dataclass(frozen=True, slots=True)
class PronouncedWord:
    """A word of a clause.

    Attributes:
        text: as written, with the punctuation that touches it.
        phonemes: its part of what Kokoro is given: only phonemes that Kokoro knows, punctuation included,
            and the space that follows. One after the other, the parts of a clause are the whole.
    """

    text: str
    phonemes: str


_ESPEAK_VOICES = {
    "en-us": "gmw/en-US",
    "en-gb": "gmw/en",
    "es": "roa/es",
    "fr": "roa/fr",
    "hi": "inc/hi",
    "it": "roa/it",
    "pt-br": "roa/pt-BR",
}

_MISAKI_NEEDS = {
    "ja": ("misaki", "fugashi", "pyopenjtalk", "unidic_lite"),
    "zh": ("misaki", "jieba", "pypinyin"),
}

_MARKS = {
    **{mark: mark for mark in ';:,.!?—…"()“”'},
    **dict.fromkeys("[{", "("),
    **dict.fromkeys("]}", ")"),
    **dict.fromkeys("«„", "“"),
    "»": "”",
    "–": "—",
    "‐": "",
    "؟": "?",
    **dict.fromkeys("،", ","),
    **dict.fromkeys("।॥", "."),
    **dict.fromkeys("¿¡'‘’`*_~|<>", ""),
}
"""Punctuation at a word's edge → the mark that Kokoro knows for it, or none."""

_EDGES = re.compile(
    rf"(?P<before>[{re.escape(''.join(_MARKS))}]*)(?P<core>.*?)(?P<after>[{re.escape(''.join(_MARKS))}]*)"
)
_ABBREVIATION = re.compile(r"\w(\.\w)+")  # its last full stop ends no clause: "the U.S. economy"


def unavailable(language: str) -> str | None:
    """Why this installation has no phonemes for a language, in one sentence, or None."""
    if language in _ESPEAK_VOICES:
        if _installed("espeakng_loader"):
            return None
        return "It needs espeak-ng: pip install espeakng-loader."
    if language in _MISAKI_NEEDS:
        if _installed(*_MISAKI_NEEDS[language]):
            return None
        return f"It needs an extra: pip install 'voxtral-kokoro[{language}]'."
    return f"There is no pronunciation for the language {language!r}."


def pronounce(text: str, language: str) -> list[PronouncedWord]:
    """The words of a clause with their phonemes; empty where there is nothing to say.

    Blocks: well under a millisecond through espeak, some ms for Japanese and Chinese; the first call of a
    language loads its dictionaries.

    Args:
        text: plain words (see `media.speakable`) with their punctuation.
        language: one for which `unavailable` gives None.

    Raises:
        EngineError: espeak-ng cannot be loaded.
    """
    if language in _MISAKI_NEEDS:
        from media.engines import misaki_g2p

        words = misaki_g2p.pronounce_phrases(text, language)
    else:
        words = _pronounce_words(text, language)
    known = [PronouncedWord(word, known_phonemes(phonemes)) for word, phonemes in words]
    if not any(any(phoneme.isalpha() for phoneme in word.phonemes) for word in known):
        return []
    return known


def _installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


@dataclass(slots=True)
class _WrittenWord:
    """A word between spaces: its marks (as Kokoro knows them), and what is to be pronounced."""

    text: str
    before: str
    core: str
    after: str


def _written_words(text: str) -> list[_WrittenWord]:
    words: list[_WrittenWord] = []
    spaced = text.replace("—", " — ").replace(" - ", " — ").replace(" – ", " — ")
    pieces = spaced.split()
    for index, piece in enumerate(pieces):
        found = _EDGES.fullmatch(piece)
        assert found is not None  # every part of it may be empty
        before, after = (_known_marks(found[part]) for part in ("before", "after"))
        if after == "." and _ABBREVIATION.fullmatch(found["core"]) and index + 1 < len(pieces):
            after = ""
        if not any(letter.isalnum() for letter in found["core"]):
            # A lone dash or ornament belongs to the word before it.
            if words:
                words[-1].text += f" {piece}"
                words[-1].after += before + after
            continue
        words.append(_WrittenWord(piece, before, found["core"], after))
    return words


def _known_marks(marks: str) -> str:
    return "".join(_MARKS[mark] for mark in marks.replace("...", "…"))


def _phrases(words: list[_WrittenWord]) -> Iterator[list[_WrittenWord]]:
    """Groups of words with no mark between them: what is spoken in one go."""
    phrase: list[_WrittenWord] = []
    for word in words:
        if phrase and (word.before or phrase[-1].after):
            yield phrase
            phrase = []
        phrase.append(word)
    if phrase:
        yield phrase


def _pronounce_words(text: str, language: str) -> list[tuple[str, str]]:
    pronounced: list[tuple[str, str]] = []
    for phrase in _phrases(_written_words(text)):
        parts = _pronounce_phrase([word.core for word in phrase], language)
        for word, part in zip(phrase, parts, strict=True):
            if part:
                pronounced.append((word.text, f"{word.before}{part}{word.after} "))
            elif pronounced:
                # It left no sound of its own; it is heard with the word before it.
                before, phonemes = pronounced[-1]
                pronounced[-1] = (f"{before} {word.text}", f"{phonemes.rstrip()}{word.after} ")
    if pronounced:
        last, phonemes = pronounced[-1]
        pronounced[-1] = (last, phonemes.rstrip())
    return pronounced


def _pronounce_phrase(words: list[str], language: str) -> list[str]:
    """The phonemes of each word of a phrase, made of the phrase as a whole."""
    from media.engines.espeak import espeak
    from media.engines.kokoro_phonemes import kokoro_phonemes, with_weak_forms
    from media.engines.word_alignment import share_out

    voice = _ESPEAK_VOICES[language]
    whole = kokoro_phonemes(espeak().phonemes(" ".join(words), voice), language)
    parts = whole.split()
    if len(parts) != len(words) or any(letter.isdigit() for word in words for letter in word):
        alone = [kokoro_phonemes(espeak().phonemes(word, voice), language) for word in words]
        parts = share_out(whole, alone)
    return [with_weak_forms(part, language) for part in parts]
