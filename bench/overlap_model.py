"""Trains the overlap classifier, and says how well it tells interruptions, backchannels and noises apart.

    python bench/overlap_model.py --speech FOLDER --noises FOLDER            cross-validated figures
    python bench/overlap_model.py --speech FOLDER --noises FOLDER --write    and media/overlap.npz

`--speech` is a folder of recordings with a manifest.jsonl, `--noises` one of recordings that are all noises
(for the shipped weights: coughs, github.com/covid19-cough/dataset, CC0). What Kokoro says is kept in
`--cache`.

Cross-validation holds out whole sources: a voice of Kokoro, the speakers of a folder, a recording of noise.
What it counts are events that the VAD takes for speech; most noises it does not, and they are never judged.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from bench.overlap_generated import generated  # noqa: E402
from bench.overlap_line import Surroundings, as_heard  # noqa: E402
from bench.overlap_phrases import Voices  # noqa: E402
from bench.overlap_sounds import KINDS, Sound, noises, recorded  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio  # noqa: E402
from media.engines.onnx import inference_session  # noqa: E402
from media.engines.protocols import VAD_WINDOW_SAMPLES  # noqa: E402
from media.engines.whisper_decoder import WhisperDecoder  # noqa: E402
from media.overlap import WEIGHTS_FILE, OverlapScores, OverlapWeights  # noqa: E402
from media.overlap_features import LEAD_WINDOWS, Floats, describe  # noqa: E402
from media.overlap_verdict import (  # noqa: E402
    HINT_SHARE,
    InterruptionSettings,
    OverlapSound,
    Verdict,
    Words,
    verdict,
    verdict_of_lasting,
    verdict_of_words,
)
from media.overlap_words import words_in  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

HEARD_WINDOWS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 17, 21, 26)
"""After how many windows since the onset the network is taught and tested."""
REPORTED_WINDOWS = {200: 6, 300: 9, 400: 12}
"""Elapsed time in ms → windows."""
THRESHOLD = 0.5
CONFIRMING_WINDOWS = 3
WINDOW_S = VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ
FOLDS = 5
HIDDEN = 48
MEMBERS = 3
"""Networks that differ in their beginnings: the mean of their logits errs less than each of them."""
EPOCHS = 12
INTERRUPTION_WEIGHT = 0.45
"""Below 1, as to stop for a backchannel is worse than to stop late: what lasts stops the assistant anyhow."""
NOISE_RECORDINGS = 300
GENERATED_EACH = 25
PADDING_WINDOWS = 10
"""What of before the onset is transcribed, too."""
BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An event that the VAD took for speech.

    Attributes:
        kind: index into `KINDS`.
        numbers: what it was like after each of `HEARD_WINDOWS`, (15, n).
        speech: P(speech) of each window from the onset on.
        noticed_s: from the sound's beginning to the end of the onset's window.
        sound: int16 at 16 kHz, from `PADDING_WINDOWS` before the onset on.
        language: BCP-47, of what is said in it.
    """

    name: str
    source: str
    kind: int
    is_real: bool
    numbers: Floats
    speech: Floats
    noticed_s: float
    sound: npt.NDArray[np.int16]
    language: str


class Vad:
    """Silero over many streams at once."""

    def __init__(self) -> None:
        model = ModelStore(default_root()).path("silero-vad") / "silero_vad_16k_op15.onnx"
        self._session = inference_session(model, threads=1)

    def speech(self, streams: Floats) -> Floats:
        """P(speech) of each window: (streams, samples) → (streams, windows)."""
        count = len(streams)
        state = np.zeros((2, count, 128), np.float32)
        context = np.zeros((count, 64), np.float32)
        rate = np.array(SPEECH_RATE_HZ, np.int64)
        found = []
        for start in range(0, streams.shape[1], VAD_WINDOW_SAMPLES):
            window = np.concatenate([context, streams[:, start : start + VAD_WINDOW_SAMPLES]], axis=1)
            context = window[:, -64:]
            output, state = self._session.run(None, {"input": window, "state": state, "sr": rate})
            found.append(output[:, 0])
        return np.stack(found, axis=1)


def onset_window(speech: Floats) -> int | None:
    """The first window of speech that another one follows soon; None where there is none."""
    is_speech = speech >= THRESHOLD
    for index in np.flatnonzero(is_speech):
        if is_speech[index + 1 : index + 4].any():
            return int(index)
    return None


