"""The assistant's own voice that comes back is known as such; a caller's never is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.echo_guard import EchoGuard
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.g711 import decoded, encoded
from media.playout import FRAME_SAMPLES, PLAYOUT_RATE_HZ
from media.resampler import resample
from tests.talk import talk

LENGTH_S = 8.0
WINDOW_S = VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ
KNOWN_S = 1.6
"""By then an echo has been found out."""
HELD_AFTER_S = 0.08
"""What is heard is judged, and the voice held, so soon."""

Flags = npt.NDArray[np.bool_]


def echo_of(
    sound: Audio, delay_s: float, gain_db: float, *, fades_in_s: float = 0.3, tail: float = 0.06
) -> npt.NDArray[np.float32]:
    """What comes back of it through a room, at 16 kHz."""
    dry = resample(sound, SPEECH_RATE_HZ).as_float32()
    tail_s = np.arange(round(0.25 * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    room = np.random.default_rng(9).normal(size=len(tail_s)) * 10 ** (-3 * tail_s / fades_in_s) * tail
    room[0] = 1
    wet = np.convolve(dry, room)[: len(dry)] * 10 ** (gain_db / 20)
    delay = round(delay_s * SPEECH_RATE_HZ)
    return np.concatenate([np.zeros(delay), wet])[: len(dry)].astype(np.float32)


def judged(guard: EchoGuard, sent: Audio | None, microphone: npt.NDArray[np.float32]) -> tuple[Flags, Flags]:
    """Plays a call: which windows are loud, and which of them are found to be the assistant's own voice."""
    loud, own, _ = played(guard, sent, microphone)
    return loud, own


