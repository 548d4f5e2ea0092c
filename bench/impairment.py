"""What a bad network does to a call: how much later the server hears, and how many words it mistakes.

    python bench/impairment.py [--cases loss_5,jitter_60] [--clips 60] [--speech FOLDER] [--json FILE]

Two real peers in one process, their packets through a relay that impairs both directions.

Delay: a noise is sent in which every moment can be recognised; the network is bad now and then. The delay is
that beyond the same call's before, less that of a second call over a sound network at the same moment.

Words: recorded English is said over the impaired network and over a sound one, and Whisper (tiny.en)
transcribes what the server's receive path made of it. Without recordings, synthesised callers speak.

Connecting (`--measure connecting [--calls 100]`): how long calls take to stand, their data channel included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.calibration import Machine, calibrate  # noqa: E402
from bench.impairment_connecting import connected_after_s, connecting_table  # noqa: E402
from bench.impairment_delay import BadSpell, delay_under  # noqa: E402
from bench.impairment_figures import BAR_MS, DelayFigures  # noqa: E402
from bench.impairment_words import BadNetwork, Words, words_under  # noqa: E402
from bench.report import all_met  # noqa: E402
from bench.said import said_clips  # noqa: E402
from bench.udp_relay import NONE, Impairment  # noqa: E402
from media.engines.whisper_decoder import WhisperDecoder  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

WER_BAR_CASE = "loss_5"
WER_BAR_POINTS = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of bad network.

    Attributes:
        name: on the command line.
        impairment: of both directions.
        spell_s: how long it lasts at a time when delay is measured.
        spells: how often then.
        every_s: while words are said it comes for `spell_s` every so often; 0 where it lasts all the time.
    """

    name: str
    impairment: Impairment
    spell_s: float = 3.0
    spells: int = 4
    every_s: float = 0.0

    @property
    def bad_spells(self) -> list[BadSpell]:
        return [BadSpell(self.impairment, self.spell_s)] * self.spells

    @property
    def network(self) -> BadNetwork:
        return BadNetwork(self.impairment, self.every_s, self.spell_s)


CASES = (
    Case("loss_1", Impairment(loss=0.01)),
    Case("loss_5", Impairment(loss=0.05)),
    Case("loss_10", Impairment(loss=0.1)),
    Case("jitter_60", Impairment(jitter_s=0.06)),
    Case("reordering", Impairment(reordering=0.1, reordering_s=0.04)),
    Case("outage_300", Impairment(outage=True), spell_s=0.3, spells=6, every_s=4.0),
    Case("stall_300", Impairment(held=True), spell_s=0.3, spells=6, every_s=4.0),
    Case("mtu_1280", Impairment(mtu_bytes=1280), spells=2),
)
LOSSLESS = Case("lossless", NONE)


def table(
    delays: Mapping[str, DelayFigures], words: Mapping[str, Words], machine: Machine, clips: int
) -> str:
    """The figures for people, as Markdown."""
    rows = [
        "| network | added delay while it lasts, p50 / p95 | gone after, p50 / worst |"
        " 0.2–0.3 s after | 1–2 s after | WER | beyond lossless |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lossless = words.get(LOSSLESS.name)
    for name in dict.fromkeys([*words, *delays]):
        delay, heard = delays.get(name), words.get(name)
        cells = ["", "", "", ""]
        if delay is not None:
            worst = (
                None if None in delay.gone_after_ms else max(g for g in delay.gone_after_ms if g is not None)
            )
            cells = [
                f"{_ms(delay.during_p50_ms)} / {_ms(delay.during_p95_ms)}",
                f"{_gone(delay.gone_p50_ms)} / {_gone(worst)}",
                _ms(delay.after_ms.get("200")),
                _ms(delay.after_ms.get("1000")),
            ]
        if heard is not None and lossless is not None:
            more = heard.errors.percent - lossless.errors.percent
            cells += [f"{heard.errors.percent:.1f} %", f"{more:+.1f}" if heard is not lossless else ""]
        else:
            cells += ["", ""]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    said = f"{clips} clips of {lossless.errors.words} words. " if lossless else ""
    late = max((delay.control_p95_ms for delay in delays.values()), default=0.0)
    rows += [
        "",
        f"{said}{machine.cpu}, {machine.cores} cores, load before {machine.load}; "
        f"the sound call beside it was up to {late:.0f} ms late (p95).",
    ]
    return "\n".join(rows)


def _ms(value: float | None) -> str:
    return "nothing recognised" if value is None else f"{value:.0f} ms"


def _gone(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} ms"


def run(arguments: argparse.Namespace) -> int:
    machine = calibrate()
    wanted = arguments.cases.split(",") if arguments.cases else [case.name for case in CASES]
    cases = [case for case in CASES if case.name in wanted]
    delays: dict[str, DelayFigures] = {}
    words: dict[str, Words] = {}
    connecting: dict[str, list[float | None]] = {}
    for case in cases if arguments.measure == "connecting" else ():
        connecting[case.name] = connected_after_s(case.impairment, arguments.calls)
    for case in cases if arguments.measure in ("both", "delay") else ():
        delays[case.name] = figures = asyncio.run(delay_under(case.bad_spells))
        print(f"  {case.name}: added delay gone after {figures.gone_after_ms} ms", flush=True)
    clips = said_clips(arguments.speech, arguments.clips) if arguments.measure in ("both", "words") else []
    if clips:
        whisper = WhisperDecoder(ModelStore(default_root()).path("whisper-tiny.en"), threads=2)
        for case in (LOSSLESS, *cases):
            words[case.name] = heard = words_under(case.network, clips, whisper)
            print(f"  {case.name}: WER {heard.errors.percent:.1f} %", flush=True)
        whisper.close()
    reached = bars(delays, words)
    print(connecting_table(connecting) or table(delays, words, machine, len(clips)))
    met = all_met(reached)
    if arguments.json:
        document = {
            "machine": machine.as_dict(),
            "delays": {name: asdict(figures) for name, figures in delays.items()},
            "words": {name: asdict(heard) for name, heard in words.items()},
            "connecting": connecting,
            "bars": dict(reached),
        }
        arguments.json.write_text(json.dumps(document, indent=1))
    return 0 if met else 1


def bars(delays: Mapping[str, DelayFigures], words: Mapping[str, Words]) -> list[tuple[str, bool]]:
    """What was to be reached, as far as it was measured, and whether it was."""
    reached = [
        (
            f"{name}: added delay is gone {_gone(figures.gone_p50_ms)} after, at most {BAR_MS:.0f} ms",
            figures.is_in_time,
        )
        for name, figures in delays.items()
    ]
    if WER_BAR_CASE in words:
        more = words[WER_BAR_CASE].errors.percent - words[LOSSLESS.name].errors.percent
        label = f"{WER_BAR_CASE}: WER {more:+.1f} points beyond lossless, at most {WER_BAR_POINTS:+.1f}"
        reached.append((label, more <= WER_BAR_POINTS))
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", help=f"which of {', '.join(case.name for case in CASES)} (all)")
    parser.add_argument("--measure", choices=("both", "delay", "words", "connecting"), default="both")
    parser.add_argument("--calls", type=int, default=100, help="how many are connected of each case (100)")
    parser.add_argument("--clips", type=int, default=60, help="how many clips are said at most (60)")
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl; without one, callers are synthesised",
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
