"""Recordings of turns with pauses inside, and what follows them: the room, going on as it was."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from bench.clips import PAUSE_S, read_clip
from media.audio import SPEECH_RATE_HZ, Audio
from media.opus import RTP_RATE_HZ, OpusSettings, opus_decoder, opus_encoder
from media.resampler import resample

PauseClass: TypeAlias = Literal["hold", "read-aloud"]

LEAD_S = 0.5
"""The room before a recording begins, so that the VAD has settled."""
AFTER_S = 4.0
"""The room after it: longer than any turn's end is waited for."""

_ROOM_S = 0.064
"""The room is what the quietest so many seconds of a recording sound like."""
_ROOM_AT_MOST_DBFS = -50.0
"""Where speech fills all of a recording, its quietest moment still is speech."""
_FULL_SCALE = 32768.0

_PACKET_SAMPLES = RTP_RATE_HZ // 50
_ENCODER_DELAY_SAMPLES = round(0.0065 * SPEECH_RATE_HZ)
"""libopus looks 6.5 ms ahead."""
_FARTHER = 0.5
"""A microphone at twice the distance."""

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One turn of somebody's.

    Attributes:
        name: where it comes from.
        speaker: whose voice, as far as is known: the folder. What is fitted is tested on other folders.
        language: BCP-47 primary tag, or None.
        audio: at 16 kHz, with the room before and after it.
        pauses_s: the pauses inside the turn of 0.3 s and longer: from, to.
        pause_class: whether they hold the turn, or are those of somebody who reads aloud; None without any.
        end_s: where its speech ends.
        ends_turn: whether that is where a turn ends. A passage may be cut anywhere.
        is_natural: a request as people make it: it ends a turn, and has no pause of 0.3 s inside.
    """

    name: str
    speaker: str
    language: str | None
    audio: Audio
    pauses_s: tuple[tuple[float, float], ...]
    pause_class: PauseClass | None
    end_s: float
    ends_turn: bool
    is_natural: bool


def recordings(folder: Path, *, room: bool = True) -> list[Recording]:
    """Those of a folder's `manifest.jsonl` that end a turn or pause within one.

    Args:
        folder: holds the manifest and what it names.
        room: whether the room goes on after a recording; else digital silence follows.
    """
    found = []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        uses = entry.get("use") or ()
        if "turn-end" not in uses and "mid-pause" not in uses:
            continue
        end_s = entry.get("energy_end_s") or entry["seconds"]
        audio = _read(folder / entry["path"]).slice_s(0, end_s)
        holds, ends_turn = "mid-pause" in uses, "turn-end" in uses
        longest_s = max(entry.get("vad_pauses_s") or [0.0])
        found.append(
            Recording(
                name=entry["path"],
                speaker=entry["path"].split("/")[0],
                language=None if entry["language"] == "und" else entry["language"],
                audio=in_its_room(audio, seed=zlib.crc32(entry["path"].encode()), room=room),
                pauses_s=_pauses_s(entry["vad_speech_s"]) if holds else (),
                pause_class=_pause_class(entry["pause_class"]) if holds else None,
                end_s=LEAD_S + end_s,
                ends_turn=ends_turn,
                is_natural=ends_turn and longest_s < PAUSE_S,
            )
        )
    return found


def as_called(recording: Recording) -> Recording:
    """The same words as a call brings them: from farther away, and through Opus.

    Nothing in it is new to an ear, but every verdict of an engine moves, by nearly 1 in log-odds.
    """
    samples = (recording.audio.as_int16() * _FARTHER).astype(np.int16)
    sent = resample(Audio(samples, SPEECH_RATE_HZ), RTP_RATE_HZ).as_int16()
    sent = np.pad(sent, (0, -len(sent) % _PACKET_SAMPLES + _PACKET_SAMPLES))
    encoder, decoder = opus_encoder(OpusSettings()), opus_decoder(SPEECH_RATE_HZ)
    packets = [encoder.encode(frame) for frame in sent.reshape(-1, _PACKET_SAMPLES)]
    came = np.concatenate([decoder.decode(packet) for packet in packets])[_ENCODER_DELAY_SAMPLES:]
    return replace(recording, audio=Audio(came[: len(samples)], SPEECH_RATE_HZ))


def _pauses_s(spans_s: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    between = itertools.pairwise(spans_s)
    pauses = ((before[1], after[0]) for before, after in between)
    return tuple((LEAD_S + start, LEAD_S + end) for start, end in pauses if end - start >= PAUSE_S)


def _pause_class(told: str) -> PauseClass:
    return "hold" if told.startswith("hold") else "read-aloud"


def in_its_room(audio: Audio, *, seed: int, room: bool = True) -> Audio:
    """A recording with its room before and after it: noise of the spectrum of its quietest moment."""
    samples = audio.as_int16().astype(np.float64)
    lead, after = (round(seconds * audio.rate_hz) for seconds in (LEAD_S, AFTER_S))
    noise = _room(samples, lead + after, np.random.default_rng(seed)) if room else np.zeros(lead + after)
    whole = np.concatenate([noise[:lead], samples, noise[lead:]])
    return Audio(np.clip(whole, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16), audio.rate_hz)


def _room(samples: Floats, length: int, random: np.random.Generator) -> Floats:
    size = round(_ROOM_S * SPEECH_RATE_HZ)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 4]
    energy = np.square(frames).mean(axis=1)
    if not energy.any():
        return np.zeros(length)
    quietest = frames[int(np.argmin(np.where(energy > 0, energy, np.inf)))] * np.hanning(size)
    # The phases are thrown dice, block by block, and the blocks faded into each other.
    shape = np.abs(np.fft.rfft(quietest))
    noise = np.zeros(length + 2 * size)
    for at in range(0, length + size, size // 2):
        phases = np.exp(2j * np.pi * random.random(len(shape)))
        noise[at : at + size] += np.fft.irfft(shape * phases, size) * np.sin(np.pi * np.arange(size) / size)
    noise = noise[size : size + length]
    level = min(np.sqrt(energy[energy > 0].min()), _FULL_SCALE * 10 ** (_ROOM_AT_MOST_DBFS / 20))
    room: Floats = noise * level / np.sqrt(np.square(noise).mean() + 1e-9)
    return room


def _read(path: Path) -> Audio:
    """A recording at 16 kHz; headerless G.722, too."""
    if path.suffix != ".g722":
        return read_clip(path)
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return Audio(np.concatenate(frames).astype(np.int16), SPEECH_RATE_HZ)
