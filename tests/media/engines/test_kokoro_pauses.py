"""The fitted pauses: of every voice, for every mark, and never absurd."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.engines import kokoro_pauses
from media.engines.kokoro_pauses import (
    LONGEST_PAUSE_S,
    LONGEST_S,
    MARKS,
    SHORTEST_PAUSE_S,
    final_mark,
    pause_after_s,
)
from media.engines.kokoro_voices import VOICE_NAMES
from media.errors import EngineError


@pytest.mark.parametrize("voice", VOICE_NAMES)
@pytest.mark.parametrize("sound_s", [0.2, 1.5, 20.0])
def test_every_voice_pauses_within_bounds(voice: str, sound_s: float) -> None:
    for mark in MARKS:
        assert SHORTEST_PAUSE_S <= pause_after_s(voice, f"so{mark}", sound_s) <= LONGEST_PAUSE_S


def test_a_longer_clause_has_a_longer_pause_up_to_a_length() -> None:
    pauses = [pause_after_s("af_heart", "so.", sound_s) for sound_s in (0.4, 1.0, 2.0, LONGEST_S, 9.0)]
    assert pauses[:4] == sorted(set(pauses[:4]))
    assert pauses[4] == pauses[3]


def test_voices_differ() -> None:
    """Jessica runs one sentence into the next, Bella makes a pause."""
    assert pause_after_s("af_bella", "so.", 1.5) > pause_after_s("af_jessica", "so.", 1.5) + 0.15


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("Yes.", "."),
        ('He said "Yes?"', "?"),
        ("well...", "…"),
        ("so, ", ","),
        ("好。」", "."),
        ("(so!)", "!"),
        ("ठीक है।", "."),
        ("and then", ""),
        ("", ""),
    ],
)
def test_the_pause_is_the_last_mark_s(text: str, mark: str) -> None:
    assert final_mark(text) == mark


def test_pauses_go_with_the_speed() -> None:
    """Twice as fast, all is half as long: the clause, too, by which its pause is told."""
    assert pause_after_s("af_heart", "so.", 0.5, speed=2.0) == pause_after_s("af_heart", "so.", 1.0) / 2
    assert pause_after_s("af_heart", "and then", 1.0, speed=0.5) == 2 * pause_after_s("af_heart", "so", 1.0)
    assert 0 < pause_after_s("af_heart", "and then", 1.0) < pause_after_s("af_heart", "and then.", 1.0)


def test_a_damaged_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kokoro_pauses.json"
    file.write_text('{"voices": {"af_heart": 1}}')
    monkeypatch.setattr(kokoro_pauses, "FITTED_FILE", file)
    kokoro_pauses._fitted.cache_clear()
    with pytest.raises(EngineError, match="is damaged"):
        pause_after_s("af_heart", "so.", 1.0)
    kokoro_pauses._fitted.cache_clear()
