"""Mixtures of Kokoro's voices: `af_heart+af_bella`, `af_heart:0.7+af_bella:0.3`.

A voice is a table of styles, and what lies between two styles sounds like something between two voices.
Without weights all have the same part. With them each has one: any positive numbers, of which only the
proportions count (`2` and `1` are two thirds and one third), since styles that did not sum to one would be no
louder, but no voice at all.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache

from media.engines.kokoro_voices import VOICE_NAMES, label_of
from media.errors import VoiceUnavailable

MOST_VOICES = 8

_JOINS, _WEIGHS = "+", ":"


@dataclass(frozen=True, slots=True)
class Blend:
    """A voice, or a mixture of several.

    Attributes:
        parts: names of `VOICE_NAMES`, each with its part; the parts sum to 1. The mixture speaks the first
            one's language.
    """

    parts: tuple[tuple[str, float], ...]

    @property
    def first(self) -> str:
        return self.parts[0][0]

    @property
    def label(self) -> str:
        """For people: `Heart (female)`, `Heart 70 %, Bella 30 %`."""
        if len(self.parts) == 1:
            return label_of(self.first)
        return ", ".join(f"{name[3:].title()} {100 * part:.0f} %" for name, part in self.parts)


@lru_cache(maxsize=256)
def blend_of(voice: str) -> Blend:
    """What a voice's name, or a mixture as it is written, stands for.

    Raises:
        VoiceUnavailable: a voice is unknown or named twice, or the weights are none.
    """
    written = [part.partition(_WEIGHS) for part in voice.split(_JOINS)]
    names = [name.strip() for name, _, _ in written]
    for name in names:
        if name not in VOICE_NAMES:
            nearest = difflib.get_close_matches(name, VOICE_NAMES, n=1, cutoff=0.0)[0]
            raise VoiceUnavailable(f"There is no voice {name!r}: did you mean {nearest}?")
    if len(set(names)) < len(names):
        raise VoiceUnavailable(f"The mixture {voice!r} names a voice twice.")
    if len(names) > MOST_VOICES:
        raise VoiceUnavailable(f"A mixture has at most {MOST_VOICES} voices; {voice!r} has {len(names)}.")
    if len({bool(weighs) for _, weighs, _ in written}) > 1:
        raise VoiceUnavailable(
            f"In the mixture {voice!r} some voices have a weight: give one to each or to none."
        )
    weights = [_weight(weight, voice) if weighs else 1.0 for _, weighs, weight in written]
    return Blend(tuple((name, weight / sum(weights)) for name, weight in zip(names, weights, strict=True)))


def _weight(text: str, voice: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1000:  # refuses NaN, too
        raise VoiceUnavailable(
            f"A weight is a number above 0, as in af_heart:0.7+af_bella:0.3; {voice!r} has {text.strip()!r}."
        )
    return weight