def played(
    guard: EchoGuard, sent: Audio | None, microphone: npt.NDArray[np.float32]
) -> tuple[Flags, Flags, Flags]:
    """Likewise, and with which of them the assistant's own voice is suspected."""
    noise = np.random.default_rng(8).normal(size=len(microphone)).astype(np.float32) * np.float32(1e-3)
    microphone = microphone + noise
    loud, own, suspected = [], [], []
    sent_frames = 0
    for number in range(len(microphone) // VAD_WINDOW_SAMPLES):
        # Windows come in packets of 20 ms.
        at_s = np.ceil((number + 1) * WINDOW_S / 0.02) * 0.02 + 0.03
        while (
            sent is not None and sent_frames * 0.02 <= at_s and (sent_frames + 1) * FRAME_SAMPLES <= len(sent)
        ):
            samples = sent.samples[sent_frames * FRAME_SAMPLES : (sent_frames + 1) * FRAME_SAMPLES]
            guard.send(Audio(samples, PLAYOUT_RATE_HZ), sent_frames * 0.02)
            sent_frames += 1
        window = Audio(
            microphone[number * VAD_WINDOW_SAMPLES : (number + 1) * VAD_WINDOW_SAMPLES], SPEECH_RATE_HZ
        )
        loud.append(window.level_dbfs() > -45)
        own.append(guard.hear(window, float(at_s), loud=loud[-1]))
        suspected.append(guard.suspects)
    return np.array(loud), np.array(own), np.array(suspected)


@pytest.mark.parametrize(
    ("delay_s", "gain_db"), [(0.02, -8), (0.09, -20), (0.2, -14), (0.3, -6), (0.45, -12)]
)
def test_an_echo_is_found_out_and_left_unheard(delay_s: float, gain_db: float) -> None:
    sent = talk(1, LENGTH_S, PLAYOUT_RATE_HZ)
    guard = EchoGuard()
    loud, own = judged(guard, sent, echo_of(sent, delay_s, gain_db))
    later = np.arange(len(loud)) * WINDOW_S > KNOWN_S
    assert guard.echoes
    assert own[later & loud].mean() > 0.95
    unheard = loud & ~own & later
    assert not (unheard[2:] & unheard[1:-1] & unheard[:-2]).any(), "three in a row would be speech"


def phoned(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """As a telephone carries it: G.711 at 8 kHz, and back at 16."""
    narrow = resample(Audio(samples, SPEECH_RATE_HZ), 8000).as_int16()
    carried = Audio(decoded(encoded(narrow, "mu"), "mu"), 8000)
    return np.resize(resample(carried, SPEECH_RATE_HZ).as_float32(), len(samples))


@pytest.mark.parametrize(("delay_s", "gain_db"), [(0.06, -12), (0.25, -18), (0.5, -24)])
def test_a_telephones_echo_is_left_unheard_too(delay_s: float, gain_db: float) -> None:
    """The voice goes out as G.711, comes back from the far side's line, and does so as G.711 again."""
    sent = talk(1, LENGTH_S, PLAYOUT_RATE_HZ)
    echo = echo_of(sent, delay_s, gain_db, fades_in_s=0.02, tail=0.02)
    loud, own = judged(EchoGuard(), sent, phoned(phoned(echo)))
    later = np.arange(len(loud)) * WINDOW_S > KNOWN_S
    assert (later & loud).sum() > 20
    assert own[later & loud].mean() > 0.95


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_telephones_caller_over_the_echo_is_heard(seed: int) -> None:
    sent = talk(1, LENGTH_S, PLAYOUT_RATE_HZ)
    echo = echo_of(sent, 0.25, -18, fades_in_s=0.02, tail=0.02)
    caller = talk(seed, 1.5, SPEECH_RATE_HZ).as_float32()
    onset = round(5 * SPEECH_RATE_HZ)
    echo[onset : onset + len(caller)] += caller * np.float32(0.5)
    loud, own = judged(EchoGuard(), sent, phoned(echo))
    heard = (loud & ~own)[round(5 / WINDOW_S) : round(5.6 / WINDOW_S)]
    assert (heard[2:] & heard[1:-1] & heard[:-2]).any(), "three windows in a row are speech"


@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_a_caller_without_echo_is_never_taken_for_one(seed: int) -> None:
    guard = EchoGuard()
    caller = talk(seed, LENGTH_S, SPEECH_RATE_HZ).as_float32()
    loud, own = judged(guard, talk(1, LENGTH_S, PLAYOUT_RATE_HZ), caller)
    assert loud.sum() > 100
    assert not own.any()
    assert not guard.echoes


@pytest.mark.parametrize("above_db", [3, 10])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_caller_who_speaks_over_the_echo_is_heard(seed: int, above_db: float) -> None:
    sent = talk(1, LENGTH_S, PLAYOUT_RATE_HZ)
    echo = echo_of(sent, 0.15, -15)
    caller = talk(seed, 1.5, SPEECH_RATE_HZ).as_float32()
    caller *= np.float32(np.sqrt(np.mean(echo**2) / np.mean(caller**2)) * 10 ** (above_db / 20))
    onset = round(5 * SPEECH_RATE_HZ)
    echo[onset : onset + len(caller)] += caller
    loud, own = judged(EchoGuard(), sent, echo)
    heard = (loud & ~own)[round(5 / WINDOW_S) : round(5.6 / WINDOW_S)]
    assert (heard[2:] & heard[1:-1] & heard[:-2]).any(), "three windows in a row are speech"


def test_an_echo_is_suspected_from_the_first_word_until_it_is_known() -> None:
    sent = talk(1, LENGTH_S, PLAYOUT_RATE_HZ)
    loud, own, suspected = played(EchoGuard(), sent, echo_of(sent, 0.2, -14))
    known = int(np.argmax(own))
    assert suspected[:known][loud[:known]].all()
    assert not suspected[round((KNOWN_S + 1) / WINDOW_S) :].any()


def held(seed: int, from_s: float) -> Audio:
    """A voice that falls silent at that time."""
    samples = talk(seed, 2.0, PLAYOUT_RATE_HZ).samples.copy()
    samples[round(from_s * PLAYOUT_RATE_HZ) :] = 0
    return Audio(samples, PLAYOUT_RATE_HZ)


@pytest.mark.parametrize("seed", [3, 4, 5, 11, 14, 17])
def test_an_echo_for_which_the_voice_was_held_at_once_is_suspected(seed: int) -> None:
    """Most of what is heard of so little is the room's tail."""
    sent = held(seed, 0.16 + HELD_AFTER_S)
    loud, own, suspected = played(EchoGuard(), sent, echo_of(sent, 0.16, -8, fades_in_s=0.5, tail=0.1))
    assert loud.any()
    assert (own | suspected)[loud].all()


@pytest.mark.parametrize("seed", range(2, 8))
def test_somebody_else_for_whom_the_voice_was_held_is_soon_not_suspected(seed: int) -> None:
    onset_s = 0.5
    caller = np.zeros(round(2.0 * SPEECH_RATE_HZ), np.float32)
    caller[round(onset_s * SPEECH_RATE_HZ) :] = talk(seed, 1.5, SPEECH_RATE_HZ).as_float32()
    _, own, suspected = played(EchoGuard(), held(1, onset_s + HELD_AFTER_S), caller)
    assert not own.any()
    assert not suspected[round((onset_s + 0.6) / WINDOW_S) :].any()


def test_a_leg_is_suspected_until_it_has_shown_that_nothing_comes_back() -> None:
    sent = talk(1, LENGTH_S, PLAYOUT_RATE_HZ)
    silent = np.zeros(round(LENGTH_S * SPEECH_RATE_HZ), np.float32)
    _, _, suspected = played(EchoGuard(), sent, silent)
    assert suspected[: round(0.5 / WINDOW_S)].all()
    assert not suspected[round(1.5 / WINDOW_S) :].any()


def test_where_nothing_was_sent_nothing_comes_back() -> None:
    guard = EchoGuard()
    _, own = judged(guard, None, talk(2, 3.0, SPEECH_RATE_HZ).as_float32())
    assert not own.any()


def test_a_leg_that_is_mended_is_believed_again() -> None:
    """The caller puts on headphones: what they say then is theirs."""
    sent = talk(1, 16.0, PLAYOUT_RATE_HZ)
    microphone = echo_of(sent, 0.15, -12)
    half = len(microphone) // 2
    microphone[half:] = talk(4, 16.0, SPEECH_RATE_HZ).as_float32()[half:]
    loud, own = judged(EchoGuard(), sent, microphone)
    later = np.arange(len(loud)) * WINDOW_S > 10
    assert not own[later & loud].mean() > 0.05
