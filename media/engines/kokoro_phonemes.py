"""espeak's IPA → the phonemes that Kokoro was trained on.

Kokoro's training text went through the G2P `misaki` (0.9.4), English by its lexicons and the other
languages by espeak. These tables bring espeak's English close to those lexicons (checked against 8,000
words of each) and treat the other languages as misaki's `EspeakG2P` does.
"""

from __future__ import annotations

import re

from media.engines.espeak import TIE

_SYLLABIC = "\u0329"  # a combining mark: the n of "button" is a syllable of its own

_ENGLISH = {
    f"a{TIE}ɪ": "I",
    f"a{TIE}ʊ": "W",
    f"d{TIE}ʒ": "ʤ",
    f"e{TIE}ɪ": "A",
    f"t{TIE}ʃ": "ʧ",
    f"ɔ{TIE}ɪ": "Y",
    f"ə{TIE}l": "ᵊl",
    f"ʔˌn{_SYLLABIC}": "tᵊn",
    f"ʔn{_SYLLABIC}": "tᵊn",
    "ʲo": "jo",
    "ʲə": "jə",
    "ʲ": "",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɬ": "l",
    "\u0303": "",
}

_AMERICAN = _ENGLISH | {
    f"o{TIE}ʊ": "O",
    "ɚ": "əɹ",
    "ɜːɹ": "ɜɹ",
    "ɜː": "ɜɹ",
    "ɪə": "iə",
    "ː": "",
    "ɾ": "T",
    "ʔ": "t",
    "o": "ɔ",
}

_BRITISH = _ENGLISH | {
    f"e{TIE}ə": "ɛː",
    f"ə{TIE}ʊ": "Q",
    f"i{TIE}ə": "ɪə",
    "iə": "ɪə",
    "ɾ": "T",
    "ʔ": "t",
    "o": "ɔ",
}

_OTHER_LANGUAGES = {
    f"a{TIE}ɪ": "I",
    f"a{TIE}ʊ": "W",
    f"d{TIE}z": "ʣ",
    f"d{TIE}ʒ": "ʤ",
    f"e{TIE}ɪ": "A",
    f"o{TIE}ʊ": "O",
    f"ə{TIE}ʊ": "Q",
    f"s{TIE}s": "S",
    f"t{TIE}s": "ʦ",
    f"t{TIE}ʃ": "ʧ",
    f"ɔ{TIE}ɪ": "Y",
    "-": "",
}

_TABLES = {"en-us": _AMERICAN, "en-gb": _BRITISH}


def _longest_first(table: dict[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(table, key=len, reverse=True))))


_OTHER_PATTERN = _longest_first(_OTHER_LANGUAGES)
_PATTERNS = {language: _longest_first(table) for language, table in _TABLES.items()}

_OPEN_SCHWA = re.compile(r"(?P<small_word>(?<!\S)ɐ[nm]?(?!\S))|ɐ")
_PRONOUN_I = re.compile(r"(?<!\S)I(?!\S)")
_SYLLABIC_CONSONANT = re.compile(rf"(\S){_SYLLABIC}")
_LAX_I_BEFORE_A_VOWEL = re.compile(r"ɪ(?=[ˈˌ]?[ɑæəɛɔʌOAIWYiuᵊ])")


def kokoro_phonemes(ipa: str, language: str) -> str:
    """The phonemes of some words, still separated by spaces.

    Args:
        ipa: as `Espeak.phonemes` gives it.
        language: BCP-47 tag of the voice: `en-us`.
    """
    table = _TABLES.get(language, _OTHER_LANGUAGES)
    pattern = _PATTERNS.get(language, _OTHER_PATTERN)
    phonemes = pattern.sub(lambda found: table[found.group()], ipa).replace(TIE, "")
    if not language.startswith("en"):
        return phonemes
    phonemes = _SYLLABIC_CONSONANT.sub(r"ᵊ\1", phonemes)
    if language == "en-us":
        phonemes = _LAX_I_BEFORE_A_VOWEL.sub("i", phonemes)
    # An r-coloured vowel and the r that follows it are one r.
    return phonemes.replace("ɹɹ", "ɹ")


def with_weak_forms(word: str, language: str) -> str:
    """A written word's phonemes as misaki has them; in espeak's sentence it may be joined to others."""
    if not language.startswith("en"):
        return word
    # "a", "an" and "am" have an ɐ; in other words that sound is an ordinary schwa.
    word = _OPEN_SCHWA.sub(lambda found: found["small_word"] or "ə", word)
    return _PRONOUN_I.sub("ˌI", word)
