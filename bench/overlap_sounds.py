"""The sounds that the overlap classifier learns from, and those that recordings bring."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from bench.clips import read_clip
from media.audio import SPEECH_RATE_HZ, Audio
from media.errors import CallerError

Floats: TypeAlias = npt.NDArray[np.float32]
Kind: TypeAlias = Literal["interruption", "backchannel", "noise"]
KINDS: tuple[Kind, ...] = ("interruption", "backchannel", "noise")
"""In the order of `media.overlap.OverlapScores`."""

EVENT_S = 1.5
"""No judgement hears more of a sound than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """One thing that a caller's microphone may bring while the assistant speaks.

    Attributes:
        name: what it is.
        source: the voice, the speaker or the recording that it comes from: it is held out as one.
        kind: what it ought to be taken for.
        samples: 16 kHz, from its onset.
        is_real: recorded, neither synthesised nor generated.
        language: BCP-47, of what is said in it.
    """

    name: str
    source: str
    kind: Kind
    samples: Floats
    is_real: bool = False
    language: str = "en"


_PAUSE_S = 0.2
_DIP_DB = 18.0
"""A word begins where the level has risen by this within 0.15 s."""
_MOST_ONSETS = 12
_SHARE_ALIKE = ("asterisk-fr",)
"""Folders whose licence asks that what is made of them be shared likewise: nothing is."""
_BREATHS_AND_LAUGHS = ("mfa/mfa_laughter.flac", "mfa/mfa_breaths.flac")


def recorded(folder: Path) -> Iterator[Sound]:
    """The events in the recordings of a folder's `manifest.jsonl`: where speech begins, and each noise."""
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        path = entry["path"]
        if path.startswith(_SHARE_ALIKE):
            continue
        audio = _read(folder / path)
        samples = audio.as_float32()
        # Of a folder's clips most are by one speaker.
        source = path.split("/")[0]
        uses = entry.get("use") or ()
        if entry.get("kind") == "backchannel":
            yield Sound(path, source, "backchannel", samples, True, entry.get("language") or "en")
        elif path in _BREATHS_AND_LAUGHS:
            yield from ()
        elif "noise" in uses or "no-interrupt" in uses:
            yield from _noises(path, path, samples)
        elif entry.get("vad_speech_s"):
            onsets = speech_onsets(samples, entry["vad_speech_s"])
            for onset in onsets[:: max(1, -(-len(onsets) // _MOST_ONSETS))]:
                event = samples[onset : onset + round(EVENT_S * SPEECH_RATE_HZ)]
                name, language = f"{path} {onset / SPEECH_RATE_HZ:.2f}", entry.get("language") or "en"
                yield Sound(name, source, "interruption", event, True, language)


def noises(folder: Path, limit: int) -> Iterator[Sound]:
    """A folder of recordings that are noises, each of its own source."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".mp3", ".wav", ".ogg", ".flac"))
    for path in paths[:: max(1, len(paths) // limit)]:
        try:
            samples = _read(path).as_float32()
        except CallerError:
            continue
        yield from _noises(f"{folder.name}/{path.name}", path.stem, samples)


def _noises(name: str, source: str, samples: Floats) -> Iterator[Sound]:
    """Each loud part of a recording, and of one that never falls silent a piece every two seconds."""
    length = round(EVENT_S * SPEECH_RATE_HZ)
    for at in loud_onsets(samples)[:6]:
        yield Sound(f"{name} {at / SPEECH_RATE_HZ:.2f}", source, "noise", samples[at : at + length], True)


def _read(path: Path) -> Audio:
    if path.suffix == ".g722":
        with av.open(str(path), format="g722") as container:
            return Audio(
                np.concatenate(
                    [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
                ).astype(np.int16),
                SPEECH_RATE_HZ,
            )
    return read_clip(path)


def speech_onsets(samples: Floats, spans_s: list[list[float]]) -> list[int]:
    """Where words begin after a pause or a stop: the spans' starts, and steep rises within them."""
    levels = _levels_db(samples)
    onsets = []
    for start_s, end_s in spans_s:
        first, last = round(start_s * 100), min(len(levels), round(end_s * 100))
        at = max(0, first - 8)
        while at < last - 25:
            quiet = levels[max(0, at - 6) : at + 1].min()
            if levels[at : at + 12].max() - quiet > _DIP_DB and levels[at + 1] - quiet > 3:
                onsets.append(at * SPEECH_RATE_HZ // 100)
                at += 30
            else:
                at += 1
    return onsets


def loud_onsets(samples: Floats) -> list[int]:
    """Where the level rises by 12 dB, and every two seconds of what goes on."""
    levels = _levels_db(samples)
    onsets, at = [], 0
    while at < len(levels) - 10:
        quiet = levels[max(0, at - 10) : at + 1].min()
        rises = levels[at : at + 10].max() - quiet > 12 and levels[at + 1] - quiet > 3
        if rises or at % 200 == 0:
            onsets.append(at * SPEECH_RATE_HZ // 100)
            at += 60
        else:
            at += 1
    return onsets


def _levels_db(samples: Floats) -> Floats:
    """The level every 10 ms, floored at -70 dBFS."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    levels: Floats = np.maximum(10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-9), -70).astype(
        np.float32
    )
    return levels
