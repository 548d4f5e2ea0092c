"""What a session says of turns, and what the configuration says where it does not."""

from __future__ import annotations

import pytest

from media.caller_floor import TurnTakingSettings
from media.session import TurnDetection
from media.turn_rules import TurnRules, turn_rules
from media.vad_gate import VadSettings

VAD = VadSettings(threshold=0.4, padding_ms=200)
TURN_TAKING = TurnTakingSettings(patience_s=0.3, silence_s=0.7)


@pytest.mark.parametrize(
    ("detection", "rules"),
    [
        (None, TurnRules(0.4, 0.2, 0.7, 0.3)),
        (TurnDetection("server_vad"), TurnRules(0.4, 0.2, 0.7, 0.3)),
        (TurnDetection("server_vad", 0.0, 0.9, 0.0), TurnRules(0.9, 0.0, 0.0, 0.3)),
        (TurnDetection("semantic_vad", silence_s=0.9), TurnRules(0.4, 0.2, None, 0.3)),
        (TurnDetection("semantic_vad", eagerness="low"), TurnRules(0.4, 0.2, None, 1.6 * 0.3)),
    ],
)
def test_what_holds_for_a_session(detection: TurnDetection | None, rules: TurnRules) -> None:
    assert turn_rules(detection, VAD, TURN_TAKING) == rules


@pytest.mark.parametrize(("padding_s", "windows"), [(0.0, 0), (0.001, 1), (0.032, 1), (0.033, 2), (0.3, 10)])
def test_padding_takes_whole_windows(padding_s: float, windows: int) -> None:
    assert TurnRules(0.5, padding_s, None, 0.25).padding_windows == windows
