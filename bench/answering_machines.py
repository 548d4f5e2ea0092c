"""Who answered? Greetings of people and of answering machines, told to the server's own detection.

    python bench/answering_machines.py [--voices 3] [--speech FOLDER] [--json FILE]

Kokoro's voices speak the greetings of `bench/greetings.py`, over a telephone's line (G.711 µ-law, 300 to 3400
Hz, with its hiss), after a moment of silence; a machine's is followed by its beep. Short recordings of real
people count as people, too. All is said to the server's own `Listening` with its real voice-activity engine
and its real transcriber, in virtual time: transcripts come 0.15 s after a pause is noticed, and none before.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.calibration import calibrate  # noqa: E402
from bench.clips import recorded  # noqa: E402
from bench.greetings import MACHINES, NO_BEEP, PEOPLE  # noqa: E402
from bench.phone_sentences import VOICES  # noqa: E402
from bench.report import machine_line, markdown, percentile, write_json  # noqa: E402
from bench.spoken_texts import spoken  # noqa: E402
from bench.telephone_line import Line, as_phoned  # noqa: E402
from bench.turn_taking_recordings import Recording  # noqa: E402
from bench.turn_taking_replay import Delays, Listener, Models, Replayer  # noqa: E402
from media.answering_machine import AnsweringSettings  # noqa: E402
from media.answering_watch import AnsweringWatch  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence  # noqa: E402
from media.clock import loop_time_s  # noqa: E402
from media.engines.protocols import Transcript  # noqa: E402
from media.events import Answerer  # noqa: E402
from media.turn import Turn  # noqa: E402
from server.config import load_config  # noqa: E402
from tests.virtual_time import run  # noqa: E402

LINE: Final = Line("µ-law, 300 to 3400 Hz", "mu", band=True)
HISS_DBFS: Final = -58.0
PAUSE_S: Final = 0.5
SPEAKERS: Final = tuple("am_puck" if voice == "af_nicole" else voice for voice in VOICES)
"""Without the whisperer: nobody whispers who answers a telephone."""
WAIT_S: Final = 7.0
"""How long the far side says nothing more."""
SHORTEST_PERSON_S, LONGEST_PERSON_S = 0.3, 2.5

Kind = Literal["person", "machine"]


@dataclass(frozen=True, slots=True, eq=False)
class Greeting:
    """Somebody answers.

    Attributes:
        name: who, and what is said.
        kind: who it is.
        audio: as it comes over the line, from the moment that the call is answered.
        ends_s: when the greeting's last word is over.
        beep_s: when the beep is over; None without one.
    """

    name: str
    kind: Kind
    audio: Audio
    ends_s: float
    beep_s: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What was made of a greeting.

    Attributes:
        name: of it.
        kind: who it is.
        who: who it was taken for; None: nothing was found out.
        after_s: how long after the call was answered.
        after_end_s: how long after the greeting's last word; below 0 before it.
        message_s: when a message was begun, after the beep's end; None where none was, or there was no beep.
    """

    name: str
    kind: Kind
    who: Answerer | None
    after_s: float
    after_end_s: float
    message_s: float | None


class _Answered(Listener):
    """Hands on what is heard, as `media.conversation.Conversation` does."""

    def __init__(self, watch: AnsweringWatch) -> None:
        super().__init__()
        self._watch = watch

    def window_heard(self, window: Audio, probability: float) -> None:
        self._watch.window_heard(window, probability)

    def turn_guessed(self, turn: Turn, transcript: Transcript) -> None:
        self._watch.words_heard(turn.item_id, transcript.text)

    def turn_transcribed(self, turn: Turn, transcript: Transcript) -> None:
        self._watch.words_heard(turn.item_id, transcript.text)


def found(greeting: Greeting, replayer: Replayer, settings: AnsweringSettings) -> Found:
    """Has it said to the detection."""
    decided: list[tuple[Answerer, float]] = []
    messages: list[float] = []

    async def answered() -> None:
        watch = AnsweringWatch(
            settings,
            lambda who: decided.append((who, loop_time_s())),
            lambda: messages.append(loop_time_s()),
        )
        watch.begin()
        try:
            recording = Recording(
                greeting.name, "", "en", greeting.audio, (), None, greeting.ends_s, True, True
            )
            await replayer.say(recording, config.turn_taking, _Answered(watch))
        finally:
            watch.stop()

    config = load_config(None, {})
    run(answered())
    who, at_s = decided[0] if decided else (None, float("nan"))
    message_s = messages[0] - greeting.beep_s if messages and greeting.beep_s is not None else None
    return Found(greeting.name, greeting.kind, who, at_s, at_s - greeting.ends_s, message_s)