def examples_of(sounds: Sequence[Sound], around: Surroundings, times: int, seed: int = 0) -> list[Example]:
    """Each sound as it would be heard, some times over; those that the VAD takes for speech."""
    vad, examples = Vad(), []
    jobs = [(sound, number) for sound in sounds for number in range(times)]
    for start in range(0, len(jobs), 64):
        part = jobs[start : start + 64]
        heard = [
            as_heard(
                sound,
                around,
                np.random.default_rng([seed, number, zlib.crc32(_key(sound))]),
                clean=not number,
            )
            for sound, number in part
        ]
        speeches = vad.speech(np.stack([one.stream for one in heard]))
        for (sound, _), one, speech in zip(part, heard, speeches, strict=True):
            onset = onset_window(speech)
            # What the VAD takes for speech before the sound begins is its surroundings.
            if onset is None or (onset + 1) * VAD_WINDOW_SAMPLES <= one.start:
                continue
            numbers = [_numbers(one.stream, speech, onset, windows) for windows in HEARD_WINDOWS]
            noticed_s = ((onset + 1) * VAD_WINDOW_SAMPLES - one.start) / SPEECH_RATE_HZ
            examples.append(
                Example(
                    sound.name,
                    sound.source,
                    KINDS.index(sound.kind),
                    sound.is_real,
                    np.stack(numbers),
                    speech[onset:],
                    noticed_s,
                    Audio(one.stream, SPEECH_RATE_HZ).as_int16()[
                        max(0, onset - PADDING_WINDOWS) * VAD_WINDOW_SAMPLES :
                    ],
                    sound.language,
                )
            )
    return examples


def _key(sound: Sound) -> bytes:
    return f"{sound.source} {sound.name}".encode()


def _numbers(stream: Floats, speech: Floats, onset: int, heard: int) -> Floats:
    first, last = onset - LEAD_WINDOWS, min(onset + heard, len(speech))
    part = stream[first * VAD_WINDOW_SAMPLES : last * VAD_WINDOW_SAMPLES]
    sound = Audio(Audio(part, SPEECH_RATE_HZ).as_int16(), SPEECH_RATE_HZ)
    return describe(sound, speech[first:last].tolist())


# Training: Adam on the cross-entropy, with numbers left out at random


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All examples at all times, one row each."""

    numbers: Floats
    kinds: npt.NDArray[np.int64]
    weights: Floats


def rows_of(examples: Sequence[Example]) -> Rows:
    """The examples as rows; each kind weighs the same; in it, recordings as much as the rest."""
    times = len(HEARD_WINDOWS)
    kinds = np.array([example.kind for example in examples])
    real = np.array([example.is_real for example in examples])
    weights = np.ones(len(examples), np.float32)
    for kind in range(len(KINDS)):
        for recorded_ in (True, False):
            group = (kinds == kind) & (real == recorded_)
            weights[group] /= max(60, group.sum())
        weights[kinds == kind] /= max(1e-9, weights[kinds == kind].sum())
    weights[kinds == KINDS.index("interruption")] *= INTERRUPTION_WEIGHT
    numbers = np.concatenate([example.numbers for example in examples])
    return Rows(
        numbers, np.repeat(kinds, times), np.repeat(weights / weights.mean(), times).astype(np.float32)
    )


def trained(rows: Rows, seed: int) -> OverlapWeights:
    """A network that tells the rows' kinds apart: several of them, side by side."""
    members = [_trained_alone(rows, MEMBERS * seed + number) for number in range(MEMBERS)]
    return OverlapWeights(
        members[0].mean,
        members[0].scale,
        np.concatenate([member.hidden for member in members], axis=1),
        np.concatenate([member.hidden_bias for member in members]),
        (np.concatenate([member.output for member in members]) / MEMBERS).astype(np.float32),
        np.mean([member.output_bias for member in members], axis=0, dtype=np.float32),
    )


