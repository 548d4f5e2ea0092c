"""What a telephone's line does to a voice, and what is made of greetings over it."""

from __future__ import annotations

import numpy as np
import pytest

from bench.answering_machines import Found, table
from bench.greetings import MACHINES, NO_BEEP, PEOPLE
from bench.telephone_line import LINES, MU_LAW, WIDEBAND, Line, as_phoned, in_one_call
from media.audio import SPEECH_RATE_HZ, Audio
from media.greeting_words import whose_greeting


def tone(hz: float, level: float = 0.1) -> Audio:
    t = np.arange(SPEECH_RATE_HZ) / SPEECH_RATE_HZ
    return Audio((level * np.sin(2 * np.pi * hz * t)).astype(np.float32), SPEECH_RATE_HZ)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_line_is_as_long_as_what_is_said(line: Line) -> None:
    assert len(as_phoned(tone(1000), line)) == SPEECH_RATE_HZ


@pytest.mark.parametrize(
    ("hz", "line", "kept"),
    [
        (6000, WIDEBAND, True),
        (6000, MU_LAW, False),
        (1000, MU_LAW, True),
        (200, MU_LAW, True),
        (200, LINES[3], False),
        (1000, LINES[3], True),
    ],
)
def test_what_is_out_of_its_band_is_not_carried(hz: float, line: Line, kept: bool) -> None:
    lost_db = tone(hz).level_dbfs() - as_phoned(tone(hz), line).level_dbfs()
    assert (lost_db < 1.0) == kept


def test_quieter_and_louder() -> None:
    levels = [as_phoned(tone(1000), line).level_dbfs() for line in LINES[3:]]
    assert levels[1:3] == pytest.approx([levels[0] - 20] * 2, abs=0.5)
    assert levels[3] == pytest.approx(levels[0] + 12, abs=0.5)


def test_the_server_raises_what_is_quiet() -> None:
    plain, raised = (in_one_call([tone(1000)] * 3, line, 20.0)[-1].level_dbfs() for line in LINES[4:6])
    assert raised == pytest.approx(plain + 20, abs=3)


def test_no_person_of_the_greetings_has_a_machines_words() -> None:
    assert [said for said in PEOPLE if whose_greeting(" ".join(said)) == "machine"] == []
    silent_about_it = [said for said in MACHINES if whose_greeting(" ".join(said)) != "machine"]
    assert len(silent_about_it) <= len(MACHINES) // 3
    assert max(NO_BEEP) < len(MACHINES)


def test_the_table_counts_who_was_taken_for_whom() -> None:
    results = [
        Found("af_heart: Hello?", "person", "human", 1.5, 0.8, None),
        Found("af_heart: City Hotel.", "person", "machine", 5.0, 1.0, None),
        Found("af_heart: Leave a message.", "machine", "machine", 2.0, -1.0, 0.1),
        Found("af_heart: Mike.", "machine", None, float("nan"), float("nan"), None),
    ]
    people, machines = table(results).splitlines()[2:]
    assert people.startswith("| people, Kokoro's voices (2) | 1 (50 %) | 1 (50 %) | 0 (0 %) | 0.9 |")
    assert machines.startswith("| machines, Kokoro's voices (2) | 0 (0 %) | 1 (50 %) | 0 (0 %) | 2.0 |")
