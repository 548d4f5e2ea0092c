"""How others would end the turns of the same recordings: after a fixed silence, or as Pipecat does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.turn_taking_recordings import Recording
from bench.turn_taking_replay import Delays, Replay, Witnesses
from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.vad_gate import GatePaused, GateStarted, VadGate, VadSettings

WINDOW_S = VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ

PIPECAT_STOP_S = 0.2
PIPECAT_FALLBACK_S = 3.0
PIPECAT_LEAD_S = 0.5 + 0.2
"""`SmartTurnParams.pre_speech_ms` and the VAD's start: what is judged begins so long before the speech."""
_HEARD_S = 8.0


@dataclass(frozen=True, slots=True)
class _Pause:
    """A silence of a recording.

    Attributes:
        start_s: where it begins.
        end_s: where speech goes on; None for the last one.
    """

    start_s: float
    end_s: float | None


def timer(models: Witnesses, recording: Recording, silence_s: float) -> Replay:
    """Every pause that lasts for `silence_s` ends a turn."""
    pauses = _pauses(models.speech(recording.audio), VadSettings())
    ends = (pause.start_s + silence_s for pause in pauses if _lasts(pause, silence_s))
    return Replay(tuple(ends))


def smart_turn(models: Witnesses, recording: Recording, delays: Delays) -> Replay:
    """Smart Turn alone, as Pipecat 1.14 has it.

    The VAD stops after 0.2 s of silence; the turn is judged, once. If it is complete, it is over then; if
    not, after 3 s of silence. The VAD's own thresholds are ours.
    """
    settings = VadSettings(pause_ms=round(PIPECAT_STOP_S * 1000))
    ends: list[float] = []
    turn_s: float | None = None
    for speech_s, pause in _talkspurts(models.speech(recording.audio), settings):
        turn_s = speech_s if turn_s is None else turn_s
        stopped_s = pause.start_s + PIPECAT_STOP_S
        heard = recording.audio.slice_s(max(0.0, turn_s - PIPECAT_LEAD_S, stopped_s - _HEARD_S), stopped_s)
        complete = models.verdict(Audio(heard.samples, SPEECH_RATE_HZ)) > 0.5
        wait_s = PIPECAT_STOP_S + delays.judge_s if complete else PIPECAT_FALLBACK_S
        if _lasts(pause, wait_s):
            ends.append(pause.start_s + wait_s)
            turn_s = None
    return Replay(tuple(ends))


def _lasts(pause: _Pause, wait_s: float) -> bool:
    return pause.end_s is None or pause.end_s - pause.start_s >= wait_s


def _pauses(speech: Sequence[float], settings: VadSettings) -> list[_Pause]:
    return [pause for _, pause in _talkspurts(speech, settings)]


def _talkspurts(speech: Sequence[float], settings: VadSettings) -> Iterator[tuple[float, _Pause]]:
    """Each talkspurt's beginning, and the pause after it."""
    gate = VadGate(settings)
    start_s = 0.0
    pause_s: float | None = None
    for probability in speech:
        match gate.push(probability):
            case GateStarted(sample):
                if pause_s is not None:
                    yield start_s, _Pause(pause_s, sample / SPEECH_RATE_HZ)
                start_s, pause_s = sample / SPEECH_RATE_HZ, None
            case GatePaused(sample):
                pause_s = sample / SPEECH_RATE_HZ
            case None:
                pass
    if pause_s is not None:
        yield start_s, _Pause(pause_s, None)