def _trained_alone(rows: Rows, seed: int) -> OverlapWeights:
    chance = np.random.default_rng(seed)
    mean = np.nanmean(rows.numbers, axis=0)
    scale = 1 / (np.nanstd(rows.numbers, axis=0) + 1e-3)
    standard = np.clip(np.nan_to_num((rows.numbers - mean) * scale), -4, 4)
    count, numbers = standard.shape
    hidden = chance.normal(size=(numbers, HIDDEN)) * np.sqrt(2 / numbers)
    output = chance.normal(size=(HIDDEN, len(KINDS))) * np.sqrt(1 / HIDDEN)
    parameters = [
        value.astype(np.float32) for value in (hidden, np.zeros(HIDDEN), output, np.zeros(len(KINDS)))
    ]
    slow = [np.zeros_like(value) for value in parameters]
    square = [np.zeros_like(value) for value in parameters]
    wanted = np.eye(len(KINDS), dtype=np.float32)[rows.kinds]
    steps = EPOCHS * (count // BATCH)
    order = np.concatenate([chance.permutation(count) for _ in range(EPOCHS)])
    for step in range(steps):
        picked = order[step * BATCH : (step + 1) * BATCH]
        given = (
            standard[picked] * (chance.random((len(picked), numbers), np.float32) > 0.15) / np.float32(0.85)
        )
        units = np.maximum(given @ parameters[0] + parameters[1], 0)
        kept = (chance.random(units.shape, np.float32) > 0.2) / np.float32(0.8)
        logits = (units * kept) @ parameters[2] + parameters[3]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (
            (odds / odds.sum(axis=1, keepdims=True) - wanted[picked])
            * rows.weights[picked, None]
            / len(picked)
        )
        back = (error @ parameters[2].T) * kept * (units > 0)
        gradients = (given.T @ back, back.sum(axis=0), (units * kept).T @ error, error.sum(axis=0))
        rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / steps))
        for index, gradient in enumerate(gradients):
            slow[index] = 0.9 * slow[index] + 0.1 * gradient
            square[index] = 0.999 * square[index] + 0.001 * np.square(gradient)
            correction = np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            parameters[index] -= rate * correction * slow[index] / (np.sqrt(square[index]) + 1e-8)
            if index in (0, 2):
                parameters[index] *= 1 - rate * 0.02
    return OverlapWeights(mean.astype(np.float32), scale.astype(np.float32), *parameters)


def held_out(examples: Sequence[Example]) -> Floats:
    """The probabilities of each example at each time, by networks that never heard its source: (n, 15, 3)."""
    folds = [zlib.crc32(example.source.encode()) % FOLDS for example in examples]
    found = np.zeros((len(examples), len(HEARD_WINDOWS), len(KINDS)), np.float32)
    for fold in range(FOLDS):
        taught = [example for example, other in zip(examples, folds, strict=True) if other != fold]
        network = trained(rows_of(taught), fold)
        for index, example in enumerate(examples):
            if folds[index] == fold:
                found[index] = network.probabilities(example.numbers)
    return found


# What comes of it


@dataclass(frozen=True, slots=True)
class Yielded:
    """What `media/overlap_verdict.py` makes of an event with its shipped settings.

    Attributes:
        stopped_s: from the onset to the end of the window that stops the assistant; None if it goes on.
        silent_s: likewise, to its last word: it is silent while it is in doubt.
    """

    stopped_s: float | None
    silent_s: float | None


class Transcriber:
    """The words of events, as the shipped Whisper hears them; of those in other languages, nobody knows."""

    def __init__(self) -> None:
        self._whisper = WhisperDecoder(ModelStore(default_root()).path("whisper-tiny.en"), threads=1)

    def words(self, example: Example, windows: int) -> Words:
        """What is said in an event up to so many windows after its onset."""
        if not example.language.startswith("en"):
            return Words.UNKNOWN
        heard = example.sound[: (PADDING_WINDOWS + windows) * VAD_WINDOW_SAMPLES]
        said = self._whisper.transcribe(Audio(heard, SPEECH_RATE_HZ).as_float32())
        return words_in(said.text, "en")


def yielded(example: Example, probabilities: Floats, transcriber: Transcriber) -> Yielded:
    """Plays an event against the verdict, window by window."""
    settings, sound = InterruptionSettings(), OverlapSound()
    tolerated, confirmed, run = False, False, 0
    silent_s: float | None = WINDOW_S
    for index, probability in enumerate(example.speech):
        speech = bool(probability >= THRESHOLD)
        sound.add(WINDOW_S, speech=speech, hint=bool(probability >= HINT_SHARE * THRESHOLD))
        run = run + 1 if speech else 0
        confirmed = confirmed or run >= CONFIRMING_WINDOWS
        sound.counts = confirmed
        if index + 1 < HEARD_WINDOWS[0]:
            continue
        if tolerated and sound.faded:
            return Yielded(None, None)
        nearest = int(np.searchsorted(HEARD_WINDOWS, index + 1, side="right")) - 1
        scores = OverlapScores(*map(float, probabilities[nearest]))
        found = verdict(sound, scores, settings, tolerated=tolerated)
        stopped_s = (index + 1) * WINDOW_S
        if found is Verdict.QUESTIONABLE:
            stopped_s += WORDS_TAKE_S
            words = transcriber.words(example, index + 1)
            if sound.ended:
                if verdict_of_words(scores.interruption, words, settings) is Verdict.HARMLESS:
                    return Yielded(None, None)
                found = Verdict.INTERRUPTION
            else:
                found = verdict_of_lasting(scores.interruption, words, settings)
                sound.wants_nothing = found is Verdict.HARMLESS
        if found is Verdict.INTERRUPTION:
            return Yielded(stopped_s, stopped_s if silent_s is None else silent_s)
        if tolerated and found is Verdict.UNDECIDED:
            silent_s = (index + 1) * WINDOW_S
        elif found is Verdict.HARMLESS:
            silent_s = None
        tolerated = found is Verdict.HARMLESS
    return Yielded(None, None)


