"""The pause that a clause deserves: what Kokoro leaves after it where another clause follows in the same run.

Clauses are spoken one by one, each cut to its sound. Inside a longer text Kokoro pauses for longer the longer
the clause was, a little differently for each mark, and very differently from voice to voice: some hardly do
at all. `bench/kokoro_pauses.py` fits that for the 54 voices, in `kokoro_pauses.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from media.engines.kokoro_blend import blend_of
from media.errors import EngineError
from media.speech_trim import NO_PAUSE_S, final_character

FITTED_FILE = Path(__file__).with_name("kokoro_pauses.json")

MARKS = {
    **dict.fromkeys(",،、，", ","),
    **dict.fromkeys("—–", "—"),
    **dict.fromkeys(";；", ";"),
    **dict.fromkeys(":：", ":"),
    **dict.fromkeys(".。।॥．", "."),
    **dict.fromkeys("!！", "!"),
    **dict.fromkeys("?？؟", "?"),
    "…": "…",
}
"""A mark → the one of its kind that pauses were fitted for."""

LONGEST_S = 3.0
"""Pauses grow with the clause up to this length of it."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.03, 1.0


@dataclass(frozen=True, slots=True)
class Pauses:
    """What was fitted.

    Attributes:
        voices: for each voice the pause after a very short clause that ends with a comma, and by how much it
            is longer for each second of the clause.
        marks: for each mark, by how much the pause is longer than after a comma.
    """

    voices: dict[str, tuple[float, float]]
    marks: dict[str, float]


def final_mark(text: str) -> str:
    """The last mark of a clause, as a key of `Pauses.marks`, or empty."""
    return MARKS.get(final_character(text), "")


def pause_after_s(voice: str, text: str, sound_s: float, *, speed: float = 1.0) -> float:
    """How long the voice pauses after a clause that another one follows.

    Args:
        voice: one of the 54, or a mixture of them.
        text: the clause, or its end.
        sound_s: from its first sound to its last, as it is spoken.
        speed: at which it is.

    Raises:
        EngineError: the fitted file is missing or damaged.
    """
    mark = final_mark(text)
    if not mark:
        return NO_PAUSE_S / speed
    fitted = _fitted()
    parts = blend_of(voice).parts
    least_s = sum(part * fitted.voices[name][0] for name, part in parts)
    growth = sum(part * fitted.voices[name][1] for name, part in parts)
    pause_s = least_s + growth * min(sound_s * speed, LONGEST_S) + fitted.marks[mark]
    return min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S) / speed


@cache
def _fitted() -> Pauses:
    try:
        content = json.loads(FITTED_FILE.read_text())
        voices = {
            str(name): (float(least_s), float(growth))
            for name, (least_s, growth) in content["voices"].items()
        }
        return Pauses(voices, {str(mark): float(longer_s) for mark, longer_s in content["marks"].items()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError(
            f"{FITTED_FILE} is damaged: take it from the repository again ({error})."
        ) from error
