"""By what a caller's turns are told apart: the session's wishes, and the configuration where it has none."""

from __future__ import annotations

from dataclasses import dataclass

from media.audio import SPEECH_RATE_HZ
from media.caller_floor import TurnTakingSettings
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.session import TurnDetection
from media.vad_gate import VadSettings

EAGERNESS_FACTOR = {"low": 1.6, "medium": 1.0, "auto": 1.0, "high": 0.6}
"""By what `semantic_vad`'s eagerness multiplies the patience."""


@dataclass(frozen=True, slots=True)
class TurnRules:
    """What holds for one session.

    Attributes:
        threshold: P(speech) from which a window counts as speech.
        padding_s: how much of what came before the speech is transcribed with it.
        silence_s: the pause that ends a turn where silence alone decides; None where a pause is weighed.
        patience_s: the pause that ends a turn which surely is over, where it is weighed.
    """

    threshold: float
    padding_s: float
    silence_s: float | None
    patience_s: float

    @property
    def padding_windows(self) -> int:
        """The windows of the padding, the one in which it begins included."""
        return -(-round(self.padding_s * SPEECH_RATE_HZ) // VAD_WINDOW_SAMPLES)


def turn_rules(
    detection: TurnDetection | None, vad: VadSettings, turn_taking: TurnTakingSettings
) -> TurnRules:
    """The rules of a session; without a detection, what they would be if silence decided."""
    wishes = detection or TurnDetection("server_vad")
    silence_s = turn_taking.silence_s if wishes.silence_s is None else wishes.silence_s
    return TurnRules(
        threshold=vad.threshold if wishes.threshold is None else wishes.threshold,
        padding_s=vad.padding_ms / 1000 if wishes.padding_s is None else wishes.padding_s,
        silence_s=None if wishes.kind == "semantic_vad" else silence_s,
        patience_s=turn_taking.patience_s * EAGERNESS_FACTOR[wishes.eagerness],
    )
