"""From the turns of several transports to what one adds to the other."""

from __future__ import annotations

import pytest

from bench.transports import stages_told, transcript_told
from bench.voice_to_voice import NAMES, OURS, Turn, added, rotated, transport_bars
from signaling.hearing import Event, ReceivedEvent

WS = NAMES["ws"]


def turns(system: str, *latencies_ms: float | None, calls: int = 1) -> list[Turn]:
    return [
        Turn(system, calls, f"clip {number}", False, latency_ms, False, 30.0)
        for number, latency_ms in enumerate(latencies_ms)
    ]


def test_what_a_transport_adds_is_counted_over_the_same_clips() -> None:
    webrtc = turns(OURS, 400, 500, 600, None)
    more = added(turns(WS, 405, 540, 603, 900), webrtc)
    assert more is not None
    assert (more.clips, more.p50, more.median) == (3, 40, 5)
    assert added(turns(WS, None, None), webrtc) is None


@pytest.mark.parametrize(("latency_ms", "met"), [(519.0, True), (520.0, False), (None, False)])
def test_a_transport_that_adds_too_much_is_told(latency_ms: float | None, met: bool) -> None:
    runs = [turns(OURS, 500), turns(WS, latency_ms), turns(OURS, 900, calls=2)]
    ((label, reached),) = transport_bars(runs)
    assert label.startswith(f"{WS} adds less than 20 ms")
    assert reached == met


def test_a_telephone_may_add_more() -> None:
    ((label, reached),) = transport_bars([turns(OURS, 500), turns(NAMES["sip"], 559)])
    assert label.startswith(f"{NAMES['sip']} adds less than 60 ms")
    assert reached


def test_without_webrtc_there_is_nothing_to_compare() -> None:
    assert transport_bars([turns(WS, 500)]) == []


def test_each_system_is_the_first_in_turn() -> None:
    systems = ["a", "b", "c"]
    assert [rotated(systems, number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


REALTIME: list[Event] = [
    {"type": "conversation.item.input_audio_transcription.completed", "transcript": "Hello."},
    {"type": "vk.turn.latency", "stages": [{"name": "stt", "start_ms": 0, "duration_ms": 99}]},
]
WS_MESSAGES: list[Event] = [
    {"type": "transcription", "text": "Hel", "final": False},
    {"type": "transcription", "text": "Hello.", "final": True},
    {"type": "latency", "stages": [{"name": "stt", "start_ms": 0, "duration_ms": 99}]},
]


@pytest.mark.parametrize("events", [REALTIME, WS_MESSAGES], ids=["realtime", "ws"])
def test_both_languages_tell_the_same(events: list[Event]) -> None:
    received = [ReceivedEvent(0.0, event) for event in events]
    assert transcript_told(received) == "Hello."
    assert stages_told(received) == {"stt": 99}
