"""What happens at the caller's end in `bench/barge_in.py`: recordings where they are at hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from bench.clips import WHOLE, read_clip
from bench.overlap_generated import generated
from bench.overlap_sounds import Sound
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.engines.protocols import TtsEngine, TtsRequest
from media.resampler import resample
from server.config import load_config
from server.engines import build_engines
from signaling.heard import speech_end_s

EventKind: TypeAlias = Literal["interruption", "backchannel", "cough", "typing", "noise", "none"]
KINDS: tuple[EventKind, ...] = ("interruption", "backchannel", "cough", "typing", "noise", "none")

LEAD_S = 0.2
"""Silence before an event, so that it begins on a quiet line."""
LONGEST_S = 2.5
SPEECH_LEAD_S = 0.05
"""Of a recording of speech, so much before what its manifest calls speech is kept."""
PEAK = 0.5
_FRAME_SAMPLES = SPEECH_RATE_HZ // 100
_ONSET_DBFS = -45.0

VOICES = (
    *("am_michael", "bf_emma", "am_puck", "af_bella", "bm_george", "af_nicole"),
    *("am_fenrir", "bf_isabella", "am_onyx", "af_sarah", "bm_fable", "af_aoede"),
)
SAID: dict[EventKind, tuple[str, ...]] = {
    "interruption": (
        "Wait, stop for a moment.",
        "No, I meant another one.",
        "Actually, can you tell me about rivers?",
        "Stop.",
        "Hold on, I have a question.",
        "What about the weather tomorrow?",
        "Never mind.",
        "Wait.",
        "Two tickets, please.",
        "No.",
        "How much is it?",
        "Skip this.",
    ),
    "backchannel": (
        *("Yeah.", "Right.", "Okay.", "Uh-huh.", "Yeah, yeah.", "I see."),
        *("Mm-hm.", "Sure.", "Oh, wow.", "Got it.", "Hmm.", "Oh, okay."),
    ),
}


@dataclass(frozen=True, slots=True)
class Event:
    """A sound, ready to be said.

    Attributes:
        kind, name: what it is.
        audio: with `LEAD_S` of silence before it; None for nothing at all.
        onset_s: where in `audio` it becomes audible.
        speech_end_s: the sample of `audio` whose departure the synthetic caller tells.
    """

    kind: EventKind
    name: str
    audio: Audio | None
    onset_s: float = 0.0
    speech_end_s: float = 0.0


def event_of(kind: EventKind, name: str, audio: Audio) -> Event:
    """The event of a recording: cut to what is audible, brought to one level."""
    samples = audio.as_float32()
    samples = samples / max(1e-4, float(np.abs(samples).max())) * np.float32(PEAK)
    start = max(0, _onset_samples(samples) - 2 * _FRAME_SAMPLES)
    cut = samples[start : start + round(LONGEST_S * SPEECH_RATE_HZ)]
    whole = concatenate(
        [silence(LEAD_S, SPEECH_RATE_HZ), Audio(cut.astype(np.float32), SPEECH_RATE_HZ)], SPEECH_RATE_HZ
    )
    onset_s = _onset_samples(whole.as_float32()) / SPEECH_RATE_HZ
    return Event(kind, name, whole, onset_s, speech_end_s(whole))


def _onset_samples(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> int:
    """The first 10 ms above -45 dBFS that more of the same follow."""
    frames = samples[: len(samples) // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    active = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-12) > _ONSET_DBFS
    for index in np.flatnonzero(active):
        if active[index : index + 5].sum() >= 3:
            return int(index) * _FRAME_SAMPLES
    return int(np.argmax(active)) * _FRAME_SAMPLES


def events_for(folder: Path, limit: int) -> list[Event]:
    """`limit` events of each kind, as different as there are; of nothing at all too."""
    found: list[Event] = recorded_events(folder) if (folder / "manifest.jsonl").exists() else []
    found += asyncio.run(_said({kind: texts for kind, texts in SAID.items() if _count(found, kind) < limit}))
    for kind, sounds in _by_kind(generated(limit)).items():
        if _count(found, kind) < limit:
            found += [event_of(kind, sound.name, Audio(sound.samples, SPEECH_RATE_HZ)) for sound in sounds]
    found += [Event("none", f"nothing {number}", None) for number in range(limit)]
    return [event for kind in KINDS for event in _spread([one for one in found if one.kind == kind], limit)]


def _by_kind(sounds: Iterable[Sound]) -> dict[EventKind, list[Sound]]:
    found: dict[EventKind, list[Sound]] = {"typing": [], "noise": []}
    for sound in sounds:
        found["typing" if sound.source == "generated keys" else "noise"].append(sound)
    return found


def _count(events: Sequence[Event], kind: str) -> int:
    return sum(event.kind == kind for event in events)


def _spread(events: Sequence[Event], limit: int) -> list[Event]:
    """`limit` of them, over the whole list: neighbours are often alike."""
    if len(events) <= limit:
        return list(events)
    return [events[index * len(events) // limit] for index in range(limit)]


def recorded_events(folder: Path) -> list[Event]:
    """The events of a folder's `manifest.jsonl`."""
    events = []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        kind = _kind_of(entry.get("path", ""), entry.get("kind"), entry.get("use") or ())
        if kind is not None:
            audio = read_clip(folder / entry["path"])
            if kind == "interruption":
                # Before its speech, a recording has a breath or a click, which interrupts nobody.
                start_s = max(0.0, entry["vad_speech_s"][0][0] - SPEECH_LEAD_S)
                audio = Audio(audio.samples[round(start_s * audio.rate_hz) :], audio.rate_hz)
            events.append(event_of(kind, entry["path"], audio))
    return events


def _kind_of(path: str, kind: str | None, uses: Sequence[str]) -> EventKind | None:
    if kind == "backchannel":
        return "backchannel"
    if kind == "cough":
        return "cough"
    if "noise" in uses:
        return "typing" if "typing" in path or "keyboard" in path else "noise"
    if "barge-in" in uses:
        return "interruption"
    return None


async def _said(texts: dict[EventKind, tuple[str, ...]]) -> list[Event]:
    """Synthesised events, each by another voice."""
    if not texts:
        return []
    tts = build_engines(load_config(None, {})).tts
    await tts.start()
    try:
        return [
            event_of(kind, f"{voice}: {text}", await _spoken(tts, voice, text))
            for kind, phrases in texts.items()
            for voice, text in zip(VOICES, phrases, strict=True)
        ]
    finally:
        await tts.close()


async def _spoken(tts: TtsEngine, voice: str, text: str) -> Audio:
    parts = [chunk.audio async for chunk in tts.speak(TtsRequest(text, voice, lead_s=WHOLE))]
    return resample(concatenate(parts, tts.rate_hz), SPEECH_RATE_HZ)
