"""What words over the assistant's voice want."""

from __future__ import annotations

import pytest

from media.overlap_verdict import Words
from media.overlap_words import words_in


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Mm-hmm.", "en", Words.BACKCHANNEL),
        ("Uh-huh", "en", Words.BACKCHANNEL),
        ("Yeah, yeah.", "en", Words.BACKCHANNEL),
        ("Oh, okay. I see!", "en", Words.BACKCHANNEL),
        ("That’s right.", "en", Words.BACKCHANNEL),
        ("Ha ha ha", "en", Words.BACKCHANNEL),
        ("Stop.", "en", Words.DEMAND),
        ("Yeah, but how long does it take?", "en", Words.DEMAND),
        ("Oh, no!", "en", Words.DEMAND),
        ("Mountain View", "en", Words.OTHERS),
        ("Rightly so, I noted", "en", Words.OTHERS),
        ("Stoplight", "en", Words.OTHERS),
        ("", "en", Words.NONE),
        ("...", "en", Words.NONE),
        ("Ja, genau.", "de", Words.BACKCHANNEL),
        ("Sí, sí.", "es", Words.BACKCHANNEL),
        ("Espera.", "es", Words.DEMAND),
        ("C'est ça", "fr", Words.BACKCHANNEL),
        ("S'il vous plaît", "fr", Words.DEMAND),
        ("Va bene", "it", Words.BACKCHANNEL),
        ("Tá bom.", "pt", Words.BACKCHANNEL),
        ("ठीक है।", "hi", Words.BACKCHANNEL),
        ("नहीं।", "hi", Words.DEMAND),
        ("Pois é verdade", "pt", Words.BACKCHANNEL),
        ("Oh my god! " * 40, "en", Words.BACKCHANNEL),
        ("Ha ha, oh my god " * 40 + "stop", "en", Words.DEMAND),
        ("はい", "ja", Words.UNKNOWN),
        ("Genau.", None, Words.BACKCHANNEL),
        ("Espera.", None, Words.DEMAND),
        ("Mountain View", None, Words.OTHERS),
    ],
)
def test_words(text: str, language: str | None, expected: Words) -> None:
    assert words_in(text, language) is expected
