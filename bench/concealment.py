"""How well lost packets of telephones are made up for: by concealment, and by silence.

    python bench/concealment.py --speech FOLDER [--clips 25]

Recorded speech goes through each codec, and some of its packets are lost. Figures are the difference between
what is heard and what would have been heard without the loss, in the frames that a loss touches and that are
not quiet: the mean of 20 bands' levels, in dB.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.clips import read_clip  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio  # noqa: E402
from media.codecs import CodecName  # noqa: E402
from media.opus import OpusSettings  # noqa: E402
from media.resampler import resample  # noqa: E402
from media.telephone_codecs import TELEPHONE_CODECS  # noqa: E402

PACKET_SAMPLES = SPEECH_RATE_HZ // 50
WINDOW, HOP = 256, 128
BANDS = 20
QUIET_DB = 75.0
LOSSES = ((0.05, 1), (0.1, 1), (0.1, 2), (0.1, 3))
"""What part of the packets is lost, and how many in a row."""

_Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speech", type=Path, required=True, help="a folder of recordings")
    parser.add_argument("--clips", type=int, default=25)
    arguments = parser.parse_args()
    files = sorted(file for kind in ("flac", "wav", "raw") for file in arguments.speech.rglob(f"*.{kind}"))
    clips = [read_clip(file) for file in files[: arguments.clips]]
    print(f"{len(clips)} clips, {sum(clip.duration_s for clip in clips):.0f} s")
    codecs: tuple[CodecName, ...] = ("pcmu", "g722")
    for codec in codecs:
        for part, burst in LOSSES:
            silence = _distance_db(clips, codec, part, burst, concealed=False)
            concealed = _distance_db(clips, codec, part, burst, concealed=True)
            print(f"{codec} {part:.0%} in bursts of {burst}: silence {silence:.1f} dB, {concealed:.1f} dB")


def _distance_db(
    clips: Sequence[Audio], codec: CodecName, part: float, burst: int, *, concealed: bool
) -> float:
    rng = np.random.default_rng(1)
    distances = [_distances_db(clip, codec, _lost(rng, clip, part, burst), concealed) for clip in clips]
    return float(np.mean(np.concatenate(distances)))


def _lost(rng: np.random.Generator, clip: Audio, part: float, burst: int) -> npt.NDArray[np.bool_]:
    lost = np.zeros(len(clip) // PACKET_SAMPLES, dtype=bool)
    at = 4
    while at < len(lost):
        if rng.random() < part / burst:
            lost[at : at + burst] = True
            at += burst
        at += 1
    return lost


def _distances_db(clip: Audio, name: CodecName, lost: npt.NDArray[np.bool_], concealed: bool) -> _Floats:
    codec = TELEPHONE_CODECS[name]
    samples = resample(clip, codec.rate_hz).as_int16()
    encoder, size = codec.encoder(OpusSettings()), codec.rate_hz // 50
    whole, broken = (codec.packets.decoder(SPEECH_RATE_HZ) for _ in range(2))
    sounds: tuple[list[Any], list[Any]] = [], []
    for at, gone in enumerate(lost[: len(samples) // size]):
        payload = encoder.encode(samples[at * size : (at + 1) * size])
        sounds[0].append(whole.decode(payload))
        if not gone:
            sounds[1].append(broken.decode(payload))
        else:
            sounds[1].append((broken.conceal if concealed else broken.silence)(PACKET_SAMPLES))
    said, heard = (_levels_db(np.concatenate(parts)) for parts in sounds)
    count = min(len(said), len(heard))
    touched = np.zeros(count, dtype=bool)
    for at in np.flatnonzero(lost):
        first, last = (at * PACKET_SAMPLES - WINDOW) // HOP, (at + 1) * PACKET_SAMPLES // HOP
        touched[max(0, first) : last + 1] = True
    counted = touched & (said[:count].max(axis=1) > QUIET_DB)
    distances: _Floats = np.abs(said[:count] - heard[:count])[counted].mean(axis=1)
    return distances


def _levels_db(samples: npt.NDArray[np.int16]) -> _Floats:
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    edges = np.unique(np.geomspace(2, WINDOW // 2, BANDS + 1).astype(int))
    levels: _Floats = 10 * np.log10(np.add.reduceat(power, edges[:-1], axis=1) + 1e4)
    return levels


if __name__ == "__main__":
    main()
