"""What answers to the names of the API's own voices, which vendors' clients ask for by default."""

from __future__ import annotations

_NEAREST = {
    "alloy": "af_alloy",
    "ash": "am_michael",
    "ballad": "bm_fable",
    "cedar": "am_fenrir",
    "coral": "af_bella",
    "echo": "am_echo",
    "fable": "bm_fable",
    "marin": "af_heart",
    "nova": "af_nova",
    "onyx": "am_onyx",
    "sage": "af_sarah",
    "shimmer": "af_sky",
    "verse": "am_puck",
}
"""Kokoro's namesakes where there are any, else a voice of the same sex."""


def voice_here(asked: str, present: str, voices: tuple[str, ...]) -> str:
    """The voice to speak with where one is asked for.

    Args:
        asked: by the client.
        present: the session's. It stays where one of the API's is asked for and no namesake can be had, or
            where it speaks another language: the API's voices speak all of them.
        voices: those that can be had.
    """
    if asked in voices or asked not in _NEAREST:
        return asked
    nearest = _NEAREST[asked]
    # Kokoro's names begin with the language's letter: American and British English.
    speaks_english = present[:1] in ("a", "b")
    return nearest if nearest in voices and speaks_english else present