# Figures

SOON_S = 0.4
WORDS_TAKE_S = 0.15
GROUPS = (
    ("interruption", True),
    ("interruption", False),
    ("backchannel", True),
    ("backchannel", False),
    ("noise", True),
    ("noise", False),
)


def classes_table(examples: Sequence[Example], probabilities: Floats) -> str:
    """Precision and recall by class, as if there were as many events of each, and who is taken for what."""
    rows = [
        "| heard (ms) | class | precision | recall | taken for an interruption | a backchannel | a noise |"
    ]
    rows.append("|---:|---|---:|---:|---:|---:|---:|")
    kinds = np.array([example.kind for example in examples])
    for elapsed_ms, windows in REPORTED_WINDOWS.items():
        judged = probabilities[:, HEARD_WINDOWS.index(windows)].argmax(axis=1)
        shares = np.stack(
            [
                np.bincount(judged[kinds == kind], minlength=len(KINDS)) / (kinds == kind).sum()
                for kind in range(3)
            ]
        )
        for kind, name in enumerate(KINDS):
            precision = shares[kind, kind] / max(1e-9, shares[:, kind].sum())
            taken = " | ".join(f"{share:.0%}" for share in shares[kind])
            rows.append(f"| {elapsed_ms} | {name} | {precision:.2f} | {shares[kind, kind]:.2f} | {taken} |")
    return "\n".join(rows)


def verdicts_table(examples: Sequence[Example], probabilities: Floats) -> str:
    """What the shipped settings make of the events: how many stop the assistant, and how soon."""
    rows = ["| events | number | stop the assistant | decided within 400 ms | silent within 400 ms |"]
    rows.append("|---|---:|---:|---:|---:|")
    transcriber = Transcriber()
    outcomes = [
        yielded(example, found, transcriber) for example, found in zip(examples, probabilities, strict=True)
    ]
    for kind, is_real in GROUPS:
        found = [
            outcome
            for example, outcome in zip(examples, outcomes, strict=True)
            if KINDS[example.kind] == kind and example.is_real == is_real
        ]
        if not found:
            continue
        stops = sum(outcome.stopped_s is not None for outcome in found)
        decided = sum(outcome.stopped_s is not None and outcome.stopped_s <= SOON_S for outcome in found)
        silent = sum(outcome.silent_s is not None and outcome.silent_s <= SOON_S for outcome in found)
        made = "recorded" if is_real else "synthesised"
        shares = " | ".join(f"{count / len(found):.1%}" for count in (stops, decided, silent))
        rows.append(f"| {kind}, {made} | {len(found)} | {shares} |")
    return "\n".join(rows)


def save(network: OverlapWeights) -> None:
    """Writes the weights, in half precision."""
    arrays = {field.name: getattr(network, field.name).astype(np.float16) for field in fields(network)}
    # Means and scales span more than half precision does.
    exact = {name: getattr(network, name) for name in ("mean", "scale")}
    np.savez_compressed(WEIGHTS_FILE, **{**arrays, **exact})


def sounds_of(arguments: argparse.Namespace) -> list[Sound]:
    """All that there is to learn from."""
    sounds = list(recorded(arguments.speech)) if arguments.speech else []
    if arguments.noises:
        sounds += noises(arguments.noises, NOISE_RECORDINGS)
    return [*sounds, *generated(GENERATED_EACH), *Voices(arguments.cache).all()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, help="folder of recordings with a manifest.jsonl")
    parser.add_argument("--noises", type=Path, help="folder of recordings of coughs and other noises")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/overlap"), help="for what Kokoro says")
    parser.add_argument(
        "--times", type=int, default=4, help="how often each sound is heard, each time otherwise"
    )
    parser.add_argument("--write", action="store_true", help="train on everything, and write the weights")
    arguments = parser.parse_args()
    sounds = sounds_of(arguments)
    around = Surroundings(
        [
            sound.samples
            for sound in sounds
            if sound.kind == "noise" and len(sound.samples) > SPEECH_RATE_HZ // 2
        ],
        [sound.samples for sound in sounds if sound.kind == "interruption"],
    )
    examples = examples_of(sounds, around, arguments.times)
    probabilities = held_out(examples)
    print(f"{len(sounds)} sounds, {len(examples)} events that the VAD takes for speech\n")
    print(classes_table(examples, probabilities), verdicts_table(examples, probabilities), sep="\n\n")
    if arguments.write:
        save(trained(rows_of(examples), FOLDS))
        print(f"\n{WEIGHTS_FILE.name}: {WEIGHTS_FILE.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
