"""Who answered a call: the table, the words, and the beep."""

from __future__ import annotations

import numpy as np
import pytest

from media.answering_machine import (
    Answered,
    AnsweringCommand,
    AnsweringEvent,
    AnsweringMachine,
    AnsweringSettings,
    AnsweringState,
    ArmTimer,
    Beeped,
    Decide,
    Elapsed,
    LeaveMessage,
    MachineSaid,
    VoiceBegan,
    VoiceEnded,
    WordsKnown,
)
from media.audio import SPEECH_RATE_HZ, Audio
from media.beep import WINDOW_SAMPLES, BeepDetector
from media.floor_table import IllegalEvent
from media.g711 import Law, decoded, encoded
from media.greeting_words import whose_greeting
from media.resampler import resample

SETTINGS = AnsweringSettings()
LAW: Law = "mu"


def fed(*events: AnsweringEvent) -> tuple[AnsweringMachine, list[AnsweringCommand]]:
    """The machine, and all commands but those that only move the timer."""
    machine = AnsweringMachine(SETTINGS)
    commands: list[AnsweringCommand] = []
    deadline_s = float("inf")
    for event in events:
        if isinstance(event, Elapsed):
            assert event.at_s >= deadline_s, "the timer was not due"
        for command in machine.feed(event):
            if isinstance(command, ArmTimer):
                deadline_s = command.deadline_s
            else:
                commands.append(command)
    return machine, commands


HELLO = (Answered(0), VoiceBegan(1.0), VoiceEnded(1.5))
LONG = (Answered(0), VoiceBegan(1.0), VoiceEnded(4.0))


@pytest.mark.parametrize(
    ("events", "commands"),
    [
        ((Answered(0), Elapsed(4.0)), [Decide("uncertain")]),
        ((*HELLO, WordsKnown(1.8, human=True), Elapsed(2.25)), [Decide("human")]),
        ((*HELLO, Elapsed(3.0)), [Decide("human")]),
        ((*LONG, WordsKnown(4.3, human=True), Elapsed(4.75)), [Decide("human")]),
        ((*LONG, WordsKnown(4.3, human=False), Elapsed(4.75)), [Decide("uncertain")]),
        ((*LONG, Elapsed(5.5)), [Decide("uncertain")]),
        ((Answered(0), VoiceBegan(1.0), Elapsed(6.5)), [Decide("machine")]),
        ((Answered(0), VoiceBegan(1.0), MachineSaid(2.0)), [Decide("machine")]),
        ((*HELLO, MachineSaid(2.0)), [Decide("machine")]),
        ((Answered(0), Beeped(1.0)), [Decide("machine"), LeaveMessage()]),
        ((*HELLO, MachineSaid(2.0), Beeped(3.0)), [Decide("machine"), LeaveMessage()]),
        ((*HELLO, MachineSaid(2.0), Elapsed(4.0)), [Decide("machine"), LeaveMessage()]),
        (
            (*HELLO, MachineSaid(2.0), VoiceBegan(2.5), VoiceEnded(9.0), Elapsed(11.5)),
            [Decide("machine"), LeaveMessage()],
        ),
        ((*HELLO, MachineSaid(2.0), VoiceBegan(2.5), Elapsed(40.0)), [Decide("machine"), LeaveMessage()]),
    ],
)
def test_what_is_found_out(events: tuple[AnsweringEvent, ...], commands: list[AnsweringCommand]) -> None:
    assert fed(*events)[1] == commands


def test_a_pause_within_a_greeting_is_not_its_end() -> None:
    machine, commands = fed(*HELLO, WordsKnown(1.8, human=True), VoiceBegan(2.0), VoiceEnded(3.5))
    assert machine.state is AnsweringState.PAUSED
    assert commands == []
    # From its first word on, it is too long now for a mere hello.
    assert fed(*HELLO, VoiceBegan(2.0), VoiceEnded(3.5), Elapsed(5.0))[1] == [Decide("uncertain")]


def test_what_comes_when_all_is_known_is_refused() -> None:
    machine, _ = fed(Answered(0), Elapsed(4.0))
    assert not machine.takes(VoiceBegan(5.0))
    with pytest.raises(IllegalEvent):
        machine.feed(VoiceBegan(5.0))


@pytest.mark.parametrize(
    "words",
    [
        "Hi, you've reached Bob. I can't come to the phone right now.",
        "You have reached the voicemail of extension 204.",
        "Please leave your name and number after the tone.",
        "Nobody is available to take your call.",
        "The person you are calling is not available.",
        "Your call has been forwarded to an automated voice message system.",
        "Thank you for calling the clinic. Our office is closed.",
        "For sales, press one.",
        "Bitte hinterlassen Sie eine Nachricht nach dem Signalton.",
    ],
)
def test_the_words_of_machines(words: str) -> None:
    assert whose_greeting(words) == "machine"


@pytest.mark.parametrize(
    "words",
    [
        "Hello?",
        "Hi.",
        "Yes?",
        "Hello, who is this?",
        "Good morning, Smith and Sons, how can I help you?",
        "Miller's garage, Tom speaking.",
    ],
)
def test_the_words_of_people(words: str) -> None:
    assert whose_greeting(words) == "human"


@pytest.mark.parametrize("words", ["", "Good afternoon.", "Doctor Miller's office.", "One moment."])
def test_words_that_do_not_tell(words: str) -> None:
    assert whose_greeting(words) is None


def beeps_in(sound: np.ndarray) -> int:
    """In how many windows a beep ends, after a telephone's codec."""
    narrow = resample(Audio(sound.astype(np.float32), SPEECH_RATE_HZ), 8000)
    carried = Audio(decoded(encoded(narrow.as_int16(), LAW), LAW), 8000)
    wide = resample(carried, SPEECH_RATE_HZ).samples
    detector, found = BeepDetector(), 0
    for start in range(0, len(wide) - WINDOW_SAMPLES, WINDOW_SAMPLES):
        found += detector.push(Audio(wide[start : start + WINDOW_SAMPLES], SPEECH_RATE_HZ))
    return found


def tones(duration_s: float, *frequencies_hz: float, level: float = 0.2) -> np.ndarray:
    t = np.arange(round(duration_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    tone = sum(level * np.sin(2 * np.pi * frequency_hz * t) for frequency_hz in frequencies_hz)
    still = np.zeros(SPEECH_RATE_HZ // 2)
    return np.concatenate([still, np.asarray(tone), still])


@pytest.mark.parametrize("frequency_hz", [440, 850, 1000, 1400, 2000])
@pytest.mark.parametrize("duration_s", [0.25, 0.5, 1.5])
def test_a_beep_is_heard_when_it_is_over(frequency_hz: float, duration_s: float) -> None:
    assert beeps_in(tones(duration_s, frequency_hz)) == 1


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(SPEECH_RATE_HZ),
        tones(0.05, 1000),
        tones(5.0, 425),
        tones(0.5, 1000, level=0.002),
        tones(0.2, 697, 1209),
        tones(0.8, 150, 300, 450, 600, 750, level=0.05),
        np.random.default_rng(1).normal(0, 0.1, SPEECH_RATE_HZ),
    ],
    ids=["silence", "a click", "a dial tone", "next to nothing", "a key", "a vowel", "noise"],
)
def test_what_is_no_beep(sound: np.ndarray) -> None:
    assert beeps_in(sound) == 0