def greetings(voices: int, cache: Path) -> list[Greeting]:
    """Each text by so many voices."""
    of_kind: dict[Kind, tuple[tuple[str, ...], ...]] = {"person": PEOPLE, "machine": MACHINES}
    texts = [
        (kind, index, SPEAKERS[(index * 3 + turn) % len(SPEAKERS)], text)
        for kind, all_of_kind in of_kind.items()
        for index, text in enumerate(all_of_kind)
        for turn in range(voices)
    ]
    parts = [(voice, part) for _, _, voice, text in texts for part in text]
    said = dict(zip(parts, spoken(parts, cache), strict=True))
    made = []
    for number, (kind, index, voice, text) in enumerate(texts):
        chance = np.random.default_rng(number)
        pieces = [silence(chance.uniform(0.2, 1.2), SPEECH_RATE_HZ)]
        for part in text:
            pieces += [_trimmed(said[voice, part]), silence(PAUSE_S, SPEECH_RATE_HZ)]
        ends_s = sum(piece.duration_s for piece in pieces[:-1])
        beeps = kind == "machine" and index not in NO_BEEP
        if beeps:
            pieces += [silence(chance.uniform(0.0, 1.0), SPEECH_RATE_HZ), _beep(chance)]
        beep_s = sum(piece.duration_s for piece in pieces) if beeps else None
        pieces.append(silence(WAIT_S, SPEECH_RATE_HZ))
        audio = _hissing(concatenate(pieces, SPEECH_RATE_HZ), chance)
        made.append(Greeting(f"{voice}: {' '.join(text)}", kind, as_phoned(audio, LINE), ends_s, beep_s))
    return made


def people(folder: Path) -> list[Greeting]:
    """Short recordings of real people. What they say is no greeting."""
    made = []
    for number, clip in enumerate(recorded(folder)):
        if SHORTEST_PERSON_S <= clip.audio.duration_s <= LONGEST_PERSON_S and not clip.has_pause:
            chance = np.random.default_rng(number)
            lead = silence(chance.uniform(0.2, 1.2), SPEECH_RATE_HZ)
            whole = concatenate([lead, clip.audio, silence(WAIT_S, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)
            ends_s = lead.duration_s + clip.audio.duration_s
            made.append(Greeting(clip.name, "person", as_phoned(_hissing(whole, chance), LINE), ends_s, None))
    return made


def _trimmed(audio: Audio) -> Audio:
    """Without the silence that a synthesiser puts around it."""
    loud = np.flatnonzero(np.abs(audio.as_float32()) > 0.01)
    return Audio(audio.samples[loud[0] : loud[-1] + 1], audio.rate_hz) if len(loud) else audio


def _beep(chance: np.random.Generator) -> Audio:
    length_s, hz = chance.uniform(0.25, 0.9), chance.choice([425.0, 850.0, 1000.0, 1400.0])
    t = np.arange(round(length_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    level = 10 ** (chance.uniform(-20, -8) / 20)
    return Audio((level * np.sin(2 * np.pi * hz * t)).astype(np.float32), SPEECH_RATE_HZ)


def _hissing(audio: Audio, chance: np.random.Generator) -> Audio:
    hiss = chance.normal(0, 10 ** (HISS_DBFS / 20), len(audio))
    return Audio((audio.as_float32() + hiss).astype(np.float32), audio.rate_hz)


def table(results: Sequence[Found]) -> str:
    """Who was taken for whom, and how soon."""
    rows = []
    for label, of in (
        ("people, Kokoro's voices", [one for one in results if one.kind == "person" and ":" in one.name]),
        ("people, recordings", [one for one in results if one.kind == "person" and ":" not in one.name]),
        ("machines, Kokoro's voices", [one for one in results if one.kind == "machine"]),
    ):
        if not of:
            continue
        taken = Counter(one.who or "nobody" for one in of)
        known = [one for one in of if one.who is not None]
        after = [one.after_end_s if one.kind == "person" else one.after_s for one in known]
        rows.append(
            [
                f"{label} ({len(of)})",
                *(
                    f"{taken[who]} ({100 * taken[who] / len(of):.0f} %)"
                    for who in ("human", "machine", "uncertain")
                ),
                f"{percentile(after, 50):.1f}",
                f"{percentile(after, 95):.1f}",
            ]
        )
    header = [
        "who answered",
        "taken for a person",
        "for a machine",
        "uncertain",
        "known after, p50 (s)",
        "p95",
    ]
    return markdown(header, rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voices", type=int, default=3, help="of Kokoro's, for each greeting")
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl",
    )
    parser.add_argument("--cache", type=Path, default=Path("artifacts/spoken"), help="for what Kokoro says")
    parser.add_argument("--json", type=Path, help="write every greeting here too")
    arguments = parser.parse_args()
    machine = calibrate()
    answers = greetings(arguments.voices, arguments.cache)
    if (arguments.speech / "manifest.jsonl").exists():
        answers += people(arguments.speech)
    config = load_config(None, {})
    settings = config.telephone.answering_machines
    with Models(config) as models:
        replayer = Replayer(models, Delays())
        results = [found(greeting, replayer, settings) for greeting in answers]
    for one in results:
        if one.who != ("human" if one.kind == "person" else "machine"):
            print(f"  {one.kind} taken for {one.who} after {one.after_s:.1f} s: {one.name}")
    beeped = [one for one in results if one.message_s is not None]
    late = [one.message_s for one in beeped if one.message_s is not None]
    print(table(results), machine_line(machine), sep="\n\n")
    if late:
        early = sum(at_s < 0 for at_s in late)
        print(
            f"A message was begun {percentile(late, 50):.2f} s (p50) after the end of the beep, "
            f"{max(late):.2f} s at most; {early} of {len(late)} before it."
        )
    if arguments.json:
        write_json(arguments.json, machine, {"settings": settings.model_dump()}, results)
    wrong = sum(one.who == ("machine" if one.kind == "person" else "human") for one in results)
    return 0 if wrong <= len(results) // 10 else 1


if __name__ == "__main__":
    sys.exit(main())
