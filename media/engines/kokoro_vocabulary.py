"""Kokoro's alphabet: which phonemes and marks it was trained on, and their token ids.

Source: `vocab` of Kokoro-82M v1.0's `config.json`. Capitals are diphthongs: A eɪ, I aɪ, O oʊ, Q əʊ, W aʊ,
Y ɔɪ; T is the American flap, S a long s, ᵊ a reduced schwa; arrows are the tones of Mandarin.
"""

from __future__ import annotations

# fmt: off
TOKEN_IDS = {
    ";": 1, ":": 2, ",": 3, ".": 4, "!": 5, "?": 6, "—": 9, "…": 10, '"': 11, "(": 12, ")": 13,
    "“": 14, "”": 15, " ": 16, "\u0303": 17, "ʣ": 18, "ʥ": 19, "ʦ": 20, "ʨ": 21, "ᵝ": 22,
    "\uab67": 23, "A": 24, "I": 25, "O": 31, "Q": 33, "S": 35, "T": 36, "W": 39, "Y": 41, "ᵊ": 42,
    "a": 43, "b": 44, "c": 45, "d": 46, "e": 47, "f": 48, "h": 50, "i": 51, "j": 52, "k": 53,
    "l": 54, "m": 55, "n": 56, "o": 57, "p": 58, "q": 59, "r": 60, "s": 61, "t": 62, "u": 63,
    "v": 64, "w": 65, "x": 66, "y": 67, "z": 68, "ɑ": 69, "ɐ": 70, "ɒ": 71, "æ": 72, "β": 75,
    "ɔ": 76, "ɕ": 77, "ç": 78, "ɖ": 80, "ð": 81, "ʤ": 82, "ə": 83, "ɚ": 85, "ɛ": 86, "ɜ": 87,
    "ɟ": 90, "ɡ": 92, "ɥ": 99, "ɨ": 101, "ɪ": 102, "ʝ": 103, "ɯ": 110, "ɰ": 111, "ŋ": 112, "ɳ": 113,
    "ɲ": 114, "ɴ": 115, "ø": 116, "ɸ": 118, "θ": 119, "œ": 120, "ɹ": 123, "ɾ": 125, "ɻ": 126,
    "ʁ": 128, "ɽ": 129, "ʂ": 130, "ʃ": 131, "ʈ": 132, "ʧ": 133, "ʊ": 135, "ʋ": 136, "ʌ": 138,
    "ɣ": 139, "ɤ": 140, "χ": 142, "ʎ": 143, "ʒ": 147, "ʔ": 148, "ˈ": 156, "ˌ": 157, "ː": 158,
    "ʰ": 162, "ʲ": 164, "↓": 169, "→": 171, "↗": 172, "↘": 173, "ᵻ": 177,
}
# fmt: on
"""Phoneme or mark → token id."""

PAD_ID = 0
"""Stands before and after every clause."""

MAX_TOKENS = 510
"""The longest clause of one run, without the two pads."""

MARKS = frozenset(';:,.!?—…"()“” ')
"""The tokens that are no sound. A pause, where there is one, is their duration."""

_NASAL_VOWELS = str.maketrans(
    {vowel: f"{plain}\u0303" for vowel, plain in zip("ãẽĩõũ", "aeiou", strict=True)}
)


def known_phonemes(phonemes: str) -> str:
    """The part of a string of phonemes that Kokoro has tokens for, one character a token.

    Nasal vowels become a vowel and a tilde, as in the vocabulary; what it lacks is left out.
    """
    return "".join(phoneme for phoneme in phonemes.translate(_NASAL_VOWELS) if phoneme in TOKEN_IDS)


def token_ids(phonemes: str) -> list[int]:
    """The ids of phonemes that are all in the vocabulary (see `known_phonemes`)."""
    return [TOKEN_IDS[phoneme] for phoneme in phonemes]
